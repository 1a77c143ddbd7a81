//! Other meshes, and what they mean for Heddle.

use serde_json::Value;

use super::Findings;
use super::cluster::HERE;
use crate::cluster::{Cluster, Resource, Trouble};
use crate::install::text;

const CHECK: &str = "other-meshes";
const ONE_MESH: &str = "a pod is in one mesh only";

/// Kind, name of the workload, whose it is, and what to do.
const WORKLOADS: [(&str, &str, &str, &str); 7] = [
    (
        "deployments",
        "istiod",
        "Istio's control plane",
        "pods that start where istio-injection=enabled get its sidecar: enrol by heddle.dev/mesh=enabled, or take Istio away step by step",
    ),
    (
        "daemonsets",
        "ztunnel",
        "Istio's ambient mode",
        "it captures the pods of namespaces with istio.io/dataplane-mode=ambient, as Heddle does: enrol others by heddle.dev/mesh=enabled",
    ),
    (
        "deployments",
        "linkerd-destination",
        "Linkerd's control plane",
        "enrol no namespace that linkerd.io/inject meshes",
    ),
    (
        "deployments",
        "kuma-control-plane",
        "Kuma's control plane",
        "enrol no namespace that kuma.io/sidecar-injection meshes",
    ),
    ("deployments", "consul-connect-injector", "Consul's mesh", "enrol no namespace whose pods it injects"),
    ("deployments", "osm-controller", "Open Service Mesh", "enrol no namespace that it monitors"),
    ("daemonsets", "cilium", "Cilium", ""),
];

/// Settings of Cilium's ConfigMap: its value, what it does, and what to do.
const CILIUM: [(&str, &str, &str, &str); 4] = [
    (
        "cni-exclusive",
        "true",
        "Cilium renames the network configurations of others",
        "set its cni.exclusive=false, so that the plugin stays in the chain",
    ),
    (
        "bpf-lb-sock",
        "true",
        "Cilium translates service addresses at connect, as Heddle does",
        "set its socketLB.hostNamespaceOnly=true, so that pods' connects are Heddle's",
    ),
    (
        "mesh-auth-enabled",
        "true",
        "Cilium's mutual authentication is on",
        "turn it off where namespaces are enrolled",
    ),
    (
        "enable-envoy-config",
        "true",
        "Cilium's Envoy routes may stand between",
        "no CiliumEnvoyConfig should be about services of enrolled pods",
    ),
];

pub(super) async fn look(cluster: &Cluster, findings: &mut Findings) {
    let before = findings.0.len();
    if let Err(trouble) = workloads(cluster, findings).await {
        return findings.warn(HERE, CHECK, cluster.tell(&trouble).0, "");
    }
    if findings.0.len() == before {
        findings.ok(HERE, CHECK, "none is known here");
    }
}

async fn workloads(cluster: &Cluster, findings: &mut Findings) -> Result<(), Trouble> {
    for plural in ["deployments", "daemonsets"] {
        let resource = Resource { api_version: "apps/v1", plural };
        let found = cluster.list(resource, None, "").await?;
        for (_, name, whose, fix) in WORKLOADS.iter().filter(|row| row.0 == plural) {
            let namespace = |object: &Value| text(&object["metadata"]["namespace"]).to_owned();
            let named = |object: &&Value| is_named(text(&object["metadata"]["name"]), name);
            let Some(namespace) = found.iter().find(named).map(namespace) else { continue };
            if *name == "cilium" {
                cilium(cluster, &namespace, findings).await?;
            } else {
                findings.warn(HERE, CHECK, format!("{whose} runs in {namespace}; {ONE_MESH}"), *fix);
            }
        }
    }
    Ok(())
}

/// `istiod`, and a revision of it: `istiod-1-27-0`.
fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || wanted == "istiod" && name.starts_with("istiod-")
}

async fn cilium(cluster: &Cluster, namespace: &str, findings: &mut Findings) -> Result<(), Trouble> {
    let maps = Resource { api_version: "v1", plural: "configmaps" };
    let map = match cluster.get(maps, Some(namespace), "cilium-config").await {
        Ok(map) => map,
        Err(trouble) if trouble.is_absent() || trouble.is_forbidden() => return Ok(()),
        Err(trouble) => return Err(trouble),
    };
    let host_only = map["data"]["bpf-lb-sock-hostns-only"] == "true";
    for (key, value, said, fix) in CILIUM {
        if map["data"][key] == value && !(key == "bpf-lb-sock" && host_only) {
            findings.warn(HERE, CHECK, said, fix);
        }
    }
    Ok(())
}
