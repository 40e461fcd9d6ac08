//! Usernames: what is allowed, and when two are the same.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Violation;

/// Shortest username, in characters.
pub const MIN_CHARS: usize = 3;
/// Longest username, in characters.
pub const MAX_CHARS: usize = 32;

/// Names that a stranger may not take, because people would trust them. Sorted.
const RESERVED: [&str; 22] = [
    "admin",
    "administrator",
    "anonymous",
    "api",
    "console",
    "everyone",
    "health",
    "help",
    "info",
    "mail",
    "me",
    "metrics",
    "moderator",
    "no-reply",
    "noreply",
    "postmaster",
    "root",
    "security",
    "starter",
    "support",
    "system",
    "webmaster",
];

/// A username: shown as typed, compared by its ASCII-lowercased form.
#[derive(Debug, Clone)]
pub struct Username {
    display: String,
    canonical: String,
}

impl Username {
    /// Takes `^[a-z0-9](?:[a-z0-9_-]{1,30})[a-z0-9]$` in any letter case.
    ///
    /// ASCII only, so that no two usernames look alike or meet in some database's `lower()`.
    ///
    /// # Errors
    /// `/username` `invalid_username`.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let bytes = text.as_bytes();
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let allowed = (MIN_CHARS..=MAX_CHARS).contains(&bytes.len())
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !allowed {
            return Err(Violation::new(
                "/username",
                "invalid_username",
                "3 to 32 of the letters a-z, digits, '_' and '-', with a letter or digit at both ends",
            ));
        }
        Ok(Self { display: text.to_owned(), canonical: text.to_ascii_lowercase() })
    }

    /// What [`Self::parse`] made before, read back from where it was stored.
    pub fn from_stored(display: String, canonical: String) -> Self {
        Self { display, canonical }
    }

    /// Kept for the operator: refused when someone registers himself, allowed when an admin creates the user.
    pub fn is_reserved(&self) -> bool {
        RESERVED.binary_search(&self.canonical.as_str()).is_ok()
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.display
    }

    /// What must be unique, and what look-ups compare.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl PartialEq for Username {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Username {}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl Serialize for Username {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.display)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_taken_as_typed_and_compared_without_letter_case() {
        for name in ["alice", "user_1", "bob-2", "Alice", "a1b", "0-0", &"x".repeat(32)] {
            let parsed = Username::parse(name).unwrap();
            assert_eq!(parsed.as_str(), name);
            assert_eq!(parsed.canonical(), name.to_lowercase());
        }
        assert_eq!(Username::parse("ALICE").unwrap(), Username::parse("alice").unwrap());
    }

    #[test]
    fn names_that_could_deceive_or_break_something_are_refused() {
        let long = "x".repeat(33);
        for name in [
            "",
            "ab",
            "-ab",
            "ab-",
            "_ab",
            "ab_",
            "a b",
            " alice",
            "alice ",
            "al\u{0}ice",
            "alice\n",
            "josé",
            "jose\u{301}",
            "\u{212a}elvin",
            "a@b.c",
            "a/../b",
            &long,
        ] {
            let violation = Username::parse(name).unwrap_err();
            assert_eq!((violation.field.as_ref(), violation.code), ("/username", "invalid_username"));
        }
    }

    #[test]
    fn reserved_names_are_known_in_every_letter_case() {
        assert!(RESERVED.is_sorted());
        assert!(Username::parse("Admin").unwrap().is_reserved());
        assert!(Username::parse("no-reply").unwrap().is_reserved());
        assert!(!Username::parse("alice").unwrap().is_reserved());
    }

    proptest! {
        #[test]
        fn what_is_taken_matches_the_published_pattern(text in "\\PC{0,40}|[A-Za-z0-9_-]{1,34}") {
            if let Ok(name) = Username::parse(&text) {
                let canonical = name.canonical();
                prop_assert!((3..=32).contains(&canonical.len()));
                prop_assert!(canonical.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')));
                prop_assert!(!canonical.starts_with(['-', '_']) && !canonical.ends_with(['-', '_']));
                prop_assert_eq!(Username::parse(canonical).unwrap(), name);
            }
        }
    }
}
