//! The nodes: the agents end, then a Job on each node takes off what they left.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::say_deleted;
use crate::cluster::{Cluster, PODS, Resource, SYSTEM, why_not_running};
use crate::failure::Failure;
use crate::install::{Bundle, get, put, say, text};

const JOBS: Resource<'static> = Resource { api_version: "batch/v1", plural: "jobs" };
const LOOK: Duration = Duration::from_millis(500);
/// Nodes that are cleaned at a time.
const AT_ONCE: usize = 32;
/// Of a name, so that it is a label too.
const LONGEST: usize = 63;
/// Flags of the agent and of the plugin that say where things are.
const AGENT_PLACES: [&str; 3] = ["--bpffs=", "--cgroup=", "--proc="];
const CNI_PLACES: [&str; 3] = ["--host-root=", "--conf-dir=", "--bin-dir="];

/// Ends the agents and cleans every node. What fails is named; nothing else is deleted then.
pub(super) async fn run(
    cluster: &Cluster,
    bundle: &Bundle,
    nodes: &[String],
    within: Duration,
) -> Result<(), Failure> {
    let objects = bundle.base()?;
    let of_kind = |kind: &str, name: &str| {
        objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    let built_in = of_kind("DaemonSet", "heddle-agent").cloned().unwrap_or_default();
    // Its images and places are those of this cluster.
    let agents = get(cluster, &built_in).await?;
    // What Jobs need may have gone before: somebody deleted the namespace.
    for (kind, name) in [("Namespace", SYSTEM), ("ServiceAccount", "heddle-agent")] {
        if let Some(object) = of_kind(kind, name)
            && get(cluster, object).await?.is_none()
        {
            put(cluster, object, false).await?;
        }
    }
    if agents.is_some() {
        let daemon_sets = Resource { api_version: "apps/v1", plural: "daemonsets" };
        let gone = cluster.delete(daemon_sets, Some(SYSTEM), "heddle-agent", "Background").await;
        gone.map_err(|trouble| cluster.tell(&trouble))?;
        say_deleted(&built_in);
    }
    let template = agents.unwrap_or(built_in)["spec"]["template"]["spec"].clone();
    let cleaned = nodes.iter().map(async |node| clean(cluster, &template, node, within).await);
    let cleaned: Vec<Result<(), Failure>> = stream::iter(cleaned).buffer_unordered(AT_ONCE).collect().await;
    let failed: Vec<String> =
        cleaned.into_iter().filter_map(|done| done.err().map(|failure| failure.0)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "{}\nNothing else was deleted: mend this and call heddle uninstall again, or leave nodes as they are: --skip-nodes NAME",
        failed.join("\n")
    )))
}

async fn clean(cluster: &Cluster, template: &Value, node: &str, within: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + within;
    let failed = |why: String| Failure(format!("node {node}: {why}"));
    while let Some(pod) = agent_of(cluster, node).await? {
        if Instant::now() >= deadline {
            return Err(failed(format!("its agent still runs after {within:?} (pod {pod})")));
        }
        sleep(LOOK).await;
    }
    let name = job_name(node);
    again(cluster, &name, deadline).await?;
    let made = cluster.create(JOBS, Some(SYSTEM), &job(&name, node, template, within)).await;
    made.map_err(|trouble| failed(cluster.tell(&trouble).0))?;
    loop {
        let job = cluster.get(JOBS, Some(SYSTEM), &name).await.map_err(|trouble| cluster.tell(&trouble))?;
        if job["status"]["succeeded"].as_u64().is_some_and(|count| count > 0) {
            let said = log(cluster, &name, "agent").await;
            say(&format!("node {node} cleaned: {}", said.lines().collect::<Vec<_>>().join("; ")));
            return Ok(());
        }
        let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
        let ended = conditions.into_iter().any(|each| each["type"] == "Failed" && each["status"] == "True");
        if ended || Instant::now() >= deadline {
            return Err(failed(why(cluster, &name, ended, within).await));
        }
        sleep(LOOK).await;
    }
}

/// The pod of the node's agent, while there is one.
async fn agent_of(cluster: &Cluster, node: &str) -> Result<Option<String>, Failure> {
    let pods = cluster.list(PODS, Some(SYSTEM), "app=heddle-agent").await;
    let pods = pods.map_err(|trouble| cluster.tell(&trouble))?;
    let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
    Ok(pod.map(|pod| text(&pod["metadata"]["name"]).to_owned()))
}

