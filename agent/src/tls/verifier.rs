//! Who is at the other end: the chain leads to a root of the bundle, and the leaf carries exactly one identity.

use std::sync::Arc;

use heddle_core::authorize::Peer;
use heddle_core::identity::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::Leaf;
use super::{CertificateError, TrustBundle};

/// The client's side: the expected identity, and nobody else, must answer. Names of the DNS count for nothing.
#[derive(Debug)]
pub struct ServerVerifier {
    roots: Arc<RootCertStore>,
    expected: Identity,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    /// Trusts `expected` under the bundle.
    pub fn new(roots: &TrustBundle, expected: Identity, provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { roots: roots.store().clone(), expected, algorithms }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let found = Leaf::read(end_entity).map_err(refused)?.identity;
        if found != self.expected {
            return Err(refused(CertificateError::Unexpected { expected: self.expected.clone(), found }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The server's side: a client certificate is mandatory, and its trust domain must be the workload's.
#[derive(Debug)]
pub struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: Box<str>,
}

impl ClientVerifier {
    /// Trusts every identity of `trust_domain` under the bundle; policy decides the rest.
    ///
    /// # Errors
    /// The bundle cannot be used.
    pub fn new(
        roots: &TrustBundle,
        trust_domain: &str,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, CertificateError> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots.store().clone(), provider.clone())
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| CertificateError::Unusable(error.to_string()))?;
        Ok(Self { chain, trust_domain: trust_domain.into() })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let found = Leaf::read(end_entity).map_err(refused)?.identity;
        if found.trust_domain() != &*self.trust_domain {
            return Err(refused(CertificateError::TrustDomain(found.trust_domain().to_owned())));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The client behind a finished server-side handshake, and when its certificate ends.
/// The verifier above has judged the chain: a handshake without it does not finish.
///
/// # Errors
/// There is no client certificate (a config that was not made here).
pub fn peer(connection: &rustls::ServerConnection) -> Result<(Peer, Leaf), CertificateError> {
    let missing = || CertificateError::Malformed("no client certificate".into());
    if connection.is_handshaking() {
        return Err(missing());
    }
    let leaf = connection.peer_certificates().and_then(<[_]>::first).ok_or_else(missing)?;
    let leaf = Leaf::read(leaf)?;
    Ok((Peer::Verified(leaf.identity.clone()), leaf))
}

fn refused(error: CertificateError) -> Error {
    Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(Arc::new(error))))
}
