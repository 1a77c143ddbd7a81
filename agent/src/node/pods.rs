//! Which pod a process belongs to, by its cgroups: those that the kubelet made, in whatever hierarchy and by whatever driver.

use heddle_core::names::PodUid;

/// The pod of a process with this `/proc/PID/cgroup`; `None`: of none, or its hierarchies do not agree.
///
/// The outermost name counts: below its own cgroup a pod may be allowed to make others, and call them what it likes.
pub(super) fn pod_of(cgroups: &str) -> Option<PodUid> {
    let mut found: Option<String> = None;
    for line in cgroups.lines() {
        let Some(uid) = line.splitn(3, ':').nth(2).and_then(|path| path.split('/').find_map(uid)) else {
            continue;
        };
        match &found {
            Some(other) if *other != uid => return None,
            _ => found = Some(uid),
        }
    }
    found.map(PodUid::new)
}

/// `/proc/PID/cgroup` with each path as seen from below the `first` process of the node, where it is there: what is above the node
/// names the pods of others.
pub(super) fn below(cgroups: &str, first: &str) -> String {
    let parts = |line: &'_ str| line.match_indices(':').nth(1).map(|(at, _)| at + 1);
    let mut text = String::with_capacity(cgroups.len());
    for line in cgroups.lines() {
        let (hierarchy, path) = line.split_at(parts(line).unwrap_or(0));
        let above = first.lines().find_map(|of_first| of_first.strip_prefix(hierarchy)).unwrap_or_default();
        // systemd puts itself beside what it starts.
        let above = above.strip_suffix("/init.scope").unwrap_or(above).trim_end_matches('/');
        let rest = path.strip_prefix(above).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        text.extend([hierarchy, rest.unwrap_or(path), "\n"]);
    }
    text
}

/// `pod<uid>` by the cgroupfs driver, `kubepods-burstable-pod<uid>.slice` with underscores by systemd's.
fn uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit('-').next()?.strip_prefix("pod")?.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    // A UUID; or the 32 digits that the kubelet gives to a pod of a file.
    let is_uid = [32, 36].contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6a1f6d0e-6f2b-4a56-9d1f-3b6a0f0f7c11";
    const OTHER: &str = "0b5c4f7a-1111-4a56-9d1f-3b6a0f0f7c22";

    #[test]
    fn a_pod_is_found_in_every_form_that_kubelets_give_its_cgroup() {
        let slice = UID.replace('-', "_");
        let paths = [
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-0123.scope"
            ),
            format!("0::/kubepods.slice/kubepods-pod{slice}.slice/crio-0123.scope"),
            format!("0::/kubepods/besteffort/pod{UID}/0123"),
            format!("0::/kubepods/pod{UID}"),
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{slice}.slice/x"
            ),
            format!("0::/../../kubepods/burstable/pod{UID}/0123"),
            // Version 1, and the hybrid in which version 2 has everything in its root.
            format!(
                "12:memory:/kubepods/burstable/pod{UID}/0123\n3:cpu,cpuacct:/kubepods/burstable/pod{UID}/0123\n1:name=systemd:/kubepods/burstable/pod{UID}/0123\n0::/"
            ),
            format!("5:cpu:/\n4:memory:/kubepods/pod{UID}/a:b\n0::/"),
            // A kubelet inside of a pod: that pod.
            format!("0::/kubepods/pod{UID}/0123/kubepods/pod{OTHER}/4567"),
        ];
        for path in paths {
            assert_eq!(pod_of(&path), Some(PodUid::new(UID)), "{path}");
        }
        let of_a_file = "8f3c1d5e7a9b0c2d4e6f8a0b1c2d3e4f";
        assert_eq!(pod_of(&format!("0::/kubepods/pod{of_a_file}/x")), Some(PodUid::new(of_a_file)));
    }

    #[test]
    fn a_node_that_is_a_container_of_another_cluster_has_pods_of_its_own() {
        let outer = format!("/kubepods/burstable/pod{OTHER}/0123");
        let first = format!("4:memory:{outer}\n1:name=systemd:{outer}/init.scope\n0::/");
        let inner =
            format!("4:memory:{outer}/kubepods/pod{UID}/x\n1:name=systemd:{outer}/kubepods/pod{UID}/x\n0::/");
        assert_eq!(pod_of(&below(&inner, &first)), Some(PodUid::new(UID)));
        let kubelet = format!("4:memory:{outer}\n1:name=systemd:{outer}/kubelet.service\n0::/");
        assert_eq!(below(&kubelet, &first), "4:memory:\n1:name=systemd:/kubelet.service\n0::/\n");
        // The first process of a machine is above everything, or beside it.
        for first in ["4:memory:/\n0::/init.scope", "", "4:memory:/kubepods/po"] {
            assert_eq!(
                pod_of(&below(&format!("4:memory:/kubepods/pod{UID}/x\n0::/"), first)),
                Some(PodUid::new(UID)),
                "{first}"
            );
        }
    }

    #[test]
    fn what_is_no_pod_or_more_than_one_is_none() {
        let paths = [
            "0::/".to_owned(),
            String::new(),
            "0::/system.slice/kubelet.service".to_owned(),
            "0::/user.slice/podman-1234.scope".to_owned(),
            "0::/machine.slice/libpod-0123.scope/pod".to_owned(),
            "0::/kubepods/pod../x".to_owned(),
            format!("0::/kubepods/xpod{UID}"),
            format!("0::/kubepods/pod{UID}x"),
            // A privileged container put itself below a cgroup of another name, in a hierarchy that the kubelet leaves alone.
            format!("4:memory:/kubepods/pod{UID}/0123\n0::/kubepods/pod{OTHER}/x"),
        ];
        for path in paths {
            assert_eq!(pod_of(&path), None, "{path}");
        }
    }
}
