//! How far a reader of the events of tasks has read, exactly.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::task_event::{Bookmark, Changes, Position};

/// Which transactions a reader of the database sees: those before `next` that have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Transactions before this one have ended.
    pub oldest: i64,
    /// This one and those behind it had not begun.
    pub next: i64,
    /// Those between the two that had not ended.
    pub running: Vec<i64>,
}

impl Snapshot {
    /// Whether a stream can go on at this bookmark: it is no older than `kept` seconds, nor of a time or a transaction to come.
    pub fn knows(&self, mark: &Bookmark, now: &Bookmark, kept: i64) -> bool {
        now.at.abs_diff(mark.at) <= kept.unsigned_abs() && mark.position.transaction < self.oldest
    }

    /// Whether it shows what this transaction did.
    pub fn shows(&self, transaction: i64) -> bool {
        transaction < self.next && !self.running.contains(&transaction)
    }
}

/// What a reader has read so far, exactly: however long a transaction stays at work, nothing is read twice for it.
#[derive(Debug, Clone)]
pub struct Cursor {
    since: Since,
    /// What became visible since then up to this snapshot is read up to this place.
    page: Option<(Arc<Snapshot>, Position)>,
}

/// What was read as a whole.
#[derive(Debug, Clone)]
enum Since {
    /// Everything up to a place, before which all had ended.
    Position(Position),
    /// Everything that was visible.
    Snapshot(Arc<Snapshot>),
}

/// What a reader wants to read next.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of this transaction and those behind it,
    pub from: i64,
    /// and of these,
    pub also: &'a [i64],
    /// what lies behind this place,
    pub behind: Position,
    /// as far as it is visible there; `None`: now.
    pub until: Option<&'a Snapshot>,
}

impl Cursor {
    /// Behind a place.
    pub fn behind(position: Position) -> Self {
        Self { since: Since::Position(position), page: None }
    }

    /// Behind everything that was visible then.
    pub fn at(snapshot: Arc<Snapshot>) -> Self {
        Self { since: Since::Snapshot(snapshot), page: None }
    }

    /// Up to a place within what is visible in `snapshot`.
    #[must_use]
    pub fn up_to(&self, snapshot: &Arc<Snapshot>, place: Position) -> Self {
        Self { since: self.since.clone(), page: Some((Arc::clone(snapshot), place)) }
    }

    /// What comes next.
    pub fn wanted(&self) -> Wanted<'_> {
        const START: Position = Position { transaction: i64::MIN, row: i64::MIN, entry: 0 };
        let (from, also, start): (_, &[i64], _) = match &self.since {
            Since::Position(position) => (position.transaction, &[], *position),
            Since::Snapshot(snapshot) => (snapshot.next, &snapshot.running, START),
        };
        let page = self.page.as_ref();
        Wanted {
            from,
            also,
            behind: page.map_or(start, |(_, place)| *place),
            until: page.map(|(snapshot, _)| &**snapshot),
        }
    }

    /// Whether the next look goes as far as one can see now, and not only as far as the one before.
    pub fn reaches_now(&self) -> bool {
        self.page.is_none()
    }

    /// Behind what was found.
    pub fn advance(&mut self, look: &Look) {
        *self = match look.changes.last().filter(|_| look.more) {
            Some(last) => self.up_to(&look.snapshot, last.end()),
            None => Self::at(Arc::clone(&look.snapshot)),
        };
    }
}

/// What a look at the events found.
#[derive(Debug, Clone)]
pub struct Look {
    /// In order of transaction, id and number.
    pub changes: Vec<Arc<Changes>>,
    /// There may be more that is visible in the snapshot.
    pub more: bool,
    /// What was visible. Nothing will be added before its oldest transaction.
    pub snapshot: Arc<Snapshot>,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(oldest: i64, next: i64, running: &[i64]) -> Snapshot {
        Snapshot { oldest, next, running: running.to_vec() }
    }

    #[test]
    fn a_bookmark_of_elsewhere_or_of_a_time_to_come_is_not_known() {
        let at = |transaction, at| Bookmark { position: Position { transaction, row: 1, entry: 0 }, at };
        let (now, next) = (at(99, 10_000), snapshot(100, 105, &[100]));
        assert!(next.knows(&at(99, 10_000), &now, 3_000) && next.knows(&at(7, 7_000), &now, 3_000));
        // Another process looked a moment later.
        assert!(next.knows(&at(98, 10_002), &now, 3_000));
        for other in [at(100, 10_000), at(7, 6_999), at(7, 13_001), at(7, i64::MAX), Bookmark::UNKNOWN] {
            assert!(!next.knows(&other, &now, 3_000), "{other}");
        }
    }

    #[test]
    fn what_ends_late_is_read_once_and_nothing_is_read_again_for_it() {
        let changes = |transaction, row| Arc::new(Changes::new(transaction, row, 0, Vec::new()));
        let look = |changes: Vec<Arc<Changes>>, more, snapshot| Look {
            changes,
            more,
            snapshot: Arc::new(snapshot),
            now: DateTime::UNIX_EPOCH,
        };
        let mut cursor = Cursor::behind(Position::before(10));
        assert_eq!((cursor.wanted().from, cursor.wanted().behind), (9, Position::before(10)));
        // Cut short: it goes on within the same snapshot.
        cursor.advance(&look(vec![changes(10, 1), changes(13, 4)], true, snapshot(12, 15, &[12])));
        assert!(!cursor.reaches_now());
        assert_eq!(cursor.wanted().behind, Position { transaction: 13, row: 4, entry: 0 });
        assert_eq!(cursor.wanted().until, Some(&snapshot(12, 15, &[12])));
        // Then only what began since, and what was at work.
        cursor.advance(&look(vec![changes(14, 5)], false, snapshot(12, 15, &[12])));
        assert!(cursor.reaches_now());
        assert_eq!((cursor.wanted().from, cursor.wanted().also), (15, &[12][..]));
    }

    #[test]
    fn a_snapshot_shows_what_has_ended() {
        let seen = snapshot(12, 15, &[12, 14]);
        let shown: Vec<i64> = (10..17).filter(|transaction| seen.shows(*transaction)).collect();
        assert_eq!(shown, [10, 11, 13]);
    }
}
