//! Queues: names that tasks share, so that some workers run them and others do not.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Violation;

/// Longest name.
const MAX_CHARS: usize = 64;

/// The queue of what the service itself has to do: letters to its users. Every worker serves it, with slots reserved for it.
pub const SERVICE_QUEUE: &str = "starter.service";

/// The name of a queue. A queue is there as soon as something names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct QueueName(String);

impl QueueName {
    /// Reads the name of a queue that a task or a schedule is to be in: `^[a-z0-9_.-]{1,64}$`, except `.` and `..`. These
    /// are steps in a path: clients resolve `/queues/../pause` before they send it, so nobody could pause such a queue.
    ///
    /// # Errors
    /// `/queue` `invalid_queue`.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        match text {
            "." | ".." => Err(Violation::new("/queue", "invalid_queue", "a name other than '.' and '..'")),
            _ => Self::stored(text),
        }
    }

    /// Reads the name of a queue that is there already: earlier versions took `.` and `..` too.
    ///
    /// # Errors
    /// `/queue` `invalid_queue`.
    pub fn stored(text: &str) -> Result<Self, Violation> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        if (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            let message = "1 to 64 of the letters a-z, digits, '_', '.' and '-'";
            Err(Violation::new("/queue", "invalid_queue", message))
        }
    }

    /// As [`QueueName::parse`], for tasks that callers ask for.
    ///
    /// # Errors
    /// As there, and `/queue` `reserved_queue` for [`SERVICE_QUEUE`].
    pub fn for_tasks(text: &str) -> Result<Self, Violation> {
        if text == SERVICE_QUEUE {
            return Err(Violation::new("/queue", "reserved_queue", "the service's own queue"));
        }
        Self::parse(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A queue at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Workers leave it alone since then; null: they do not.
    #[schema(required = true)]
    pub paused_at: Option<DateTime<Utc>>,
    /// Unfinished tasks in it.
    pub counts: QueueCounts,
    /// Whether a count stopped at its bound: there are that many, or more.
    pub counts_bounded: bool,
    /// Seconds since the oldest task became due that still waits; null when none does.
    #[schema(required = true)]
    pub oldest_due_secs: Option<f64>,
}

/// Unfinished tasks, by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueCounts {
    /// Due and waiting.
    pub pending: u64,
    /// Their time has not come.
    pub scheduled: u64,
    /// Under way.
    pub running: u64,
    /// Waiting for their next attempt.
    pub retrying: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for name in ["default", "a", "mail.high-1_x", &"q".repeat(64)] {
            assert_eq!(QueueName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "Default", "a b", "a/b", "é", "*", "+", "a,b", "a\n", &"q".repeat(65)] {
            assert_eq!(QueueName::parse(name).unwrap_err().code, "invalid_queue", "{name:?}");
        }
    }

    #[test]
    fn steps_in_a_path_are_no_names_of_new_queues() {
        for name in [".", ".."] {
            assert_eq!(QueueName::parse(name).unwrap_err().code, "invalid_queue", "{name:?}");
            assert_eq!(QueueName::stored(name).unwrap().as_str(), name);
        }
        assert!(QueueName::parse("...").is_ok() && QueueName::parse(".a").is_ok());
    }
}
