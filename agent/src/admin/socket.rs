//! The admin socket: JSON for `heddle`, to root only.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::http::{Answer, Connections, ServeError, accept_failed, json, text};
use super::{Sources, views};

/// For the workers to list their connections.
const WORKERS: Duration = Duration::from_secs(2);

/// Binds the socket, in place of one that a dead agent left, and serves it until the task is dropped.
///
/// # Errors
/// The path cannot be bound.
pub async fn serve(path: &Path, sources: Arc<Sources>) -> Result<(), ServeError> {
    let listener = bind(path).map_err(|error| ServeError(path.display().to_string(), error))?;
    let (connections, own) = (Connections::new(), nix::unistd::geteuid().as_raw());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // The mode of the socket says the same; the kernel's word about the peer costs nothing.
                let root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own);
                if root {
                    let sources = Arc::clone(&sources);
                    connections.spawn(stream, move |request| respond(Arc::clone(&sources), request));
                }
            }
            Err(error) => accept_failed("admin", &error).await,
        }
    }
}

/// Bound under another name first, so that nobody connects before the mode is right.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let temporary = path.with_extension("new");
    let _leftover = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, path)?;
    Ok(listener)
}

async fn respond(sources: Arc<Sources>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    if request.method() == Method::POST {
        return match path {
            "/log-level" => log_level(&sources, request.uri().query().unwrap_or_default()),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "only /log-level takes POST\n"),
        };
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST /log-level?level=LEVEL\n");
    }
    match path {
        "/status" => json(&views::status(&sources)),
        "/config/workloads" => json(&views::workloads(&sources.snapshot())),
        "/config/services" => json(&views::services(&sources.snapshot())),
        "/config/policies" => json(&views::policies(&sources.snapshot())),
        "/config/certs" => json(&views::certificates(&sources)),
        "/config/all" => {
            let snapshot = sources.snapshot();
            json(&json!({
                "workloads": views::workloads(&snapshot),
                "services": views::services(&snapshot),
                "policies": views::policies(&snapshot),
                "certs": views::certificates(&sources),
            }))
        }
        "/drops" => kernel(views::drops(&sources)),
        "/bpf" => kernel(views::bpf(&sources)),
        "/connections" => match timeout(WORKERS, sources.workers.connections()).await {
            Ok(connections) => json(&json!(connections)),
            Err(_elapsed) => text(StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "there is no such path; /status and /config/all are\n"),
    }
}

fn kernel(view: std::io::Result<serde_json::Value>) -> Answer {
    match view {
        Ok(view) => json(&view),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("reading the kernel: {error}\n")),
    }
}

fn log_level(sources: &Sources, query: &str) -> Answer {
    let level = query.split('&').find_map(|pair| pair.strip_prefix("level="));
    let Some(level) = level else {
        return text(StatusCode::BAD_REQUEST, "say ?level=error|warn|info|debug|trace\n");
    };
    match sources.log_level.set(level) {
        Ok(()) => json(&json!({ "level": level })),
        Err(error) => text(StatusCode::BAD_REQUEST, error + "\n"),
    }
}
