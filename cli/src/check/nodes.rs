//! Each node: what its Node object says, and where an agent runs what that finds.

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::{Finding, Findings};
use crate::cluster::{
    Cluster, Command, NODES, PODS, SYSTEM, is_linux, is_ready, is_running, reason, version_of,
};
use crate::install::text;

/// Linux 6.1: the oldest that pods were enrolled on.
const OLDEST: (u32, u32) = (6, 1);
const AT_ONCE: usize = 16;

pub(super) async fn look(cluster: &Cluster, installed: bool, findings: &mut Findings) {
    let nodes = match cluster.list(NODES, None, "").await {
        Ok(nodes) => nodes,
        Err(trouble) => return findings.warn(super::cluster::HERE, "nodes", cluster.tell(&trouble).0, ""),
    };
    let agents = match installed {
        true => cluster.list(PODS, Some(SYSTEM), "app=heddle-agent").await.unwrap_or_default(),
        false => Vec::new(),
    };
    let looks = nodes.iter().map(async |node| {
        let mut findings = Findings::default();
        object(node, &mut findings);
        if installed && is_linux(node) {
            agent(cluster, text(&node["metadata"]["name"]), &agents, &mut findings).await;
        }
        findings.0
    });
    let each: Vec<Vec<Finding>> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    findings.0.extend(each.into_iter().flatten());
}

/// What the kubelet says of its node.
fn object(node: &Value, findings: &mut Findings) {
    let (name, info) = (text(&node["metadata"]["name"]), &node["status"]["nodeInfo"]);
    if !is_linux(node) {
        return findings.warn(name, "node", "no Linux", "its pods stay outside of the mesh");
    }
    let (kernel, arch) = (text(&info["kernelVersion"]), text(&info["architecture"]));
    let (major, minor) = OLDEST;
    match version_of(kernel) {
        Some(version) if version < OLDEST => {
            let fix = format!("use Linux {major}.{minor} or later");
            findings.fail(name, "kernel", format!("Linux {kernel} is too old"), fix);
        }
        _ => findings.ok(name, "kernel", format!("Linux {kernel}")),
    }
    if !["", "amd64"].contains(&arch) {
        findings.fail(
            name,
            "node",
            format!("architecture {arch}"),
            "images are built for amd64 only; build your own",
        );
    }
    if !is_ready(node) {
        findings.warn(name, "node", "not ready", format!("kubectl describe node {name}"));
    }
}

async fn agent(cluster: &Cluster, node: &str, agents: &[Value], findings: &mut Findings) {
    let see = format!("kubectl -n {SYSTEM} get pods -l app=heddle-agent -o wide");
    let mut of_node = agents.iter().filter(|pod| pod["spec"]["nodeName"] == node);
    let Some(pod) = of_node.next() else {
        return findings.fail(
            node,
            "agent",
            "no agent runs here: pods of enrolled namespaces do not start",
            see,
        );
    };
    let name = text(&pod["metadata"]["name"]);
    if !is_running(pod, "agent") {
        return findings.fail(node, "agent", reason(pod, "agent"), see);
    }
    match is_ready(pod) {
        true => findings.ok(node, "agent", format!("pod {name} is ready")),
        false => findings.fail(
            node,
            "agent",
            reason(pod, "cni"),
            format!("kubectl -n {SYSTEM} logs {name} -c agent"),
        ),
    }
    let words = ["heddle-agent", "check"].map(str::to_owned).into();
    let command = Command { namespace: SYSTEM.to_owned(), pod: name.to_owned(), container: "agent", words };
    let found = match cluster.exec(&command).await {
        Ok(answer) => serde_json::from_slice::<Vec<Finding>>(&answer).map_err(|error| error.to_string()),
        Err(trouble) => Err(cluster.tell(&trouble).0),
    };
    match found {
        // The agent asks the kernel itself; its word counts more than the Node's.
        Ok(found) => {
            findings.0.retain(|finding| finding.check != "kernel");
            findings.0.extend(found.into_iter().map(|finding| Finding { place: node.to_owned(), ..finding }));
        }
        Err(error) => findings.warn(node, "agent", format!("it does not say what it finds: {error}"), see),
    }
}
