//! Which pods are in the mesh: the one place that reads the labels.
//!
//! Ours decides before Istio's, and the pod before its namespace.

use std::collections::BTreeMap;

/// `enabled` or `disabled`, on a Namespace or a Pod.
pub const MESH: &str = "heddle.dev/mesh";
/// Istio's, sidecar mode; on a Namespace.
pub const ISTIO_INJECTION: &str = "istio-injection";
/// Istio's, ambient mode: `ambient` or `none`; on a Namespace or a Pod.
pub const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// Istio's, sidecar mode: `true` or `false`; on a Pod.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";

type Labels = BTreeMap<String, String>;

/// Whether a namespace with these labels has its pods in the mesh.
pub fn namespace_enrolled(labels: &Labels) -> bool {
    match label(labels, MESH) {
        Some("enabled") => true,
        Some("disabled") => false,
        _ => {
            label(labels, DATAPLANE_MODE) == Some("ambient")
                || label(labels, ISTIO_INJECTION) == Some("enabled")
        }
    }
}

/// Whether a pod is in the mesh. A pod in its host's network never is: it has no address of its own.
pub fn pod_enrolled(namespace: &Labels, pod: &Labels, host_network: bool) -> bool {
    if host_network {
        return false;
    }
    match (label(pod, MESH), label(pod, DATAPLANE_MODE), label(pod, SIDECAR_INJECT)) {
        (Some("enabled"), _, _) => true,
        (Some("disabled"), _, _) => false,
        (_, Some("ambient"), _) => label(namespace, MESH) != Some("disabled"),
        (_, Some("none"), _) | (_, _, Some("false")) => false,
        _ => namespace_enrolled(namespace),
    }
}

fn label<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn any_of_the_three_labels_enrols_a_namespace() {
        for pair in [(ISTIO_INJECTION, "enabled"), (DATAPLANE_MODE, "ambient"), (MESH, "enabled")] {
            assert!(namespace_enrolled(&labels(&[pair])), "{pair:?}");
            assert!(pod_enrolled(&labels(&[pair]), &Labels::new(), false), "{pair:?}");
        }
        for pair in
            [(ISTIO_INJECTION, "disabled"), (DATAPLANE_MODE, "none"), (MESH, "yes"), ("app", "enabled")]
        {
            assert!(!namespace_enrolled(&labels(&[pair])), "{pair:?}");
        }
        assert!(!namespace_enrolled(&Labels::new()));
    }

    #[test]
    fn our_label_decides_before_those_of_istio() {
        assert!(!namespace_enrolled(&labels(&[(MESH, "disabled"), (ISTIO_INJECTION, "enabled")])));
        assert!(namespace_enrolled(&labels(&[(MESH, "enabled"), (DATAPLANE_MODE, "none")])));
    }

    #[test]
    fn a_pod_opts_out_of_an_enrolled_namespace() {
        let namespace = labels(&[(ISTIO_INJECTION, "enabled")]);
        for pair in [(MESH, "disabled"), (DATAPLANE_MODE, "none"), (SIDECAR_INJECT, "false")] {
            assert!(!pod_enrolled(&namespace, &labels(&[pair]), false), "{pair:?}");
        }
        assert!(
            !pod_enrolled(&namespace, &Labels::new(), true),
            "a pod in the host's network is never enrolled"
        );
    }

    #[test]
    fn a_pod_opts_into_the_mesh_alone() {
        assert!(pod_enrolled(&Labels::new(), &labels(&[(MESH, "enabled")]), false));
        assert!(pod_enrolled(&Labels::new(), &labels(&[(DATAPLANE_MODE, "ambient")]), false));
        assert!(!pod_enrolled(
            &labels(&[(MESH, "disabled")]),
            &labels(&[(DATAPLANE_MODE, "ambient")]),
            false
        ));
        assert!(!pod_enrolled(&Labels::new(), &Labels::new(), false));
    }
}
