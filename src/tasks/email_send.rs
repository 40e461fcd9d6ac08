//! `email.send`: sends a mail.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Context, Outcome, RetryPolicy, TaskType,
    mail::{Outgoing, Recipient},
};
use crate::domain::Violation;

/// Bytes of a subject. It is folded, so that no line of the mail becomes as long.
const LONGEST_SUBJECT: usize = 998;
/// Bytes of an address with a name.
const LONGEST_TO: usize = 998;

/// Sends a mail to one address. Refused for good when the mail server says so; otherwise tried again. Users who are no
/// administrators need a verified address, and may send so many a day.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct EmailSend {
    /// `user@domain`, or `Name <user@domain>`: ASCII before the `@`, and a domain with a dot, or `localhost`.
    #[schemars(length(min = 1, max = 998))]
    to: String,
    /// One line.
    #[schemars(length(min = 1, max = 998))]
    subject: String,
    /// The mail as plain text.
    text: String,
    /// The mail as HTML, for programs that show it.
    #[serde(default)]
    html: Option<String>,
}

impl TaskType for EmailSend {
    const NAME: &'static str = "email.send";
    const SENDS_MAIL: bool = true;
    const MAX_ATTEMPTS: i32 = 8;
    const TIMEOUT: Duration = Duration::from_secs(60);
    const RETRY: RetryPolicy =
        RetryPolicy { first: Duration::from_secs(10), factor: 3.0, longest: Duration::from_secs(3 * 3600) };

    fn check(&self) -> Vec<Violation> {
        let mut wrong = Vec::new();
        if self.to.len() > LONGEST_TO || Recipient::parse(&self.to).is_err() {
            let message = "user@domain, or Name <user@domain>; ASCII before the @, and a domain with a dot";
            wrong.push(Violation::new("/to", "invalid_email", message));
        }
        let subject = &self.subject;
        if subject.trim().is_empty()
            || subject.len() > LONGEST_SUBJECT
            || subject.chars().any(char::is_control)
        {
            wrong.push(Violation::new("/subject", "invalid_subject", "one line of 1 to 998 bytes"));
        }
        wrong
    }

    async fn run(self, context: Context) -> Outcome {
        let Self { to, subject, text, html } = self;
        let mail = Outgoing { id: context.task_id, to, subject, text, html };
        context.services.mailer.send(&mail).await?;
        Ok(Value::Null)
    }
}
