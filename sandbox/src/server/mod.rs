//! The daemon's HTTP API on `api.sock`: one POST a verb, JSON both ways.
mod apply;
mod change;
mod effects;
mod read;
mod synced;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::fabric::Layout;
use crate::images::ImageMap;
use crate::store::{Store, StoreError};
use crate::up::Mesh;

pub use apply::{Applied, Apply, Manifest};
pub use change::{Delete, Label, Named, Scale};
pub use read::Get;

/// Manifests are text that people write; anything larger is a mistake.
const LARGEST_REQUEST: usize = 64 << 20;

/// What the verbs work on.
#[derive(Debug)]
pub struct Server {
    pub(crate) store: Store,
    pub(crate) layout: Layout,
    pub(crate) images: Arc<RwLock<ImageMap>>,
    pub(crate) mesh: Option<Arc<Mesh>>,
    /// Set to end the sandbox.
    pub(crate) stop: watch::Sender<bool>,
    /// Fields without effect that were already warned about.
    pub(crate) warned: Mutex<BTreeSet<String>>,
}

/// An answer that is not the one asked for: the API server's reason word and its sentence.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub reason: String,
    pub message: String,
}

impl ApiError {
    pub(crate) fn bad(message: impl Into<String>) -> ApiError {
        ApiError { reason: "BadRequest".to_owned(), message: message.into() }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        ApiError { reason: error.reason().to_owned(), message: error.to_string() }
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> ApiError {
        ApiError { reason: "InternalError".to_owned(), message: error.to_string() }
    }
}

/// Accepts until the task is aborted.
pub async fn serve(listener: UnixListener, server: Arc<Server>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(server.clone(), request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "api connection");
            }
        });
    }
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let verb = request.uri().path().trim_start_matches('/').to_owned();
    let body = match Limited::new(request.into_body(), LARGEST_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(reply(Err(ApiError::bad(error.to_string())))),
    };
    Ok(reply(route(&server, &verb, &body).await))
}

async fn route(server: &Arc<Server>, verb: &str, body: &[u8]) -> Result<Value, ApiError> {
    match verb {
        "version" => Ok(json!({"resourceVersion": server.store.version()})),
        "apply" => apply::apply(server, &read_body(body)?),
        "delete" => change::delete(server, &read_body(body)?),
        "label" => change::label(server, &read_body(body)?),
        "scale" => change::scale(server, &read_body(body)?),
        "restart" => change::restart(server, &read_body(body)?),
        "get" => read::get(server, &read_body(body)?),
        "synced" => synced::synced(server, &read_body(body)?).await,
        "agent" | "controller" => process(server, read_body(body)?).await,
        "down" => {
            server.stop.send_replace(true);
            Ok(json!({}))
        }
        _ => Err(ApiError::bad(format!("no such verb: {verb}"))),
    }
}

/// Starts, stops or restarts a process of the mesh.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// A node's agent; none: the controller.
    pub node: Option<String>,
    pub start: bool,
    pub stop: bool,
}

async fn process(server: &Server, wanted: Process) -> Result<Value, ApiError> {
    let mesh = server.mesh.as_ref().ok_or_else(|| ApiError::bad("this sandbox was made with --no-mesh"))?;
    if wanted.stop {
        mesh.stop(wanted.node.as_deref()).await?;
    }
    if wanted.start {
        mesh.start(wanted.node.as_deref()).await?;
    }
    Ok(json!({}))
}

fn read_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad(error.to_string()))
}

fn reply(result: Result<Value, ApiError>) -> Response<Full<Bytes>> {
    let (status, value) = match result {
        Ok(value) => (StatusCode::OK, value),
        Err(error) => {
            (StatusCode::UNPROCESSABLE_ENTITY, json!({"reason": error.reason, "message": error.message}))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response
}

impl Server {
    /// Whether this was not said before.
    pub(crate) fn is_news(&self, warning: &str) -> bool {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.to_owned())
    }
}
