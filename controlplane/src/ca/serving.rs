//! The controller's own certificate: signed as those of workloads are, renewed when half of its life is over or another signs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heddle_core::identity::Identity;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::signer::{SignError, Signer};
use super::trust::LatestTrust;

const TTL: Duration = Duration::from_secs(24 * 3600);

/// What can go wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// There is no authority yet.
    #[error("no certificate authority yet")]
    NoAuthority,
    /// Its key could not be made.
    #[error("serving certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// It could not be signed.
    #[error("serving certificate: {0}")]
    Sign(#[from] SignError),
    /// TLS does not take it.
    #[error("serving certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS 1.3 with HTTP/2, under `spiffe://<trust domain>/ns/heddle-system/sa/heddle-controller`. Before there is an authority no
/// handshake succeeds.
///
/// # Errors
/// TLS 1.3 cannot be had.
pub fn server_config(trust: LatestTrust, identity: Identity) -> Result<Arc<ServerConfig>, ServingError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let serving = Serving { trust, identity, current: Mutex::new(None) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(serving));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Serving {
    trust: LatestTrust,
    identity: Identity,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    signer: Arc<Signer>,
    renew_at: OffsetDateTime,
}

impl Serving {
    /// The certificate in use, or a new one where half of its life is over.
    fn renewed(&self, now: OffsetDateTime) -> Result<Arc<CertifiedKey>, ServingError> {
        let trust = self.trust.borrow().clone().ok_or(ServingError::NoAuthority)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &*current
            && now < current.renew_at
            && Arc::ptr_eq(&current.signer, &trust.signer)
        {
            return Ok(current.key.clone());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issued = trust.signer.sign(&key, &self.identity, TTL, now)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signing = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&private)?;
        let leaf = CertificateDer::from(issued.der);
        let chain = std::iter::once(leaf).chain(trust.signer.chain().iter().cloned()).collect();
        let key = Arc::new(CertifiedKey::new(chain, signing));
        let renew_at = now + (issued.not_after - now) / 2;
        *current = Some(Current { key: key.clone(), signer: trust.signer.clone(), renew_at });
        Ok(key)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let renewed = self.renewed(OffsetDateTime::now_utc());
        renewed
            .inspect_err(|error| match error {
                ServingError::NoAuthority => tracing::debug!(%error, "no serving certificate"),
                error => tracing::error!(%error, "no serving certificate"),
            })
            .ok()
    }
}
