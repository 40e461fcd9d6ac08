//! `STARTER__RATE_LIMIT__*`: how often one client address may ask.

use super::section::{Check, section};

section! {
    /// How often one client address may ask. Counted by each process on its own.
    pub struct RateLimit("RATE_LIMIT") {
        /// Requests a second of one client address, in the long run; 0 turns the limit off.
        /// Behind a proxy that is not in TRUSTED_PROXIES, all clients are one address.
        pub per_second: u32 = 50 => 0..=1_000_000,

        /// Requests that one client address may make at once after a pause; 0 turns the limit off.
        pub burst: u32 = 100 => 0..=1_000_000,

        /// Requests a minute of one client address on the routes that take a password; 0 turns the limit off.
        /// Too high, and passwords can be guessed across accounts.
        pub auth_per_minute: u32 = 30 => 0..=1_000_000,
    }
}

impl Check for RateLimit {}
