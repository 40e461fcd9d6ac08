//! A user of the service, and the name he logs in with.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{UserId, Violation};
pub use super::{email::Email, username::Username};

/// What a user may do, in order: a later role may all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// His own profile, keys and tasks.
    User,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, lowest first.
    pub const ALL: [Self; 2] = [Self::User, Self::Admin];

    /// As in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Violation;

    /// Exactly `admin` or `user`.
    fn from_str(text: &str) -> Result<Self, Violation> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Violation::new("/role", "invalid_role", "either \"admin\" or \"user\""))
    }
}

/// A user, as every answer shows him. What he knows and others must not (password, tokens) is not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique.
    #[schema(value_type = String, example = "alice")]
    pub username: Username,
    /// Unique.
    #[schema(value_type = String, format = Email, example = "alice@example.com")]
    pub email: Email,
    /// What he may do.
    pub role: Role,
    /// A user who is not active can do nothing at all, and his sessions and keys are dead.
    pub is_active: bool,
    /// He has proved that he reads mail at `email`.
    pub email_verified: bool,
    /// By the database's clock.
    pub created_at: DateTime<Utc>,
    /// Last change of any field but `last_login_at`.
    pub updated_at: DateTime<Utc>,
    /// Last successful log-in with the password.
    #[schema(required = true)]
    pub last_login_at: Option<DateTime<Utc>>,
}

/// Who wants to log in: a username or an e-mail address, in canonical form.
///
/// Reading it never fails, so that a name that nobody can have takes the same way as one that nobody has.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A username, canonical.
    Username(String),
    /// An e-mail address, canonical.
    Email(String),
    /// Neither: no account can match. The text is kept, lowercased, because its failures count as well.
    Nobody(String),
}

impl Login {
    /// Reads a username or an e-mail address in any letter case, with blanks around it or without.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Ok(username) = Username::parse(text) {
            Self::Username(username.canonical().to_owned())
        } else if let Ok(email) = Email::parse_existing(text) {
            Self::Email(email.canonical().to_owned())
        } else {
            Self::Nobody(text.to_ascii_lowercase())
        }
    }

    /// One text for each account-to-be, whether it exists or not: what failed log-ins are counted by.
    pub fn canonical(&self) -> &str {
        match self {
            Self::Username(text) | Self::Email(text) | Self::Nobody(text) => text,
        }
    }
}

/// People type their password here by mistake, so `Debug` shows nothing of it.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Username(_) => "Login::Username",
            Self::Email(_) => "Login::Email",
            Self::Nobody(_) => "Login::Nobody",
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_serialises_to_the_fields_of_the_contract() {
        let at = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
        let user = User {
            id: UserId(uuid::Uuid::nil()),
            username: Username::parse("Alice").unwrap(),
            email: Email::parse("Alice@Example.com").unwrap(),
            role: Role::Admin,
            is_active: true,
            email_verified: false,
            created_at: at,
            updated_at: at,
            last_login_at: None,
        };
        assert_eq!(
            serde_json::to_value(&user).unwrap(),
            json!({
                "id": "00000000-0000-0000-0000-000000000000",
                "username": "Alice",
                "email": "Alice@Example.com",
                "role": "admin",
                "is_active": true,
                "email_verified": false,
                "created_at": "2026-01-02T03:04:05Z",
                "updated_at": "2026-01-02T03:04:05Z",
                "last_login_at": null,
            })
        );
    }

    #[test]
    fn a_role_is_one_of_two_exact_words() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
        for text in ["", "Admin", "admin ", "superuser", "ADMIN"] {
            assert_eq!(text.parse::<Role>().unwrap_err().code, "invalid_role");
        }
        assert!(Role::Admin > Role::User);
    }

    #[test]
    fn a_login_is_a_username_or_an_address_in_any_letter_case() {
        assert_eq!(Login::parse("ALICE"), Login::Username("alice".into()));
        assert_eq!(Login::parse(" Alice@Example.com "), Login::Email("alice@example.com".into()));
        assert_eq!(Login::parse("a@BÜCHER.example"), Login::Email("a@xn--bcher-kva.example".into()));
        assert_eq!(Login::parse("No Body"), Login::Nobody("no body".into()));
        assert_eq!(Login::parse(""), Login::Nobody(String::new()));
    }

    #[test]
    fn debug_output_does_not_tell_what_was_typed_as_login() {
        assert_eq!(format!("{:?}", Login::parse("hunter2hunter2")), "Login::Username");
    }
}
