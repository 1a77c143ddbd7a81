//! `heddle uninstall`: nodes first, then everything that install made, and nothing of anybody else's.

use std::time::Duration;

use heddle_apiserver::{Double, Setup};
use serde_json::{Value, json};

use crate::front::Script;
use crate::{Desk, err, node, out, own, runs};

const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Two nodes with agents, everything installed, and what a controller writes.
async fn desk() -> Desk {
    let mut script = Script::new();
    for node in ["node-1", "node-2"] {
        let said = "18 links and filters detached; pods talk directly\n/run/heddle emptied\n".to_owned();
        script.insert(format!("heddle-cleanup-{node}-x log"), Ok(said));
    }
    script.insert("heddle-cleanup-node-2-failed log".to_owned(), Ok("heddle-agent: no cgroup\n".to_owned()));
    let desk = Desk::new(Setup { mesh: false, rbac: true, ..Setup::default() }, script).await;
    let installed = desk.heddle("install --apply --wait=false --image-registry reg.example --tag v7").await;
    assert!(installed.status.success(), "{}", err(&installed));
    for (pod, name) in [("heddle-agent-a", "node-1"), ("heddle-agent-b", "node-2")] {
        desk.double().put(node(name));
        desk.double().put(own("heddle-agent", pod, name, &runs()));
    }
    desk.double().put(own("heddle-controller", "heddle-controller-x", "node-1", &runs()));
    desk.double().namespace("istio-system", &json!({}));
    let map = |namespace: &str, labels: &Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "istio-ca-root-cert", "namespace": namespace, "labels": labels}, "data": {}})
    };
    let ours = json!({"app.kubernetes.io/managed-by": "heddle"});
    desk.double().put(map("default", &ours));
    desk.double().put(map("istio-system", &ours));
    desk.double().put(map("kube-system", &json!({"istio.io/config": "true"})));
    desk
}

/// What Kubernetes does by itself: pods go with their owners, Jobs run; those of `failing` fail.
fn kubernetes(double: Double, failing: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let system = "heddle-system";
        loop {
            for (owner, kind, pods) in [
                ("heddle-agent", "daemonsets.apps", &["heddle-agent-a", "heddle-agent-b"][..]),
                ("heddle-controller", "deployments.apps", &["heddle-controller-x"]),
            ] {
                if double.get(kind, system, owner).is_none() {
                    for pod in pods {
                        double.remove("pods", system, pod);
                    }
                }
            }
            for mut job in double.list("jobs.batch") {
                if !job["status"].is_null() {
                    continue;
                }
                let name = job["metadata"]["name"].as_str().unwrap().to_owned();
                let fails = !failing.is_empty() && name.ends_with(failing);
                let pod = format!("{name}-{}", if fails { "failed" } else { "x" });
                double.put(json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": pod, "namespace": system, "labels": {"job-name": name}},
                    "spec": job["spec"]["template"]["spec"], "status": {"phase": "Succeeded"}}));
                job["status"] = match fails {
                    true => json!({"failed": 2, "conditions": [{"type": "Failed", "status": "True"}]}),
                    false => json!({"succeeded": 1}),
                };
                double.put(job);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_from_the_nodes_first_and_nothing_of_anybody_elses() {
    let desk = desk().await;
    let before = desk.double().list(CRDS).len();
    let runs = kubernetes(desk.double().clone(), "");
    let output = desk.heddle("uninstall --yes").await;
    let text = out(&output);
    assert!(output.status.success(), "{text}{}", err(&output));
    let order = [
        "daemonset.apps/heddle-agent deleted",
        "node node-1 cleaned: 18 links and filters detached; pods talk directly; /run/heddle emptied",
        "deployment.apps/heddle-controller deleted",
        "configmap/istio-ca-root-cert deleted in 2 namespaces",
        "clusterrole.rbac.authorization.k8s.io/heddle-controller deleted",
        "namespace/heddle-system deleted",
        "Heddle is uninstalled; its definitions stay",
    ];
    let at = order.map(|line| text.find(line).unwrap_or_else(|| panic!("{line}: {text}")));
    assert!(at.is_sorted(), "{text}");
    let double = desk.double();
    let names = |resource: &str| {
        double.list(resource).iter().map(|each| each["metadata"]["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        names("jobs.batch").len() + names("daemonsets.apps").len() + names("deployments.apps").len(),
        0
    );
    assert!(
        !names("namespaces").contains(&"heddle-system".into())
            && names("namespaces").contains(&"istio-system".into())
    );
    let maps = double.list("configmaps");
    assert_eq!(maps.len(), 1, "istiod's stays: {maps:?}");
    for resource in
        ["clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"]
    {
        assert!(!names(resource).iter().any(|name| name.as_str().unwrap().contains("heddle")), "{resource}");
    }
    assert_eq!(double.list(CRDS).len(), before, "definitions stay");
    let again = desk.heddle("uninstall --yes").await;
    assert!(again.status.code() == Some(1) && err(&again).contains("not installed"), "{}", err(&again));

    double.put(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": true, "storage": true}]}}));
    let output = desk.heddle("uninstall --crds --yes").await;
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(names(CRDS), ["widgets.example.org"]);
    runs.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_cleaned_by_this_clusters_images_and_a_failure_keeps_the_rest() {
    let desk = desk().await;
    let runs = kubernetes(desk.double().clone(), "node-2");
    let output = desk.heddle("uninstall --yes").await;
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("node node-2: its cleaning failed: heddle-agent: no cgroup"), "{said}");
    assert!(said.contains("Nothing else was deleted") && !said.contains("node-1:"), "{said}");
    assert!(desk.double().get("deployments.apps", "heddle-system", "heddle-controller").is_some());
    let job = desk.double().get("jobs.batch", "heddle-system", "heddle-cleanup-node-1").unwrap();
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["image"], "reg.example/heddle-agent:v7");
    assert_eq!(
        (&spec["nodeName"], &spec["initContainers"][0]["image"]),
        (&"node-1".into(), &"reg.example/heddle-cni:v7".into())
    );
    runs.abort();
    // It goes on where it stopped.
    let runs = kubernetes(desk.double().clone(), "");
    let output = desk.heddle("uninstall --yes --crds").await;
    assert!(output.status.success(), "{}", err(&output));
    runs.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_named_and_nothing_is_begun() {
    let desk = desk().await;
    let mut away = node("node-2");
    away["status"]["conditions"][0]["status"] = "Unknown".into();
    desk.double().put(away);
    let before = desk.double().version();
    let output = desk.heddle("uninstall --yes").await;
    let said = err(&output);
    assert_eq!((output.status.code(), desk.double().version()), (Some(1), before));
    for part in ["cannot be cleaned: node-2", "kubectl delete node", "--skip-nodes node-2"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        err(&desk.heddle("uninstall --skip-nodes node-2").await).contains("say so: --yes"),
        "nobody is there to ask"
    );
    assert!(err(&desk.heddle("uninstall --yes --skip-nodes node-9").await).contains("no node 'node-9'"));
    let runs = kubernetes(desk.double().clone(), "");
    desk.double().remove("pods", "heddle-system", "heddle-agent-b");
    let output = desk.heddle("uninstall --yes --skip-nodes node-2").await;
    let text = out(&output);
    assert!(output.status.success(), "{text}{}", err(&output));
    assert!(text.contains("node node-2 is left as it is; on it: heddle-cni remove"), "{text}");
    assert!(!text.contains("node-2 cleaned"), "{text}");
    runs.abort();
}
