//! `email.account`: letters of the service to its users. Only the service itself asks for them.
//!
//! What is stored names the letter and its reader, never a token: that is made when the letter is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Context, Outcome, RetryPolicy, Stop, TaskType, mail::Outgoing};
use crate::domain::{
    Email, Error, JsonText, Result, TaskId, UserId,
    letter::Letter,
    queue::SERVICE_QUEUE,
    task::{NewTask, When},
};

/// Sends a letter of the service to a user.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct AccountLetter {
    /// Which letter.
    letter: Kind,
    /// To whom, where he is known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<Uuid>,
    /// To which address, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    VerifyEmail,
    ResetPassword,
    PasswordChanged,
    EmailChanged,
}

/// The task that writes and sends a letter. `request_id` is of the request that gives the reason.
///
/// # Errors
/// [`Error::Internal`], never met.
pub fn order(letter: &Letter, request_id: Option<&str>) -> Result<NewTask> {
    let (kind, user, address) = match letter {
        Letter::VerifyEmail(user) => (Kind::VerifyEmail, Some(user), None),
        Letter::ResetPassword(address) => (Kind::ResetPassword, None, Some(address.clone())),
        Letter::PasswordChanged(user) => (Kind::PasswordChanged, Some(user), None),
        Letter::EmailChanged(user, former) => {
            (Kind::EmailChanged, Some(user), Some(former.as_str().to_owned()))
        }
    };
    let payload = AccountLetter { letter: kind, user_id: user.map(|user| user.0), address };
    Ok(NewTask {
        id: TaskId::new(),
        task_type: AccountLetter::NAME.to_owned(),
        // Not behind the tasks of users.
        queue: SERVICE_QUEUE.to_owned(),
        payload: JsonText::of(&payload).ok_or_else(|| Error::internal("a letter cannot be written down"))?,
        priority: 0,
        when: When::Now,
        max_attempts: AccountLetter::MAX_ATTEMPTS,
        timeout_secs: i32::try_from(AccountLetter::TIMEOUT.as_secs()).map_err(Error::internal)?,
        unique_key: None,
        // Nobody's, so that only admins see to whom the service writes.
        created_by: None,
        request_id: request_id.map(str::to_owned),
        schedule_id: None,
    })
}

impl AccountLetter {
    /// `None` if it is none of those that [`order`] makes.
    fn read(self) -> Option<Letter> {
        let user = self.user_id.map(UserId);
        Some(match self.letter {
            Kind::VerifyEmail => Letter::VerifyEmail(user?),
            Kind::ResetPassword => Letter::ResetPassword(self.address?),
            Kind::PasswordChanged => Letter::PasswordChanged(user?),
            Kind::EmailChanged => Letter::EmailChanged(user?, Email::parse_existing(&self.address?).ok()?),
        })
    }
}

impl TaskType for AccountLetter {
    const NAME: &'static str = "email.account";
    /// A mail server may be away for a while.
    const MAX_ATTEMPTS: i32 = 10;
    const TIMEOUT: Duration = Duration::from_secs(60);
    const RETRY: RetryPolicy =
        RetryPolicy { first: Duration::from_secs(5), factor: 3.0, longest: Duration::from_secs(3600) };
    const INTERNAL: bool = true;

    async fn run(self, context: Context) -> Outcome {
        let letter = self.read().ok_or_else(|| Stop::refused("no such letter"))?;
        let Some(mail) = context.services.letters.write(letter).await? else {
            return Ok(Value::Null);
        };
        let to = mail.to.deliverable();
        let (subject, text, html) = (mail.subject.to_owned(), mail.text, Some(mail.html));
        context.services.mailer.send(&Outgoing { id: context.task_id, to, subject, text, html }).await?;
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ordered_is_read_back_and_holds_nothing_else() {
        let user = UserId::new();
        let address = Email::parse("Al@example.com").unwrap();
        for letter in [
            Letter::VerifyEmail(user),
            Letter::ResetPassword("al@example.com".to_owned()),
            Letter::PasswordChanged(user),
            Letter::EmailChanged(user, address),
        ] {
            let task = order(&letter, Some("req")).unwrap();
            assert_eq!((task.created_by, task.request_id.as_deref()), (None, Some("req")));
            let payload: AccountLetter = task.payload.parse().unwrap();
            assert_eq!(payload.read(), Some(letter));
        }
    }

    #[test]
    fn a_letter_without_its_reader_is_none() {
        for payload in [
            r#"{"letter":"verify_email"}"#,
            r#"{"letter":"reset_password","user_id":"01920f3e-7b6c-7d3a-9c1e-0123456789ab"}"#,
            r#"{"letter":"email_changed","user_id":"01920f3e-7b6c-7d3a-9c1e-0123456789ab","address":"x"}"#,
        ] {
            assert_eq!(serde_json::from_str::<AccountLetter>(payload).unwrap().read(), None, "{payload}");
        }
    }
}
