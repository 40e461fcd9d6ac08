//! The world outside, as handlers see it: ports, implemented elsewhere, so that handlers can be tested without it.

use std::{fmt::Debug, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{
    files::Files,
    mail::{MailProblem, Mailer, Outgoing},
    webhook::Webhooks,
};
use crate::domain::{Error, Result, User, UserId, letter::Letter, letter::Mail};

/// What handlers may use of the world outside.
#[derive(Debug, Clone)]
pub struct Services {
    /// Sends mails.
    pub mailer: Arc<dyn Mailer>,
    /// Writes the service's own letters.
    pub letters: Arc<dyn LetterWriter>,
    /// Delivers webhooks; `None` without a signing secret.
    pub webhooks: Option<Webhooks>,
    /// Keeps files; `None`: this process has nowhere to.
    pub files: Option<Files>,
    /// Knows the users.
    pub users: Arc<dyn UserDirectory>,
    /// Deletes what is old.
    pub sweeper: Arc<dyn Sweeper>,
}

/// Writes the service's own letters.
pub trait LetterWriter: Debug + Send + Sync {
    /// The mail, with a new token where it needs one; `None`: its reader is gone, there is nobody to write to.
    fn write(&self, letter: Letter) -> BoxFuture<'_, Result<Option<Mail>>>;
}

/// Knows the users.
pub trait UserDirectory: Debug + Send + Sync {
    /// One of them, as he is now.
    fn find(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>>>;

    /// At most `at_most` of them, in the order of their ids, from behind `after` on.
    fn page(&self, after: Option<UserId>, at_most: u32) -> BoxFuture<'_, Result<Vec<User>>>;
}

/// Deletes what is old.
pub trait Sweeper: Debug + Send + Sync {
    /// All of it, in small steps; tells how much of what.
    fn sweep(&self) -> BoxFuture<'_, Result<Value>>;
}

/// A process without a world outside.
#[derive(Debug)]
struct Nothing;

impl Default for Services {
    /// None of them: whatever needs one fails, and may succeed at another worker.
    fn default() -> Self {
        let nothing = Arc::new(Nothing);
        Self {
            mailer: nothing.clone(),
            letters: nothing.clone(),
            webhooks: None,
            files: None,
            users: nothing.clone(),
            sweeper: nothing,
        }
    }
}

fn none<T>(what: &'static str) -> BoxFuture<'static, Result<T>> {
    Box::pin(async move { Err(Error::Unavailable { what, cause: None }) })
}

impl Mailer for Nothing {
    fn send<'a>(&'a self, _: &'a Outgoing) -> BoxFuture<'a, Result<(), MailProblem>> {
        Box::pin(async { Err(MailProblem::Failed("mail is unavailable".to_owned())) })
    }
}

impl LetterWriter for Nothing {
    fn write(&self, _: Letter) -> BoxFuture<'_, Result<Option<Mail>>> {
        none("letters")
    }
}

impl UserDirectory for Nothing {
    fn find(&self, _: UserId) -> BoxFuture<'_, Result<Option<User>>> {
        none("users")
    }

    fn page(&self, _: Option<UserId>, _: u32) -> BoxFuture<'_, Result<Vec<User>>> {
        none("users")
    }
}

impl Sweeper for Nothing {
    fn sweep(&self) -> BoxFuture<'_, Result<Value>> {
        none("sweeper")
    }
}
