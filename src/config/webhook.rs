//! `STARTER__WEBHOOK__*`: deliveries of the task `webhook.deliver`.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;

use super::{
    problem::Problems,
    section::{Check, section},
    value::exposed,
};

section! {
    /// Deliveries of webhooks.
    pub struct Webhook("WEBHOOK") {
        /// Secret that deliveries are signed with (Standard Webhooks): `whsec_` and 24 to 64 bytes in base64.
        /// Without it, `webhook.deliver` is refused.
        pub secret: Option<SecretString> = None,

        /// Deliver to private, loopback and link-local addresses too.
        /// Lets whoever may enqueue tasks reach into the network of the worker.
        pub allow_private: bool = false,

        /// Longest time for one delivery, seconds.
        pub timeout_secs: u64 = 15 => 1..=300,
    }
}

impl Webhook {
    /// The key that deliveries are signed with: the bytes behind `whsec_`.
    pub fn signing_key(&self) -> Option<Vec<u8>> {
        let encoded = exposed(self.secret.as_ref()?).strip_prefix("whsec_")?;
        STANDARD.decode(encoded).ok().filter(|key| (24..=64).contains(&key.len()))
    }
}

impl Check for Webhook {
    fn check(&self, problems: &mut Problems<'_>) {
        if self.secret.is_some() && self.signing_key().is_none() {
            problems.add(
                "STARTER__WEBHOOK__SECRET",
                "not a signing secret",
                "whsec_ followed by 24 to 64 bytes in base64, as from: echo whsec_$(openssl rand -base64 32)",
            );
        }
    }
}
