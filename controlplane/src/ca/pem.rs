//! Certificates and keys as text (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const LINE: usize = 64;

/// Every certificate of a text; blocks of another kind are passed over.
///
/// # Errors
/// A block is broken.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())
}

/// The first private key of a text, as PKCS #8, PKCS #1 or SEC 1: RSA, ECDSA or Ed25519.
///
/// # Errors
/// There is none that can sign. The text of the error holds nothing of the key.
pub fn key(text: &str) -> Result<KeyPair, String> {
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_secret| "holds no unencrypted private key (PKCS #8, PKCS #1 or SEC 1)".to_owned())?;
    KeyPair::try_from(&der).map_err(|_secret| {
        "holds a key of a kind that cannot sign here; take RSA, ECDSA P-256 or P-384".to_owned()
    })
}

/// A certificate as one block.
pub fn of(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut lines = String::with_capacity(text.len() + text.len() / LINE + 64);
    lines.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        lines.push_str(line);
        lines.push('\n');
        rest = after;
    }
    lines.push_str("-----END CERTIFICATE-----\n");
    lines
}
