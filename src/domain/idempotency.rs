//! `Idempotency-Key`: the same request twice is done once (draft-ietf-httpapi-idempotency-key-header).

use super::{Conflict, Error, Result, TaskId, UserId};

/// Longest key.
const MAX_CHARS: usize = 255;
/// Bytes of a body that is kept as it is; of a larger one that shows tasks, their ids are kept.
const KEPT_BYTES: usize = 64 * 1024;

/// A key, of one caller, for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who sends it: keys of different users have nothing to do with each other.
    pub user: UserId,
    /// 1 to 255 printable ASCII characters.
    pub text: String,
    /// SHA-256 of what makes it the same request: method, path and body.
    pub request_hash: [u8; 32],
}

impl IdempotencyKey {
    /// Whether a text can be a key.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check(text: &str) -> Result<()> {
        if (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            Ok(())
        } else {
            Err(Error::malformed("Idempotency-Key holds 1 to 255 printable ASCII characters."))
        }
    }
}

/// A first answer as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// `Location`.
    pub location: Option<String>,
    /// JSON, encrypted when `sealed`.
    pub body: Vec<u8>,
    /// It holds a secret, and only who sent the request can open it.
    pub sealed: bool,
    /// The tasks that it shows, in their order.
    pub tasks: Vec<TaskId>,
}

impl Answer {
    /// Returns what is stored of it: the body, or the tasks that it shows where that is shorter by far.
    pub fn kept(&self) -> (&[u8], Option<&[TaskId]>) {
        if self.body.len() > KEPT_BYTES && !self.tasks.is_empty() {
            (&[], Some(&self.tasks))
        } else {
            (&self.body, None)
        }
    }

    /// Returns whether only the tasks were kept: the body is to be made anew from them.
    pub fn lacks_body(&self) -> bool {
        self.body.is_empty() && !self.tasks.is_empty()
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is new, or its time is over.
    Nothing,
    /// The first request is under way.
    UnderWay,
    /// The first request had this answer.
    Answered {
        /// Of the first request.
        request_hash: [u8; 32],
        /// What it was told.
        answer: Answer,
    },
}

impl Known {
    /// What the request that `key` came with is told; `None`: it is the first one.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] for another request than the first, [`Conflict::IdempotencyKeyInProgress`].
    pub fn replay(self, key: &IdempotencyKey) -> Result<Option<Answer>> {
        match self {
            Self::Nothing => Ok(None),
            Self::UnderWay => Err(Error::Conflict(Conflict::IdempotencyKeyInProgress)),
            Self::Answered { request_hash, answer } if request_hash == key.request_hash => Ok(Some(answer)),
            Self::Answered { .. } => Err(Error::IdempotencyKeyReused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_kept_as_the_tasks_that_it_shows() {
        let tasks = vec![TaskId::new(), TaskId::new()];
        let answer = |bytes: usize, tasks: &[TaskId]| Answer {
            status: 201,
            location: None,
            body: vec![b'x'; bytes],
            sealed: false,
            tasks: tasks.to_vec(),
        };
        assert_eq!(answer(KEPT_BYTES, &tasks).kept().0.len(), KEPT_BYTES);
        assert_eq!(answer(KEPT_BYTES + 1, &tasks).kept(), (&[][..], Some(tasks.as_slice())));
        assert_eq!(answer(KEPT_BYTES + 1, &[]).kept().0.len(), KEPT_BYTES + 1);
        assert!(answer(0, &tasks).lacks_body() && !answer(1, &tasks).lacks_body());
    }

    #[test]
    fn a_key_is_short_and_printable() {
        for good in ["a", " ", "8e03978e-40d5-43dd-bc93-6894a57f9324", &"k".repeat(255)] {
            assert!(IdempotencyKey::check(good).is_ok());
        }
        for bad in ["", "é", "a\tb", "a\nb", "\u{7f}", &"k".repeat(256)] {
            assert!(IdempotencyKey::check(bad).is_err(), "{bad:?}");
        }
    }
}
