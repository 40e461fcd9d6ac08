//! Mails as files, for development and for whoever wants to carry them off himself.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use lettre::message::Mailbox;

use super::{MailProblem, Mailer, Outgoing, message::message};
use crate::tasks::files::write_whole;

/// Writes one `.eml` per mail into a directory, which is made when it is not there, and logs where it is.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    from: Mailbox,
}

impl Directory {
    /// Mails from that sender, into that directory.
    pub fn new(path: PathBuf, from: Mailbox) -> Self {
        Self { path, from }
    }
}

impl Mailer for Directory {
    fn send<'a>(&'a self, mail: &'a Outgoing) -> BoxFuture<'a, Result<(), MailProblem>> {
        Box::pin(async move {
            let message = message(&self.from, mail)?.formatted();
            let path = self.path.join(format!("{}.eml", mail.id));
            match write_whole(&path, &message).await {
                Ok(()) => {
                    log::info!(task_id:% = mail.id, path:% = path.display(); "mail written");
                    Ok(())
                }
                Err(error) => {
                    log::error!(task_id:% = mail.id, path:% = path.display(), error:%; "mail not written");
                    Err(MailProblem::Failed("the mail could not be written to its directory".to_owned()))
                }
            }
        })
    }
}
