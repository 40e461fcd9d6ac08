//! A mail as it goes over the wire (RFC 5322, RFC 2045).

use lettre::{
    Message,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType},
    },
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

fn auto_submitted() -> lettre::message::header::HeaderValue {
    let name = lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted");
    lettre::message::header::HeaderValue::new(name, "auto-generated".to_owned())
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
