//! One way to reach the controller: TLS 1.3 to its pinned identity, with this node's join token on every call.

use std::path::PathBuf;
use std::time::Duration;

use heddle_core::identity::Identity;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tls::{self, TrustBundle};

const CONNECT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Where the controller is and how it is known.
#[derive(Clone, Debug)]
pub struct Controller {
    /// `HOST:PORT`.
    pub address: String,
    /// PEM file of the roots that may have signed it.
    pub root_cert: PathBuf,
    /// Its trust domain.
    pub trust_domain: String,
    /// File with the join token.
    pub token_file: PathBuf,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file that the operator provides cannot be read.
    #[error("{0}: {1}")]
    File(String, String),
    /// The trust domain or the address is malformed.
    #[error("{0}")]
    Option(String),
    /// The network, or TLS.
    #[error("{0}")]
    Transport(String),
}

impl Controller {
    /// A channel that is connected now, for the discovery stream.
    ///
    /// # Errors
    /// Names the file, the option or the failure of the network or of TLS.
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        let (endpoint, tls) = (self.endpoint()?, self.tls()?);
        let connector = tower::service_fn(move |uri: Uri| dial(uri, tls.clone()));
        let connected = endpoint.connect_with_connector(connector).await;
        connected.map_err(|error| ConnectError::Transport(causes(&error)))
    }

    /// A channel that connects when it is used, and again when it broke: for certificates.
    ///
    /// # Errors
    /// The address is malformed.
    pub fn connect_lazily(&self) -> Result<Channel, ConnectError> {
        let controller = self.clone();
        let connector = tower::service_fn(move |uri: Uri| {
            let tls = controller.tls().map_err(std::io::Error::other); // anew each time: roots rotate
            async move { dial(uri, tls?).await }
        });
        Ok(self.endpoint()?.connect_with_connector_lazy(connector))
    }

    /// The credential of the next call; read anew, because it rotates.
    ///
    /// # Errors
    /// The file cannot be read or holds no token.
    pub fn bearer(&self) -> Result<MetadataValue<Ascii>, ConnectError> {
        let file = |reason: String| ConnectError::File(self.token_file.display().to_string(), reason);
        let token = std::fs::read_to_string(&self.token_file).map_err(|error| file(error.to_string()))?;
        if token.trim().is_empty() {
            return Err(file("there is no token in it".to_owned()));
        }
        let parsed = format!("Bearer {}", token.trim()).parse::<MetadataValue<Ascii>>();
        let mut value = parsed.map_err(|_secret| file("it holds something else than a token".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn endpoint(&self) -> Result<Endpoint, ConnectError> {
        // The scheme is plain because TLS is ours: tonic's own would verify a DNS name instead of an identity.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|error| ConnectError::Option(format!("controller '{}': {error}", self.address)))?;
        Ok(endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true))
    }

    fn tls(&self) -> Result<TlsConnector, ConnectError> {
        let file = |reason: String| ConnectError::File(self.root_cert.display().to_string(), reason);
        let expected = Identity::new(&self.trust_domain, "heddle-system", "heddle-controller")
            .map_err(|error| ConnectError::Option(format!("trust domain: {error}")))?;
        let pem = std::fs::read(&self.root_cert).map_err(|error| file(error.to_string()))?;
        let roots = TrustBundle::from_pem(&pem).map_err(|error| file(error.to_string()))?;
        let config = tls::controller_client_config(&roots, &expected);
        config.map(TlsConnector::from).map_err(|error| ConnectError::Option(error.to_string()))
    }
}

async fn dial(uri: Uri, tls: TlsConnector) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let connected = tokio::time::timeout(CONNECT, async {
        let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(15012))).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("heddle-controller").map_err(std::io::Error::other)?;
        tls.connect(name, tcp).await.map_err(plainly)
    });
    connected.await?.map(TokioIo::new)
}

/// rustls prints what our own verifier says in Rust's debug form; people get its words.
fn plainly(error: std::io::Error) -> std::io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
            std::io::Error::other(format!("the certificate of the controller {other}"))
        }
        _ => error,
    }
}

/// An error with its causes: tonic's own text is often only "transport error".
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
