//! The signature of Standard Webhooks 1.0: `v1,` and HMAC-SHA256 of `id.timestamp.body`, in base64; and whose key makes it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::{Error, Result, UserId};

/// Whose key signs a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    /// The service, for itself and for administrators.
    Service,
    /// A user who is no administrator, or no user any more.
    User(UserId),
}

impl Signer {
    /// Returns the value of `webhook-signer`, by which a receiver chooses the key.
    pub(super) fn name(self) -> String {
        match self {
            Self::Service => "service".to_owned(),
            Self::User(user) => format!("user/{user}"),
        }
    }

    /// Returns the key: that of a user is derived, so that nobody who has it can sign as the service or as another user.
    ///
    /// # Errors
    /// None that was ever seen: a key of any length will do.
    pub(super) fn key(self, secret: &[u8]) -> Result<Vec<u8>> {
        let Self::User(user) = self else { return Ok(secret.to_vec()) };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(Error::internal)?;
        mac.update(format!("starter webhooks of user {user}").as_bytes());
        Ok(mac.finalize().into_bytes().to_vec())
    }
}

/// The value of `webhook-signature`.
///
/// # Errors
/// None that was ever seen: a key of any length will do.
pub(super) fn sign(key: &[u8], id: &str, timestamp: i64, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_user_is_neither_the_services_nor_another_users() {
        let (alice, bobby) = (UserId::new(), UserId::new());
        let key = |signer: Signer| signer.key(b"a secret of the service").unwrap();
        assert_eq!(key(Signer::Service), b"a secret of the service");
        assert_eq!(key(Signer::User(alice)).len(), 32);
        assert_eq!(key(Signer::User(alice)), key(Signer::User(alice)));
        assert_ne!(key(Signer::User(alice)), key(Signer::User(bobby)));
        assert_eq!(Signer::User(alice).name(), format!("user/{alice}"));
    }

    /// The example of the specification's own libraries.
    #[test]
    fn it_is_the_signature_that_the_standard_shows() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
