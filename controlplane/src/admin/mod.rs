//! What people and tools ask: `/status` and `/index` on a Unix socket, `/metrics` and health on TCP. Read only.

mod http;
mod report;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::Callers;
use crate::metrics::Metrics;
use crate::published::Latest;
use crate::readiness::Readiness;
use crate::registry::Registry;
use crate::xds::agents::Agents;
use http::Reply;
pub use report::{AgentReport, StatusReport, TypeReport};

/// How long `/status` waits for the source to be looked at.
const BARRIER: Duration = Duration::from_secs(5);

/// What the admin server reads.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The newest publication.
    pub published: Latest,
    /// How far agents are.
    pub agents: watch::Receiver<Arc<Agents>>,
    /// Nodes that are expected where no Node object says so.
    pub callers: Arc<Callers>,
    /// Looks at the source.
    pub registry: Registry,
    /// What else keeps it from being ready.
    pub readiness: Readiness,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Admin {
    /// Serves `/status` and `/index` on a socket that only its owner can open.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve_socket(self, path: &Path, stop: CancellationToken) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        let admin = self.clone();
                        http::spawn(stream, move |path| {
                            let admin = admin.clone();
                            async move { admin.reply(&path).await }
                        });
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(())
    }

    /// Serves `/metrics`, `/healthz` and `/readyz`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn serve_metrics(self, address: SocketAddr, stop: CancellationToken) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        let admin = self.clone();
                        http::spawn(stream, move |path| {
                            let reply = admin.public(&path);
                            async move { reply }
                        });
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(bound)
    }

    async fn reply(&self, path: &str) -> Reply {
        match path {
            "/status" => {
                // What was stored before the question is part of the answer.
                let looked = tokio::time::timeout(BARRIER, self.registry.barrier()).await;
                Reply::json(&self.status(looked == Ok(true)))
            }
            "/index" => match self.published.borrow().clone() {
                Some(published) => Reply::json(&report::index(&published)),
                None => Reply::unavailable("objects are not read yet\n"),
            },
            other => self.public(other),
        }
    }

    fn status(&self, looked: bool) -> StatusReport {
        let published = self.published.borrow().clone();
        let agents = self.agents.borrow().clone();
        report::status(published.as_deref(), &agents, &self.callers.nodes(), looked)
    }

    fn public(&self, path: &str) -> Reply {
        match path {
            "/metrics" => Reply::text(self.metrics.text()),
            "/healthz" => Reply::text("ok\n".to_owned()),
            "/readyz" => self.ready(),
            _ => Reply::not_found(),
        }
    }

    /// Every note is shown, also where it does not keep anybody waiting.
    fn ready(&self) -> Reply {
        let read = self.published.borrow().is_some();
        let (clear, notes) = self.readiness.report();
        let waiting = if read { Vec::new() } else { self.registry.waiting() };
        let lines: String = waiting.iter().chain(&notes).map(|what| format!("{what}\n")).collect();
        match (read, clear) {
            (true, true) => Reply::text(format!("ready\n{lines}")),
            (true, false) => Reply::unavailable(&format!("not ready\n{lines}")),
            (false, _) => Reply::unavailable(&format!("objects are not read yet\n{lines}")),
        }
    }
}
