//! API keys: the secret, its checksum, and the rules for a key's name and life time.
//!
//! A key is `key_`, 30 random base62 characters (178 bits) and a checksum of these: CRC-32 (IEEE) written as 6 base62
//! digits with leading zeros, digits in the order `0-9A-Za-z`. The checksum stops typing errors and floods
//! of made-up keys before any query; it is no protection against someone who computes it.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use rand::{RngExt as _, distr::Alphanumeric};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{Violation, timestamp, token::TokenHash};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Longest time that a rotated key lives on: one day.
const MAX_GRACE_SECS: i64 = 86_400;

/// A whole API key.
#[derive(Clone)]
pub struct ApiKeySecret(SecretString);

impl ApiKeySecret {
    /// What every key begins with, so that scanners for leaked secrets find it.
    pub const PREFIX: &str = "key_";

    /// A new one, from a cryptographic generator that the operating system seeds.
    pub fn generate() -> Self {
        let random: String =
            rand::rng().sample_iter(Alphanumeric).take(RANDOM_CHARS).map(char::from).collect();
        Self(format!("{}{random}{}", Self::PREFIX, checksum(&random)).into())
    }

    /// `None` for anything that [`Self::generate`] could not have made: no query is worth it.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(Self::PREFIX)?;
        if body.len() != RANDOM_CHARS + CHECKSUM_CHARS || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (random, given) = body.split_at_checked(RANDOM_CHARS)?;
        (checksum(random) == given).then(|| Self(text.to_owned().into()))
    }

    /// What is stored and looked up.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.expose_secret())
    }

    /// What may be shown for ever, so that people know their keys apart.
    pub fn prefix(&self) -> KeyPrefix {
        KeyPrefix(self.expose().chars().take(KeyPrefix::CHARS).collect())
    }

    /// The secret itself, for the one answer that hands it over.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySecret(…)")
    }
}

fn checksum(random: &str) -> String {
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or_default();
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// The first 12 characters of a key: `key_` and 8 of the 30 random ones, which leaves 131 bits unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Characters of a key that are shown.
    pub const CHARS: usize = 12;

    /// Read back from where it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What its owner calls a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyName(String);

impl KeyName {
    /// 1 to 100 characters, none of them a control character, not only blanks; blanks around it are cut off.
    ///
    /// # Errors
    /// `/name` `invalid_name`.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let name = text.trim();
        let allowed = !name.is_empty()
            && name.chars().take(MAX_NAME_CHARS + 1).count() <= MAX_NAME_CHARS
            && !text.chars().any(char::is_control);
        if allowed {
            Ok(Self(name.to_owned()))
        } else {
            let message = "1 to 100 characters, no control characters";
            Err(Violation::new("/name", "invalid_name", message))
        }
    }

    /// Read back from where it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads when a key ends. Whether that lies ahead is for [`check_expiry`].
///
/// # Errors
/// `/expires_at` `invalid_timestamp`.
pub fn parse_expiry(text: &str) -> Result<DateTime<Utc>, Violation> {
    timestamp::parse("/expires_at", text)
}

/// Returns the end of a key if it lies ahead of `now`.
///
/// # Errors
/// `/expires_at` `expires_in_the_past`.
pub fn check_expiry(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Violation> {
    if expires_at > now {
        Ok(expires_at)
    } else {
        Err(Violation::new("/expires_at", "expires_in_the_past", "must lie in the future"))
    }
}

/// Reads how long the old secret lives on beside the new one.
///
/// # Errors
/// `/grace_secs` `out_of_range`.
pub fn parse_grace(secs: i64) -> Result<Duration, Violation> {
    match u64::try_from(secs) {
        Ok(grace) if secs <= MAX_GRACE_SECS => Ok(Duration::from_secs(grace)),
        _ => Err(Violation::new("/grace_secs", "out_of_range", "0 to 86400 seconds")),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_have_the_published_form_and_differ() {
        let key = ApiKeySecret::generate();
        let text = key.expose();
        assert_eq!(text.len(), 40);
        assert!(text.starts_with("key_") && text[4..].bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(key.prefix().as_str(), &text[..12]);
        assert_ne!(text, ApiKeySecret::generate().expose());
        assert_eq!(ApiKeySecret::parse(text).unwrap().hash(), key.hash());
    }

    #[test]
    fn the_checksum_is_crc_32_in_six_base62_digits() {
        // The check value of CRC-32/ISO-HDLC for "123456789" is 0xCBF43926 = 3421780262.
        assert_eq!(checksum("123456789"), "3jZRME");
        assert_eq!(checksum(""), "000000");
    }

    #[test]
    fn near_misses_are_refused() {
        let key = ApiKeySecret::generate();
        let good = key.expose();
        let swapped = format!("key_{}{}", good[4..34].chars().rev().collect::<String>(), &good[34..]);
        for bad in [
            String::new(),
            "key_".to_owned(),
            good[..39].to_owned(),
            format!("{good}0"),
            format!(" {good}"),
            good.replacen("key_", "KEY_", 1),
            good.replacen("key_", "sess_", 1),
            format!("key_{}", "é".repeat(18)),
            swapped,
        ] {
            assert!(ApiKeySecret::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        assert_eq!(format!("{:?}", ApiKeySecret::generate()), "ApiKeySecret(…)");
    }

    #[test]
    fn a_name_is_one_to_a_hundred_characters_on_one_line() {
        assert_eq!(KeyName::parse(" ci 🔑 ").unwrap().as_str(), "ci 🔑");
        assert!(KeyName::parse(&"é".repeat(100)).is_ok());
        for text in ["", "  ", "a\nb", "a\r\nb", "a\u{0}b", "\u{1b}[31m", &"é".repeat(101)] {
            assert_eq!(KeyName::parse(text).unwrap_err().code, "invalid_name", "{text:?}");
        }
    }

    #[test]
    fn a_key_cannot_be_born_dead() {
        let now = Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0).unwrap();
        let checked = |text: &str| parse_expiry(text).and_then(|end| check_expiry(end, now));
        assert!(checked("2030-01-01T00:00:01Z").is_ok());
        for past in ["2030-01-01T00:00:00Z", "1999-01-01T00:00:00Z"] {
            assert_eq!(checked(past).unwrap_err().code, "expires_in_the_past");
        }
        assert_eq!(checked("tomorrow").unwrap_err().code, "invalid_timestamp");
    }

    #[test]
    fn the_grace_of_a_rotation_is_at_most_a_day() {
        assert_eq!(parse_grace(0).unwrap(), Duration::ZERO);
        assert_eq!(parse_grace(86_400).unwrap(), Duration::from_secs(86_400));
        for secs in [-1, 86_401, i64::MAX, i64::MIN] {
            assert_eq!(parse_grace(secs).unwrap_err().code, "out_of_range");
        }
    }

    proptest! {
        #[test]
        fn one_changed_character_is_always_refused(at in 0..40usize, with in "[0-9A-Za-z_]") {
            let key = ApiKeySecret::generate();
            let with = with.chars().next().unwrap();
            let mut chars: Vec<char> = key.expose().chars().collect();
            prop_assume!(chars[at] != with);
            chars[at] = with;
            let changed: String = chars.into_iter().collect();
            prop_assert!(ApiKeySecret::parse(&changed).is_none());
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}|key_\\PC{0,40}") {
            if let Some(key) = ApiKeySecret::parse(&text) {
                prop_assert_eq!(key.expose(), &text);
            }
        }
    }
}
