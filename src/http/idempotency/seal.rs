//! Answers that hold a secret are kept so that only who asked can read them again.
//!
//! The key is derived from the credential that the request came with and from its `Idempotency-Key` (HMAC-SHA-256), and
//! the first of these is nowhere in the database, which has its hash only. So a copy of the database opens nothing, and
//! neither does another credential of the same user: he is told so, and can rotate the API key that he did not see.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

use crate::{
    domain::{
        Conflict, Error, Result,
        idempotency::{Answer, IdempotencyKey},
    },
    http::Presented,
};

/// Says what the derived key is for, so that the same credential never makes the same key for anything else.
const PURPOSE: &[u8] = b"starter/idempotent-answer/1";

/// Closes and opens answers to one request of one caller.
pub(super) struct Seal(Option<LessSafeKey>);

impl Seal {
    /// For the caller who came with `presented`.
    pub(super) fn new(presented: &Presented, key: &IdempotencyKey) -> Self {
        let credential = match presented {
            Presented::Session(token) => token.expose(),
            Presented::ApiKey(key) => key.expose(),
            Presented::None | Presented::Garbage => return Self(None),
        };
        Self(derive(credential, key))
    }

    /// The answer with its body encrypted.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub(super) fn close(&self, answer: &Answer) -> Result<Answer> {
        let nonce: [u8; NONCE_LEN] = rand::rng().random();
        let mut body = answer.body.clone();
        let key = self.0.as_ref().ok_or_else(|| Error::internal("no credential to seal an answer for"))?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body)
            .map_err(|_| Error::internal("an answer cannot be sealed"))?;
        let body = nonce.into_iter().chain(body).collect();
        Ok(Answer { body, sealed: true, ..answer.clone() })
    }

    /// The body that [`Self::close`] encrypted.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it was closed for another credential.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>> {
        let foreign = || {
            Error::Conflict(Conflict::State(
                "the first answer holds a secret that only the credential it was made for can read again",
            ))
        };
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(foreign)?;
        let key = self.0.as_ref().ok_or_else(foreign)?;
        let mut body = body.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut body)
            .map_err(|_| foreign())?;
        Ok(plain.to_vec())
    }
}

fn derive(credential: &str, key: &IdempotencyKey) -> Option<LessSafeKey> {
    let mut mac = Hmac::<Sha256>::new_from_slice(credential.as_bytes()).ok()?;
    for part in [PURPOSE, key.user.0.as_bytes(), key.text.as_bytes(), &key.request_hash] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let derived = mac.finalize().into_bytes();
    UnboundKey::new(&AES_256_GCM, &derived).ok().map(LessSafeKey::new)
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{UserId, token::SessionToken};

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey { user: UserId(uuid::Uuid::nil()), text: text.into(), request_hash: [7; 32] }
    }

    fn answer() -> Answer {
        Answer {
            status: 201,
            location: None,
            body: b"{\"key\":\"key_secret\"}".to_vec(),
            sealed: false,
            tasks: Vec::new(),
        }
    }

    #[test]
    fn who_asked_reads_the_answer_again_and_nobody_else() {
        let token = Presented::Session(SessionToken::generate());
        let closed = Seal::new(&token, &key("a")).close(&answer()).unwrap();
        assert!(closed.sealed);
        assert!(!closed.body.windows(6).any(|part| part == b"secret"));
        assert_eq!(Seal::new(&token, &key("a")).open(&closed.body).unwrap(), answer().body);
        for other in [
            Seal::new(&token, &key("b")),
            Seal::new(&Presented::Session(SessionToken::generate()), &key("a")),
            Seal::new(&Presented::None, &key("a")),
        ] {
            assert!(matches!(other.open(&closed.body), Err(Error::Conflict(_))));
        }
    }

    #[test]
    fn the_same_answer_is_never_encrypted_the_same_way_twice() {
        let seal = Seal::new(&Presented::Session(SessionToken::generate()), &key("a"));
        assert_ne!(seal.close(&answer()).unwrap().body, seal.close(&answer()).unwrap().body);
        assert!(seal.open(b"short").is_err());
    }
}
