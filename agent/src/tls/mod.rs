//! mTLS of the tunnel: TLS 1.3 only, SPIFFE identities instead of names, post-quantum key exchange first.
//!
//! ```text
//! certificate (WorkloadCertificate, TrustBundle) ─► config (rustls configs) ─► verifier (chain, then identity) ─► Peer
//! ```

pub mod certificate;
pub mod config;
pub mod verifier;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use heddle_core::identity::Identity;
use heddle_core::names::PodUid;

pub use certificate::{TrustBundle, WorkloadCertificate};
pub use config::{client_config, controller_client_config, server_config};

/// Certificates of the node's pods, ready for handshakes. The identity store implements it, and the tests.
///
/// Called on the path of new tunnels only; an implementation keeps its configs built and answers without blocking.
/// An expired certificate is never answered.
pub trait Credentials: fmt::Debug + Send + Sync + 'static {
    /// What the pod's port 15008 presents and demands.
    fn server_config(&self, pod: &PodUid) -> Option<Arc<rustls::ServerConfig>>;
    /// What the pod presents when it opens a tunnel, and the identity that it must find at the other end.
    fn client_config(&self, pod: &PodUid, expected: &Identity) -> Option<Arc<rustls::ClientConfig>>;
    /// When the pod's certificate ends: its tunnels are replaced before.
    fn not_after(&self, pod: &PodUid) -> Option<SystemTime>;
}

/// Why a certificate cannot be used or is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not DER, or not X.509.
    #[error("cannot be parsed: {0}")]
    Malformed(String),
    /// No URI SAN, or more than one.
    #[error("has {0} URI names instead of one")]
    UriNames(usize),
    /// Its URI SAN is not an identity of a mesh.
    #[error("its URI name is not an identity: {0}")]
    Identity(#[from] heddle_core::identity::IdentityError),
    /// It belongs to somebody else.
    #[error("belongs to {found}, expected {expected}")]
    Unexpected {
        /// Who should be there.
        expected: Identity,
        /// Who is.
        found: Identity,
    },
    /// A trust domain that is not the mesh's.
    #[error("trust domain {0} is not trusted")]
    TrustDomain(String),
    /// No root, a bad root, or a key that does not fit.
    #[error("unusable: {0}")]
    Unusable(String),
}
