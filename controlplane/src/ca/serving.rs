//! The controller's own certificate: signed by the mesh root, renewed when half of its life is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heddle_core::identity::Identity;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::root::Root;

const TTL: Duration = Duration::from_secs(24 * 3600);

/// What can go wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// It could not be signed.
    #[error("serving certificate: {0}")]
    Sign(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("serving certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS 1.3 with HTTP/2, under `spiffe://<trust domain>/ns/heddle-system/sa/heddle-controller`.
///
/// # Errors
/// The first certificate cannot be made.
pub fn server_config(root: Arc<Root>, identity: Identity) -> Result<Arc<ServerConfig>, ServingError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let serving = Serving { root, identity, current: Mutex::new(None) };
    serving.renewed(OffsetDateTime::now_utc())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(serving));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Serving {
    root: Arc<Root>,
    identity: Identity,
    current: Mutex<Option<(Arc<CertifiedKey>, OffsetDateTime)>>,
}

impl Serving {
    /// The certificate in use, or a new one where half of its life is over.
    fn renewed(&self, now: OffsetDateTime) -> Result<Arc<CertifiedKey>, ServingError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, renew_at)) = &*current
            && now < *renew_at
        {
            return Ok(key.clone());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issued = self.root.sign(&key, &self.identity, TTL, now)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signing = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&private)?;
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(issued.der)], signing));
        *current = Some((certified.clone(), now + TTL / 2));
        Ok(certified)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let renewed = self.renewed(OffsetDateTime::now_utc());
        renewed.inspect_err(|error| tracing::error!(%error, "no serving certificate")).ok()
    }
}
