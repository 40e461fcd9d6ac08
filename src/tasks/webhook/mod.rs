//! Webhooks: signed, to public addresses only, without redirects.

mod addresses;
mod delivery;
mod signature;

use std::{fmt, time::Duration};

use reqwest::{Client, redirect};

pub use delivery::WebhookDeliver;

use crate::domain::{Error, Result};

/// Delivers webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    key: Vec<u8>,
    allow_private: bool,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("allow_private", &self.allow_private).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Signs with `key`; gives up a delivery after `timeout`. `allow_private`: to whatever address a name leads.
    ///
    /// # Errors
    /// [`Error::Internal`] when the HTTP client cannot be made.
    pub fn new(key: Vec<u8>, allow_private: bool, timeout: Duration) -> Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("starter/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout / 2)
            // A redirect could lead where the first address may not.
            .redirect(redirect::Policy::none())
            // A proxy would look up the name itself, so nobody would judge the address.
            .no_proxy()
            .dns_resolver(addresses::Resolver { allow_private })
            // What was resolved and judged for one delivery is not used for the next.
            .pool_max_idle_per_host(0)
            .tls_backend_preconfigured(tls()?)
            .build()
            .map_err(Error::internal)?;
        Ok(Self { client, key, allow_private })
    }
}

fn tls() -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::internal)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
