//! What signs certificates of workloads: a root of our own, or an intermediate of somebody else's.

use std::time::Duration;

use heddle_core::identity::Identity;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::pem;

/// Clocks of nodes may be this far behind ours.
pub(super) const BACK_DATE: Duration = Duration::from_secs(300);

/// Signs certificates of workloads.
pub struct Signer {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// From the issuer's own certificate up to below the root; empty where a root signs by itself.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whoever trusts one of these trusts what is signed.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// When the first of the chain ends: nothing that is signed may outlive it.
    pub(super) ends: OffsetDateTime,
}

/// One certificate, just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf, PEM.
    pub pem: String,
    /// Leaf, DER.
    pub der: Vec<u8>,
    /// Serial number, hex.
    pub serial: String,
    /// First moment of validity.
    pub not_before: OffsetDateTime,
    /// Last moment of validity.
    pub not_after: OffsetDateTime,
}

/// Why nothing was signed. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The issuer's certificate, or one above it, has ended.
    #[error("the certificate authority's own certificate ended at {0}")]
    Ended(OffsetDateTime),
    /// The certificate could not be made.
    #[error(transparent)]
    Make(#[from] rcgen::Error),
}

impl Signer {
    /// Signs a certificate for an identity: one URI SAN, both directions of TLS, nothing of the request but its key.
    ///
    /// # Errors
    /// The issuer has ended, or the identity cannot be put into a certificate.
    pub fn sign(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, SignError> {
        if self.ends <= now {
            return Err(SignError::Ended(self.ends));
        }
        let serial = fresh_serial();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = now - BACK_DATE.min(ttl);
        params.not_after = (now + ttl).min(self.ends);
        params.subject_alt_names =
            vec![SanType::URI(identity.to_string().as_str().try_into().map_err(SignError::Make)?)];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let (not_before, not_after) = (params.not_before, params.not_after);
        let certificate = params.signed_by(key, &self.issuer)?;
        let serial = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Issued { pem: certificate.pem(), der: certificate.der().to_vec(), serial, not_before, not_after })
    }

    /// What goes with a leaf: the chain below the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Each root as a block of its own.
    pub fn roots(&self) -> Vec<String> {
        self.roots.iter().map(pem::of).collect()
    }

    /// When it stops signing.
    pub fn ends(&self) -> OffsetDateTime {
        self.ends
    }

    /// The same key, under the same certificates.
    pub fn is(&self, other: &Self) -> bool {
        self.issuer.key().public_key_raw() == other.issuer.key().public_key_raw()
            && self.chain == other.chain
            && self.roots == other.roots
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// 126 random bits: positive, without a leading zero octet (RFC 5280 section 4.1.2.2).
pub(super) fn fresh_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    // The generator of aws-lc does not fail; were it to, an all-zero serial would still be set apart below.
    let _ = aws_lc_rs::rand::fill(&mut serial);
    serial[0] = (serial[0] & 0x3f) | 0x40;
    serial
}
