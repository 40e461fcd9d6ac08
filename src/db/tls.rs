//! TLS to the database, with the words of libpq (PostgreSQL documentation, section 34.19.3).

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::domain::{Error, Result};

/// What the certificate of the server has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: the connection is private from those who only listen.
    None,
    /// A known authority signed it.
    Authority,
    /// A known authority signed it for the very host that was asked for.
    Host,
}

/// `sslmode` and `sslrootcert` of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) mode: SslMode,
    pub(super) proof: Proof,
    /// File of authorities, PEM; those of the operating system without it.
    pub(super) authorities: Option<String>,
}

impl Tls {
    /// From the values of the two parameters; `None` where the mode is not one of libpq's.
    pub(super) fn parse(mode: Option<&str>, authorities: Option<String>) -> Option<Self> {
        let authorities = authorities.filter(|file| file != "system");
        let (mode, proof) = match mode.unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Proof::None),
            "prefer" => (SslMode::Prefer, Proof::None),
            // As in libpq: whoever names authorities wants them asked.
            "require" if authorities.is_some() => (SslMode::Require, Proof::Authority),
            "require" => (SslMode::Require, Proof::None),
            "verify-ca" => (SslMode::Require, Proof::Authority),
            "verify-full" => (SslMode::Require, Proof::Host),
            _ => return None,
        };
        Some(Self { mode, proof, authorities })
    }

    /// What tokio-postgres needs to make such connections.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(Error::internal)?;
        let config = match self.proof {
            Proof::Host => builder.with_root_certificates(self.roots()?),
            Proof::Authority | Proof::None => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(self.lenient(provider)?))
            }
        };
        Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
    }

    fn lenient(&self, provider: Arc<CryptoProvider>) -> Result<Lenient> {
        let authorities = match self.proof {
            Proof::None => None,
            Proof::Authority | Proof::Host => {
                let roots = Arc::new(self.roots()?);
                let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(builder.build().map_err(|cause| Error::unavailable("database", cause))?)
            }
        };
        Ok(Lenient { provider, authorities })
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let unusable = |why: String| Error::unavailable("database", why);
        match &self.authorities {
            Some(file) => {
                for certificate in CertificateDer::pem_file_iter(Path::new(file))
                    .map_err(|cause| unusable(format!("sslrootcert cannot be read: {cause}")))?
                {
                    let certificate =
                        certificate.map_err(|cause| unusable(format!("sslrootcert is not PEM: {cause}")))?;
                    roots
                        .add(certificate)
                        .map_err(|cause| unusable(format!("sslrootcert is of no use: {cause}")))?;
                }
            }
            None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        }
        if roots.is_empty() {
            return Err(unusable(
                "no certificate authority known: name a file of them in sslrootcert".into(),
            ));
        }
        Ok(roots)
    }
}

/// Checks less of a certificate than a browser does, and the handshake in full.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// Asked whether they signed the certificate, for any host; `None`: anybody may have.
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, so that one of these errors says that all else was well.
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
