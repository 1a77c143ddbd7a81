//! The certificate that an echo server shows: the files that it is told, else one of its own making.
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Accepts TLS with the certificate of these files.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let read = |path: &Path, error: rustls::pki_types::pem::Error| {
        io::Error::other(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| read(certificate, error))?;
    with(chain, PrivateKeyDer::from_pem_file(key).map_err(|error| read(key, error))?)
}

/// Accepts TLS with a fresh certificate that nobody has signed.
pub(super) fn self_made(names: Vec<String>) -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    with(vec![made.cert.der().clone()], key)
}

fn with(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
