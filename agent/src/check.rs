//! `heddle-agent check`: what an agent needs of a machine, as findings that `heddle check` shows.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use heddle_cni::install::folder::{Folder, State};
use heddle_cni::install::{places, report};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use serde_json::{Value, json};

use crate::datapath::features;
use crate::node::{self, Kubelet, Located, NodeError, Places, Proc};

/// Linux 6.1: the oldest that pods were enrolled on.
const OLDEST: (u32, u32) = (6, 1);
/// Plugins of other meshes: in whose pods they redirect, nobody else can.
const OTHERS: [(&str, &str); 2] = [("istio-cni", "Istio"), ("linkerd-cni", "Linkerd")];

/// What to look at.
#[derive(Debug, Args)]
pub struct Check {
    /// Before an installation: nothing of Heddle's own need be there.
    #[arg(long)]
    pre: bool,

    /// A proc file system that shows the node's processes: in a pod, /proc with hostPID.
    #[arg(long, env = "HEDDLE_AGENT_PROC", value_name = "DIR", default_value = "/proc")]
    proc: PathBuf,
}

/// `[{"check": "kernel", "status": "ok"|"warn"|"fail", "message": "…", "fix": "…"}]`.
struct Findings(Vec<Value>);

impl Findings {
    fn ok(&mut self, check: &str, message: impl Into<String>) {
        self.0.push(json!({"check": check, "status": "ok", "message": message.into()}));
    }

    fn warn(&mut self, check: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.0.push(json!({"check": check, "status": "warn", "message": message.into(), "fix": fix.into()}));
    }

    fn fail(&mut self, check: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.0.push(json!({"check": check, "status": "fail", "message": message.into(), "fix": fix.into()}));
    }
}

impl Check {
    /// Looks, and changes nothing.
    pub fn run(&self) -> Value {
        let mut findings = Findings(Vec::new());
        kernel(&mut findings);
        let proc = Proc::at(&self.proc);
        let auto = PathBuf::from("auto");
        let places = Places { cgroup: auto.clone(), bpffs: auto.clone(), prober: auto };
        match node::locate(&proc, &places) {
            Ok(located) => self.node(&located, &mut findings),
            Err(NodeError::NoNode) => {
                let fix = "nothing, for sandboxes; in a pod: hostPID, hostNetwork and CAP_SYS_PTRACE";
                findings.warn("node", "no node of Kubernetes is visible from here", fix);
                filesystems(None, None, &mut findings);
            }
            Err(error) => {
                findings.warn("node", error.to_string(), "run it as root");
                filesystems(None, None, &mut findings);
            }
        }
        Value::Array(findings.0)
    }

    fn node(&self, located: &Located, findings: &mut Findings) {
        match Kubelet::find(&located.proc) {
            Some(kubelet) => findings.ok("kubelet", format!("process {}", kubelet.pid)),
            None => findings.warn(
                "kubelet",
                "no kubelet runs here: this machine is no node of Kubernetes",
                "nothing, if it is to run sandboxes only",
            ),
        }
        let root = located.root.clone().unwrap_or_else(|| "/".into());
        filesystems(Some(located), Some(&root), findings);
        self.plugin(&root, findings);
    }

