//! Secrets that the service makes and hands out once: session tokens and one-time tokens.
//!
//! 256 random bits each, so what is stored is a plain SHA-256 (OWASP ASVS 6.5.2: no salt from 112 bits on),
//! and the look-up by hash is the comparison in constant time.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Random bytes in a token.
const RANDOM_BYTES: usize = 32;
/// The same in base64url without padding.
const ENCODED_CHARS: usize = 43;

/// SHA-256 of a whole secret, prefix included: all that is ever stored of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Of a secret's text.
    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// For a `bytea` parameter.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whoever has the hash may find the row, so logs get no part of it.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Encodes fresh random bytes behind a prefix.
fn generate(prefix: &str) -> SecretString {
    let random: [u8; RANDOM_BYTES] = rand::random();
    let mut text = String::with_capacity(prefix.len() + ENCODED_CHARS);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(random, &mut text);
    text.into()
}

/// Takes exactly what [`generate`] can make: one spelling for each secret, so that a changed last character is not
/// the same token.
fn parse(prefix: &str, text: &str) -> Option<SecretString> {
    let encoded = text.strip_prefix(prefix)?;
    if encoded.len() != ENCODED_CHARS {
        return None;
    }
    let mut random = [0; RANDOM_BYTES];
    // This engine refuses padding, other alphabets and trailing bits that are not zero.
    let decoded = URL_SAFE_NO_PAD.decode_slice(encoded, &mut random).ok()?;
    (decoded == RANDOM_BYTES).then(|| text.to_owned().into())
}

macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// What every one begins with, so that scanners for leaked secrets find it.
            pub const PREFIX: &str = $prefix;

            /// A new one, from a cryptographic generator that the operating system seeds.
            pub fn generate() -> Self {
                Self(generate(Self::PREFIX))
            }

            /// `None` for anything that [`Self::generate`] could not have made: no query is worth it.
            pub fn parse(text: &str) -> Option<Self> {
                parse(Self::PREFIX, text).map(Self)
            }

            /// What is stored and looked up.
            pub fn hash(&self) -> TokenHash {
                TokenHash::of(self.0.expose_secret())
            }

            /// The secret itself, for the one answer or mail that hands it over.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

tokens! {
    /// Proves that a caller has logged in: `sess_` and 43 base64url characters.
    SessionToken = "sess_";
    /// Proves that somebody reads a mailbox: `ott_` and 43 base64url characters, for a link in a mail.
    OneTimeToken = "ott_";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_have_the_published_form_and_differ() {
        let token = SessionToken::generate();
        assert_eq!(token.expose().len(), 48);
        assert!(token.expose().starts_with("sess_"));
        assert_ne!(token.expose(), SessionToken::generate().expose());
        assert!(OneTimeToken::generate().expose().starts_with("ott_"));
    }

    #[test]
    fn a_token_is_found_again_by_the_hash_of_its_whole_text() {
        let token = SessionToken::generate();
        assert_eq!(SessionToken::parse(token.expose()).unwrap().hash(), token.hash());
        assert_eq!(token.hash().0, <[u8; 32]>::from(Sha256::digest(token.expose())));
        assert_eq!(token.hash().as_bytes().len(), 32);
    }

    #[test]
    fn one_kind_of_token_is_not_taken_for_another() {
        assert!(SessionToken::parse(OneTimeToken::generate().expose()).is_none());
        assert!(OneTimeToken::parse(SessionToken::generate().expose()).is_none());
    }

    #[test]
    fn near_misses_are_refused() {
        let token = SessionToken::generate();
        let good = token.expose();
        for bad in [
            String::new(),
            "sess_".to_owned(),
            good[..47].to_owned(),
            format!("{good}="),
            format!("{good}A"),
            format!(" {good}"),
            format!("{good}\0"),
            good.replacen("sess_", "SESS_", 1),
            format!("sess_{}", "+".repeat(43)),
            format!("sess_{}é", "A".repeat(41)),
        ] {
            assert!(SessionToken::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_one_spelling_of_the_last_character_is_taken() {
        let body = "A".repeat(42);
        let accepted = ('A'..='Z')
            .chain('a'..='z')
            .chain('0'..='9')
            .chain(['-', '_'])
            .filter(|last| SessionToken::parse(&format!("sess_{body}{last}")).is_some())
            .count();
        assert_eq!(accepted, 16, "the last character carries four bits");
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let token = SessionToken::generate();
        assert_eq!(format!("{token:?} {:?}", token.hash()), "SessionToken(…) TokenHash(…)");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_exactly_a_made_token(text in "\\PC{0,60}|sess_[A-Za-z0-9_-]{42,44}") {
            if SessionToken::parse(&text).is_some() {
                let bytes = URL_SAFE_NO_PAD.decode(&text[5..]).unwrap();
                prop_assert_eq!(format!("sess_{}", URL_SAFE_NO_PAD.encode(bytes)), text);
            }
        }

        #[test]
        fn one_changed_character_is_another_token_or_none(at in 0..48usize, with in any::<char>()) {
            let token = SessionToken::generate();
            let mut chars: Vec<char> = token.expose().chars().collect();
            prop_assume!(chars[at] != with);
            chars[at] = with;
            let changed: String = chars.into_iter().collect();
            prop_assert!(SessionToken::parse(&changed).is_none_or(|other| other.hash() != token.hash()));
        }
    }
}
