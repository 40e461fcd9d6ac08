//! Letters: the mails that the service writes to its users.
//!
//! A letter is asked for by naming its kind and its reader, in the transaction that gives the reason for it; what is stored
//! of it is no more than that. It is written when it is sent, and a token in it is made then: so a token is never stored
//! but as its hash, and a letter that has to be sent again carries a link that works.

use std::{fmt, time::Duration};

use super::{Email, User, UserId, token::OneTimeToken};

/// What a one-time token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Proves an address.
    VerifyEmail,
    /// Sets a password without knowing the one before.
    ResetPassword,
}

impl Purpose {
    /// As in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
        }
    }

    /// How long such a token is good.
    pub fn lifetime(self) -> Duration {
        match self {
            Self::VerifyEmail => Duration::from_secs(24 * 3600),
            Self::ResetPassword => Duration::from_secs(3600),
        }
    }

    /// The page that such a token opens.
    fn page(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify-email",
            Self::ResetPassword => "reset-password",
        }
    }
}

/// A letter to be written: which one, and to whom.
#[derive(Debug, Clone, PartialEq)]
pub enum Letter {
    /// With a link that proves the address.
    VerifyEmail(UserId),
    /// With a link that sets a password, to whoever has this address (canonical), if anybody.
    ResetPassword(String),
    /// Says that the password was changed.
    PasswordChanged(UserId),
    /// Says to the former address that another one took its place.
    EmailChanged(UserId, Email),
}

/// A mail, ready to be sent. It may hold a token, so its `Debug` shows none of it.
#[derive(Clone)]
pub struct Mail {
    /// To whom.
    pub to: Email,
    /// One line.
    pub subject: &'static str,
    /// For programs that show text.
    pub text: String,
    /// For programs that show HTML; says the same.
    pub html: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Mail {
    /// The letter with a link for a token. `base` is where people reach the service, without a slash at its end.
    pub fn with_token(purpose: Purpose, token: &OneTimeToken, base: &str, user: &User) -> Self {
        let link = format!("{base}/{}?token={}", purpose.page(), token.expose());
        match purpose {
            Purpose::VerifyEmail => write(
                &user.email,
                "Confirm your e-mail address",
                user,
                &["to confirm that this is your e-mail address, open this page within 24 hours:"],
                Some(&link),
                &["If you did not ask for this, ignore this mail: nothing happens."],
            ),
            Purpose::ResetPassword => write(
                &user.email,
                "Set a new password",
                user,
                &["to set a new password, open this page within one hour. It works once:"],
                Some(&link),
                &["If you did not ask for this, ignore this mail: your password stays as it is."],
            ),
        }
    }

    /// Says that the password was changed.
    pub fn password_changed(user: &User) -> Self {
        let says = ["your password was just changed, and you were logged out everywhere else."];
        let then = ["If that was not you, set a new password now with \"forgot password\", \
                     and look through your sessions and API keys."];
        write(&user.email, "Your password was changed", user, &says, None, &then)
    }

    /// Says to the former address that another one took its place.
    pub fn email_changed(user: &User, former: &Email) -> Self {
        let says = ["the e-mail address of your account was just changed. Mails no longer come to this one."];
        let then = ["If that was not you, tell the people who run this service."];
        write(former, "Your e-mail address was changed", user, &says, None, &then)
    }
}

/// The same words as text and as HTML. A link is on a line of its own.
fn write(
    to: &Email,
    subject: &'static str,
    user: &User,
    says: &[&str],
    link: Option<&str>,
    then: &[&str],
) -> Mail {
    let greeting = format!("Hello {},", user.username);
    let before = std::iter::once(greeting.as_str()).chain(says.iter().copied());
    let after = then.iter().copied();
    let text: Vec<&str> = before.clone().chain(link).chain(after.clone()).collect();
    let paragraph = |words: &str| format!("<p>{}</p>\n", escape(words));
    let anchor = |link: &str| format!("<p><a href=\"{0}\">{0}</a></p>\n", escape(link));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
         <body style=\"font-family: sans-serif; max-width: 36em\">\n",
        escape(subject)
    );
    html.extend(before.map(paragraph).chain(link.map(anchor)).chain(after.map(paragraph)));
    html.push_str("</body>\n</html>\n");
    Mail { to: to.clone(), subject, text: text.join("\n\n") + "\n", html }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::{Role, Username};

    fn user() -> User {
        User {
            id: UserId::new(),
            username: Username::from_stored("<b>&\"al\"</b>".into(), "al".into()),
            email: Email::parse("al@example.com").unwrap(),
            role: Role::User,
            is_active: true,
            email_verified: false,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            last_login_at: None,
        }
    }

    #[test]
    fn a_link_stands_on_a_line_of_its_own_and_is_the_same_in_both_parts() {
        let token = OneTimeToken::generate();
        for (purpose, page) in
            [(Purpose::VerifyEmail, "verify-email"), (Purpose::ResetPassword, "reset-password")]
        {
            let mail = Mail::with_token(purpose, &token, "https://example.com", &user());
            let link = format!("https://example.com/{page}?token={}", token.expose());
            assert!(mail.text.lines().any(|line| line == link), "{}", mail.text);
            assert!(mail.html.contains(&format!("<a href=\"{link}\">{link}</a>")), "{}", mail.html);
            assert_eq!(mail.to, user().email);
        }
    }

    #[test]
    fn what_people_chose_is_text_and_never_markup() {
        let mail = Mail::password_changed(&user());
        assert!(mail.html.contains("Hello &lt;b&gt;&amp;&quot;al&quot;&lt;/b&gt;,"), "{}", mail.html);
        assert!(!mail.html.contains("<b>"));
        assert!(mail.text.starts_with("Hello <b>&\"al\"</b>,\n"));
    }

    #[test]
    fn the_former_address_is_told_of_the_change() {
        let former = Email::parse("former@example.com").unwrap();
        assert_eq!(Mail::email_changed(&user(), &former).to, former);
    }

    #[test]
    fn debug_output_holds_no_token() {
        let token = OneTimeToken::generate();
        let mail = Mail::with_token(Purpose::ResetPassword, &token, "http://x", &user());
        assert!(!format!("{mail:?}").contains("ott_"));
    }
}
