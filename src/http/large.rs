//! Answers that may be large: how many of them are in memory at once, in the process and of one user, until the last byte
//! is written. A client that reads slowly keeps its own share, and nobody else's.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as Task, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::domain::{Error, Result, UserId};

/// Answers in the process, and of one user: with some megabytes each, under a hundred megabytes together.
const AT_ONCE: usize = 24;
const OF_ONE_USER: usize = 6;
/// KiB of bodies of one user that may wait for their turn; each request counts as one at least.
const WAITING_KIB: u32 = 8 * 1024;
/// Entries are looked through when there are so many.
const USERS: usize = 64;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers up to this size keep nobody waiting.
const SMALL: usize = 64 * 1024;
/// Bytes that are handed to the connection at once.
const CHUNK: usize = 32 * 1024;

/// Admits requests whose answers may be large. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LargeAnswers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    patience: Duration,
    all: Arc<Semaphore>,
    users: Mutex<HashMap<UserId, Share>>,
}

/// What one user may have.
#[derive(Debug, Clone)]
struct Share {
    turns: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// The right to build and send one large answer.
#[derive(Debug)]
pub(super) struct Permit {
    _user: OwnedSemaphorePermit,
    _process: OwnedSemaphorePermit,
}

impl Default for LargeAnswers {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl LargeAnswers {
    fn new(patience: Duration) -> Self {
        Self(Arc::new(Inner { patience, all: Arc::new(Semaphore::new(AT_ONCE)), users: Mutex::default() }))
    }

    /// Waits until the user, and then the process, has room for one more. The request has a body of `body_bytes`, which is
    /// in memory meanwhile.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when that takes too long, or too much of the user's waits already.
    pub(super) async fn admit(&self, user: UserId, body_bytes: usize) -> Result<Permit> {
        let (all, own) = (Arc::clone(&self.0.all), self.of_user(user));
        let kib = u32::try_from(body_bytes / 1024 + 1).unwrap_or(u32::MAX).min(WAITING_KIB);
        let _waiting = own.bodies.try_acquire_many_owned(kib).map_err(|_| Error::Overloaded)?;
        let permits = async {
            // The user's own first: a user who has too many waits without taking room from others.
            let user = own.turns.acquire_owned().await.map_err(Error::internal)?;
            let process = all.acquire_owned().await.map_err(Error::internal)?;
            Ok(Permit { _user: user, _process: process })
        };
        timeout(self.0.patience, permits).await.unwrap_or(Err(Error::Overloaded))
    }

    fn of_user(&self, user: UserId) -> Share {
        // Nothing in here can leave the map half-changed, so a poisoned lock is as good as a sound one.
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= USERS {
            users.retain(|_, own| Arc::strong_count(&own.turns) > 1);
        }
        let new = || Share {
            turns: Arc::new(Semaphore::new(OF_ONE_USER)),
            bodies: Arc::new(Semaphore::new(WAITING_KIB as usize)),
        };
        users.entry(user).or_insert_with(new).clone()
    }
}

/// A body that goes out piece by piece, so that the connection holds one piece and not a copy of the whole.
pub(super) struct LargeBody {
    rest: Bytes,
    _permit: Option<Permit>,
}

impl LargeBody {
    pub(super) fn new(body: Vec<u8>, permit: Permit) -> Self {
        let permit = (body.len() > SMALL).then_some(permit);
        Self { rest: body.into(), _permit: permit }
    }
}

impl MessageBody for LargeBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(CHUNK);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_user_has_a_share_and_the_process_a_bound() {
        let answers = LargeAnswers::new(Duration::from_millis(20));
        let greedy = UserId::new();
        let mut held = Vec::new();
        for _ in 0..OF_ONE_USER {
            held.push(answers.admit(greedy, 0).await.unwrap());
        }
        assert!(matches!(answers.admit(greedy, 0).await, Err(Error::Overloaded)));

        for _ in 0..AT_ONCE - OF_ONE_USER {
            held.push(answers.admit(UserId::new(), 0).await.unwrap());
        }
        assert!(matches!(answers.admit(UserId::new(), 0).await, Err(Error::Overloaded)));
        held.clear();
        assert!(answers.admit(greedy, 0).await.is_ok());
    }

    #[tokio::test]
    async fn bodies_that_wait_are_bounded_in_bytes() {
        let answers = LargeAnswers::new(Duration::from_secs(3600));
        let user = UserId::new();
        let mut held = Vec::new();
        for _ in 0..OF_ONE_USER {
            held.push(answers.admit(user, 0).await.unwrap());
        }

        let largest = WAITING_KIB as usize * 1024;
        let waiting = |bytes| {
            let answers = answers.clone();
            tokio::spawn(async move { answers.admit(user, bytes).await })
        };
        let first = waiting(largest - 2048);
        tokio::task::yield_now().await;
        assert!(matches!(waiting(4096).await.unwrap(), Err(Error::Overloaded)), "at once");
        held.clear();
        first.await.unwrap().unwrap();
        answers.admit(user, usize::MAX).await.unwrap();
    }

    #[tokio::test]
    async fn a_user_without_answers_is_not_remembered() {
        let answers = LargeAnswers::default();
        for _ in 0..10 * USERS {
            answers.admit(UserId::new(), 0).await.unwrap();
        }
        assert!(answers.0.users.lock().unwrap().len() <= USERS);
    }

    #[tokio::test]
    async fn a_body_goes_out_in_pieces_and_keeps_its_share_until_the_last_if_it_is_large() {
        let answers = LargeAnswers::default();
        let user = UserId::new();
        for (bytes, keeps) in [(0, false), (SMALL, false), (SMALL + 1, true), (1 << 20, true)] {
            let body: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut sent = Vec::new();
            let mut large = Box::pin(LargeBody::new(body.clone(), answers.admit(user, 0).await.unwrap()));
            assert_eq!(large.size(), BodySize::Sized(bytes as u64));
            while let Some(piece) = std::future::poll_fn(|cx| large.as_mut().poll_next(cx)).await {
                let piece = piece.unwrap();
                assert!((1..=CHUNK).contains(&piece.len()));
                sent.extend_from_slice(&piece);
                assert_eq!(answers.0.all.available_permits(), AT_ONCE - usize::from(keeps));
            }
            assert!(sent == body);
            drop(large);
            assert_eq!(answers.0.all.available_permits(), AT_ONCE);
        }
    }
}
