//! The self-made root; in the sandbox, kept in a folder that only root reads and loaded again after a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SerialNumber,
};
use time::OffsetDateTime;

use super::material::{Material, MaterialError};
use super::signer::{BACK_DATE, Signer, fresh_serial};

const ROOT_DAYS: i64 = 3650;

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file or folder.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// One could not be made.
    #[error("root certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The files do not hold a key and its certificate.
    #[error("root certificate: {0}")]
    Certificate(#[from] MaterialError),
    /// One of the two files is there and the other is not.
    #[error("{0} holds only one of root-key.pem and root-cert.pem")]
    Half(String),
}

/// A key and its certificate, as text.
pub(super) struct Made {
    pub(super) key: String,
    pub(super) cert: String,
}

/// Makes a root: ECDSA P-256, ten years, for leaves only.
pub(super) fn make(trust_domain: &str) -> Result<Made, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params(trust_domain).self_signed(&key)?.pem();
    Ok(Made { key: key.serialize_pem(), cert })
}

impl Made {
    pub(super) fn material(&self) -> Material<'_> {
        Material { cert: &self.cert, key: &self.key, chain: "", roots: "" }
    }
}

/// Loads the root of a folder, or makes one there.
///
/// # Errors
/// The folder cannot be used, or what it holds is not a root.
pub fn open(folder: &Path, trust_domain: &str) -> Result<Signer, RootError> {
    let file_error = |error| RootError::File(folder.display().to_string(), error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file_error)?;
    let (key_path, cert_path) = (folder.join("root-key.pem"), folder.join("root-cert.pem"));
    let made = match (key_path.exists(), cert_path.exists()) {
        (true, true) => {
            fs::set_permissions(&key_path, fs::Permissions::from_mode(0o600)).map_err(file_error)?;
            let key = fs::read_to_string(&key_path).map_err(file_error)?;
            Made { key, cert: fs::read_to_string(&cert_path).map_err(file_error)? }
        }
        (false, false) => {
            let made = make(trust_domain)?;
            write_private(&key_path, &made.key).map_err(file_error)?;
            write_private(&cert_path, &made.cert).map_err(file_error)?;
            made
        }
        _ => return Err(RootError::Half(folder.display().to_string())),
    };
    Ok(Signer::load(made.material(), trust_domain, OffsetDateTime::now_utc())?)
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

fn params(trust_domain: &str) -> CertificateParams {
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
