//! rustls configurations of the tunnel and of the control channel.

use std::sync::{Arc, LazyLock};

use heddle_core::identity::Identity;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{ClientConfig, ServerConfig};

use super::verifier::{ClientVerifier, ServerVerifier};
use super::{CertificateError, TrustBundle, WorkloadCertificate};

/// AES-128-GCM first (the fastest with AES-NI and enough for P-256 identities), X25519MLKEM768 first.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    })
});

/// What signatures of certificates may be made with.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    PROVIDER.signature_verification_algorithms
}

const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
const H2: &[u8] = b"h2";

/// What a workload's port 15008 presents; it demands a client certificate of the workload's own trust domain.
///
/// # Errors
/// The key does not fit the certificate.
pub fn server_config(
    certificate: &WorkloadCertificate,
    roots: &TrustBundle,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let verifier = ClientVerifier::new(roots, certificate.identity.trust_domain(), &PROVIDER)?;
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(TLS13)
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key())
        .map_err(unusable)?;
    config.alpn_protocols = vec![H2.to_vec()];
    // No resumption across identities or policies, and no replay: no tickets, no cache, no early data.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// What a workload presents when it opens a tunnel; it goes on only if `expected` answers.
///
/// # Errors
/// The key does not fit the certificate.
pub fn client_config(
    certificate: &WorkloadCertificate,
    roots: &TrustBundle,
    expected: &Identity,
) -> Result<Arc<ClientConfig>, CertificateError> {
    let mut config = client_builder(roots, expected)?
        .with_client_auth_cert(certificate.chain.clone(), certificate.key.clone_key())
        .map_err(unusable)?;
    harden(&mut config);
    Ok(Arc::new(config))
}

/// For the control channel: no client certificate yet, and the controller's identity at the other end.
///
/// # Errors
/// TLS 1.3 is not available, which cannot be with the built-in provider.
pub fn controller_client_config(
    roots: &TrustBundle,
    expected: &Identity,
) -> Result<Arc<ClientConfig>, CertificateError> {
    let mut config = client_builder(roots, expected)?.with_no_client_auth();
    harden(&mut config);
    Ok(Arc::new(config))
}

fn client_builder(
    roots: &TrustBundle,
    expected: &Identity,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, CertificateError> {
    let verifier = ServerVerifier::new(roots, expected.clone(), &PROVIDER);
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(TLS13)
        .map_err(unusable)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn harden(config: &mut ClientConfig) {
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unusable(error: rustls::Error) -> CertificateError {
    CertificateError::Unusable(error.to_string())
}
