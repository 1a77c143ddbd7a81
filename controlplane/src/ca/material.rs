//! A signer from what a folder or a Secret holds, looked at from every side before it signs anything.

use heddle_core::identity::Identity;
use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem;
use super::signer::{BACK_DATE, Signer};

/// The issuer's certificate.
pub const CERT: &str = "ca-cert.pem";
/// Its private key.
pub const KEY: &str = "ca-key.pem";
/// Certificates between it and the root.
pub const CHAIN: &str = "cert-chain.pem";
/// One root or more.
pub const ROOTS: &str = "root-cert.pem";

/// The texts, by the names that Istio gives them.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    /// [`CERT`]
    pub cert: &'a str,
    /// [`KEY`]
    pub key: &'a str,
    /// [`CHAIN`]; may be empty.
    pub chain: &'a str,
    /// [`ROOTS`]; empty: the issuer is the root.
    pub roots: &'a str,
}

/// Without the key.
impl std::fmt::Debug for Material<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// What is wrong, and in which of the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct MaterialError {
    /// Name of the text.
    pub at: &'static str,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Signer {
    /// Reads it, and signs a certificate to see that a peer would accept it.
    ///
    /// # Errors
    /// Says which of the texts is wrong.
    pub fn load(
        material: Material<'_>,
        trust_domain: &str,
        now: OffsetDateTime,
    ) -> Result<Self, MaterialError> {
        let wrong = |at, what: String| MaterialError { at, what };
        let read = |at, text: &str| pem::certificates(text).map_err(|error| wrong(at, error));
        let mut own = read(CERT, material.cert)?.into_iter();
        let issuer = own.next().ok_or_else(|| wrong(CERT, "holds no certificate".to_owned()))?;
        let parsed = parse(CERT, &issuer)?;
        may_sign(&parsed, now)?;
        let key = pem::key(material.key).map_err(|what| wrong(KEY, what))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(wrong(KEY, format!("is not the key of the certificate in {CERT}")));
        }
        let mut roots = read(ROOTS, material.roots)?;
        if roots.is_empty() && material.roots.trim().is_empty() {
            roots.push(issuer.clone());
        }
        if roots.is_empty() {
            return Err(wrong(ROOTS, "holds no certificate".to_owned()));
        }
        let mut chain = Vec::new();
        let above = own.chain(read(CHAIN, material.chain)?);
        for certificate in std::iter::once(issuer.clone()).chain(above) {
            if !roots.contains(&certificate) && !chain.contains(&certificate) && !is_root(&certificate) {
                chain.push(certificate);
            }
        }
        let mut ends = not_after(CERT, &issuer)?;
        for certificate in &chain {
            ends = ends.min(not_after(CHAIN, certificate)?);
        }
        let mut last = OffsetDateTime::UNIX_EPOCH;
        for root in &roots {
            last = last.max(not_after(ROOTS, root)?);
        }
        let issuer =
            Issuer::from_ca_cert_der(&issuer, key).map_err(|error| wrong(CERT, error.to_string()))?;
        let signer = Self { issuer, chain, roots, ends: ends.min(last) };
        signer.try_out(trust_domain, now)?;
        Ok(signer)
    }

    /// Signs a certificate and verifies it as a peer does: signatures, validity, path lengths, names.
    fn try_out(&self, trust_domain: &str, now: OffsetDateTime) -> Result<(), MaterialError> {
        let wrong = |at, what: String| MaterialError { at, what };
        let identity = Identity::new(trust_domain, "heddle-system", "heddle-controller")
            .map_err(|error| wrong(CERT, error.to_string()))?;
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| wrong(KEY, error.to_string()))?;
        let issued =
            self.sign(&key, &identity, BACK_DATE, now).map_err(|error| wrong(CERT, error.to_string()))?;
        if !self.vouches(&self.chain, &issued.der, now)? {
            let what = format!(
                "what {CERT} signs does not verify: no chain of certificates that are valid now leads from it to one in {ROOTS}"
            );
            return Err(wrong(CHAIN, what));
        }
        Ok(())
    }

    /// Whether these roots are enough to trust a leaf.
    fn vouches(
        &self,
        chain: &[CertificateDer<'_>],
        leaf: &[u8],
        now: OffsetDateTime,
    ) -> Result<bool, MaterialError> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone()).map_err(|error| MaterialError { at: ROOTS, what: error.to_string() })?;
        }
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let leaf = CertificateDer::from(leaf);
        let parsed = ParsedCertificate::try_from(&leaf);
        Ok(parsed.is_ok_and(|leaf| {
            verify_server_cert_signed_by_trust_anchor(&leaf, &store, chain, now, algorithms)
                .inspect_err(|error| tracing::debug!(%error, "a certificate authority is tried out"))
                .is_ok()
        }))
    }
}

fn parse<'a>(at: &'static str, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, MaterialError> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|error| MaterialError {
        at,
        what: format!("holds a certificate that cannot be read: {error}"),
    })
}

fn may_sign(issuer: &X509Certificate<'_>, now: OffsetDateTime) -> Result<(), MaterialError> {
    let wrong = |what: &str| Err(MaterialError { at: CERT, what: what.to_owned() });
    if !issuer.is_ca() {
        return wrong("is not the certificate of an authority (basicConstraints CA:TRUE)");
    }
    let usage = issuer.key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return wrong("may not sign certificates (keyUsage without keyCertSign)");
    }
    let (begins, ends) = (issuer.validity().not_before, issuer.validity().not_after);
    if begins.timestamp() > now.unix_timestamp() {
        return wrong(&format!("is not valid before {begins}"));
    }
    if ends.timestamp() <= now.unix_timestamp() {
        return wrong(&format!("has ended at {ends}"));
    }
    Ok(())
}

fn not_after(at: &'static str, der: &CertificateDer<'_>) -> Result<OffsetDateTime, MaterialError> {
    Ok(parse(at, der)?.validity().not_after.to_datetime())
}

/// Signed by itself, as its names say: peers have it already, or do not trust it.
fn is_root(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}
