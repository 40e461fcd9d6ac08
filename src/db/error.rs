//! What the database says, in the terms of the domain.
//!
//! PostgreSQL's DETAIL is never carried on: it quotes values. Its message names constraints and columns, and
//! is for the log alone.

use diesel::result::{ConnectionError, DatabaseErrorInformation, DatabaseErrorKind, Error as Diesel};
use tokio_postgres::error::SqlState;

use super::sqlstate;
use crate::domain::{Conflict, Error};

/// The name of a constraint, and what breaking it means.
type Meaning = (&'static str, fn() -> Error);

/// Constraints that callers may run into. One line for each new one;
/// every other violation is a defect.
const CONSTRAINTS: [Meaning; 6] = [
    ("users_username_key", || Error::Conflict(Conflict::AccountExists)),
    ("users_email_key", || Error::Conflict(Conflict::AccountExists)),
    ("tasks_unique_key", || Error::Conflict(Conflict::State("an unfinished task holds the unique key"))),
    // Deleted between the check of his credential and this.
    ("tasks_created_by_fkey", || Error::Unauthenticated { presented: true }),
    ("idempotency_keys_user_id_fkey", || Error::Unauthenticated { presented: true }),
    ("schedules_name_key", || Error::Conflict(Conflict::State("a schedule of this name exists"))),
];

/// Starts of messages of a database that is away, busy or changing, for the few connections whose errors come without their
/// code (see [`Target`](super::Target)): a pooler's own, too.
const TRANSIENT: [&str; 9] = [
    "canceling statement due to statement timeout",      // 57014
    "canceling statement due to user request",           // 57014
    "canceling statement due to lock timeout",           // 55P03
    "canceling statement due to conflict with recovery", // 40001
    "terminating connection",                            // 57P01, 57P02, 25P03
    "the database system is",                            // 57P03: starting up, shutting down
    "sorry, too many clients already",                   // 53300
    "remaining connection slots are reserved",           // 53300
    "deadlock detected",                                 // 40P01
];

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match error {
            Diesel::NotFound => Self::NotFound,
            Diesel::DatabaseError(kind, information) => from_database(kind, information.as_ref()),
            // Its text is that of the two errors, PostgreSQL's messages.
            other => Self::internal(Told::new(other.to_string(), None)),
        }
    }
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        Self::unavailable("database", Told::new(error.to_string(), None))
    }
}

fn from_database(kind: DatabaseErrorKind, information: &dyn DatabaseErrorInformation) -> Error {
    use DatabaseErrorKind as Kind;
    let message = information.message();
    let told = || Told::new(message.to_owned(), information.constraint_name());
    match kind {
        Kind::ClosedConnection | Kind::UnableToSendCommand | Kind::SerializationFailure
        // After a failover the old primary is read-only for as long as connections to it live.
        | Kind::ReadOnlyTransaction => Error::unavailable("database", told()),
        Kind::UniqueViolation
        | Kind::ForeignKeyViolation
        | Kind::CheckViolation
        | Kind::NotNullViolation
        | Kind::RestrictViolation
        | Kind::ExclusionViolation => {
            let known = CONSTRAINTS.iter().find(|(name, _)| Some(*name) == information.constraint_name());
            known.map_or_else(|| Error::internal(told()), |(_, error)| error())
        }
        _ if sqlstate::of(information).map_or_else(
            || TRANSIENT.iter().any(|start| message.starts_with(start)),
            sqlstate::is_transient,
        ) =>
        {
            Error::unavailable("database", told())
        }
        _ => Error::internal(told()),
    }
}

/// Whether the server refused a connection for a reason that time does not mend.
pub(super) fn is_hopeless(error: &tokio_postgres::Error) -> bool {
    let refused = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    error.code().is_some_and(|code| refused.contains(code))
}

/// PostgreSQL's message, for the log.
#[derive(Debug)]
struct Told {
    message: String,
    constraint: Option<String>,
}

impl Told {
    fn new(message: String, constraint: Option<&str>) -> Self {
        Self { message, constraint: constraint.map(str::to_owned) }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.constraint {
            Some(constraint) => write!(f, " (constraint {constraint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Told {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Answer(&'static str, Option<&'static str>);

    impl DatabaseErrorInformation for Answer {
        fn message(&self) -> &str {
            self.0
        }
        fn details(&self) -> Option<&str> {
            Some("Key (email)=(a@b.c) already exists.")
        }
        fn hint(&self) -> Option<&str> {
            None
        }
        fn table_name(&self) -> Option<&str> {
            None
        }
        fn column_name(&self) -> Option<&str> {
            None
        }
        fn constraint_name(&self) -> Option<&str> {
            self.1
        }
        fn statement_position(&self) -> Option<i32> {
            None
        }
    }

    fn error(kind: DatabaseErrorKind, answer: Answer) -> Error {
        Error::from(Diesel::DatabaseError(kind, Box::new(answer)))
    }

    #[test]
    fn a_known_constraint_is_told_in_terms_of_the_domain() {
        let answer = Answer("duplicate key value", Some("users_email_key"));
        let error = error(DatabaseErrorKind::UniqueViolation, answer);
        assert!(matches!(error, Error::Conflict(Conflict::AccountExists)), "{error:?}");
    }

    #[test]
    fn an_unknown_constraint_is_a_defect_and_its_values_stay_out_of_every_text() {
        let answer = Answer("duplicate key value", Some("other_key"));
        let error = error(DatabaseErrorKind::UniqueViolation, answer);
        assert!(matches!(error, Error::Internal(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("a@b.c"));
        assert!(error.to_string().contains("other_key"));
    }

    #[test]
    fn a_database_that_is_away_or_too_slow_is_unavailable() {
        for start in TRANSIENT {
            let error = error(DatabaseErrorKind::Unknown, Answer(start, None));
            assert!(matches!(error, Error::Unavailable { what: "database", .. }), "{start}");
        }
        for kind in [DatabaseErrorKind::ClosedConnection, DatabaseErrorKind::SerializationFailure] {
            let error = error(kind, Answer("", None));
            assert!(matches!(error, Error::Unavailable { what: "database", .. }), "{error:?}");
        }
    }

    #[test]
    fn anything_else_is_a_defect() {
        let error = error(DatabaseErrorKind::Unknown, Answer("syntax error at or near", None));
        assert!(matches!(error, Error::Internal(_)), "{error:?}");
        assert!(matches!(Error::from(Diesel::NotFound), Error::NotFound));
        assert!(matches!(Error::from(Diesel::RollbackTransaction), Error::Internal(_)));
    }
}
