//! Who is asking, and the one place that decides what he may do.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiKeyId, Error, Result, SessionId, UserId,
    api_key::ApiKeySecret,
    permission::{Permission, Permissions, Requirement},
    token::SessionToken,
    user::{Role, User},
};

/// What came as `Bearer` credential and could be one of ours: worth a look-up.
#[derive(Debug, Clone)]
pub enum Presented {
    /// Somebody's session.
    Session(SessionToken),
    /// Some program's key.
    ApiKey(ApiKeySecret),
}

impl Presented {
    /// `None` for what this service cannot have made: wrong prefix, length, alphabet or checksum.
    pub fn parse(text: &str) -> Option<Self> {
        SessionToken::parse(text).map(Self::Session).or_else(|| ApiKeySecret::parse(text).map(Self::ApiKey))
    }
}

/// A caller, recognised by a credential that was valid when the request came.
#[derive(Debug, Clone)]
pub struct Caller {
    /// With the role he has now.
    pub user: User,
    /// What he proved it with.
    pub credential: Credential,
}

/// What a caller proved with who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// He logged in.
    Session {
        /// Of the session.
        id: SessionId,
        /// When it ends if it is used until then.
        expires_at: DateTime<Utc>,
    },
    /// A program of his.
    ApiKey {
        /// Of the key.
        id: ApiKeyId,
        /// `None`: never.
        expires_at: Option<DateTime<Utc>>,
        /// As stored: more than the owner's present role may allow.
        permissions: Permissions,
    },
}

/// What a request is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask who one is.
    Identify,
    /// Log out, refresh, list and close own sessions.
    ManageSessions,
    /// See, change, delete the own account; change the password; ask for mails.
    ManageAccount,
    /// Everything about API keys.
    ManageApiKeys,
    /// See users.
    ReadUsers,
    /// Create, change, delete users.
    WriteUsers,
    /// Change what a user logs in with, or how far he gets: e-mail address, password, role other than `user`. By a key
    /// it would be a way to more than the key's own permissions.
    WriteUserCredentials,
    /// Close all sessions of a user.
    CloseUserSessions,
    /// See tasks, their attempts and events.
    ReadTasks,
    /// Enqueue, cancel, retry.
    WriteTasks,
    /// Enqueue tasks of types that are for administrators.
    EnqueueRestricted,
    /// Delete finished tasks.
    DeleteTasks,
    /// See which types of task there are.
    ReadTaskTypes,
    /// See counts, rates and waiting times over all tasks.
    ReadTaskStats,
    /// See queues.
    ReadQueues,
    /// Pause and resume queues.
    WriteQueues,
    /// See recurring tasks.
    ReadSchedules,
    /// Create, change, delete recurring tasks.
    WriteSchedules,
    /// See who did what.
    ReadAudit,
    /// Read metrics.
    ReadMetrics,
    /// See the state of every actor.
    ReadActors,
}

/// How far an API key gets with an action.
#[derive(Clone, Copy)]
enum Keys {
    /// Not at all: a key that leaked must not become a way to take the account over.
    Never,
    /// Any key of somebody who may do it.
    Any,
    /// Keys with this permission.
    With(Permission),
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 21] = [
        Self::Identify,
        Self::ManageSessions,
        Self::ManageAccount,
        Self::ManageApiKeys,
        Self::ReadUsers,
        Self::WriteUsers,
        Self::WriteUserCredentials,
        Self::CloseUserSessions,
        Self::ReadTasks,
        Self::WriteTasks,
        Self::EnqueueRestricted,
        Self::DeleteTasks,
        Self::ReadTaskTypes,
        Self::ReadTaskStats,
        Self::ReadQueues,
        Self::WriteQueues,
        Self::ReadSchedules,
        Self::WriteSchedules,
        Self::ReadAudit,
        Self::ReadMetrics,
        Self::ReadActors,
    ];

    /// Returns what the action takes, as `GET /api/v1/tasks/types` shows it.
    pub fn requirement(self) -> Requirement {
        let (role, keys) = self.rule();
        let permission = if let Keys::With(permission) = keys { Some(permission) } else { None };
        Requirement { role, permission }
    }

    /// The whole policy: the least role, and which keys.
    fn rule(self) -> (Role, Keys) {
        use Permission::{MetricsRead, TasksRead, TasksWrite, UsersRead, UsersWrite};
        match self {
            Self::Identify | Self::ReadTaskTypes => (Role::User, Keys::Any),
            Self::ManageSessions | Self::ManageAccount | Self::ManageApiKeys => (Role::User, Keys::Never),
            Self::ReadTasks => (Role::User, Keys::With(TasksRead)),
            Self::WriteTasks => (Role::User, Keys::With(TasksWrite)),
            Self::ReadUsers => (Role::Admin, Keys::With(UsersRead)),
            Self::WriteUsers => (Role::Admin, Keys::With(UsersWrite)),
            Self::ReadTaskStats | Self::ReadQueues | Self::ReadSchedules => {
                (Role::Admin, Keys::With(TasksRead))
            }
            Self::EnqueueRestricted | Self::DeleteTasks | Self::WriteQueues | Self::WriteSchedules => {
                (Role::Admin, Keys::With(TasksWrite))
            }
            Self::ReadMetrics | Self::ReadActors => (Role::Admin, Keys::With(MetricsRead)),
            Self::WriteUserCredentials | Self::CloseUserSessions | Self::ReadAudit => {
                (Role::Admin, Keys::Never)
            }
        }
    }
}

