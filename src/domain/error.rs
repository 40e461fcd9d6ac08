//! The one error of the library: what went wrong, in the terms of the domain.
//!
//! Each edge translates it once: `http/problem.rs` to a status and a code, `cli` to an exit code,
//! `tasks` to an outcome. `db/error.rs` translates into it. The matches there are exhaustive, so a
//! new variant is a compile error in exactly those places.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// The result of every fallible operation of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause that is logged and never shown. Shared, because one failed statement may answer many callers.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong.
#[derive(Debug, Clone)]
pub enum Error {
    /// The request cannot be understood; the text says why and holds nothing of the input.
    Malformed(Cow<'static, str>),
    /// Well-formed, but these values break a rule.
    Invalid(Vec<Violation>),
    /// No valid credential; `presented` tells whether the caller sent one.
    Unauthenticated {
        /// A credential was sent, and it was not good.
        presented: bool,
    },
    /// More than one credential in one request.
    MultipleCredentials,
    /// Log-in failed; never says why.
    InvalidCredentials,
    /// A one-time token is unknown, used or expired; never says which.
    InvalidToken,
    /// The current password, asked for again, was wrong.
    CurrentPasswordIncorrect,
    /// The caller is known and may not do this.
    Forbidden,
    /// The caller is known, and may do this only with a verified e-mail address.
    EmailNotVerified,
    /// The API key lacks the permission.
    InsufficientScope,
    /// Self-registration is turned off.
    RegistrationClosed,
    /// No such object, or not the caller's: the two are not told apart.
    NotFound,
    /// The object's state does not allow it.
    Conflict(Conflict),
    /// The same idempotency key came with another request.
    IdempotencyKeyReused,
    /// Too many requests from one address.
    RateLimited {
        /// When a next try may succeed.
        retry_after: Duration,
    },
    /// The caller has as many of something as it may have at once.
    QuotaExceeded {
        /// For people, a sentence that holds nothing of the input.
        detail: &'static str,
        /// When a next try may succeed.
        retry_after: Duration,
    },
    /// Too many failed log-ins for one account, existing or not.
    AccountLocked {
        /// When a next try may succeed.
        retry_after: Duration,
    },
    /// A queue in this process is full: nothing was done.
    Overloaded,
    /// Something the program depends on is away, or too slow.
    Unavailable {
        /// What is away: `database`, or the name of an actor.
        what: &'static str,
        /// For the log.
        cause: Option<Cause>,
    },
    /// A defect. The cause is for the log.
    Internal(Cause),
}

/// Which state stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The username or the e-mail address is taken.
    AccountExists,
    /// The last active admin would vanish.
    LastAdmin,
    /// The first request with this idempotency key is still under way.
    IdempotencyKeyInProgress,
    /// The object is in a state that does not allow this, told in a sentence.
    State(&'static str),
}

/// One value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) to the field.
    pub field: Cow<'static, str>,
    /// Stable, snake case.
    pub code: &'static str,
    /// For people; holds nothing of the input.
    pub message: Cow<'static, str>,
}

impl Violation {
    /// A violation of the field at `field`, a JSON pointer.
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }

    /// The same violation one level deeper: `/email` under `/users/3` becomes `/users/3/email`.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.field = Cow::Owned(format!("{parent}{}", self.field));
        self
    }
}

impl Error {
    /// A request that cannot be understood.
    pub fn malformed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed(why.into())
    }

    /// One field that breaks a rule.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid(vec![Violation::new(field, code, message)])
    }

    /// A defect, from any error.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Arc::from(cause.into()))
    }

    /// Something away, from the error that told so.
    pub fn unavailable(
        what: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { what, cause: Some(Arc::from(cause.into())) }
    }

    /// The caller may try the same again and succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::Unavailable { .. }
                | Self::RateLimited { .. }
                | Self::QuotaExceeded { .. }
                | Self::AccountLocked { .. }
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed request: {why}"),
            Self::Invalid(violations) => {
                f.write_str("invalid")?;
                for v in violations {
                    write!(f, "; {}: {}", v.field, v.message)?;
                }
                Ok(())
            }
            Self::Unauthenticated { .. } => f.write_str("not authenticated"),
            Self::MultipleCredentials => f.write_str("more than one credential"),
            Self::InvalidCredentials => f.write_str("login or password is wrong"),
            Self::InvalidToken => f.write_str("the token is invalid or expired"),
            Self::CurrentPasswordIncorrect => f.write_str("the current password is wrong"),
            Self::Forbidden => f.write_str("not allowed"),
            Self::EmailNotVerified => f.write_str("the e-mail address is not verified"),
            Self::InsufficientScope => f.write_str("the API key lacks the permission"),
            Self::RegistrationClosed => f.write_str("registration is closed"),
            Self::NotFound => f.write_str("not found"),
            Self::Conflict(Conflict::AccountExists) => f.write_str("username or email already in use"),
            Self::Conflict(Conflict::LastAdmin) => {
                f.write_str("the last active admin cannot be demoted, disabled or deleted")
            }
            Self::Conflict(Conflict::IdempotencyKeyInProgress) => {
                f.write_str("the first request with this idempotency key is still under way")
            }
            Self::Conflict(Conflict::State(why)) => f.write_str(why),
            Self::IdempotencyKeyReused => f.write_str("the idempotency key was used for another request"),
            Self::RateLimited { .. } => f.write_str("too many requests"),
            Self::QuotaExceeded { detail, .. } => write!(f, "quota exceeded: {detail}"),
            Self::AccountLocked { .. } => f.write_str("too many failed log-ins"),
            Self::Overloaded => f.write_str("overloaded"),
            Self::Unavailable { what, cause: None } => write!(f, "{what} is unavailable"),
            Self::Unavailable { what, cause: Some(cause) } => {
                write!(f, "{what} is unavailable: {cause}")
            }
            Self::Internal(cause) => write!(f, "internal error: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Internal(cause) | Self::Unavailable { cause: Some(cause), .. } => Some(cause.as_ref()),
            _ => None,
        }
    }
}
