//! A mail as it goes over the wire (RFC 5322, RFC 2045).

use lettre::{
    Message,
    message::{Mailbox, MultiPart, SinglePart},
};

use super::{MailProblem, Outgoing};

/// Whether that can be written to: `user@domain`, or `Name <user@domain>`.
pub fn is_mailbox(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

/// The message, from that sender.
pub(super) fn message(from: &Mailbox, mail: &Outgoing) -> Result<Message, MailProblem> {
    let unusable = |what: &str| MailProblem::Refused(format!("the {what} cannot be used"));
    let to: Mailbox = mail.to.parse().map_err(|_| unusable("address"))?;
    // The same for every attempt at it (RFC 5322 3.6.4), so that a mail server can drop the second.
    let id = format!("<{}@{}>", mail.id, from.email.domain());
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(mail.subject.as_str())
        .message_id(Some(id))
        .date_now()
        // Nobody's vacation program shall answer (RFC 3834).
        .raw_header(auto_submitted());
    match &mail.html {
        None => message.singlepart(SinglePart::plain(mail.text.clone())),
        Some(html) => message.multipart(MultiPart::alternative_plain_html(mail.text.clone(), html.clone())),
    }
    .map_err(|_| unusable("mail"))
}

fn auto_submitted() -> lettre::message::header::HeaderValue {
    let name = lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted");
    lettre::message::header::HeaderValue::new(name, "auto-generated".to_owned())
}
