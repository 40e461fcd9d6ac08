//! The columns that make a user, for every statement that returns one.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use crate::domain::{Email, Error, Result, Role, User, UserId, Username};

/// The columns, of `u`, in the order of [`UserTypes`].
macro_rules! user_columns {
    () => {
        "u.id, u.username, u.username_canon, u.email, u.email_canon, u.role, u.is_active, u.email_verified, \
         u.created_at, u.updated_at, u.last_login_at"
    };
}
pub(super) use user_columns;

/// The SQL types of `user_columns!`.
pub(super) type UserTypes =
    (SqlUuid, Text, Text, Text, Text, Text, Bool, Bool, Timestamptz, Timestamptz, Nullable<Timestamptz>);

/// A row of `user_columns!`.
pub(super) type UserRow = (
    Uuid,
    String,
    String,
    String,
    String,
    String,
    bool,
    bool,
    DateTime<Utc>,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
);

/// What the row says.
pub(super) fn user(row: UserRow) -> Result<User> {
    let (
        id,
        username,
        username_canon,
        email,
        email_canon,
        role,
        is_active,
        email_verified,
        created_at,
        updated_at,
        last_login_at,
    ) = row;
    Ok(User {
        id: UserId(id),
        username: Username::from_stored(username, username_canon),
        email: Email::from_stored(email, email_canon),
        role: role.parse::<Role>().map_err(|_| Error::internal("a role that this version does not know"))?,
        is_active,
        email_verified,
        created_at,
        updated_at,
        last_login_at,
    })
}
