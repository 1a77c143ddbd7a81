//! TLS of a client that looks at the SPIFFE id itself.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub(super) fn client() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Possession(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Exactly one URI, the controller's, in a certificate that the published root signed.
pub(super) fn check(chain: &[CertificateDer<'_>], root_pem: &str) {
    let between: Vec<CertificateDer<'_>> = chain[1..].to_vec();
    verify_chain(&chain[0], &between, root_pem);
    assert_eq!(sans(&chain[0]), ["spiffe://cluster.local/ns/heddle-system/sa/heddle-controller"]);
}

/// A leaf that a root signed itself.
pub fn verify(der: &[u8], root_pem: &str) {
    verify_chain(der, &[], root_pem);
}

/// The chain, as every TLS library looks at it.
pub fn verify_chain(der: &[u8], between: &[CertificateDer<'_>], root_pem: &str) {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let der = CertificateDer::from(der);
    let leaf = ParsedCertificate::try_from(&der).unwrap();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let now = UnixTime::now();
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, between, now, algorithms.all).unwrap();
}

/// Every subject alternative name.
pub fn sans(der: &[u8]) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => format!("{other:?}"),
    };
    names.iter().map(text).collect()
}

/// Checks that the server has the key of its certificate; the certificate is looked at by [`check`].
#[derive(Debug)]
struct Possession(Arc<CryptoProvider>);

impl ServerCertVerifier for Possession {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
