//! Whether another process may remember credentials: what spares a lonely process the wait.
//!
//! Each process that remembers holds a lock in the database for as long as it listens. Samples of who holds it are
//! taken every 100 ms. One sample is not enough: a process that lost its connection just now may still answer from
//! memory until its lease ends. What is enough is said, and proved, at [`Presence::alone_at`].

use std::time::Duration;

use super::boottime::Boottime;

/// For how long after the sending of a heartbeat, at most, its return lets memory answer.
pub(super) const LEASE: Duration = Duration::from_millis(250);
/// For how long a process listens before it may answer from memory.
pub(super) const PROBATION: Duration = Duration::from_millis(500);
/// Samples further apart prove nothing about the time between them.
const GAP: Duration = LEASE;

/// What the samples tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// When the last one was sent.
    last: Option<Boottime>,
    /// Every sample from this moment on saw nobody else, without a gap.
    alone_since: Option<Boottime>,
}

impl Presence {
    /// One more sample, that counted `others` at some moment between `sent` and `received`.
    pub(super) fn sampled(self, sent: Boottime, received: Boottime, others: i64) -> Self {
        let gapless = self.last.is_some_and(|last| received - last <= GAP);
        let alone_since = match self.alone_since {
            _ if others != 0 => None,
            Some(since) if gapless => Some(since),
            _ => Some(received),
        };
        Self { last: Some(sent), alone_since }
    }

    /// A sample was taken after `moment`.
    pub(super) fn is_later_than(self, moment: Boottime) -> bool {
        self.last.is_some_and(|last| last >= moment)
    }

    /// Nobody else answers, now or later, from memory that is older than `moment`.
    ///
    /// Suppose another process does, at a time U that is not before now. It has listened, and held the lock, since
    /// U − [`PROBATION`] or longer, and at least until U − [`LEASE`], for a heartbeat that was sent then came back on
    /// the connection that holds the lock. If it took the lock after our last sample, which was sent after `moment`,
    /// its memory began empty after `moment`. Else either that sample was taken while it held the lock, or it had lost
    /// the lock before: then it held it for at least PROBATION − LEASE = [`GAP`] of the last PROBATION before our
    /// last sample, which our samples cover without a longer gap. Either way a sample saw it.
    pub(super) fn alone_at(self, moment: Boottime) -> bool {
        match (self.last, self.alone_since) {
            (Some(last), Some(since)) => last >= moment && last - since >= PROBATION,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Boottime {
        Boottime::default() + Duration::from_millis(millis)
    }

    fn sampled(samples: impl IntoIterator<Item = (u64, u64, i64)>) -> Presence {
        samples.into_iter().fold(Presence::default(), |presence, (sent, received, others)| {
            presence.sampled(at(sent), at(received), others)
        })
    }

    #[test]
    fn alone_is_who_saw_nobody_for_half_a_second_without_a_gap() {
        let steady = |until: u64| (0..).map(|n| (n * 100, n * 100 + 2, 0)).take_while(move |s| s.0 <= until);
        assert!(!sampled(steady(500)).alone_at(at(0)), "from the first sample's return on, it is 498 ms");
        assert!(sampled(steady(600)).alone_at(at(600)));
        assert!(!sampled(steady(600)).alone_at(at(601)), "no sample since");
        let seen = steady(600).chain([(700, 702, 1)]);
        assert!(!sampled(seen).alone_at(at(700)));
        let gap = steady(600).chain([(840, 851, 0)]);
        assert!(!sampled(gap).alone_at(at(800)), "251 ms in which nobody looked");
        assert!(!Presence::default().alone_at(at(0)));
    }

    /// Another process, which holds the lock from `since` to `until`, and whose last heartbeat was sent `before` that.
    #[derive(Debug, Clone)]
    struct Other {
        since: u64,
        until: u64,
        before: u64,
    }

    fn others() -> impl Strategy<Value = Vec<Other>> {
        let other = (0u64..2_000, 0u64..1_500, 0u64..100).prop_map(|(since, held, before)| Other {
            since,
            until: since + held,
            before,
        });
        prop::collection::vec(other, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whenever it says "alone", nobody else may answer from memory older than the moment, ever after.
        #[test]
        fn alone_is_never_said_while_somebody_may_remember(
            others in others(),
            steps in prop::collection::vec((1u64..200, 0u64..120), 1..40),
            back in 0u64..300,
        ) {
            let mut presence = Presence::default();
            let mut now = 0;
            for (pause, took) in steps {
                let sent = now + pause;
                let received = sent + took;
                let looked = sent + took / 2;
                let seen = others.iter().filter(|other| (other.since..other.until).contains(&looked)).count();
                presence = presence.sampled(at(sent), at(received), i64::try_from(seen).unwrap());
                now = received;
                let moment = sent.saturating_sub(back);
                if presence.alone_at(at(moment)) {
                    for other in &others {
                        let answers_from = other.since + 500;
                        let answers_until = other.until.saturating_sub(other.before) + 250;
                        let answers_later = answers_until > now.max(answers_from) && answers_until > answers_from;
                        prop_assert!(!answers_later || other.since > moment, "{other:?} at {now}");
                    }
                }
            }
        }
    }
}
