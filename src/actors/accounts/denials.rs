//! Refused acts of known callers, written into the audit log: at most so many a minute, for whoever is refused decides how
//! often they ask.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::Message;

use super::Accounts;
use crate::{
    db,
    domain::{
        Result, UserId,
        audit::{Act, Actor},
    },
};

/// Entries of one caller in a minute, by this process.
const OF_ONE: u32 = 10;
/// Entries of all callers in a minute, by this process. Bounds the memory too.
const OF_ALL: u32 = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Writes a refused act of a known caller down, unless there were too many lately.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct NoteDenied {
    /// Who was refused.
    pub actor: Actor,
    /// What was refused.
    pub act: Act,
}

pub(super) async fn note(accounts: Accounts, message: NoteDenied) -> Result<()> {
    let NoteDenied { actor, act } = message;
    if !actor.user.is_some_and(|user| accounts.tools.denials.admit(user, Instant::now())) {
        return Ok(());
    }
    db::audit::append(&mut *accounts.tools.pool.get().await?, &actor, act).await
}

/// The entries of this minute.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    began: Instant,
    by_caller: HashMap<UserId, u32>,
    total: u32,
    suppressed: u64,
}

impl Window {
    fn begin(began: Instant) -> Self {
        Self { began, by_caller: HashMap::new(), total: 0, suppressed: 0 }
    }

    fn admit(&mut self, user: UserId) -> bool {
        let of_caller = self.by_caller.get(&user).copied().unwrap_or(0);
        if self.total >= OF_ALL || of_caller >= OF_ONE {
            self.suppressed += 1;
            return false;
        }

        self.total += 1;
        self.by_caller.insert(user, of_caller + 1);
        true
    }
}

impl Denials {
    /// Whether one more entry of this caller may be written.
    fn admit(&self, user: UserId, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match window.take() {
            Some(current) if now.duration_since(current.began) < MINUTE => current,
            former => {
                let suppressed = former.map_or(0, |former| former.suppressed);
                if suppressed > 0 {
                    log::warn!(suppressed; "accounts suppressed audit entries of refused acts");
                }
                Window::begin(now)
            }
        };
        window.insert(current).admit(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_floods_the_audit_log_with_refused_acts_alone_or_with_others() {
        let (denials, began) = (Denials::default(), Instant::now());
        let admitted = |user: UserId, at: Instant| (0..100).filter(|_| denials.admit(user, at)).count();
        let mallory = UserId::new();
        assert_eq!(admitted(mallory, began), 10);
        let of_all: usize = (0..200).map(|_| admitted(UserId::new(), began)).sum();
        assert_eq!(of_all, 990);
        assert_eq!(admitted(mallory, began + MINUTE), 10);
    }
}
