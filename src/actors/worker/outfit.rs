//! What handlers of this process may use of the world outside, as configured.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{self, Config, MailUrl},
    domain::{Error, Result},
    tasks::{
        Services,
        files::Files,
        mail::{Directory, Mailer, Smtp},
        services::{LetterWriter, Sweeper, UserDirectory},
        webhook::Webhooks,
    },
};

/// Where tasks' files are kept.
pub fn files(config: &config::Worker) -> Files {
    Files::new(config.files_dir.clone())
}

/// Everything: mail, webhooks and files as configured, and what other actors' parts give.
///
/// # Errors
/// [`Error::Invalid`] for a mail server that TLS cannot be had with; [`Error::Internal`] when the HTTP client cannot be
/// made.
pub fn services(
    config: &Config,
    letters: Arc<dyn LetterWriter>,
    users: Arc<dyn UserDirectory>,
    sweeper: Arc<dyn Sweeper>,
) -> Result<Services> {
    let webhook = &config.webhook;
    let timeout = Duration::from_secs(webhook.timeout_secs);
    let webhooks = match webhook.signing_key() {
        Some(key) => Some(Webhooks::new(key, webhook.allow_private, timeout)?),
        None => None,
    };
    let files = Some(files(&config.worker));
    Ok(Services { mailer: mailer(&config.mail)?, letters, webhooks, files, users, sweeper })
}

fn mailer(mail: &config::Mail) -> Result<Arc<dyn Mailer>> {
    let from = mail
        .from
        .parse()
        .map_err(|_| Error::invalid("/mail/from", "invalid_mailbox", "name <user@domain>, or user@domain"))?;
    Ok(match &mail.url {
        MailUrl::File(directory) => Arc::new(Directory::new(directory.clone(), from)),
        MailUrl::Smtp(server) => Arc::new(Smtp::new(server, from)?),
    })
}