    /// The runtime's network configuration.
    fn plugin(&self, root: &Path, findings: &mut Findings) {
        let folder = places::detect(root).conf;
        let shown = |path: &Path| shown(path, Some(root));
        match Folder::new(&folder).state() {
            Err(error) => findings.warn("cni", error.to_string(), "see why it cannot be read"),
            Ok(State::Absent) => findings.warn(
                "cni",
                format!("{} has no network configuration", shown(&folder)),
                "install the cluster's network first, or say where its configuration is: --cni-conf-dir",
            ),
            Ok(State::Present { file, chained, text }) => {
                match (chained, self.pre) {
                    (true, _) => findings.ok("cni", format!("{} calls heddle-cni", shown(&file))),
                    (false, true) => findings.ok("cni", format!("{} will call heddle-cni", shown(&file))),
                    (false, false) => {
                        let report = report::Report::read(&root.join(report::FILE.trim_start_matches('/')));
                        let why = report.and_then(|report| report.error).unwrap_or_default();
                        findings.fail(
                            "cni",
                            format!(
                                "{} does not call heddle-cni: pods start without being captured. {why}",
                                shown(&file)
                            )
                            .trim()
                            .to_owned(),
                            "see the log of container cni of the node's heddle-agent",
                        );
                    }
                }
                for (plugin, mesh) in
                    OTHERS.iter().filter(|(plugin, _)| text.contains(&format!("\"{plugin}\"")))
                {
                    findings.warn(
                        "other-meshes",
                        format!("{} calls {plugin} of {mesh}", shown(&file)),
                        format!("a pod is in one mesh only: label no namespace for both Heddle and {mesh}"),
                    );
                }
            }
        }
    }
}

fn kernel(findings: &mut Findings) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let old = version(&release).is_some_and(|version| version < OLDEST);
    let missing = features::missing();
    let probed = nix::unistd::geteuid().is_root();
    if missing.is_empty() && !old {
        let features = if probed { "with every eBPF feature" } else { "eBPF features are root's to look at" };
        findings.ok("kernel", format!("Linux {release}, {features}"));
    }
    if old {
        let (major, minor) = OLDEST;
        findings.fail(
            "kernel",
            format!("Linux {release} is too old"),
            format!("use Linux {major}.{minor} or later"),
        );
    }
    for missing in missing {
        let fix = format!("use Linux {} or later, with eBPF not taken out", missing.since);
        findings.fail("kernel", format!("Linux {release} lacks {}", missing.feature), fix);
    }
    match Path::new("/sys/kernel/btf/vmlinux").exists() {
        true => findings.ok("btf", "/sys/kernel/btf/vmlinux"),
        false => findings.fail(
            "btf",
            "the kernel has no type information",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ),
    }
}

fn filesystems(located: Option<&Located>, root: Option<&Path>, findings: &mut Findings) {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let knows = |name: &str| known.lines().any(|line| line.trim_start_matches("nodev").trim() == name);
    match located.map(|located| &located.cgroup) {
        Some(Some(cgroup)) => findings.ok("cgroup2", shown(cgroup, root)),
        None if knows("cgroup2") => findings.ok("cgroup2", "the kernel has it"),
        _ => findings.fail(
            "cgroup2",
            "no cgroup2 file system of the node contains this process",
            "mount one (mount -t cgroup2 none /sys/fs/cgroup/unified), or give the agent --cgroup",
        ),
    }
    let mounted = located
        .zip(root)
        .map(|(located, root)| root.join(located.bpffs.strip_prefix("/").unwrap_or(&located.bpffs)));
    let is_mounted =
        |path: &PathBuf| statfs(path.as_path()).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    match mounted.filter(is_mounted) {
        Some(path) => findings.ok("bpffs", shown(&path, root)),
        None if knows("bpf") => findings.ok("bpffs", "the kernel has it; the agent mounts its own"),
        None => findings.fail(
            "bpffs",
            "the kernel has no bpf file system",
            "use a kernel with CONFIG_BPF_SYSCALL=y",
        ),
    }
}

/// As the node has it.
fn shown(path: &Path, root: Option<&Path>) -> String {
    let below = root.and_then(|root| path.strip_prefix(root).ok());
    below.map_or_else(|| path.to_owned(), |below| Path::new("/").join(below)).display().to_string()
}

/// Of `6.12.9-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_first_two_numbers() {
        assert_eq!(version("6.12.9-amd64"), Some((6, 12)));
        assert_eq!(version("5.10.0-28-cloud"), Some((5, 10)));
        assert_eq!(version("odd"), None);
    }
}
