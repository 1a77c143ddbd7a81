//! The controllers against a store, with a kubelet that this file plays.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value, reason = "tests")]
use heddle_api::object::Object;
use serde_json::{Value, json};

use super::stateful_set::{Member, Order};
use super::*;

struct Cluster {
    store: Store,
}

impl Cluster {
    fn new(nodes: usize) -> Cluster {
        let store = Store::in_memory().unwrap();
        for node in 1..=nodes {
            let name = format!("node-{node}");
            let labels = json!({"kubernetes.io/hostname": name});
            store
                .create(made(
                    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}),
                ))
                .unwrap();
        }
        Cluster { store }
    }

    fn apply(&self, value: Value) {
        self.store.apply(made(value)).unwrap();
    }

    /// Controllers and kubelets until nothing changes any more.
    fn settle(&self) {
        for _ in 0..200 {
            let before = self.store.version();
            pass(&self.store);
            self.kubelet(true);
            if self.store.version() == before {
                return;
            }
        }
        panic!("the controllers never come to rest");
    }

    fn kubelet(&self, ready: bool) {
        for pod in self.store.list(kind_named("Pod")) {
            if pods::is_terminating(&pod) {
                self.store.remove(pod.kind, pod.namespace.as_deref(), &pod.name, pod.uid().unwrap()).unwrap();
            } else if pods::is_scheduled(&pod) {
                let last = pod.name.len();
                let change = |status: &mut Value| {
                    status["phase"] = json!("Running");
                    status["podIPs"] =
                        json!([{"ip": format!("10.244.1.{last}")}, {"ip": format!("fd00::{last}")}]);
                    deployment::condition(status, "Ready", ready, ("", ""));
                };
                self.store.patch_status(pod.kind, pod.namespace.as_deref(), &pod.name, change).unwrap();
            }
        }
    }

    fn pods(&self) -> Vec<std::sync::Arc<Object>> {
        self.store.list(kind_named("Pod"))
    }

    fn get(&self, kind: &'static str, name: &str) -> std::sync::Arc<Object> {
        self.store.get(kind_named(kind), Some("default"), name).unwrap()
    }
}

fn made(value: Value) -> Object {
    let mut object = Object::from_value(value).unwrap();
    object.default_namespace("default");
    object
}

fn workload(kind: &str, replicas: Value, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "serviceName": "web",
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}
            }
        }
    })
}

#[test]
fn a_deployment_becomes_pods_that_spread_and_carry_the_template_hash() {
    let cluster = Cluster::new(2);
    cluster.apply(workload("Deployment", json!(2), "nginx"));
    cluster.settle();
    let pods = cluster.pods();
    assert_eq!(pods.len(), 2);
    assert_ne!(pods[0].value["spec"]["nodeName"], pods[1].value["spec"]["nodeName"]);
    assert_eq!(pods::label(&pods[0], "pod-template-hash").len(), 10);
    let deployment = cluster.get("Deployment", "web");
    assert_eq!(
        progress("deployment", &deployment.value),
        (true, "deployment \"web\" successfully rolled out".to_owned())
    );
}

#[test]
fn a_new_template_replaces_every_pod_and_keeps_the_old_set_for_history() {
    let cluster = Cluster::new(2);
    cluster.apply(workload("Deployment", json!(3), "nginx"));
    cluster.settle();
    cluster.apply(workload("Deployment", json!(3), "nginx:2"));
    cluster.settle();
    let pods = cluster.pods();
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|pod| pod.value["spec"]["containers"][0]["image"] == "nginx:2"));
    assert_eq!(cluster.store.list(kind_named("ReplicaSet")).len(), 2);
}

#[test]
fn a_rollout_whose_new_pods_are_never_ready_keeps_the_old_ones() {
    let cluster = Cluster::new(1);
    cluster.apply(workload("Deployment", json!(2), "nginx"));
    cluster.settle();
    cluster.apply(workload("Deployment", json!(2), "broken"));
    for _ in 0..20 {
        pass(&cluster.store);
    }
    let serving = cluster.pods().iter().filter(|pod| pods::is_ready(pod) && pods::is_active(pod)).count();
    assert_eq!(serving, 2);
    assert!(!progress("deployment", &cluster.get("Deployment", "web").value).0);
}

#[test]
fn what_a_deployment_made_goes_with_it() {
    let cluster = Cluster::new(1);
    cluster.apply(workload("Deployment", json!(2), "nginx"));
    cluster.settle();
    cluster.store.delete(kind_named("Deployment"), Some("default"), "web").unwrap();
    cluster.settle();
    assert!(cluster.pods().is_empty());
    assert!(cluster.store.list(kind_named("ReplicaSet")).is_empty());
}

#[test]
fn a_namespace_goes_when_all_in_it_has_gone() {
    let cluster = Cluster::new(1);
    cluster.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}));
    let mut there = workload("Deployment", json!(1), "nginx");
    there["metadata"]["namespace"] = json!("other");
    cluster.apply(there);
    cluster.settle();
    cluster.store.delete(kind_named("Namespace"), None, "other").unwrap();
    cluster.settle();
    assert!(cluster.store.get(kind_named("Namespace"), None, "other").is_none());
    assert!(cluster.store.everything().iter().all(|object| object.namespace.as_deref() != Some("other")));
}

