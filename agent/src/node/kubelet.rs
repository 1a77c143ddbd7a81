//! The kubelet's process: it says which node this is, and its probes are the ones that reach a STRICT pod.

use super::pods::pod_of;
use super::processes::Proc;

/// Programs that are a kubelet.
const KUBELETS: [&str; 2] = ["kubelet", "kubelite"];
/// The program of k3s is many things; one that is a kubelet calls itself so.
const K3S: (&str, [&str; 2]) = ("k3s", ["k3s-server", "k3s-agent"]);

/// One run of the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kubelet {
    /// Its number.
    pub pid: u32,
    started: u64,
}

impl Kubelet {
    /// The kubelet of this node: root's, in the node's own network namespace, in no pod's cgroup. A name alone says nothing: a pod
    /// with `hostNetwork` may start a program of that name, and is found out by its cgroup.
    pub fn find(proc: &Proc) -> Option<Self> {
        let node = proc.namespace(std::process::id(), "net")?;
        let mut found: Vec<Self> = Vec::new();
        for pid in proc.pids() {
            if !is_kubelet(proc, pid) || proc.namespace(pid, "net") != Some(node) || !proc.is_root(pid) {
                continue;
            }
            let outside = proc
                .cgroups_of_node(pid)
                .is_some_and(|cgroups| pod_of(&cgroups).is_none() && !cgroups.contains("kubepods"));
            let Some((parent, started)) = proc.stat(pid).filter(|_| outside) else { continue };
            // A child that has not become another program yet.
            if !found.iter().any(|kubelet| kubelet.pid == parent) {
                found.push(Self { pid, started });
            }
        }
        found.into_iter().min_by_key(|kubelet| kubelet.started)
    }

    /// Whether it still is this process.
    pub fn runs(&self, proc: &Proc) -> bool {
        proc.stat(self.pid).is_some_and(|(_, started)| started == self.started)
    }
}

fn is_kubelet(proc: &Proc, pid: u32) -> bool {
    let Some(program) = proc.program(pid) else { return false };
    KUBELETS.contains(&program.as_str())
        || (program == K3S.0 && proc.title(pid).is_some_and(|title| K3S.1.contains(&title.as_str())))
}
