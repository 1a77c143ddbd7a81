//! The prober: one process in each node's network namespace and in the cgroup `kubelet`, because the mesh tells
//! the kubelet's probes from other traffic of the node by exactly that cgroup.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

use crate::cgroup::Cgroup;
use crate::fabric::{Node, join};

/// A prober that ended is started again after this.
const RESTART: Duration = Duration::from_millis(200);

/// One probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub host: String,
    pub port: u16,
    pub check: Check,
    pub limit: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Check {
    Tcp,
    Http { tls: bool, path: String, headers: BTreeMap<String, String> },
    Grpc { service: String },
}

#[derive(Debug, Serialize, Deserialize)]
struct Numbered<T> {
    id: u64,
    content: T,
}

type Verdict = Result<(), String>;

/// A handle on a node's prober.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    requests: mpsc::Sender<(Request, oneshot::Sender<Verdict>)>,
}

impl Prober {
    /// Starts the node's prober and keeps it running for as long as somebody holds the handle.
    pub(super) fn spawn(node: &Node, log: &Path) -> Self {
        let (netns, cgroup) = (node.netns(), node.cgroup().child("kubelet"));
        let log = log.to_owned();
        let (requests, mut receive) = mpsc::channel(64);
        tokio::spawn(async move {
            while !receive.is_closed() {
                match start(&netns, &cgroup, &log) {
                    Ok(child) => exchange(child, &mut receive).await,
                    Err(error) => tracing::warn!(%error, "prober not started"),
                }
                tokio::time::sleep(RESTART).await;
            }
        });
        Self { requests }
    }

    pub(super) async fn ask(&self, request: Request) -> Verdict {
        let (send, receive) = oneshot::channel();
        self.requests.send((request, send)).await.map_err(|error| error.to_string())?;
        receive.await.map_err(|error| format!("the prober has ended: {error}"))?
    }
}

fn start(netns: &Path, cgroup: &Cgroup, log: &Path) -> io::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    join(netns, cgroup.path(), Path::new("/proc/self/exe"))
        .args(["sandbox-node", "prober"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

/// Carries requests and verdicts until the prober or everybody who asks has gone.
async fn exchange(mut child: Child, requests: &mut mpsc::Receiver<(Request, oneshot::Sender<Verdict>)>) {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { return };
    let mut answers = BufReader::new(stdout).lines();
    let mut pending: HashMap<u64, oneshot::Sender<Verdict>> = HashMap::new();
    let mut next = 0;
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some((content, answer)) = request else { return };
                next += 1;
                pending.insert(next, answer);
                let Ok(mut line) = serde_json::to_vec(&Numbered { id: next, content }) else { continue };
                line.push(b'\n');
                if stdin.write_all(&line).await.is_err() {
                    return;
                }
            }
            line = answers.next_line() => {
                let Ok(Some(line)) = line else { return };
                let Ok(Numbered { id, content }) = serde_json::from_str::<Numbered<Verdict>>(&line) else { continue };
                if let Some(answer) = pending.remove(&id) {
                    // The container may have ended meanwhile; nobody waits then.
                    let _ = answer.send(content);
                }
            }
        }
    }
}

/// The prober process itself.
pub fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let mut lines = BufReader::new(pipe::OpenOptions::new().open_receiver("/proc/self/fd/0")?).lines();
    let (answers, mut verdicts) = mpsc::channel::<Numbered<Verdict>>(64);
    let mut stdout = pipe::OpenOptions::new().open_sender("/proc/self/fd/1")?;
    let writer = tokio::spawn(async move {
        while let Some(verdict) = verdicts.recv().await {
            let mut line = serde_json::to_vec(&verdict)?;
            line.push(b'\n');
            stdout.write_all(&line).await?;
        }
        Ok::<_, io::Error>(())
    });
    while let Some(line) = lines.next_line().await? {
        let Numbered { id, content } = serde_json::from_str::<Numbered<Request>>(&line)?;
        let answers = answers.clone();
        tokio::spawn(async move {
            let verdict = tokio::time::timeout(content.limit, probe(&content)).await;
            let content = verdict.unwrap_or_else(|_| Err("timed out".to_owned()));
            // A closed channel means that we are ending.
            let _ = answers.send(Numbered { id, content }).await;
        });
    }
    drop(answers);
    writer.abort();
    Ok(())
}

async fn probe(request: &Request) -> Verdict {
    let stream =
        TcpStream::connect((request.host.as_str(), request.port)).await.map_err(|e| e.to_string())?;
    match &request.check {
        Check::Tcp => Ok(()),
        Check::Http { tls: true, .. } => Ok(()),
        Check::Http { path, headers, .. } => http(stream, request, path, headers).await,
        Check::Grpc { service } => super::grpc::healthy(stream, service).await,
    }
}

/// A kubelet follows redirects of its own host; a status below 400 is a success all the same.
async fn http(stream: TcpStream, to: &Request, path: &str, headers: &BTreeMap<String, String>) -> Verdict {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let task = tokio::spawn(connection);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = hyper::Request::get(path)
        .header("user-agent", "kube-probe/1.34")
        .header("accept", "*/*")
        .header("connection", "close");
    if !headers.keys().any(|name| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", format!("{}:{}", to.host, to.port));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string());
    task.abort();
    match response?.status() {
        status if (200..400).contains(&status.as_u16()) => Ok(()),
        status => Err(format!("HTTP status {status}")),
    }
}
