//! Texts in the headers of mails: folded, and encoded where they need it (RFC 5322 2.2.3, RFC 2047).
//!
//! lettre leaves words of any length on one line, and writes what looks like an encoded word as it is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lettre::message::header::{HeaderName, HeaderValue};

/// Longest line with an encoded word (RFC 2047 2); also below the 78 that RFC 5322 recommends for others.
const LONGEST_LINE: usize = 76;
const ENCODED_BEGIN: &str = "=?utf-8?B?";
const ENCODED_END: &str = "?=";

/// Returns the header `name` with a text for people, such as a subject.
pub(super) fn unstructured(name: &'static str, text: &str) -> HeaderValue {
    let before = name.len() + ": ".len();
    let encoded = if is_plain(text, before) { folded(text, before) } else { encoded_words(text, before) };
    header(name, text.to_owned(), encoded)
}

/// Returns the header `name` with one mailbox: an address, and the name of whoever has it.
pub(super) fn mailbox(name: &'static str, person: Option<&str>, address: &str) -> HeaderValue {
    let before = name.len() + ": ".len();
    let Some(person) = person else {
        return header(name, address.to_owned(), address.to_owned());
    };
    let phrase = if is_plain(person, before) && person.split(' ').all(is_atom) {
        folded(person, before)
    } else if is_plain(person, before) && before + person.len() * 2 + 2 <= LONGEST_LINE {
        format!("\"{}\"", person.replace('\\', r"\\").replace('"', "\\\""))
    } else {
        encoded_words(person, before)
    };

    let last_line = phrase.rsplit('\n').next().map_or(0, str::len) + before;
    let fits = last_line + " <>".len() + address.len() <= LONGEST_LINE;
    let separator = if fits { " " } else { "\r\n " };
    header(name, format!("{person} <{address}>"), format!("{phrase}{separator}<{address}>"))
}

/// Returns a header whose value needs neither folding nor encoding.
pub(super) fn verbatim(name: &'static str, value: &str) -> HeaderValue {
    header(name, value.to_owned(), value.to_owned())
}

fn header(name: &'static str, raw: String, encoded: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), raw, encoded)
}

/// Whether a text can stand in a header as it is: nothing in it is taken for an encoded word, and it can be folded at its
/// single blanks.
fn is_plain(text: &str, before: usize) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !text.contains("=?")
        && text.split(' ').all(|word| !word.is_empty() && word.len() + before <= LONGEST_LINE)
}

/// Whether a word may stand in a name without quotes (RFC 5322 3.2.3).
fn is_atom(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
}

/// Breaks a plain text into lines, of which the first begins after `before` bytes.
fn folded(text: &str, before: usize) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 20);
    let mut length = before;
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 && length + 1 + word.len() > LONGEST_LINE {
            lines.push_str("\r\n");
            length = 0;
        }
        if at > 0 {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(word);
        length += word.len();
    }
    lines
}

/// Writes all of a text as encoded words, one a line. The blanks between them are no part of the text.
fn encoded_words(text: &str, before: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Three bytes become four characters, and no character may be cut.
        let taken = if words.is_empty() { before } else { 1 };
        let room = (LONGEST_LINE - taken - ENCODED_BEGIN.len() - ENCODED_END.len()) / 4 * 3;
        let (chunk, after) = rest.split_at(rest.floor_char_boundary(room));
        words.push(format!("{ENCODED_BEGIN}{}{ENCODED_END}", STANDARD.encode(chunk)));
        rest = after;
    }
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use lettre::message::header::Headers;
    use proptest::prelude::*;

    use super::*;

    fn written(header: HeaderValue) -> String {
        let mut headers = Headers::new();
        headers.insert_raw(header);
        headers.to_string()
    }

    fn subject(text: &str) -> String {
        written(unstructured("Subject", text))
    }

    /// As a mail program reads it: unfolds, then decodes encoded words and drops the blanks between them.
    fn read(header: &str, name: &str) -> String {
        let value = header.strip_prefix(&format!("{name}: ")).unwrap().strip_suffix("\r\n").unwrap();
        let value = value.replace("\r\n ", " ");
        if !value.starts_with(ENCODED_BEGIN) {
            return value;
        }
        let words = value.split(' ').map(|word| {
            let word = word.strip_prefix(ENCODED_BEGIN).unwrap().strip_suffix(ENCODED_END).unwrap();
            String::from_utf8(STANDARD.decode(word).unwrap()).unwrap()
        });
        words.collect()
    }

    #[test]
    fn plain_subjects_stay_readable() {
        assert_eq!(subject("Your invoice of May"), "Subject: Your invoice of May\r\n");
        let long = "twelve bytes ".repeat(8);
        let written = subject(long.trim_end());
        assert!(written.contains("\r\n twelve") || written.contains("\r\n bytes"), "{written}");
        assert!(!written.contains("=?"));
    }

    #[test]
    fn a_word_longer_than_a_line_is_cut_into_encoded_words() {
        for bytes in [68, 77, 990, 998, 20_000] {
            let text = "x".repeat(bytes);
            let written = subject(&text);
            assert!(written.lines().all(|line| line.len() <= LONGEST_LINE), "{written}");
            assert_eq!(read(&written, "Subject"), text);
        }
    }

    #[test]
    fn what_looks_like_an_encoded_word_is_shown_as_it_was_given() {
        for text in ["=?utf-8?B?abc?=", "a =?utf-8?Q?=41?= b", "=?", "é =?utf-8?B?abc?="] {
            let written = subject(text);
            assert!(written.starts_with("Subject: =?utf-8?B?") && !written.contains("?B?abc?="), "{written}");
            assert_eq!(read(&written, "Subject"), text);
        }
    }

    #[test]
    fn names_are_atoms_quoted_or_encoded() {
        let to = |name: &str| written(mailbox("To", Some(name), "ada@example.org"));
        assert_eq!(to("Ada Lovelace"), "To: Ada Lovelace <ada@example.org>\r\n");
        assert_eq!(to("Lovelace, \"Ada\""), "To: \"Lovelace, \\\"Ada\\\"\" <ada@example.org>\r\n");
        for name in ["=?utf-8?B?abc?=", "Ada Gräfin", &"x".repeat(1_000)] {
            let written = to(name);
            let (phrase, address) = written.rsplit_once(" <").unwrap();
            assert_eq!(address, "ada@example.org>\r\n");
            assert_eq!(read(&format!("{}\r\n", phrase.trim_end()), "To"), name);
            assert!(written.lines().all(|line| line.len() <= LONGEST_LINE), "{written}");
        }
        assert_eq!(written(mailbox("To", None, "ada@example.org")), "To: ada@example.org\r\n");
    }

    proptest! {
        #[test]
        fn every_subject_is_read_back_from_short_ascii_lines(text in "\\PC{1,300}|[ -~]{1,300}|[a ]{1,200}") {
            let written = subject(&text);
            prop_assert!(written.is_ascii());
            prop_assert!(written.lines().all(|line| line.len() <= LONGEST_LINE && !line.trim().is_empty()));
            prop_assert_eq!(read(&written, "Subject"), text);
        }

        #[test]
        fn no_name_ends_its_header_or_leaves_its_line(name in "\\PC{1,300}|[ -~]{1,300}") {
            let written = written(mailbox("To", Some(&name), "ada@example.org"));
            prop_assert!(written.is_ascii() && written.ends_with("<ada@example.org>\r\n"));
            prop_assert!(written.lines().skip(1).all(|line| line.starts_with(' ')));
            prop_assert!(written.lines().all(|line| line.len() <= LONGEST_LINE + 2), "{}", written);
        }
    }
}
