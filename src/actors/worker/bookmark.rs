//! Where the last claim of a queue ended, so that the next can begin there.
//!
//! The index of due tasks keeps an entry for each claimed one until no transaction can see it any more. Beside one that
//! stays open for an hour, a claim from the front of the queue steps over all that was claimed within that hour. A claim
//! that begins where the last one ended does not. Now and then one begins at the front all the same, for tasks of higher
//! priority, and for those that were committed later than others that were due after them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chrono::TimeDelta;

use crate::{db::queue::Whence, domain::attempt::Claim};

/// Between two looks from the front; longer when these take long, so that they get a tenth of the time at most.
const FROM_FRONT_EVERY: Duration = Duration::from_millis(250);
const SHARE: u32 = 10;
/// Whoever enqueues at the same time may commit that much later.
const OVERLAP: TimeDelta = TimeDelta::milliseconds(200);

/// One for each queue.
#[derive(Debug, Default)]
pub(super) struct Bookmarks(HashMap<String, Bookmark>);

#[derive(Debug)]
struct Bookmark {
    whence: Whence,
    /// When the last look from the front ended, and what it took.
    front: (Instant, Duration),
}

impl Bookmarks {
    /// Where to begin now; `None`: at the front.
    pub(super) fn whence(&self, queue: &str, now: Instant) -> Option<Whence> {
        let bookmark = self.0.get(queue)?;
        let (ended, took) = bookmark.front;
        (now.duration_since(ended) < FROM_FRONT_EVERY.max(took * SHARE)).then_some(bookmark.whence)
    }

    /// A claim from `whence`, begun at `began`, brought these, the best first, and as many as it asked for.
    pub(super) fn put(
        &mut self,
        queue: &str,
        whence: Option<Whence>,
        claims: &[Claim],
        began: Instant,
        now: Instant,
    ) {
        let Some(last) = claims.last() else { return };
        let reached = Whence { priority: last.priority, run_at: last.run_at - OVERLAP };
        let front = (now, now.duration_since(began));
        match (self.0.get_mut(queue), whence) {
            (Some(bookmark), Some(_)) => bookmark.whence = reached,
            (Some(bookmark), None) => *bookmark = Bookmark { whence: reached, front },
            (None, _) => _ = self.0.insert(queue.to_owned(), Bookmark { whence: reached, front }),
        }
    }

    /// A claim brought less than it asked for: there is nothing more from there on.
    pub(super) fn remove(&mut self, queue: &str) {
        self.0.remove(queue);
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn claim(priority: i16, run_at: DateTime<Utc>) -> Claim {
        Claim { priority, run_at, ..Claim::example() }
    }

    #[test]
    fn a_claim_begins_a_little_before_where_the_last_one_ended() {
        let (mut marks, now, due) = (Bookmarks::default(), Instant::now(), Utc::now());
        assert_eq!(marks.whence("q", now), None);
        marks.put("q", None, &[claim(5, due), claim(-3, due)], now, now);
        let begin = Whence { priority: -3, run_at: due - OVERLAP };
        assert_eq!(marks.whence("q", now), Some(begin));
        assert_eq!(marks.whence("other", now), None);
        marks.remove("q");
        assert_eq!(marks.whence("q", now), None);
    }

    #[test]
    fn looks_from_the_front_go_on_and_get_a_tenth_of_the_time() {
        let (mut marks, start, due) = (Bookmarks::default(), Instant::now(), Utc::now());
        marks.put("q", None, &[claim(0, due)], start, start);
        assert!(marks.whence("q", start + FROM_FRONT_EVERY / 2).is_some());
        assert_eq!(marks.whence("q", start + FROM_FRONT_EVERY), None);
        // A claim from the bookmark is none from the front.
        let later = start + FROM_FRONT_EVERY / 2;
        marks.put("q", marks.whence("q", later), &[claim(0, due)], later, later);
        assert_eq!(marks.whence("q", start + FROM_FRONT_EVERY), None);
        let slow = Duration::from_secs(1);
        marks.put("q", None, &[claim(0, due)], start, start + slow);
        assert!(marks.whence("q", start + slow * 10).is_some());
        assert_eq!(marks.whence("q", start + slow * 11), None);
    }
}
