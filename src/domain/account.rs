//! A user together with what only the service knows of him, and the ways he may change.

use secrecy::SecretString;

use super::{Email, NewPassword, PasswordHash, PasswordPolicy, Role, User, Username, Violation};

/// A user and his credentials, as they were when they were read.
#[derive(Debug, Clone)]
pub struct Account {
    /// What others may see.
    pub user: User,
    /// As stored.
    pub password_hash: PasswordHash,
    /// Sessions made under another value are dead.
    pub auth_version: i64,
}

/// What somebody typed to become a user, not judged yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Any text.
    pub username: String,
    /// Any text.
    pub email: String,
    /// Any text.
    pub password: SecretString,
    /// Any text; `None` is a user.
    pub role: Option<String>,
}

/// Names and a password that the rules take.
#[derive(Debug, Clone)]
pub struct Checked {
    /// A good one, perhaps a reserved one.
    pub username: Username,
    /// A good one.
    pub email: Email,
    /// A good one.
    pub password: NewPassword,
    /// What he may do.
    pub role: Role,
}

impl Draft {
    /// Judges all of it.
    ///
    /// # Errors
    /// Every rule that is broken, at `/username`, `/email`, `/password` and `/role`.
    pub fn check(&self, policy: &PasswordPolicy) -> Result<Checked, Vec<Violation>> {
        let username = Username::parse(&self.username);
        let email = Email::parse(&self.email);
        // A bad name is no reason to say nothing of the password.
        let nobody = Username::from_stored(String::new(), String::new());
        let nowhere = Email::from_stored(String::new(), String::new());
        let name = username.as_ref().unwrap_or(&nobody);
        let address = email.as_ref().unwrap_or(&nowhere);
        let password = policy.check("/password", &self.password, name, address);
        let role = self.role.as_deref().map_or(Ok(Role::User), str::parse);
        match (username, email, password, role) {
            (Ok(username), Ok(email), Ok(password), Ok(role)) => {
                Ok(Checked { username, email, password, role })
            }
            (username, email, password, role) => {
                let wrong = [username.err(), email.err(), password.err(), role.err()];
                Err(wrong.into_iter().flatten().collect())
            }
        }
    }
}

/// A user to be.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Unique.
    pub username: Username,
    /// Unique.
    pub email: Email,
    /// Of a password that the policy takes.
    pub password_hash: PasswordHash,
    /// What he may do.
    pub role: Role,
    /// Whether he can do anything at all.
    pub is_active: bool,
    /// Whether it is known that he reads mail at `email`.
    pub email_verified: bool,
}

/// What is to change of a user; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Unique.
    pub username: Option<Username>,
    /// Unique. A new one has to be verified again, unless `email_verified` says otherwise.
    pub email: Option<Email>,
    /// What he may do.
    pub role: Option<Role>,
    /// Whether he can do anything at all.
    pub is_active: Option<bool>,
    /// Whether it is known that he reads mail at his address.
    pub email_verified: Option<bool>,
}

impl Changes {
    /// After this he is no active admin, whatever he was.
    pub fn may_take_admin_away(&self) -> bool {
        self.role == Some(Role::User) || self.is_active == Some(false)
    }

    /// Something of it concerns what he logs in with, or how far he gets.
    pub fn touch_credentials(&self) -> bool {
        self.email.is_some() || self.role.is_some() || self.email_verified.is_some()
    }

    /// The changes that really change `user`. A username in other letters is a change, though it is the same name.
    #[must_use]
    pub fn against(self, user: &User) -> Self {
        let address_changes = self.email.as_ref().is_some_and(|email| *email != user.email);
        let email_verified = match self.email_verified {
            None if address_changes => Some(false),
            given => given,
        };
        Self {
            username: self.username.filter(|new| new.as_str() != user.username.as_str()),
            email: self.email.filter(|new| new.as_str() != user.email.as_str()),
            role: self.role.filter(|new| *new != user.role),
            is_active: self.is_active.filter(|new| *new != user.is_active),
            email_verified: email_verified.filter(|new| *new != user.email_verified),
        }
    }

    /// The names of what changes, for the audit log.
    pub fn names(&self) -> Vec<&'static str> {
        let given = [
            ("username", self.username.is_some()),
            ("email", self.email.is_some()),
            ("role", self.role.is_some()),
            ("is_active", self.is_active.is_some()),
            ("email_verified", self.email_verified.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

/// Which users.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// With this role.
    pub role: Option<Role>,
    /// Who can, or cannot, do anything.
    pub is_active: Option<bool>,
    /// With this text somewhere in the username or the e-mail address, in any letter case (ASCII).
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::UserId;

    fn user() -> User {
        User {
            id: UserId::new(),
            username: Username::parse("alice").unwrap(),
            email: Email::parse("alice@example.com").unwrap(),
            role: Role::User,
            is_active: true,
            email_verified: true,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            last_login_at: None,
        }
    }

    #[test]
    fn every_bad_field_of_a_draft_is_named() {
        let policy = PasswordPolicy::new(12);
        let draft = |username: &str, email: &str, password: &str| Draft {
            username: username.to_owned(),
            email: email.to_owned(),
            password: password.into(),
            role: None,
        };
        let fields = |draft: Draft| -> Vec<String> {
            let wrong = draft.check(&policy).unwrap_err();
            wrong.into_iter().map(|violation| violation.field.into_owned()).collect()
        };
        assert!(draft("alice", "alice@example.com", "correct horse battery stap").check(&policy).is_ok());
        assert_eq!(fields(draft("", "", "")), ["/username", "/email", "/password"]);
        let moderator = Draft { role: Some("moderator".into()), ..draft("", "", "") };
        assert_eq!(fields(moderator), ["/username", "/email", "/password", "/role"]);
        assert_eq!(fields(draft("alice", "x", "correct horse battery stap")), ["/email"]);
        assert_eq!(fields(draft("alice", "alice@example.com", "alice@example.com")), ["/password"]);
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let same = Changes {
            username: Some(Username::parse("alice").unwrap()),
            email: Some(Email::parse("alice@example.com").unwrap()),
            role: Some(Role::User),
            is_active: Some(true),
            email_verified: Some(true),
        };
        assert_eq!(same.against(&user()), Changes::default());
    }

    #[test]
    fn a_new_address_is_unverified_unless_said_otherwise() {
        let email = Some(Email::parse("alice@example.org").unwrap());
        let moved = Changes { email: email.clone(), ..Changes::default() }.against(&user());
        assert_eq!((moved.email_verified, moved.names()), (Some(false), vec!["email", "email_verified"]));
        let known = Changes { email, email_verified: Some(true), ..Changes::default() }.against(&user());
        assert_eq!(known.email_verified, None);
    }

    #[test]
    fn another_spelling_of_the_same_address_stays_verified() {
        let email = Some(Email::parse("Alice@Example.com").unwrap());
        let changes = Changes { email, ..Changes::default() }.against(&user());
        assert_eq!(changes.names(), ["email"]);
    }
}
