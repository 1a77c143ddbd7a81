//! A workload's certificate and the set of roots that it believes in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use heddle_core::identity::Identity;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertificateError, config};

/// A leaf with its intermediates and key. The key shows in no log and no debug output.
pub struct WorkloadCertificate {
    /// Whose it is: the leaf's only URI SAN.
    pub identity: Identity,
    /// Leaf first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// From when.
    pub not_before: SystemTime,
    /// Until when; it is not presented afterwards.
    pub not_after: SystemTime,
    /// The leaf's serial number, in hexadecimal.
    pub serial: Box<str>,
}

impl WorkloadCertificate {
    /// Reads identity and lifetime out of the leaf.
    ///
    /// # Errors
    /// No leaf, or a leaf that is not a workload's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or_else(|| CertificateError::Malformed("no certificate".into()))?;
        let Leaf { identity, not_before, not_after, serial } = Leaf::read(leaf)?;
        Ok(Self { identity, chain, key, not_before, not_after, serial })
    }

    /// Whether it may be presented at `now`.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("identity", &self.identity)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What a leaf says of itself; to be believed only after its chain was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its only URI SAN.
    pub identity: Identity,
    /// From when.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// Serial number, in hexadecimal.
    pub serial: Box<str>,
}

impl Leaf {
    /// Reads a leaf: exactly one URI SAN, byte for byte an identity (SPIFFE X.509-SVID section 2).
    /// Names of other kinds count for nothing.
    ///
    /// # Errors
    /// Anything else.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |error: &dyn fmt::Display| CertificateError::Malformed(error.to_string());
        let (rest, leaf) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed("bytes after the certificate".into()));
        }
        let names = leaf.subject_alternative_name().map_err(|error| malformed(&error))?;
        let mut uris =
            names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err(CertificateError::UriNames(uri_count(&leaf)));
        };
        Ok(Self {
            identity: Identity::parse(uri)?,
            not_before: instant(leaf.validity().not_before.timestamp()),
            not_after: instant(leaf.validity().not_after.timestamp()),
            serial: leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        })
    }
}

fn uri_count(leaf: &X509Certificate<'_>) -> usize {
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return 0 };
    names.value.general_names.iter().filter(|name| matches!(name, GeneralName::URI(_))).count()
}

fn instant(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The roots of the mesh: a set, so that they rotate without a failed handshake.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    store: Arc<RootCertStore>,
    roots: Arc<[CertificateDer<'static>]>,
}

impl TrustBundle {
    /// Takes roots as they are.
    ///
    /// # Errors
    /// There is none, or one cannot be used.
    pub fn new(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, CertificateError> {
        let roots: Arc<[CertificateDer<'static>]> = roots.into_iter().collect();
        let mut store = RootCertStore::empty();
        for root in roots.iter() {
            store.add(root.clone()).map_err(|error| CertificateError::Unusable(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(CertificateError::Unusable("the trust bundle has no root".into()));
        }
        Ok(Self { store: Arc::new(store), roots })
    }

    /// Reads PEM; anything in it that is not a certificate is passed over.
    ///
    /// # Errors
    /// There is no root, or one cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        Self::new(roots.map_err(|error| CertificateError::Malformed(error.to_string()))?)
    }

    /// The roots.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Whether a certificate leads to one of them now: to peers that have this bundle it is worth something.
    pub fn signs(&self, certificate: &WorkloadCertificate, now: SystemTime) -> bool {
        let Some((leaf, intermediates)) = certificate.chain.split_first() else { return false };
        let Ok(since) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let algorithms = config::algorithms().all;
        let now = UnixTime::since_unix_epoch(since);
        ParsedCertificate::try_from(leaf).is_ok_and(|leaf| {
            verify_server_cert_signed_by_trust_anchor(&leaf, &self.store, intermediates, now, algorithms)
                .is_ok()
        })
    }

    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots
    }
}
impl Eq for TrustBundle {}
