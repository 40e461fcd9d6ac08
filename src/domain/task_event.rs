//! What happens to tasks, in an order that a reader can come back to.

use std::{collections::HashMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Error, JsonText, Reach, TaskId, UserId};

/// A change of one task.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TaskEvent {
    /// Of the task.
    pub id: TaskId,
    /// Which code runs it.
    pub task_type: String,
    /// Which workers run it.
    pub queue: String,
    /// After the change.
    pub status: String,
    /// The attempt under way or last made.
    pub attempt: i32,
    /// What its handler last said of its progress.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<JsonText>,
    /// Who enqueued it.
    pub created_by: Option<UserId>,
    /// When it changed.
    pub at: DateTime<Utc>,
}

/// A place in the stream of events: behind the event number `entry` of the statement `row`, and behind all statements of
/// transactions before `transaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// That wrote the statement.
    pub transaction: i64,
    /// Its id.
    pub row: i64,
    /// From 0.
    pub entry: usize,
}

impl Position {
    /// Behind everything that transactions before this one did.
    pub fn before(transaction: i64) -> Self {
        Self { transaction: transaction - 1, row: i64::MAX, entry: 0 }
    }
}

/// A [`Position`] as a client keeps it, with the time until which it was known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bookmark {
    /// Where to go on.
    pub position: Position,
    /// Seconds since 1970, by the database's clock.
    pub at: i64,
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { transaction, row, entry } = self.position;
        write!(f, "{transaction}.{row}.{entry}.{}", self.at)
    }
}

impl Bookmark {
    /// One that nobody knows: whoever comes with it has to look for themself.
    pub const UNKNOWN: Self = Self { position: Position { transaction: 0, row: 0, entry: 0 }, at: 0 };
}

impl FromStr for Bookmark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::malformed("Last-Event-ID is not one of this stream.");
        let mut parts = text.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits)
        });
        let mut next = || parts.next().flatten().ok_or_else(malformed);
        let (transaction, row, entry, at) = (next()?, next()?, next()?, next()?);
        if text.split('.').count() != 4 {
            return Err(malformed());
        }
        let entry = usize::try_from(entry).map_err(|_| malformed())?;
        Ok(Self { position: Position { transaction, row, entry }, at })
    }
}

/// What one statement changed, or a part of it: one that changes many tasks is read bit by bit.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Its transaction.
    pub transaction: i64,
    /// Its id.
    pub row: i64,
    /// The number of the first event here.
    pub first: usize,
    /// One for each task.
    pub events: Vec<TaskEvent>,
    by_owner: HashMap<UserId, Vec<usize>>,
}

impl Changes {
    /// Of the statement `row`, from its event number `first` on.
    pub fn new(transaction: i64, row: i64, first: usize, events: Vec<TaskEvent>) -> Self {
        let mut by_owner: HashMap<UserId, Vec<usize>> = HashMap::new();
        for (n, event) in events.iter().enumerate() {
            if let Some(owner) = event.created_by {
                by_owner.entry(owner).or_default().push(n);
            }
        }
        Self { transaction, row, first, events, by_owner }
    }

    /// Behind all of it.
    pub fn end(&self) -> Position {
        self.position(self.first + self.events.len().saturating_sub(1))
    }

    /// Behind the event number `entry`.
    pub fn position(&self, entry: usize) -> Position {
        Position { transaction: self.transaction, row: self.row, entry }
    }

    /// Those of tasks within `reach`, with their numbers.
    pub fn within(&self, reach: Reach) -> Vec<(usize, &TaskEvent)> {
        let chosen = |n: usize| self.events.get(n).map(|event| (self.first + n, event));
        match reach {
            Reach::All => (0..self.events.len()).filter_map(chosen).collect(),
            Reach::Own(user) => {
                self.by_owner.get(&user).into_iter().flatten().copied().filter_map(chosen).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bookmark_reads_back(transaction in 0..i64::MAX, row in 0..i64::MAX, entry in 0..10_000usize, at in 0..i64::MAX) {
            let bookmark = Bookmark { position: Position { transaction, row, entry }, at };
            prop_assert_eq!(bookmark.to_string().parse::<Bookmark>().unwrap(), bookmark);
        }

        #[test]
        fn garbage_is_no_bookmark(text in "\\PC{0,30}|[0-9.+-]{0,30}") {
            if let Ok(bookmark) = text.parse::<Bookmark>() {
                prop_assert_eq!(bookmark.to_string().split('.').count(), text.split('.').count());
            }
        }
    }

    #[test]
    fn positions_are_ordered_as_the_stream_is() {
        let at = |transaction, row, entry| Position { transaction, row, entry };
        assert!(at(1, 9, 9) < at(2, 1, 0) && at(2, 1, 0) < at(2, 1, 1) && at(2, 1, 5) < at(2, 2, 0));
        assert!(Position::before(2) < at(2, 1, 0) && Position::before(2) > at(1, 99, 99));
    }
}