#[test]
fn endpoints_follow_readiness_and_named_ports_in_both_families() {
    let cluster = Cluster::new(1);
    cluster.apply(workload("Deployment", json!(1), "nginx"));
    let ports = json!([{"port": 80, "targetPort": "http", "appProtocol": "http"}]);
    cluster.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports}
    }));
    cluster.settle();
    let slices = cluster.store.list(kind_named("EndpointSlice"));
    assert_eq!(slices.len(), 2);
    for slice in &slices {
        assert_eq!(
            slice.value["ports"],
            json!([{"name": "", "port": 8080, "protocol": "TCP", "appProtocol": "http"}])
        );
        assert_eq!(
            slice.value["endpoints"][0]["conditions"],
            json!({"ready": true, "serving": true, "terminating": false})
        );
    }
    let pod = cluster.pods().remove(0);
    cluster.store.delete(pod.kind, Some("default"), &pod.name).unwrap();
    endpoints::reconcile(&cluster.store);
    let slice = cluster.store.list(kind_named("EndpointSlice")).remove(0);
    assert_eq!(
        slice.value["endpoints"][0]["conditions"],
        json!({"ready": false, "serving": true, "terminating": true})
    );
}

#[test]
fn a_daemon_set_has_one_pod_on_each_node_it_selects() {
    let cluster = Cluster::new(3);
    let mut set = workload("DaemonSet", Value::Null, "nginx");
    set["spec"].as_object_mut().unwrap().retain(|field, _| field != "replicas" && field != "serviceName");
    cluster.apply(set.clone());
    cluster.settle();
    assert_eq!(cluster.pods().len(), 3);
    set["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-2"});
    cluster.apply(set);
    cluster.settle();
    let pods = cluster.pods();
    assert_eq!((pods.len(), &pods[0].value["spec"]["nodeName"]), (1, &json!("node-2")));
}

#[test]
fn a_pod_that_no_node_fits_says_so() {
    let cluster = Cluster::new(1);
    let mut deployment = workload("Deployment", json!(1), "nginx");
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    cluster.apply(deployment);
    cluster.settle();
    let condition = cluster.pods()[0].value["status"]["conditions"][0].clone();
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("PodScheduled"), &json!("Unschedulable")));
}

#[test]
fn a_stateful_set_starts_in_order_and_stops_in_reverse() {
    let order = Order { first: 0, replicas: 2, parallel: false, partition: Some(0) };
    let member = |ordinal, available| Member {
        ordinal,
        available,
        terminating: false,
        finished: false,
        outdated: false,
    };
    let old = |ordinal| Member { outdated: true, ..member(ordinal, true) };
    use stateful_set::Step::{Create, Delete};
    let rows = [
        (vec![], vec![Create(0)]),
        (vec![member(0, false)], vec![]),
        (vec![member(0, true)], vec![Create(1)]),
        (vec![member(0, true), member(1, true)], vec![]),
        (vec![member(0, true), member(1, true), member(2, true), member(3, true)], vec![Delete(3)]),
        (vec![old(0), old(1)], vec![Delete(1)]),
        (vec![old(0), member(1, false)], vec![]),
        (vec![old(0), member(1, true)], vec![Delete(0)]),
        (vec![Member { available: false, ..old(0) }], vec![Delete(0)]),
    ];
    for (members, expected) in rows {
        assert_eq!(stateful_set::decide(order, &members), expected, "{members:?}");
    }
    let parallel = Order { parallel: true, ..order };
    assert_eq!(stateful_set::decide(parallel, &[]), [Create(0), Create(1)]);
}

#[test]
fn a_stateful_set_gives_its_pods_stable_names() {
    let cluster = Cluster::new(1);
    cluster.apply(workload("StatefulSet", json!(2), "nginx"));
    cluster.settle();
    let names: Vec<String> = cluster.pods().iter().map(|pod| pod.name.clone()).collect();
    assert_eq!(names, ["web-0", "web-1"]);
    assert_eq!(cluster.get("Pod", "web-0").value["spec"]["subdomain"], "web");
}

#[test]
fn a_job_runs_until_enough_have_succeeded_or_too_many_failed() {
    use job::{Count, Step};
    let count = |active, succeeded, failed| Count { active, succeeded, failed };
    let rows = [
        (count(0, 0, 0), Step::Start(2)),
        (count(2, 0, 0), Step::Wait),
        (count(1, 1, 0), Step::Start(1)),
        (count(1, 2, 0), Step::Wait),
        (count(0, 3, 0), Step::Complete),
        (count(0, 0, 2), Step::Fail),
    ];
    for (count, expected) in rows {
        assert_eq!(job::decide(3, 2, 1, count), expected, "{count:?}");
    }
}
