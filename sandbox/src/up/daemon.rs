//! The daemon: holds the store, the controllers, the nodes and the API, until it is told to end.
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::{Arc, RwLock};

use heddle_api::object::Object;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Mesh, Plan, describe, lock, tokens};
use crate::cleanup::cleanup;
use crate::fabric::{Fabric, Layout};
use crate::images::ImageMap;
use crate::kubelet::{Images, Kubelet};
use crate::server::{self, Server};
use crate::store::{Store, now};
use crate::{dns, proxy, workloads};

/// `sandbox-node daemon NAME`: the plan comes on stdin, progress goes to stdout, one JSON object a line.
pub fn main() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let plan: Plan = serde_json::from_str(&line)?;
    // Its own session: an interrupt typed at the terminal reaches the command, and through the pipe us.
    nix::unistd::setsid()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(run(plan));
    if let Err(error) = &result {
        say(&json!({"error": error.to_string()}));
    }
    result
}

async fn run(plan: Plan) -> io::Result<()> {
    let layout = Layout::new(&plan.name);
    let Some(_lock) = lock::take(&plan.name)? else {
        let message =
            format!("sandbox \"{0}\" is already up; `heddle sandbox down --name {0}` ends it", plan.name);
        return Err(io::Error::other(message));
    };
    let (stop, stopped) = watch::channel(false);
    watch_lifeline(stop.clone());
    cleanup(&plan.name)?;
    let ended = {
        let bringing = bring_and_hold(&plan, &layout, stop);
        tokio::pin!(bringing);
        bringing.await
    };
    drop(stopped);
    let cleared = tokio::task::spawn_blocking(move || cleanup(&plan.name)).await.map_err(io::Error::other)?;
    ended.and(cleared)
}

/// Ends the sandbox when the command that started it has gone without saying "keep".
fn watch_lifeline(stop: watch::Sender<bool>) {
    std::thread::spawn(move || {
        let mut line = String::new();
        let kept = io::stdin().lock().read_line(&mut line).is_ok_and(|_| line == "keep\n");
        if !kept {
            stop.send_replace(true);
        }
    });
}

async fn bring_and_hold(plan: &Plan, layout: &Layout, stop: watch::Sender<bool>) -> io::Result<()> {
    make_directories(layout, plan)?;
    log_to(layout)?;
    progress(&format!("Creating {} and the wire between them", count(plan.nodes, "node")));
    let fabric = Arc::new(Fabric::create(layout, plan.nodes).await?);
    let result = hold(plan, &fabric, stop).await;
    let gone = match Arc::into_inner(fabric) {
        Some(fabric) => fabric.destroy().await,
        // A task that has not ended yet still holds it: the cleanup that follows ends its processes.
        None => Ok(()),
    };
    result.and(gone)
}

async fn hold(plan: &Plan, fabric: &Arc<Fabric>, stop: watch::Sender<bool>) -> io::Result<()> {
    let layout = fabric.layout().clone();
    let mut stopped = stop.subscribe();
    describe(&layout, |value| {
        *value = fabric.describe();
        value["name"] = json!(plan.name);
        value["pid"] = json!(std::process::id());
        value["created"] = json!(now());
        value["images"] = json!(plan.images);
    })?;
    let store = Store::open(&layout.objects()).map_err(io::Error::other)?;
    for node in fabric.nodes() {
        store.create(node_object(node)?).map_err(io::Error::other)?;
    }
    let names: Vec<String> = fabric.nodes().iter().map(|node| node.name().to_owned()).collect();
    tokens::write(&layout, &names)?;
    let mesh = plan.mesh.clone().map(|mesh| Arc::new(Mesh::new(fabric.clone(), mesh)));
    let images = Arc::new(RwLock::new(plan.images.clone()));
    let mut tasks = JoinSet::new();
    let nodes = start_nodes(fabric, &store, &images).await?;
    tasks.spawn(workloads::run(store.clone()));
    let listener = UnixListener::bind(layout.api_socket())?;
    std::fs::set_permissions(layout.api_socket(), std::fs::Permissions::from_mode(0o600))?;
    let warned = std::sync::Mutex::default();
    let api = Server { store, layout, images, mesh: mesh.clone(), stop, warned };
    tasks.spawn(async move {
        if let Err(error) = server::serve(listener, Arc::new(api)).await {
            tracing::error!(%error, "the api ended");
        }
    });
    let started = tokio::select! {
        started = start_mesh(mesh.as_deref(), &names) => started,
        _ = stopped.wait_for(|stop| *stop) => Ok(()),
    };
    if started.is_ok() && !*stopped.borrow() {
        say(&json!({"ready": true}));
        wait_for_end(stopped).await?;
    }
    tasks.shutdown().await;
    futures_util::future::join_all(nodes.into_iter().map(|(kubelet, _, _)| kubelet.stop())).await;
    started
}

