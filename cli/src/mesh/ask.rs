//! One question to an admin socket.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(5);
/// 20,000 workloads print as some 10 MB.
const MOST: usize = 256 << 20;

/// Asks and reads the JSON that comes back. The error is a reason to show in brackets.
pub(super) fn get(socket: &Path, path: &str) -> Result<Value, String> {
    ask(socket, path, None)
}

/// Asks with a question in JSON; nothing changes by it.
pub(super) fn post(socket: &Path, path: &str, question: &Value) -> Result<Value, String> {
    ask(socket, path, Some(question))
}

fn ask(socket: &Path, path: &str, question: Option<&Value>) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        match timeout(DEADLINE, exchange(socket, path, question)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(format!("nothing within {DEADLINE:?}")),
        }
    })
}

async fn exchange(socket: &Path, path: &str, question: Option<&Value>) -> Result<Value, String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => "its socket is root's; use sudo".to_owned(),
        _ => format!("{}: {error}", socket.display()),
    })?;
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let method = if question.is_some() { Method::POST } else { Method::GET };
    let body = Full::<Bytes>::from(question.map(ToString::to_string).unwrap_or_default());
    let request = Request::builder().method(method).uri(path).header("host", "admin").body(body);
    let response = sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(text)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    let body = body.to_bytes();
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer is not JSON: {error}"))
}
