//! The admin socket: JSON for `heddle`, to root only.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heddle_core::workload::LocalWorkload;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::endpoints::Learned;
use super::http::{Answer, Connections, ServeError, accept_failed, json, text};
use super::{Sources, endpoints, explain, judge, listeners, routes, views};

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
            "/explain" => {
                let names = sources.workers.names();
                let learned = (&*sources.clusters, &*names);
                asked(request, |question| explain::explain(&sources.snapshot(), &question, learned)).await
            }
            "/judge" => asked(request, |case| judge::judge(&sources.snapshot(), &case)).await,
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "only /log-level, /explain and /judge take POST\n"),
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
        "/config/routes" | "/config/listeners" | "/config/endpoints" => {
            json(&of_pods(&sources, path, request.uri().query()))
        }
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

/// A view that depends on the client: for the pod of `?pod=UID`, else for every pod of the node.
fn of_pods(sources: &Sources, path: &str, query: Option<&str>) -> serde_json::Value {
    let uid = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("pod="));
    let snapshot = sources.snapshot();
    let mut locals: Vec<_> =
        snapshot.locals().filter(|local| uid.is_none_or(|uid| local.pod_uid.as_str() == uid)).collect();
    locals.sort_by(|a, b| (a.identity.namespace(), &a.name).cmp(&(b.identity.namespace(), &b.name)));
    if path == "/config/routes" {
        locals.dedup_by(|a, b| a.identity.namespace() == b.identity.namespace());
        return locals
            .iter()
            .flat_map(|local| routes::routes(&snapshot, local.identity.namespace()))
            .collect();
    }
    let of = |local: &LocalWorkload| match path {
        "/config/listeners" => listeners::listeners(&snapshot, local),
        _ => snapshot
            .workload(&local.workload_uid)
            .map(|workload| {
                let resolved = sources.workers.names().known(&local.pod_uid);
                let learned = Learned { states: &sources.clusters, resolved: &resolved };
                endpoints::endpoints(&snapshot, workload, learned)
            })
            .unwrap_or_default(),
    };
    let named = |local: &LocalWorkload| {
        let pod = format!("{}/{}", local.identity.namespace(), local.name);
        let mut views = of(local);
        views.iter_mut().for_each(|view| view["pod"] = json!(pod));
        views
    };
    locals.iter().flat_map(|local| named(local)).collect()
}

/// A question in the body; one that cannot be read or answered is 400, with the reason.
async fn asked<Q: serde::de::DeserializeOwned>(
    request: Request<Incoming>,
    answer: impl FnOnce(Q) -> Result<serde_json::Value, String>,
) -> Answer {
    const MOST: usize = 64 << 10;
    let body = match Limited::new(request.into_body(), MOST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let question = serde_json::from_slice(&body).map_err(|error| error.to_string());
    match question.and_then(answer) {
        Ok(answer) => json(&answer),
        Err(error) => text(StatusCode::BAD_REQUEST, error + "\n"),
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
