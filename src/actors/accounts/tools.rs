//! What every story about accounts needs; the command-line tool has the same, without the actor.

use std::time::Duration;

use super::{denials::Denials, turns::Turns};
use crate::{
    actors::hashers::Hashers,
    config::{Auth, Registration},
    db::Pool,
    domain::{PasswordPolicy, throttle::Limit},
};

/// What every story about accounts needs.
#[derive(Debug)]
pub struct Tools {
    pub(super) pool: Pool,
    pub(super) hashers: Hashers,
    pub(super) policy: PasswordPolicy,
    pub(super) failures: Limit,
    pub(super) registration: Registration,
    pub(super) turns: Turns,
    pub(super) denials: Denials,
}

impl Tools {
    /// From the configuration and what was started from it.
    pub fn new(pool: Pool, hashers: Hashers, auth: &Auth) -> Self {
        Self {
            pool,
            hashers,
            policy: PasswordPolicy::new(auth.password_min_length),
            failures: Limit {
                tries: auth.login_max_failures,
                window: Duration::from_secs(auth.login_window_secs),
                block: Duration::from_secs(auth.login_lock_secs),
            },
            registration: auth.registration,
            turns: Turns::default(),
            denials: Denials::default(),
        }
    }
}
