//! Listeners of the HTTP server, until SIGTERM; then what has begun may end.

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::answer::State;

/// Options of `http-server`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Server {
    /// Ports, on every address of the pod; HTTP/1 and HTTP/2 on each.
    #[arg(long, default_value = "8080", value_delimiter = ',')]
    port: Vec<u16>,
    /// What it calls itself.
    #[arg(long, default_value = "v1")]
    version: String,
}

/// How long requests may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

impl Server {
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let state = Arc::new(State::new(self.version));
            let mut listeners = tokio::task::JoinSet::new();
            for port in self.port {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await;
                listeners.spawn(serve(
                    listener.with_context(|| format!("port {port}"))?,
                    port,
                    state.clone(),
                ));
            }
            while let Some(done) = listeners.join_next().await {
                done??;
            }
            Ok(())
        })
    }
}

async fn serve(listener: TcpListener, port: u16, state: Arc<State>) -> Result<()> {
    let (graceful, mut terminate) = (GracefulShutdown::new(), signal(SignalKind::terminate())?);
    println!("listening on {port}");
    loop {
        let (stream, client) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_out_of_descriptors) => continue,
            },
            _ = terminate.recv() => break,
        };
        // What cannot be set does not matter here.
        let _unset = stream.set_nodelay(true);
        let (state, entered) = (state.clone(), state.meters.connection(port));
        let service = service_fn(move |request| {
            let state = state.clone();
            async move { state.answer(request, client, port).await }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _entered = entered;
            // A client that went away is not the server's end.
            let _ended = connection.await;
            Ok::<_, Infallible>(())
        });
    }
    drop(listener);
    let _cut_off = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}
