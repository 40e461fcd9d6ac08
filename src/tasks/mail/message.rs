//! A mail as it goes over the wire (RFC 5322, RFC 2045).

use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType},
    },
};

use super::{MailProblem, Outgoing, header};
use crate::domain::{Email, Result, Violation};

/// Whom a mail goes to: an address that every mail server takes, and a name if one was given.
#[derive(Debug, Clone)]
pub struct Recipient {
    name: Option<String>,
    address: Email,
}

impl Recipient {
    /// Reads `user@domain` or `Name <user@domain>`. The address has to be one that an account could have.
    ///
    /// # Errors
    /// `/email` `invalid_email`.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let mailbox = mailbox(text)?;
        let address = Email::parse(mailbox.email.as_ref())?;
        Ok(Self { name: mailbox.name, address })
    }

    /// Reads what was taken before, perhaps by older rules.
    fn parse_existing(text: &str) -> Result<Self, Violation> {
        let mailbox = mailbox(text)?;
        let address = Email::parse_existing(mailbox.email.as_ref())?;
        Ok(Self { name: mailbox.name, address })
    }
}

fn mailbox(text: &str) -> Result<Mailbox, Violation> {
    let invalid = || Violation::new("/email", "invalid_email", "user@domain, or Name <user@domain>");
    // The grammar of mailboxes lets lines be folded, which is for headers and not for callers.
    if text.chars().any(char::is_control) {
        return Err(invalid());
    }
    text.parse().map_err(|_| invalid())
}

/// Returns an address as it goes over the wire: the domain in ASCII, since few servers take anything else (RFC 6531).
fn on_the_wire(email: &Email) -> Option<Address> {
    email.deliverable().parse().ok()
}

/// The message, from that sender.
pub(super) fn message(from: &Mailbox, mail: &Outgoing) -> Result<Message, MailProblem> {
    let unusable = |what: &str| MailProblem::Refused(format!("the {what} cannot be used"));
    let recipient = Recipient::parse_existing(&mail.to).map_err(|_| unusable("address"))?;
    let to = on_the_wire(&recipient.address).ok_or_else(|| unusable("address"))?;

    // An operator may have chosen what accounts may not have, such as an address literal: that stays as it is.
    let sender = Email::parse_existing(from.email.as_ref()).ok().and_then(|email| on_the_wire(&email));
    let from = Mailbox::new(from.name.clone(), sender.unwrap_or_else(|| from.email.clone()));

    // The same for every attempt at it (RFC 5322 3.6.4), so that a mail server can drop the second.
    let id = format!("<{}@{}>", mail.id, from.email.domain());
    let to_header = header::mailbox("To", recipient.name.as_deref(), to.as_ref());
    let envelope = Envelope::new(Some(from.email.clone()), vec![to]).map_err(|_| unusable("address"))?;
    let message = Message::builder()
        .envelope(envelope)
        .from(from)
        .raw_header(to_header)
        .raw_header(header::unstructured("Subject", &mail.subject))
        .message_id(Some(id))
        .date_now()
        // Keeps vacation programs from answering (RFC 3834).
        .raw_header(header::verbatim("Auto-Submitted", "auto-generated"));
    match &mail.html {
        None => message.singlepart(part(ContentType::TEXT_PLAIN, &mail.text)),
        Some(html) => message.multipart(
            MultiPart::alternative()
                .singlepart(part(ContentType::TEXT_PLAIN, &mail.text))
                .singlepart(part(ContentType::TEXT_HTML, html)),
        ),
    }
    .map_err(|_| unusable("mail"))
}

/// Longest line of a mail, without its end (RFC 5322, 2.1.1).
const LONGEST_LINE: usize = 998;

/// ASCII as it is, so that a link stays whole for whoever reads the file or the source of the mail: by itself, lettre would
/// cut lines from 77 characters on, and write `=` as `=3D`.
fn part(kind: ContentType, text: &str) -> SinglePart {
    // A carriage return by itself ends a line for some servers and not for others.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let as_it_is = text.is_ascii() && text.lines().all(|line| line.len() <= LONGEST_LINE);
    let body = if as_it_is {
        let lines: String = text.lines().flat_map(|line| [line, "\r\n"]).collect();
        Body::dangerous_pre_encoded(lines.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text)
    };
    SinglePart::builder().header(kind).body(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        String::from_utf8(part(ContentType::TEXT_PLAIN, text).formatted()).unwrap()
    }

    #[test]
    fn a_link_stays_on_one_line_as_it_is() {
        let link = format!("https://starter.example/reset-password?token=ott_{}", "A".repeat(200));
        let written = written(&format!("Hello,\n\n{link}\n"));
        assert!(written.contains(&format!("\r\n\r\n{link}\r\n")), "{written}");
        assert!(written.contains("Content-Transfer-Encoding: 7bit"), "{written}");
    }

    #[test]
    fn what_a_mail_cannot_carry_as_it_is_is_encoded() {
        for text in ["grüße\n".to_owned(), "x".repeat(999)] {
            assert!(!written(&text).contains("7bit"));
        }
    }

    #[test]
    fn a_bare_carriage_return_ends_no_line() {
        assert!(!written("a\rb: c\n").contains("a\rb"));
    }
}