/// What runs on every node: its kubelet, and the name server and Service rules, which end when dropped.
async fn start_nodes(
    fabric: &Fabric,
    store: &Store,
    images: &Arc<RwLock<ImageMap>>,
) -> io::Result<Vec<(Kubelet, dns::Dns, proxy::Proxy)>> {
    let map = images.clone();
    let resolve: Images = Arc::new(move |image: &str| {
        let map = map.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.resolve(image).map_err(|error| error.to_string())
    });
    let mut running = Vec::new();
    for node in fabric.nodes() {
        let names = dns::spawn(node, store.clone()).await?;
        let rules = proxy::spawn(node.clone(), store.clone());
        let kubelet = Kubelet::spawn(node.clone(), fabric.layout().clone(), store.clone(), resolve.clone())?;
        running.push((kubelet, names, rules));
    }
    Ok(running)
}

async fn start_mesh(mesh: Option<&Mesh>, nodes: &[String]) -> io::Result<()> {
    let Some(mesh) = mesh else { return Ok(()) };
    progress("Starting the controller");
    mesh.start(None).await?;
    progress(&format!("Starting {}", count(nodes.len(), "agent")));
    let agents = nodes.iter().map(|node| mesh.start(Some(node)));
    futures_util::future::try_join_all(agents).await.map(drop)
}

async fn wait_for_end(mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn node_object(node: &crate::fabric::Node) -> io::Result<Object> {
    let (name, address) = (node.name(), node.address());
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastTransitionTime": now()
    });
    let value = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"
        }},
        "spec": {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address.v4}, {"type": "InternalIP", "address": address.v6},
                {"type": "Hostname", "address": name}
            ],
            "conditions": [condition],
            "nodeInfo": {"kubeletVersion": concat!("heddle-sandbox-", env!("CARGO_PKG_VERSION"))}
        }
    });
    Object::from_value(value).map_err(io::Error::other)
}

fn make_directories(layout: &Layout, plan: &Plan) -> io::Result<()> {
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    for path in [layout.root().to_owned(), layout.objects(), layout.status(), layout.controller().join("ca")]
    {
        private.create(path)?;
    }
    for number in 1..=plan.nodes {
        let node = layout.node(&format!("node-{number}"));
        for part in ["pods", "captured", "bpf", "state", "keys"] {
            private.create(node.join(part))?;
        }
    }
    Ok(())
}

/// The daemon's log is its stderr, and that of the processes it starts.
fn log_to(layout: &Layout) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(layout.root().join("daemon.log"))?;
    nix::unistd::dup2_stderr(&log)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEDDLE_SANDBOX_LOG")
        .unwrap_or_else(|_error| tracing_subscriber::EnvFilter::new("info"));
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).with_writer(io::stderr);
    subscriber.try_init().map_err(io::Error::other)
}

fn progress(text: &str) {
    say(&json!({"progress": text}));
}

/// The command may have gone; then nobody is told, and the lifeline ends us.
fn say(line: &Value) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn count(number: impl std::fmt::Display, what: &str) -> String {
    let number = number.to_string();
    if number == "1" { format!("1 {what}") } else { format!("{number} {what}s") }
}
