//! How an attempt ends: a closed vocabulary, so that every ending is stored, counted and shown.

use std::{borrow::Cow, time::Duration};

use serde_json::Value;

use crate::domain::Error;

/// What a handler returns: the task's result (`null`: none), or why it stopped without being done.
pub type Outcome = Result<Value, Stop>;

/// Why an attempt ended without the task being done.
///
/// The texts are shown to the task's owner: they must hold no secret, no path and no internal error.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// It failed, and may succeed another time: the next attempt follows by the type's policy, if one is left.
    Failed {
        /// Why.
        why: Cow<'static, str>,
        /// Not before this, whatever the policy says; for `Retry-After`.
        not_before: Option<Duration>,
    },
    /// No further attempt can help: the task becomes a dead letter at once.
    Refused(Cow<'static, str>),
    /// Nothing is wrong, it is only too early: run again after this, without using up an attempt.
    Snooze(Duration),
    /// It saw [`super::Context::cancelled`] and stopped.
    Cancelled,
}

impl Stop {
    /// A failure that another attempt may mend.
    pub fn failed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { why: why.into(), not_before: None }
    }

    /// A failure for good.
    pub fn refused(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(why.into())
    }
}

/// What helps against an error of the domain, so that handlers can use `?`.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed(_)
            | Error::Invalid(_)
            | Error::Unauthenticated { .. }
            | Error::MultipleCredentials
            | Error::InvalidCredentials
            | Error::InvalidToken
            | Error::CurrentPasswordIncorrect
            | Error::Forbidden
            | Error::EmailNotVerified
            | Error::InsufficientScope
            | Error::RegistrationClosed
            | Error::NotFound
            | Error::Conflict(_)
            | Error::IdempotencyKeyReused => Self::refused(error.to_string()),
            Error::RateLimited { retry_after }
            | Error::AccountLocked { retry_after }
            | Error::QuotaExceeded { retry_after, .. } => {
                Self::Failed { why: error.to_string().into(), not_before: Some(retry_after) }
            }
            Error::Overloaded => Self::failed("overloaded"),
            Error::Unavailable { what, .. } => {
                log::warn!(error:% = error; "a task met something that is away");
                Self::failed(format!("{what} is unavailable"))
            }
            Error::Internal(_) => {
                log::error!(error:% = error; "a task met a defect");
                Self::failed("internal error")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_cannot_is_refused() {
        assert!(matches!(Error::NotFound.into(), Stop::Refused(_)));
        assert!(matches!(Error::Overloaded.into(), Stop::Failed { .. }));
        let limited = Error::RateLimited { retry_after: Duration::from_secs(7) };
        let Stop::Failed { not_before, .. } = limited.into() else { panic!("refused") };
        assert_eq!(not_before, Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_owner_is_not_shown_causes() {
        let Stop::Failed { why, .. } = Error::internal("secret detail").into() else { panic!("refused") };
        assert_eq!(why, "internal error");
        let away = Error::unavailable("database", "host 10.0.0.1 refused");
        let Stop::Failed { why, .. } = away.into() else { panic!("refused") };
        assert_eq!(why, "database is unavailable");
    }
}
