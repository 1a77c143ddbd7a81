//! The client of the daemon's API, for one command at a time.
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::fabric::Layout;
use crate::server::ApiError;

/// Longer than the daemon takes for anything it is asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// A handle on one sandbox's daemon; a connection for each call.
#[derive(Debug)]
pub struct Client {
    layout: Layout,
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Fails when nobody answers for this sandbox.
    pub fn open(layout: &Layout) -> Result<Client, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client { layout: layout.clone(), socket: layout.api_socket(), runtime };
        client.call::<Value>("version", &Value::Null)?;
        Ok(client)
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// One verb of [`crate::server`].
    pub fn call<T: DeserializeOwned>(&self, verb: &str, body: &impl Serialize) -> Result<T, ApiError> {
        let body = serde_json::to_value(body).map_err(io::Error::other)?;
        let path = format!("/{verb}");
        let asked =
            async { tokio::time::timeout(PATIENCE, request(&self.socket, "POST", &path, Some(&body))).await };
        let answer = self.runtime.block_on(asked).map_err(io::Error::other)?;
        let (ok, value) = answer.map_err(|error| self.absent(&error))?;
        if !ok {
            let text = |field: &str| value[field].as_str().unwrap_or("unknown").to_owned();
            return Err(ApiError { reason: text("reason"), message: text("message") });
        }
        Ok(serde_json::from_value(value).map_err(io::Error::other)?)
    }

    fn absent(&self, error: &io::Error) -> ApiError {
        let name = self.layout.name();
        let message = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("sandbox \"{name}\" is not up: `heddle sandbox up --name {name}` starts it")
            }
            io::ErrorKind::PermissionDenied => {
                format!("sandbox \"{name}\" belongs to root: run this as root")
            }
            _ => format!("sandbox \"{name}\": {error}"),
        };
        ApiError { reason: "Unavailable".to_owned(), message }
    }
}

/// One HTTP exchange over a Unix socket; whether it went well, and the JSON of the answer.
pub(crate) async fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> io::Result<(bool, Value)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sandbox")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let ok = response.status().is_success();
        Ok::<_, hyper::Error>((ok, response.into_body().collect().await?.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let (ok, text) = tokio::select! {
        biased;
        answer = &mut exchange => answer.map_err(io::Error::other)?,
        ended = &mut connection => {
            ended.map_err(io::Error::other)?;
            exchange.await.map_err(io::Error::other)?
        }
    };
    Ok((ok, serde_json::from_slice(&text)?))
}
