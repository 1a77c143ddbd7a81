//! The self-made root: made once, kept in a folder that only root reads, loaded again after a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use heddle_core::identity::Identity;

const ROOT_DAYS: i64 = 3650;
/// Clocks of nodes may be this far behind ours.
const BACK_DATE: Duration = Duration::from_secs(300);

/// Signs certificates of workloads.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
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

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file or folder.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// The files do not hold a key and its certificate, or one could not be made.
    #[error("root certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// One of the two files is there and the other is not.
    #[error("{0} holds only one of root-key.pem and root-cert.pem")]
    Half(String),
}

impl Root {
    /// Loads the root of a folder, or makes one there.
    ///
    /// # Errors
    /// The folder cannot be used, or what it holds is not a root.
    pub fn open(folder: &Path, trust_domain: &str) -> Result<Self, RootError> {
        let file_error = |error| RootError::File(folder.display().to_string(), error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file_error)?;
        let (key_path, cert_path) = (folder.join("root-key.pem"), folder.join("root-cert.pem"));
        match (key_path.exists(), cert_path.exists()) {
            (true, true) => {
                fs::set_permissions(&key_path, fs::Permissions::from_mode(0o600)).map_err(file_error)?;
                let key = KeyPair::from_pem(&fs::read_to_string(&key_path).map_err(file_error)?)?;
                let pem = fs::read_to_string(&cert_path).map_err(file_error)?;
                Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, key)?, pem })
            }
            (false, false) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let params = root_params(trust_domain);
                let pem = params.self_signed(&key)?.pem();
                write_private(&key_path, &key.serialize_pem()).map_err(file_error)?;
                write_private(&cert_path, &pem).map_err(file_error)?;
                Ok(Self { issuer: Issuer::new(params, key), pem })
            }
            _ => Err(RootError::Half(folder.display().to_string())),
        }
    }

    /// The certificate of the root, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for an identity: one URI SAN, both directions of TLS, nothing of the request but its key.
    ///
    /// # Errors
    /// The identity cannot be put into a certificate.
    pub fn sign(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, rcgen::Error> {
        let serial = fresh_serial();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = now - BACK_DATE.min(ttl);
        params.not_after = now + ttl;
        params.subject_alt_names = vec![SanType::URI(identity.to_string().as_str().try_into()?)];
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
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

/// Writes a file that only its owner reads, whole or not at all.
///
/// # Errors
/// The folder cannot be written to.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn root_params(trust_domain: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACK_DATE;
    params.not_after = now + time::Duration::days(ROOT_DAYS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain);
    params.distinguished_name.push(DnType::CommonName, "Heddle root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(SerialNumber::from_slice(&fresh_serial()));
    params
}

/// 126 random bits: positive, without a leading zero octet (RFC 5280 section 4.1.2.2).
fn fresh_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    // The generator of aws-lc does not fail; were it to, an all-zero serial would still be set apart below.
    let _ = aws_lc_rs::rand::fill(&mut serial);
    serial[0] = (serial[0] & 0x3f) | 0x40;
    serial
}