/// A Job of an earlier attempt goes first.
async fn again(cluster: &Cluster, name: &str, deadline: Instant) -> Result<(), Failure> {
    let tell = |trouble| cluster.tell(&trouble);
    while cluster.delete(JOBS, Some(SYSTEM), name, "Background").await.map_err(tell)? {
        if Instant::now() >= deadline {
            return Err(Failure(format!("job {SYSTEM}/{name} of an earlier attempt does not go")));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Both programs' own words about removing, on the node itself, with what the agent was allowed and had mounted.
fn job(name: &str, node: &str, template: &Value, within: Duration) -> Value {
    let labels = json!({"app": "heddle-cleanup", "app.kubernetes.io/part-of": "heddle",
        "app.kubernetes.io/managed-by": "heddle"});
    let keep = [
        "hostNetwork",
        "hostPID",
        "serviceAccountName",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "priorityClassName",
        "tolerations",
        "securityContext",
        "imagePullSecrets",
    ];
    let mut spec = json!({"nodeName": node, "restartPolicy": "Never"});
    for key in keep {
        if !template[key].is_null() {
            spec[key] = template[key].clone();
        }
    }
    let volumes = template["volumes"].as_array().into_iter().flatten();
    let volumes: Vec<&Value> = volumes.filter(|volume| volume["hostPath"].is_object()).collect();
    let container = |name: &str, arguments: &[&str], places: &[&str]| {
        let all = template["containers"].as_array().into_iter().flatten();
        let from = all.into_iter().find(|container| container["name"] == name).cloned().unwrap_or_default();
        let given = from["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let given = given.filter(|argument| places.iter().any(|place| argument.starts_with(place)));
        let mounts = from["volumeMounts"].as_array().into_iter().flatten();
        let mounts = mounts.filter(|mount| volumes.iter().any(|volume| volume["name"] == mount["name"]));
        let mut made = json!({"name": name, "args": arguments.iter().copied().chain(given).collect::<Vec<_>>(),
            "volumeMounts": mounts.collect::<Vec<_>>()});
        for key in ["image", "imagePullPolicy", "command", "env", "securityContext"] {
            if !from[key].is_null() {
                made[key] = from[key].clone();
            }
        }
        made
    };
    // The network configuration first: no pod that starts meanwhile waits for an agent.
    spec["initContainers"] = json!([container("cni", &["remove"], &CNI_PLACES)]);
    spec["containers"] = json!([container("agent", &["remove", &format!("--node={node}")], &AGENT_PLACES)]);
    spec["volumes"] = json!(volumes);
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": SYSTEM, "labels": labels},
        "spec": {"backoffLimit": 1, "activeDeadlineSeconds": within.as_secs().max(1),
            "template": {"metadata": {"labels": labels}, "spec": spec}}})
}

/// Of a node's name, which may be longer than a label.
fn job_name(node: &str) -> String {
    let whole = format!("heddle-cleanup-{node}");
    if whole.len() <= LONGEST {
        return whole;
    }
    // FNV-1a: nodes of one beginning have Jobs of their own.
    let hash =
        node.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let kept = whole[..LONGEST - 9].trim_end_matches(['.', '-']);
    format!("{kept}-{hash:08x}")
}

/// Why a Job is not done: its pod cannot start, or what its programs said last.
async fn why(cluster: &Cluster, job: &str, ended: bool, within: Duration) -> String {
    let pods = cluster.list(PODS, Some(SYSTEM), &format!("job-name={job}")).await.unwrap_or_default();
    if let Some(reason) = pods.iter().find_map(why_not_running) {
        return reason;
    }
    let late =
        if ended { "its cleaning failed".to_owned() } else { format!("it is not clean after {within:?}") };
    for container in ["agent", "cni"] {
        let said = log(cluster, job, container).await;
        if let Some(last) = said.lines().last() {
            return format!("{late}: {last}");
        }
    }
    format!("{late}; see: kubectl -n {SYSTEM} describe job {job}")
}

/// What a container of a Job's newest pod printed; nothing where that cannot be read.
async fn log(cluster: &Cluster, job: &str, container: &str) -> String {
    let pods = cluster.list(PODS, Some(SYSTEM), &format!("job-name={job}")).await.unwrap_or_default();
    let newest = pods.iter().max_by_key(|pod| text(&pod["metadata"]["creationTimestamp"]).to_owned());
    let Some(pod) = newest.map(|pod| text(&pod["metadata"]["name"])) else { return String::new() };
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/log?container={container}");
    cluster.read_text(&path).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::install::Choices;

    #[test]
    fn a_job_is_the_agents_pod_with_both_programs_told_to_remove() {
        let objects = Bundle::new(&Choices::default()).base().unwrap();
        let agents = objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
        let mut template = agents["spec"]["template"]["spec"].clone();
        template["containers"][0]["args"].as_array_mut().unwrap().push("--bpffs=/x".into());
        let job = job("j", "node-1", &template, Duration::from_secs(9));
        let spec = &job["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["args"], json!(["remove", "--node=node-1", "--bpffs=/x"]));
        assert_eq!(spec["initContainers"][0]["args"], json!(["remove"]));
        assert_eq!(
            (&spec["nodeName"], &spec["hostPID"], &spec["hostNetwork"]),
            (&"node-1".into(), &true.into(), &true.into())
        );
        for (made, from) in [("initContainers", 1), ("containers", 0)] {
            for key in ["image", "securityContext", "imagePullPolicy"] {
                assert_eq!(spec[made][0][key], template["containers"][from][key], "{made} {key}");
            }
            assert!(spec[made][0]["readinessProbe"].is_null() && spec[made][0]["ports"].is_null());
        }
        // What the controller and the token service bring is not there any more.
        let names = |list: &Value| {
            list.as_array().unwrap().iter().map(|each| text(&each["name"]).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&spec["volumes"]), ["heddle", "cni-conf", "cni-bin"]);
        assert_eq!(names(&spec["containers"][0]["volumeMounts"]), ["heddle"]);
        let typed: Result<k8s_openapi::api::batch::v1::Job, _> = serde_json::from_value(job);
        assert!(typed.is_ok(), "{typed:?}");
    }

    #[test]
    fn long_names_of_nodes_have_jobs_of_their_own() {
        assert_eq!(job_name("node-1"), "heddle-cleanup-node-1");
        let long = "ip-10-0-0-1.a-region-with-a-long-name.compute.internal.example.org";
        let names = [job_name(&format!("{long}1")), job_name(&format!("{long}2"))];
        assert!(names[0] != names[1] && names.iter().all(|name| name.len() <= 63), "{names:?}");
    }
}
