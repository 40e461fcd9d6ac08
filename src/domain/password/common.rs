//! The compiled-in lists of common passwords. Where they come from: `README.md` beside this file.

use sha2::{Digest as _, Sha256};

const PREFIX_BYTES: usize = 5;

/// What nobody may use as a whole password.
pub(super) static COMMON: Digests = Digests(include_bytes!("common.bin"));
/// Words that a password gains little by.
pub(super) static STEMS: Digests = Digests(include_bytes!("stems.bin"));

/// A sorted list of the first bytes of SHA-256 digests.
pub(super) struct Digests(&'static [u8]);

impl Digests {
    /// Whether `text`, lowercased and in NFC, is in the list.
    pub(super) fn contains(&self, text: &str) -> bool {
        let digest = Sha256::digest(text.as_bytes());
        let (entries, _) = self.0.as_chunks::<PREFIX_BYTES>();
        digest.first_chunk().is_some_and(|prefix| entries.binary_search(prefix).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_whole_and_sorted() {
        for (list, least) in [(&COMMON, 100_000), (&STEMS, 16_000)] {
            let (entries, rest) = list.0.as_chunks::<PREFIX_BYTES>();
            assert!(rest.is_empty() && entries.len() > least);
            assert!(entries.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn they_know_what_everybody_knows() {
        for text in ["password", "password1234", "123456789012", "qwertyuiop12", "aaaaaaaaaaaa"] {
            assert!(COMMON.contains(text), "{text}");
        }
        for text in ["password", "letmein", "dragon"] {
            assert!(STEMS.contains(text), "{text}");
        }
        assert!(!COMMON.contains("") && !STEMS.contains("kx7#mq2pzz"));
    }
}
