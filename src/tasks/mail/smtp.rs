//! Mails to a mail server (RFC 5321).

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::Mailbox,
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use secrecy::ExposeSecret as _;

use super::{MailProblem, Mailer, Outgoing, message::message};
use crate::{
    config,
    domain::{self, Result},
};

/// For each exchange with the server.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A mail server. Each mail has a connection of its own.
#[derive(Clone)]
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    place: String,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smtp").field(&self.place).finish()
    }
}

impl Smtp {
    /// Mails from that sender, to that server. Nothing is sent yet.
    ///
    /// # Errors
    /// [`domain::Error::Invalid`] when TLS cannot be had for that name.
    pub fn new(server: &config::Smtp, from: Mailbox) -> Result<Self> {
        let parameters = || {
            TlsParameters::new(server.host.clone()).map_err(|_| {
                domain::Error::invalid("/mail/url", "invalid_host", "no name that TLS can check")
            })
        };
        let tls = match server.tls {
            config::SmtpTls::None => Tls::None,
            config::SmtpTls::Opportunistic => Tls::Opportunistic(parameters()?),
            config::SmtpTls::Required => Tls::Required(parameters()?),
            config::SmtpTls::Wrapper => Tls::Wrapper(parameters()?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .timeout(Some(TIMEOUT))
            .tls(tls);
        if let Some((user, password)) = &server.credentials {
            builder =
                builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        let place = format!("{}:{}", server.host, server.port);
        Ok(Self { transport: builder.build(), from, place })
    }
}

impl Mailer for Smtp {
    fn send<'a>(&'a self, mail: &'a Outgoing) -> BoxFuture<'a, Result<(), MailProblem>> {
        Box::pin(async move {
            let message = message(&self.from, mail)?;
            match self.transport.send(message).await {
                Ok(_) => {
                    log::info!(task_id:% = mail.id, server = self.place; "mail sent");
                    Ok(())
                }
                Err(error) => {
                    log::warn!(task_id:% = mail.id, server = self.place, error:%; "mail not sent");
                    Err(problem(&error))
                }
            }
        })
    }
}

/// 5xx is for good (RFC 5321 4.2.1); 4xx, and a server that is away, are not.
fn problem(error: &Error) -> MailProblem {
    let code = error.status().map(u16::from);
    match code {
        Some(code) if error.is_permanent() => {
            MailProblem::Refused(format!("the mail server refused it with code {code}"))
        }
        Some(code) => MailProblem::Failed(format!("the mail server put it off with code {code}")),
        None => MailProblem::Failed("the mail server could not be reached or understood".to_owned()),
    }
}
