//! What a look-up of credentials finds, of whichever kind.

use std::time::Duration;

use crate::domain::{Caller, Error, Result, token::TokenHash};

/// A session or an API key that is valid now.
#[derive(Debug)]
pub struct Found {
    /// By which it was asked for.
    pub hash: TokenHash,
    /// Who has it.
    pub caller: Caller,
    /// Until it ends if it is not used any more, from the moment the database looked; `None`: it does not.
    pub left: Option<Duration>,
    /// Since its last use was written down; `None`: never.
    pub unused_for: Option<Duration>,
}

/// A hash as it is stored.
pub(super) fn token_hash(stored: &[u8]) -> Result<TokenHash> {
    stored.try_into().map(TokenHash).map_err(|_| Error::internal("a stored hash is not of 32 bytes"))
}

/// Seconds as the database counts them; none if they are negative.
pub(super) fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count).unwrap_or_default()
}
