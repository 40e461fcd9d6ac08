//! E-mail addresses: what is allowed, and when two are the same.

use std::fmt;

use idna::uts46::verify_dns_length;
use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization as _;

use super::Violation;

/// Longest address in bytes, in its canonical form and as typed (RFC 5321 4.5.3.1.3, less the brackets).
pub const MAX_BYTES: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// An e-mail address: people see the form that was typed, comparisons use the canonical one, and mail goes to
/// [`Self::deliverable`].
///
/// The canonical form is made here and nowhere else, never by the database: trimmed, ASCII lower case, the
/// domain in its ASCII form (IDNA, UTS 46). Dots and `+tags` before the `@` stay: what they mean is
/// the mail server's affair.
#[derive(Clone)]
pub struct Email {
    display: String,
    canonical: String,
}

impl Email {
    /// Takes `local@domain`, where `local` is an ASCII dot-atom (RFC 5322 3.2.3) and `domain` a host name.
    ///
    /// Refused, though RFC 5322 knows them: quoted local parts, comments, address literals; and non-ASCII
    /// local parts (RFC 6531), because letters that look alike make accounts that look alike. A domain of one label
    /// is the commonest typing error (`ada@gmail`), so only `localhost` is taken, for development.
    ///
    /// # Errors
    /// `/email` `invalid_email`.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        Self::read(text).filter(Self::has_full_domain).ok_or_else(invalid)
    }

    /// Parses an address that may be older than the rule that a domain has a dot, or that an operator chose.
    ///
    /// # Errors
    /// `/email` `invalid_email`.
    pub fn parse_existing(text: &str) -> Result<Self, Violation> {
        Self::read(text).ok_or_else(invalid)
    }

    fn has_full_domain(&self) -> bool {
        let domain = self.domain();
        domain.contains('.') || domain == "localhost"
    }

    fn read(text: &str) -> Option<Self> {
        // Before any Unicode work, so that its cost is bounded.
        if text.len() > MAX_BYTES * 4 {
            return None;
        }
        let (local, domain) = text.trim().rsplit_once('@')?;
        // The local part must be ASCII as it came: NFC would make a `K` of the KELVIN SIGN.
        if !is_dot_atom(local) {
            return None;
        }
        let domain: String = domain.nfc().collect();
        let display = format!("{local}@{domain}");
        let domain = canonical_domain(&domain)?;
        let canonical = format!("{}@{domain}", local.to_ascii_lowercase());
        (display.len() <= MAX_BYTES && canonical.len() <= MAX_BYTES).then_some(Self { display, canonical })
    }

    /// What [`Self::parse`] made before, read back from where it was stored.
    pub fn from_stored(display: String, canonical: String) -> Self {
        Self { display, canonical }
    }

    /// Returns the address for mail: the part before the `@` as typed, the domain in ASCII, which every mail server takes.
    pub fn deliverable(&self) -> String {
        let local = self.display.rsplit_once('@').map_or("", |(local, _)| local);
        format!("{local}@{}", self.domain())
    }

    fn domain(&self) -> &str {
        self.canonical.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// As typed, trimmed: what people see.
    pub fn as_str(&self) -> &str {
        &self.display
    }

    /// What must be unique, and what look-ups compare.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The canonical part before the `@`.
    pub fn local_part(&self) -> &str {
        self.canonical.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

fn invalid() -> Violation {
    Violation::new("/email", "invalid_email", "an e-mail address such as name@example.com")
}

fn is_dot_atom(local: &str) -> bool {
    let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b);
    local.len() <= MAX_LOCAL_BYTES && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

fn canonical_domain(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain).ok()?;
    let last = ascii.rsplit('.').next()?;
    // A numeric last label is an IPv4 address or a typing error, never a host name (RFC 1123 2.1).
    let is_name = verify_dns_length(&ascii, false) && !last.bytes().all(|b| b.is_ascii_digit());
    is_name.then_some(ascii)
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Email {}

/// An address is personal data: `Debug` output ends in logs, so it tells only the domain.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Email(…@{})", self.domain())
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.display)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Email::parse(text).unwrap().canonical().to_owned()
    }

    #[test]
    fn addresses_are_shown_as_typed_and_compared_in_one_form() {
        let typed = Email::parse(" Alice.B+tag@Example.COM ").unwrap();
        assert_eq!(typed.as_str(), "Alice.B+tag@Example.COM");
        assert_eq!(typed.canonical(), "alice.b+tag@example.com");
        assert_eq!(typed.local_part(), "alice.b+tag");
        assert_eq!(canonical("a@localhost"), "a@localhost");
    }

    #[test]
    fn a_domain_and_its_ascii_form_are_the_same_address() {
        assert_eq!(canonical("a@bücher.example"), "a@xn--bcher-kva.example");
        assert_eq!(canonical("a@bu\u{308}cher.example"), "a@xn--bcher-kva.example");
        assert_eq!(canonical("a@XN--BCHER-KVA.example"), "a@xn--bcher-kva.example");
        assert_eq!(canonical("a@x.co\u{212a}"), "a@x.cok");
    }

    #[test]
    fn what_is_no_mailbox_here_is_refused() {
        let long_local = format!("{}@x.co", "a".repeat(65));
        let long = format!("{}@{}.co", "a".repeat(64), "b.".repeat(100));
        let huge = format!("{}@x.co", "a".repeat(100_000));
        for text in [
            "",
            "@",
            "a@",
            "@x.co",
            "a",
            "ada@gmail",
            "root@intranet",
            "a@büro",
            "a@localhost.",
            "a b@x.co",
            "a@b@x.co",
            ".a@x.co",
            "a.@x.co",
            "a..b@x.co",
            "\"a\"@x.co",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@x..co",
            "a@x.co.",
            "a@.x.co",
            "a@-x.co",
            "a@x-.co",
            "a@x_y.co",
            "a@x.co\r\nBcc: b@x.co",
            "a\u{0}@x.co",
            "a@x\u{0}.co",
            "mıke@x.co",
            "quac\u{212a}@x.co",
            "İ@x.co",
            "<a@x.co>",
            "A <a@x.co>",
            "a@x.co,b@x.co",
            &long_local,
            &long,
            &huge,
        ] {
            let violation = Email::parse(text).expect_err(text);
            assert_eq!((violation.field.as_ref(), violation.code), ("/email", "invalid_email"));
        }
    }

    #[test]
    fn debug_output_does_not_tell_who_it_is() {
        let shown = format!("{:?}", Email::parse("alice@example.com").unwrap());
        assert_eq!(shown, "Email(…@example.com)");
    }

    #[test]
    fn mail_goes_to_the_ascii_form_of_a_domain() {
        let email = Email::parse("Ada@Bücher.example").unwrap();
        assert_eq!(email.deliverable(), "Ada@xn--bcher-kva.example");
        assert_eq!(email.as_str(), "Ada@Bücher.example");
    }

    #[test]
    fn an_older_address_without_a_dot_is_still_read() {
        assert_eq!(Email::parse_existing("root@intranet").unwrap().deliverable(), "root@intranet");
        assert!(Email::parse_existing("mıke@intranet").is_err());
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_ascii_short_and_its_own_canonical_form(
            text in "\\PC{0,300}|[A-Za-z.+]{1,20}@\\PC{1,20}\\.[a-z]{2,5}|[ -~]{1,30}@[a-z0-9.-]{1,30}"
        ) {
            if let Ok(email) = Email::parse(&text) {
                let canonical = email.canonical();
                prop_assert!(canonical.is_ascii() && canonical.len() <= MAX_BYTES);
                prop_assert!(!canonical.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_control()));
                let again = Email::parse(canonical).unwrap();
                prop_assert_eq!(again.canonical(), canonical);
                prop_assert_eq!(&Email::parse(email.as_str()).unwrap(), &email);
            }
        }

        #[test]
        fn letter_case_never_makes_another_address(local in "[a-z]{1,20}", domain in "[a-z]{1,20}\\.[a-z]{2,6}") {
            let lower = Email::parse(&format!("{local}@{domain}")).unwrap();
            let upper = Email::parse(&format!("{local}@{domain}").to_uppercase()).unwrap();
            prop_assert_eq!(lower, upper);
        }
    }
}
