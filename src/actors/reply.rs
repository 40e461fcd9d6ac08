//! How a handler answers: never by waiting.
//!
//! A handler body does no I/O and no hashing. It answers from its state at once, or it starts the work and lets
//! that answer the caller directly, off the actor. So one slow statement never stops a mailbox.

use std::{future::Future, panic::AssertUnwindSafe};

use actix::dev::{MessageResponse, OneshotSender};
use futures_util::FutureExt as _;

use crate::domain::{Error, Result};

type Work<T> = Box<dyn FnOnce(OneshotSender<Result<T>>)>;

/// What a handler returns.
pub enum Answer<T> {
    /// It is known already.
    Now(Result<T>),
    /// It comes from work that was given the caller's address.
    Later(Work<T>),
}

impl<T: Send + 'static> Answer<T> {
    /// The work answers the caller itself, for instance [`super::coalesce::Coalesce::submit`].
    pub fn later(work: impl FnOnce(OneshotSender<Result<T>>) + 'static) -> Self {
        Self::Later(Box::new(work))
    }

    /// A future answers. It runs on the shared runtime, apart from the actor; a panic in it is the caller's
    /// [`Error::Internal`] and touches nobody else. It is not cancelled when the caller goes away, so that a
    /// write that has begun is finished.
    pub fn from_future(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self::later(move |reply_to| {
            tokio::spawn(async move {
                let outcome = AssertUnwindSafe(work).catch_unwind().await;
                let _gone =
                    reply_to.send(outcome.unwrap_or_else(|_| Err(Error::internal("a reply panicked"))));
            });
        })
    }
}

impl<A, M, T> MessageResponse<A, M> for Answer<T>
where
    A: actix::Actor,
    M: actix::Message<Result = Result<T>>,
    T: 'static,
{
    fn handle(self, _: &mut A::Context, reply_to: Option<OneshotSender<Result<T>>>) {
        match (self, reply_to) {
            (Self::Now(answer), Some(reply_to)) => {
                let _gone = reply_to.send(answer);
            }
            (Self::Now(_), None) => {}
            (Self::Later(work), reply_to) => work(reply_to.unwrap_or_else(nobody)),
        }
    }
}

/// An address where nobody listens, for messages that were sent without waiting for an answer.
fn nobody<T>() -> OneshotSender<T> {
    tokio::sync::oneshot::channel().0
}
