//! A certificate of its own for `localhost`, which a kubeconfig carries along.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// The server's side, and the certificate that clients are to trust, as PEM.
pub(crate) fn acceptor(address: IpAddr) -> std::io::Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".to_owned(), "kubernetes.default.svc".to_owned(), address.to_string()];
    let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .map_err(std::io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}