/// Decides whether the caller may do this at all. Whose object it is comes after: [`Caller::owns_or_admin`].
///
/// # Errors
/// [`Error::InsufficientScope`] for a key without the permission, else [`Error::Forbidden`].
pub fn authorize(caller: &Caller, action: Action) -> Result<()> {
    let (least_role, keys) = action.rule();
    if let Credential::ApiKey { permissions, .. } = caller.credential {
        match keys {
            Keys::Never => return Err(Error::Forbidden),
            Keys::With(needed) if !permissions.contains(needed) => return Err(Error::InsufficientScope),
            Keys::With(_) | Keys::Any => {}
        }
    }
    if caller.user.role >= least_role { Ok(()) } else { Err(Error::Forbidden) }
}

/// Which objects of a kind a caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// His own.
    Own(UserId),
    /// Everybody's.
    All,
}

impl Caller {
    /// As [`authorize`].
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] or [`Error::Forbidden`].
    pub fn may(&self, action: Action) -> Result<()> {
        authorize(self, action)
    }

    /// The caller is an admin now, whatever he proves it with.
    pub fn is_admin(&self) -> bool {
        self.user.role == Role::Admin
    }

    /// Which objects he sees: all for an admin, else his own.
    pub fn reach(&self) -> Reach {
        if self.is_admin() { Reach::All } else { Reach::Own(self.user.id) }
    }

    /// Whether an object with this owner is there for him. `None` is the service's own.
    ///
    /// # Errors
    /// [`Error::NotFound`], as for an object that does not exist.
    pub fn owns_or_admin(&self, owner: Option<UserId>) -> Result<()> {
        if self.is_admin() || owner == Some(self.user.id) { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Who is asking, as `GET /auth/me` shows it.
    pub fn describe(&self) -> CredentialView {
        match self.credential {
            Credential::Session { id, expires_at } => CredentialView {
                kind: "session",
                id: id.0,
                expires_at: Some(expires_at),
                permissions: Permission::ALL.into_iter().collect::<Permissions>().effective(self.user.role),
            },
            Credential::ApiKey { id, expires_at, permissions } => CredentialView {
                kind: "api_key",
                id: id.0,
                expires_at,
                permissions: permissions.effective(self.user.role),
            },
        }
    }
}

/// A credential as answers show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CredentialView {
    /// `session` or `api_key`.
    pub kind: &'static str,
    /// Of the session or the key.
    pub id: uuid::Uuid,
    /// `None`: never.
    #[schema(required = true)]
    pub expires_at: Option<DateTime<Utc>>,
    /// What it is good for now: a session for all that its user may do, a key for what is left of its permissions.
    #[schema(value_type = Vec<Permission>)]
    pub permissions: Permissions,
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::domain::user::{Email, Username};

    fn user(role: Role) -> User {
        User {
            id: UserId::new(),
            username: Username::parse("alice").unwrap(),
            email: Email::parse("alice@example.com").unwrap(),
            role,
            is_active: true,
            email_verified: true,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            last_login_at: None,
        }
    }

    fn session(role: Role) -> Caller {
        let credential = Credential::Session { id: SessionId::new(), expires_at: DateTime::UNIX_EPOCH };
        Caller { user: user(role), credential }
    }

    fn key(role: Role, permissions: &[Permission]) -> Caller {
        let permissions = permissions.iter().copied().collect();
        let credential = Credential::ApiKey { id: ApiKeyId::new(), expires_at: None, permissions };
        Caller { user: user(role), credential }
    }

    fn allowed(caller: &Caller) -> Vec<Action> {
        Action::ALL.into_iter().filter(|action| caller.may(*action).is_ok()).collect()
    }

    #[test]
    fn a_bearer_credential_is_a_session_token_or_an_api_key() {
        let (token, key) = (SessionToken::generate(), ApiKeySecret::generate());
        assert!(matches!(Presented::parse(token.expose()), Some(Presented::Session(_))));
        assert!(matches!(Presented::parse(key.expose()), Some(Presented::ApiKey(_))));
        for text in ["", "sess_", "key_", "ott_", "eyJhbGciOiJIUzI1NiJ9.e30.x"] {
            assert!(Presented::parse(text).is_none());
        }
    }

    #[test]
    fn an_admin_may_everything_when_logged_in() {
        assert_eq!(allowed(&session(Role::Admin)), Action::ALL);
    }

    #[test]
    fn a_user_may_manage_himself_and_his_tasks() {
        use Action::*;
        assert_eq!(
            allowed(&session(Role::User)),
            [Identify, ManageSessions, ManageAccount, ManageApiKeys, ReadTasks, WriteTasks, ReadTaskTypes]
        );
        assert!(matches!(session(Role::User).may(ReadUsers), Err(Error::Forbidden)));
    }

    #[test]
    fn a_key_with_every_permission_of_an_admin_still_manages_no_credentials() {
        use Action::*;
        let caller = key(Role::Admin, &Permission::ALL);
        for action in Action::ALL {
            let never = [
                ManageSessions,
                ManageAccount,
                ManageApiKeys,
                WriteUserCredentials,
                CloseUserSessions,
                ReadAudit,
            ];
            match caller.may(action) {
                Ok(()) => assert!(!never.contains(&action), "{action:?}"),
                Err(Error::Forbidden) => assert!(never.contains(&action), "{action:?}"),
                Err(other) => panic!("{action:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_key_without_the_permission_is_told_so_even_if_its_owner_is_an_admin() {
        let caller = key(Role::Admin, &[Permission::UsersRead]);
        assert_eq!(allowed(&caller), [Action::Identify, Action::ReadUsers, Action::ReadTaskTypes]);
        assert!(matches!(caller.may(Action::WriteUsers), Err(Error::InsufficientScope)));
        assert!(matches!(caller.may(Action::ReadTasks), Err(Error::InsufficientScope)));
    }

    #[test]
    fn demoting_the_owner_shrinks_the_key_at_once() {
        let mut caller = key(Role::Admin, &[Permission::UsersRead, Permission::TasksRead]);
        assert!(caller.may(Action::ReadUsers).is_ok());
        caller.user.role = Role::User;
        assert!(matches!(caller.may(Action::ReadUsers), Err(Error::Forbidden)));
        assert!(matches!(caller.may(Action::ReadQueues), Err(Error::Forbidden)));
        assert!(caller.may(Action::ReadTasks).is_ok());
        let shown = serde_json::to_value(caller.describe().permissions).unwrap();
        assert_eq!(shown, serde_json::json!(["tasks:read"]));
    }

    #[test]
    fn someone_elses_object_is_as_good_as_none() {
        let (caller, admin) = (session(Role::User), session(Role::Admin));
        let own = Some(caller.user.id);
        assert!(caller.owns_or_admin(own).is_ok());
        assert!(matches!(caller.owns_or_admin(Some(UserId::new())), Err(Error::NotFound)));
        assert!(matches!(caller.owns_or_admin(None), Err(Error::NotFound)));
        assert!(admin.owns_or_admin(own).is_ok() && admin.owns_or_admin(None).is_ok());
        assert_eq!(caller.reach(), Reach::Own(caller.user.id));
        assert_eq!(admin.reach(), Reach::All);
    }

    #[test]
    fn a_credential_is_described_with_the_fields_of_the_contract() {
        let shown = serde_json::to_value(session(Role::User).describe()).unwrap();
        assert_eq!(shown["kind"], "session");
        assert_eq!(shown["permissions"], serde_json::json!(["tasks:read", "tasks:write"]));
        assert_eq!(shown["expires_at"], "1970-01-01T00:00:00Z");
        let shown = serde_json::to_value(key(Role::User, &[]).describe()).unwrap();
        assert_eq!((&shown["kind"], &shown["expires_at"]), (&"api_key".into(), &serde_json::Value::Null));
    }

    proptest! {
        #[test]
        fn a_key_never_does_what_its_owner_could_not(
            action in select(&Action::ALL[..]),
            held in proptest::sample::subsequence(&Permission::ALL, 0..=5),
            role in select(&Role::ALL[..]),
        ) {
            if key(role, &held).may(action).is_ok() {
                prop_assert!(session(role).may(action).is_ok());
            }
        }
    }
}
