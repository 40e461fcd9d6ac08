//! Mails, and the two ways they leave: to a mail server, or to a directory.

mod directory;
mod header;
mod message;
mod smtp;

use std::fmt::{self, Debug};

use futures_util::future::BoxFuture;

use super::Stop;
use crate::domain::TaskId;
pub use directory::Directory;
pub use message::Recipient;
pub use smtp::Smtp;

/// Sends mails.
pub trait Mailer: Debug + Send + Sync {
    /// Sends one; when it returns, the mail is in the hands of the next server, or on disk.
    fn send<'a>(&'a self, mail: &'a Outgoing) -> BoxFuture<'a, Result<(), MailProblem>>;
}

/// A mail to be sent. It may hold a token, so its `Debug` shows none of it.
#[derive(Clone)]
pub struct Outgoing {
    /// The task that sends it: the mail's own id is made from it, so that one that is sent twice can be told.
    pub id: TaskId,
    /// `user@domain`, or `Name <user@domain>`.
    pub to: String,
    /// One line.
    pub subject: String,
    /// For programs that show text.
    pub text: String,
    /// For programs that show HTML.
    pub html: Option<String>,
}

impl Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a mail was not sent, in words for the task's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailProblem {
    /// It never will be.
    Refused(String),
    /// It may be another time.
    Failed(String),
}

impl From<MailProblem> for Stop {
    fn from(problem: MailProblem) -> Self {
        match problem {
            MailProblem::Refused(why) => Self::refused(why),
            MailProblem::Failed(why) => Self::failed(why),
        }
    }
}
