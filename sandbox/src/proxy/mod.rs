//! What kube-proxy does on a node: ClusterIPs lead to ready endpoints, by nftables in the node's namespace.

mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use crate::fabric::Node;
use crate::store::Store;

/// How long to wait before a ruleset that was refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The running proxy of a node; it stops when dropped, and its rules stay with the namespace.
#[derive(Debug)]
pub struct Proxy {
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to keep the node's rules as the store has the Services and EndpointSlices.
pub fn spawn(node: Arc<Node>, store: Store) -> Proxy {
    Proxy { task: tokio::spawn(run(node, store)) }
}

async fn run(node: Arc<Node>, store: Store) {
    let mut changes = store.changed();
    let mut loaded = String::new();
    loop {
        changes.mark_unchanged();
        let wanted = rules::of(&store, node.address());
        let mut patience = Duration::MAX;
        if wanted != loaded {
            match load(&node, &wanted).await {
                Ok(()) => loaded = wanted,
                Err(error) => {
                    tracing::warn!(node = node.name(), %error, "service rules not loaded");
                    patience = RETRY;
                }
            }
        }
        if let Ok(Err(_)) = tokio::time::timeout(patience, changes.changed()).await {
            return;
        }
    }
}

/// One transaction: the table as a whole is the old one or the new one, at any moment.
async fn load(node: &Node, rules: &str) -> io::Result<()> {
    let installed = Path::new("/usr/sbin/nft");
    let nft = if installed.exists() { installed } else { Path::new("nft") };
    let mut child = node
        .command("host", nft)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
