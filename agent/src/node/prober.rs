//! The kubelet's cgroup, followed: a restart of the kubelet may give it another one, or none of its own.
//!
//! Probes are told by the cgroup that `connect` is called in, so that cgroup must hold the kubelet and nothing else. Under systemd it
//! does (`kubelet.service`). Where everything is in the root of cgroup2, as on nodes whose controllers are version 1's, the kubelet is
//! moved into a folder of its own: that changes nothing of what it may use, and needs no word of the kubelet's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup;
use super::kubelet::Kubelet;
use super::processes::{Proc, unified};
use super::roots::as_of_node;
use crate::datapath::Datapath;
use crate::process::cgroup_below;

/// A probe period is ten seconds and three failures restart a container, so this is soon enough.
const AGAIN: Duration = Duration::from_secs(2);
/// Generations between the kubelet and a process that it started.
const DEEPEST: usize = 16;

/// Finds the kubelet's cgroup.
#[derive(Clone, Debug)]
pub struct Prober {
    proc: Proc,
    /// Root of cgroup2.
    root: PathBuf,
    /// Name of the folder for a kubelet that has none.
    name: String,
    kubelet: Option<Kubelet>,
}

impl Prober {
    pub fn new(proc: Proc, root: PathBuf, node: &str) -> Self {
        // Nodes that are namespaces of one machine share the tree.
        Self { proc, root, name: format!("heddle-kubelet-{node}"), kubelet: None }
    }

    /// The cgroup that holds the kubelet and nothing else; after this it does.
    ///
    /// # Errors
    /// Why there is none. Until there is one nobody's probes reach a STRICT pod.
    pub fn look(&mut self) -> Result<PathBuf, String> {
        let known = self.kubelet.filter(|kubelet| kubelet.runs(&self.proc));
        self.kubelet = known.or_else(|| Kubelet::find(&self.proc));
        let Some(Kubelet { pid, .. }) = self.kubelet else {
            return Err("no kubelet runs in this node's network namespace".to_owned());
        };
        let cgroups = self.proc.cgroups(pid).unwrap_or_default();
        let own = unified(&cgroups).unwrap_or_default();
        let Some(folder) = cgroup_below(&self.root, own, pid) else {
            return Err(format!("the kubelet (process {pid}) is in no cgroup below {}", self.root.display()));
        };
        if folder != self.root && self.alone(&folder, pid) {
            return Ok(folder);
        }
        if !cgroup::is_free(&self.root, &folder) {
            return Err(format!(
                "the kubelet shares cgroup {} with other processes, whose limits it has: run it in one of its own, or set --prober-cgroup",
                folder.display()
            ));
        }
        cgroup::settle(&self.root, &self.name, pid)
            .map_err(|error| format!("a cgroup for the kubelet: {error}"))
    }

    /// Whether nothing else is there; what it started itself speaks for it.
    fn alone(&self, folder: &Path, kubelet: u32) -> bool {
        let descends = |mut pid: u32| {
            (0..DEEPEST).any(|_| {
                let found = pid == kubelet;
                pid = self.proc.stat(pid).map_or(0, |(parent, _)| parent);
                found
            })
        };
        let processes = cgroup::processes(folder);
        !processes.is_empty() && processes.into_iter().all(descends)
    }
}

/// Keeps the kernel's word about the kubelet's cgroup right until the task is dropped.
pub async fn keep(mut prober: Prober, datapath: Datapath) {
    let mut told: Option<Result<PathBuf, String>> = None;
    loop {
        let looking = tokio::task::spawn_blocking(move || {
            let found = prober.look();
            (prober, found)
        });
        let Ok((back, found)) = looking.await else { return };
        prober = back;
        // A cgroup that went is no other's: its id is not given again. So it stays until there is a new one.
        let set = match &found {
            Ok(folder) => datapath.set_prober(folder).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        let found = set.and(found);
        if told.as_ref() != Some(&found) {
            match &found {
                Ok(folder) => {
                    tracing::info!(cgroup = %as_of_node(folder).display(), "the kubelet's probes reach STRICT pods")
                }
                Err(error) => {
                    tracing::warn!(error, "probes of STRICT pods fail until the kubelet's cgroup is known")
                }
            }
            told = Some(found);
        }
        tokio::time::sleep(AGAIN).await;
    }
}
