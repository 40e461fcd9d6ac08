//! `email.account`: letters of the service to its users. Only the service itself asks for them.
//!
//! What is stored names the letter and its reader, never a token: that is made when the letter is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    Error, Result, TaskId,
    letter::Letter,
    task::{NewTask, When},
};

/// Its name.
const NAME: &str = "email.account";
/// A mail server may be away for a while.
const MAX_ATTEMPTS: i32 = 10;
/// Seconds for one attempt.
const TIMEOUT_SECS: i32 = 60;

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
        task_type: NAME.to_owned(),
        queue: "default".to_owned(),
        payload: serde_json::to_value(payload).map_err(Error::internal)?,
        priority: 0,
        when: When::Now,
        max_attempts: MAX_ATTEMPTS,
        timeout_secs: TIMEOUT_SECS,
        unique_key: None,
        // Nobody's, so that only admins see to whom the service writes.
        created_by: None,
        request_id: request_id.map(str::to_owned),
        schedule_id: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Email, UserId};

    impl AccountLetter {
        /// `None` if it is none of those that [`order`] makes.
        fn read(self) -> Option<Letter> {
            let user = self.user_id.map(UserId);
            Some(match self.letter {
                Kind::VerifyEmail => Letter::VerifyEmail(user?),
                Kind::ResetPassword => Letter::ResetPassword(self.address?),
                Kind::PasswordChanged => Letter::PasswordChanged(user?),
                Kind::EmailChanged => Letter::EmailChanged(user?, Email::parse(&self.address?).ok()?),
            })
        }
    }

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
            let payload: AccountLetter = serde_json::from_value(task.payload).unwrap();
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
