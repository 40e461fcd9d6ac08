//! What this process sees of the workers' signs of life, measured by its own clock.
//!
//! The clock of the database may jump: it then ends every lease at once, though nobody died. So a worker is given up by a
//! process that has seen no sign of life of it for a whole lease. A process that has just begun has to watch for as long.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{db::queue::SignOfLife, domain::attempt::WorkerId};

/// The last sign of life of each worker, and since when it is the last.
#[derive(Debug, Default)]
pub(super) struct Observer(HashMap<WorkerId, (i64, Instant)>);

impl Observer {
    /// Notes these signs of life, and returns those that are the last ones for longer than their lease.
    pub(super) fn silent(&mut self, signs: &[SignOfLife], now: Instant) -> Vec<SignOfLife> {
        let mut seen = HashMap::with_capacity(signs.len());
        let mut silent = Vec::new();
        for sign in signs {
            let known = self.0.get(&sign.worker).filter(|(version, _)| *version == sign.version);
            let since = known.map_or(now, |(_, since)| *since);
            if now.saturating_duration_since(since) > sign.lease.max(Duration::from_millis(1)) {
                silent.push(*sign);
            }
            seen.insert(sign.worker, (sign.version, since));
        }

        // Those that are gone are forgotten.
        self.0 = seen;
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_silent_only_when_it_was_watched_for_a_lease() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let sign = |version| SignOfLife { worker: WorkerId(7), version, lease: Duration::from_secs(30) };
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(observer.silent(&[sign(1)], at(0)), []);
        assert_eq!(observer.silent(&[sign(1)], at(30)), []);
        // A sign of life at the last moment.
        assert_eq!(observer.silent(&[sign(2)], at(31)), []);
        assert_eq!(observer.silent(&[sign(2)], at(61)), []);
        assert_eq!(observer.silent(&[sign(2)], at(62)), [sign(2)]);
        // Who is gone is forgotten.
        assert_eq!(observer.silent(&[], at(63)), []);
        assert_eq!(observer.silent(&[sign(2)], at(99)), []);
    }
}
