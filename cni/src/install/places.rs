//! Where the runtime of this node looks: its configuration says, else the first of the usual folders that is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::conflist::Form;

/// containerd's own configuration, in the order in which distributions of Kubernetes keep it.
const CONTAINERD: [&str; 4] = [
    "/etc/containerd/config.toml",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "/var/snap/microk8s/current/args/containerd.toml",
];
const CONFIGURATIONS: [&str; 4] = [
    "/etc/cni/net.d",
    "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    "/etc/kubernetes/cni/net.d",
    "/var/snap/microk8s/current/args/cni-network",
];
const BINARIES: [&str; 5] = [
    "/opt/cni/bin",
    "/var/lib/rancher/k3s/data/current/bin",
    "/usr/libexec/cni",
    "/usr/lib/cni",
    "/var/snap/microk8s/current/opt/cni/bin",
];

/// The two folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Network configurations.
    pub conf: PathBuf,
    /// Plugins.
    pub bin: PathBuf,
}

/// Looks below `root`, which is `/` or where the node's file system is mounted.
pub fn detect(root: &Path) -> Places {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let configured =
        CONTAINERD.iter().find_map(|path| fs::read_to_string(below(path)).ok()).unwrap_or_default();
    let conf = setting(&configured, &["conf_dir"]).map(|path| below(&path));
    let bin = setting(&configured, &["bin_dir", "bin_dirs"]).map(|path| below(&path));
    let has_configuration = |path: &PathBuf| {
        let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_str().is_some_and(|name| Form::of(name).is_some()))
    };
    let conf = conf.or_else(|| CONFIGURATIONS.iter().map(|path| below(path)).find(has_configuration));
    let bin = bin.or_else(|| BINARIES.iter().map(|path| below(path)).find(|path| path.is_dir()));
    Places {
        conf: conf.unwrap_or_else(|| below(CONFIGURATIONS[0])),
        bin: bin.unwrap_or_else(|| below(BINARIES[0])),
    }
}

/// The first text of a setting in a `.cni` table: `bin_dir = "/opt/cni/bin"`, or of a list (`bin_dirs`, containerd 2.1).
fn setting(toml: &str, keys: &[&str]) -> Option<String> {
    let mut of_cni = false;
    for line in toml.lines().map(str::trim) {
        if line.starts_with('[') && line.ends_with(']') {
            of_cni = line.trim_end_matches(']').ends_with(".cni");
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if !of_cni || !keys.contains(&key.trim()) {
            continue;
        }
        let quote = |c| c == '"' || c == '\'';
        let text = value.split(quote).nth(1).unwrap_or_default();
        if text.starts_with('/') {
            return Some(text.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_runtimes_configuration_says_where_it_looks() {
        let of_1 = "[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"/opt/one\"\n  conf_dir = \"/etc/one\"\n";
        let of_2 = "[plugins.'io.containerd.cri.v1.runtime'.cni]\n bin_dir = ''\n bin_dirs = ['/opt/two', '/opt/more']\n conf_dir = '/etc/two'\n\
                    [plugins.'io.containerd.other']\n bin_dir = '/wrong'\n";
        for (text, conf, bin) in [(of_1, "etc/one", "opt/one"), (of_2, "etc/two", "opt/two")] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("etc/containerd")).unwrap();
            fs::write(root.path().join("etc/containerd/config.toml"), text).unwrap();
            let expected = Places { conf: root.path().join(conf), bin: root.path().join(bin) };
            assert_eq!(detect(root.path()), expected);
        }
    }

    #[test]
    fn without_it_the_usual_folders_count_that_are_there() {
        let root = tempfile::tempdir().unwrap();
        let defaults =
            Places { conf: root.path().join("etc/cni/net.d"), bin: root.path().join("opt/cni/bin") };
        assert_eq!(detect(root.path()), defaults);
        let k3s = root.path().join("var/lib/rancher/k3s/agent/etc/cni/net.d");
        fs::create_dir_all(&k3s).unwrap();
        assert_eq!(detect(root.path()), defaults, "an empty folder is nobody's");
        fs::write(k3s.join("10-flannel.conflist"), "{}").unwrap();
        assert_eq!(detect(root.path()).conf, k3s);
    }
}
