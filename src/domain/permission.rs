//! What an API key may be allowed, and how that shrinks with its owner's role.

use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Error, Result, Violation, user::Role};

/// Longest list of permissions that a request may carry.
pub const MAX_LISTED: usize = 64;

/// One thing an API key may be allowed: `resource:action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[repr(u8)]
pub enum Permission {
    /// See tasks, their attempts and events.
    #[schema(rename = "tasks:read")]
    TasksRead,
    /// Enqueue, cancel and retry tasks.
    #[schema(rename = "tasks:write")]
    TasksWrite,
    /// See users.
    #[schema(rename = "users:read")]
    UsersRead,
    /// Create, change and delete users.
    #[schema(rename = "users:write")]
    UsersWrite,
    /// Read metrics and the state of the actors.
    #[schema(rename = "metrics:read")]
    MetricsRead,
}

impl Permission {
    /// The published list.
    pub const ALL: [Self; 5] =
        [Self::TasksRead, Self::TasksWrite, Self::UsersRead, Self::UsersWrite, Self::MetricsRead];

    /// As in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TasksRead => "tasks:read",
            Self::TasksWrite => "tasks:write",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::MetricsRead => "metrics:read",
        }
    }

    /// Exactly as published.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text)
    }

    /// The lowest role that may do this, and so may hand it to a key.
    pub fn least_role(self) -> Role {
        match self {
            Self::TasksRead | Self::TasksWrite => Role::User,
            Self::UsersRead | Self::UsersWrite | Self::MetricsRead => Role::Admin,
        }
    }
}

/// What an action takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Requirement {
    /// The least role.
    pub role: Role,
    /// What an API key needs besides.
    #[schema(value_type = Option<String>, required = true)]
    pub permission: Option<Permission>,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether a user of this role may do this at all.
pub fn permits(role: Role, permission: Permission) -> bool {
    role >= permission.least_role()
}

/// A set of permissions: one bit each, so that it is copied with every request for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// Reads the list in a request of a caller with this role. Listing one twice is harmless.
    ///
    /// # Errors
    /// `/permissions` `too_many_permissions`; `/permissions/N` `unknown_permission`, one for each;
    /// [`Error::Forbidden`] if the role itself may not do all of it: nobody hands out more than he has.
    pub fn request<S: AsRef<str>>(listed: &[S], creator: Role) -> Result<Self> {
        if listed.len() > MAX_LISTED {
            let message = format!("at most {MAX_LISTED} permissions");
            return Err(Error::invalid("/permissions", "too_many_permissions", message));
        }
        let mut set = Self::default();
        let mut unknown = Vec::new();
        for (index, text) in listed.iter().enumerate() {
            match Permission::parse(text.as_ref()) {
                Some(permission) => set.insert(permission),
                None => unknown.push(Violation::new(
                    format!("/permissions/{index}"),
                    "unknown_permission",
                    "not in the published list of permissions",
                )),
            }
        }
        if !unknown.is_empty() {
            return Err(Error::Invalid(unknown));
        }
        if set.effective(creator) != set {
            return Err(Error::Forbidden);
        }
        Ok(set)
    }

    /// Reads what is stored. Words that this version does not know grant nothing.
    pub fn from_stored<S: AsRef<str>>(stored: impl IntoIterator<Item = S>) -> Self {
        stored.into_iter().filter_map(|text| Permission::parse(text.as_ref())).collect()
    }

    fn insert(&mut self, permission: Permission) {
        self.0 |= Self::bit(permission);
    }

    fn bit(permission: Permission) -> u8 {
        1 << permission as u8
    }

    /// Holds this one.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & Self::bit(permission) != 0
    }

    /// In the order of the published list.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }

    /// What is left of it for an owner who has this role now.
    #[must_use]
    pub fn effective(self, owner: Role) -> Self {
        self.iter().filter(|permission| permits(owner, *permission)).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::default(), |mut set, permission| {
            set.insert(permission);
            set
        })
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::subsequence};

    use super::*;

    #[test]
    fn the_published_list_reads_back() {
        let texts: Vec<&str> = Permission::ALL.iter().map(|p| p.as_str()).collect();
        assert_eq!(texts, ["tasks:read", "tasks:write", "users:read", "users:write", "metrics:read"]);
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.as_str()), Some(permission));
        }
        for text in ["", "tasks", "tasks:*", "Tasks:Read", "tasks:read ", "*", "tasks:read\u{0}"] {
            assert_eq!(Permission::parse(text), None);
        }
    }

    #[test]
    fn a_user_may_hand_out_tasks_only_and_an_admin_everything() {
        let of = |role| Permission::ALL.into_iter().filter(|p| permits(role, *p)).collect::<Vec<_>>();
        assert_eq!(of(Role::User), [Permission::TasksRead, Permission::TasksWrite]);
        assert_eq!(of(Role::Admin), Permission::ALL);
    }

    #[test]
    fn every_unknown_permission_is_named_by_its_place() {
        let error =
            Permissions::request(&["tasks:read", "tasks:fly", "users:read", ""], Role::User).unwrap_err();
        let Error::Invalid(violations) = error else { panic!("{error:?}") };
        let places: Vec<_> = violations.iter().map(|v| (v.field.as_ref(), v.code)).collect();
        assert_eq!(
            places,
            [("/permissions/1", "unknown_permission"), ("/permissions/3", "unknown_permission")]
        );
    }

    #[test]
    fn nobody_hands_out_more_than_he_has() {
        let listed = ["tasks:read", "users:read"];
        assert!(matches!(Permissions::request(&listed, Role::User), Err(Error::Forbidden)));
        assert!(Permissions::request(&listed, Role::Admin).is_ok());
    }

    #[test]
    fn a_repeated_permission_is_kept_once_and_too_long_a_list_is_refused() {
        let set = Permissions::request(&["tasks:write", "tasks:read", "tasks:write"], Role::User).unwrap();
        assert_eq!(serde_json::to_value(set).unwrap(), serde_json::json!(["tasks:read", "tasks:write"]));
        assert!(Permissions::request(&["tasks:read"; 64], Role::User).is_ok());
        assert!(matches!(
            Permissions::request(&["tasks:read"; 65], Role::User),
            Err(Error::Invalid(violations)) if violations[0].code == "too_many_permissions"
        ));
    }

    #[test]
    fn stored_words_of_a_later_version_grant_nothing() {
        let set = Permissions::from_stored(["tasks:read", "moon:land"]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Permission::TasksRead]);
    }

    proptest! {
        #[test]
        fn effective_permissions_never_grow(held in subsequence(&Permission::ALL, 0..=5), admin: bool) {
            let role = if admin { Role::Admin } else { Role::User };
            let set: Permissions = held.iter().copied().collect();
            let effective = set.effective(role);
            for permission in Permission::ALL {
                prop_assert_eq!(
                    effective.contains(permission),
                    held.contains(&permission) && permits(role, permission)
                );
            }
            prop_assert_eq!(effective.effective(role), effective);
        }
    }
}
