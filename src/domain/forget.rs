//! What must not be remembered any more.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::{ApiKeyId, SessionId, UserId};

/// What must not be remembered any more: the payload of a notification on `starter_credentials`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forget {
    /// One session.
    Session(SessionId),
    /// One API key.
    Key(ApiKeyId),
    /// Every session and key of a user.
    User(UserId),
    /// Everything.
    Everything,
}

impl Forget {
    /// Reads a payload. Whatever is not understood, say of a later version, means everything.
    pub fn parse(payload: &str) -> Self {
        let id = |text| Uuid::from_str(text).ok();
        let read = match payload.split_once(':') {
            Some(("s", text)) => id(text).map(|id| Self::Session(SessionId(id))),
            Some(("k", text)) => id(text).map(|id| Self::Key(ApiKeyId(id))),
            Some(("u", text)) => id(text).map(|id| Self::User(UserId(id))),
            _ => None,
        };
        read.unwrap_or(Self::Everything)
    }
}

impl fmt::Display for Forget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "s:{id}"),
            Self::Key(id) => write!(f, "k:{id}"),
            Self::User(id) => write!(f, "u:{id}"),
            Self::Everything => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for forget in [
            Forget::Session(SessionId::new()),
            Forget::Key(ApiKeyId::new()),
            Forget::User(UserId::new()),
            Forget::Everything,
        ] {
            assert_eq!(Forget::parse(&forget.to_string()), forget);
        }
    }

    proptest! {
        #[test]
        fn what_is_not_understood_means_everything(payload in "\\PC{0,40}|[sku]:[0-9a-f-]{0,40}") {
            let known = payload.split_once(':').is_some_and(|(kind, id)| {
                matches!(kind, "s" | "k" | "u") && Uuid::from_str(id).is_ok()
            });
            prop_assert_eq!(Forget::parse(&payload) != Forget::Everything, known);
        }
    }
}
