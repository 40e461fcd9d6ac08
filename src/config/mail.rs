//! `STARTER__MAIL__*`: how mails leave.

use std::path::PathBuf;

use lettre::message::Mailbox;

use super::{
    mail_url::MailUrl,
    problem::Problems,
    section::{Check, section},
};

section! {
    /// How mails leave.
    pub struct Mail("MAIL") {
        /// Where mails go: `smtp://user:password@host:port?tls=required`, `smtps://…`, or `file:DIR`.
        /// `file:DIR` writes one `.eml` per mail and logs its path. `tls` may be `none`, `opportunistic` or `required`.
        /// Without `tls=…`, TLS is required when there is a password, else opportunistic.
        pub url: MailUrl = MailUrl::File(PathBuf::from(".starter/mail")),

        /// Sender of every mail.
        /// At a domain whose SPF and DKIM records do not name the mail server, mails end up as spam.
        pub from: String = "starter <no-reply@localhost>".to_owned(),

        /// Mails that the tasks of one user who is no administrator may send on a day (UTC).
        pub user_daily_limit: u32 = 50 => 0..=1_000_000,
    }
}

impl Check for Mail {
    fn check(&self, problems: &mut Problems<'_>) {
        match self.from.parse::<Mailbox>() {
            Err(_) => {
                problems.add("STARTER__MAIL__FROM", "not a mailbox", "name <user@domain>, or user@domain");
            }
            // Few mail servers take it in an envelope (RFC 6531).
            Ok(from) if !from.email.user().is_ascii() => {
                problems.add("STARTER__MAIL__FROM", "no address for mail servers", "ASCII before the @");
            }
            Ok(_) => (),
        }
    }
}
