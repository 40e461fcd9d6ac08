//! Typed identifiers, so that a session's id is never taken for a user's.

use derive_more::{Display, From, Into};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Display, From, Into, Serialize,
            Deserialize, utoipa::ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, UUID v7 (RFC 9562): sorts by the time it was made.
            #[expect(clippy::new_without_default, reason = "two defaults would not be equal")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }
    )*};
}

ids! {
    /// A user's.
    UserId;
    /// A session's: not its token.
    SessionId;
    /// An API key's: not the key itself.
    ApiKeyId;
    /// A task's.
    TaskId;
    /// A recurring task's.
    ScheduleId;
}
