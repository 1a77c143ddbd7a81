//! The controller over an API server that does what API servers do on their bad days.
#![allow(clippy::unwrap_used, reason = "tests")]

mod faults;
mod world;

use std::time::Duration;

use heddle_apiserver::{ADMIN, Double, Setup, TokenSpec};
use heddle_controlplane::index::input::{Input, InputKind, Key};
use heddle_controlplane::rights;
use serde_json::{Value, json};
use world::{Watcher, Whole, pod, virtual_service};

const VIRTUAL_SERVICES: &str = "virtualservices.networking.istio.io";
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

/// Tries until it holds, a minute at most.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("never: {what}");
}

fn admin(_: &Double) -> String {
    ADMIN.to_owned()
}

#[tokio::test]
async fn kinds_that_are_not_installed_are_waited_for_and_objects_of_one_that_goes_are_gone() {
    let double = Double::start(Setup { mesh: false, ..Setup::default() }).await.unwrap();
    double.namespace("ns", &json!({}));
    let mut watcher = Watcher::start(double.clone()).await;
    watcher.until("complete without any kind of the mesh", |watcher| watcher.last.complete).await;
    double.install_mesh_kinds();
    double.put(virtual_service("v", "a.example"));
    let key = Key::new(InputKind::VirtualService, "ns", "v");
    watcher.until("the object of a kind that came", |watcher| watcher.inputs.contains_key(&key)).await;
    double.remove("customresourcedefinitions.apiextensions.k8s.io", "", VIRTUAL_SERVICES);
    watcher.until("its end", |watcher| !watcher.inputs.contains_key(&key)).await;
}

#[tokio::test]
async fn a_kind_of_another_version_says_so_and_stops_nobody_else() {
    let double = Double::start(Setup { mesh: false, ..Setup::default() }).await.unwrap();
    double.put(definition("v9"));
    let mut watcher = Watcher::start(double).await;
    watcher.until("complete", |watcher| watcher.last.complete).await;
    let told = |watcher: &Watcher| {
        watcher.last.problems.iter().any(|problem| problem.message.contains("served as v9 only"))
    };
    watcher.until("the version is named", told).await;
}

#[tokio::test]
async fn a_kind_that_is_installed_again_in_an_older_version_is_read_in_that_one() {
    let double = Double::start(Setup::default()).await.unwrap();
    double.namespace("ns", &json!({}));
    let mut watcher = Watcher::start(double.clone()).await;
    double.put(virtual_service("v", "a.example"));
    let key = Key::new(InputKind::VirtualService, "ns", "v");
    watcher.until("the object", |watcher| watcher.inputs.contains_key(&key)).await;
    double.remove("customresourcedefinitions.apiextensions.k8s.io", "", VIRTUAL_SERVICES);
    double.put(definition("v1alpha3"));
    let old = Key::new(InputKind::VirtualService, "ns", "old");
    let mut object = virtual_service("old", "a.example");
    object["apiVersion"] = "networking.istio.io/v1alpha3".into();
    double.put(object);
    let there = |watcher: &Watcher| watcher.inputs.contains_key(&old) && !watcher.inputs.contains_key(&key);
    watcher.until("what is there now", there).await;
}

/// Of VirtualServices, in one version.
fn definition(version: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": VIRTUAL_SERVICES},
        "spec": {"group": "networking.istio.io", "scope": "Namespaced",
            "names": {"kind": "VirtualService", "plural": "virtualservices"},
            "versions": [{"name": version, "served": true, "storage": true}]}})
}

#[tokio::test]
async fn of_secrets_only_those_that_rules_name_are_kept() {
    let double = Double::start(Setup::default()).await.unwrap();
    double.namespace("ns", &json!({}));
    for name in ["named", "other"] {
        double
            .put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "ns"},
            "type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "Yg=="}}));
    }
    double.put(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "release", "namespace": "ns"},
        "type": "helm.sh/release.v1", "data": {"tls.crt": "YQ=="}}),
    );
    let mut watcher = Watcher::start(double.clone()).await;
    watcher.until("complete", |watcher| watcher.last.complete).await;
    let secret = |name: &str| Key::new(InputKind::Secret, "ns", name);
    assert!(!watcher.inputs.contains_key(&secret("named")), "nobody names it yet");
    let rule = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "r", "namespace": "ns"},
        "spec": {"host": "x.example", "trafficPolicy": {"tls": {"mode": "MUTUAL", "credentialName": "named"}}}});
    double.put(rule);
    watcher.until("the Secret", |watcher| watcher.inputs.contains_key(&secret("named"))).await;
    assert!(!watcher.inputs.keys().any(|key| [secret("other"), secret("release")].contains(key)));
    double.remove("destinationrules.networking.istio.io", "ns", "r");
    watcher.until("nobody names it any more", |watcher| !watcher.inputs.contains_key(&secret("named"))).await;
}

#[tokio::test]
async fn an_object_that_is_wrong_keeps_its_last_good_one_and_stops_no_other() {
    let double = Double::start(Setup::default()).await.unwrap();
    double.namespace("ns", &json!({}));
    double.put(virtual_service("v", "a.example"));
    let mut watcher = Watcher::start(double.clone()).await;
    let key = |name: &str| Key::new(InputKind::VirtualService, "ns", name);
    watcher.until("it is there", |watcher| watcher.inputs.contains_key(&key("v"))).await;
    let good = watcher.inputs[&key("v")].clone();
    let mut wrong = virtual_service("v", "a.example");
    wrong["spec"]["http"] = json!("nonsense");
    double.put(wrong);
    let mut labels = pod("p", "10.0.0.1");
    labels["metadata"]["labels"] = json!(7);
    double.put(labels);
    double.put(virtual_service("w", "b.example"));
    watcher.until("the next one", |watcher| watcher.inputs.contains_key(&key("w"))).await;
    assert_eq!(watcher.inputs[&key("v")], good);
    watcher
        .until("it is named", |watcher| {
            watcher.last.problems.iter().any(|problem| problem.object.contains("ns/v"))
        })
        .await;
}

#[tokio::test]
async fn status_is_applied_where_it_changed_and_keeps_what_others_wrote() {
    let whole = Whole::start(Setup::default(), |double| {
        double.namespace("ns", &json!({}));
        double.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "ns"},
            "spec": {"selector": {"app": "s"}, "ports": [{"port": 80}], "clusterIP": "10.96.0.9"}}));
        double.put(virtual_service("v", "nowhere"));
        double.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "r", "namespace": "ns"},
            "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "s"}, {"name": "g"}],
                "rules": [{"backendRefs": [{"name": "s", "port": 80}]}]},
            "status": {"parents": [{"parentRef": {"name": "g"}, "controllerName": "other.io/c", "conditions": []}]}}));
        ADMIN.to_owned()
    })
    .await;
    whole.ready().await;
    let says = |status: Value, pointer: &str, wanted: Value| status.pointer(pointer) == Some(&wanted);
    eventually("the VirtualService is accepted", async || {
        says(whole.status(VIRTUAL_SERVICES, "v"), "/conditions/0/status", json!("True"))
    })
    .await;
    eventually("what is wrong among objects is said too", async || {
        says(whole.status(VIRTUAL_SERVICES, "v"), "/validationMessages/0/type/code", json!("IST0101"))
    })
    .await;
    eventually("the route's Service has accepted it", async || {
        whole.status(ROUTES, "r")["parents"].as_array().is_some_and(|parents| parents.len() == 2)
    })
    .await;
    let parents = whole.status(ROUTES, "r")["parents"].clone();
    assert_eq!(
        (&parents[0]["controllerName"], &parents[1]["controllerName"]),
        (&json!("other.io/c"), &json!("heddle.dev/controller"))
    );
    assert!(
        parents[1]["conditions"].as_array().unwrap().iter().all(|one| one["status"] == "True"),
        "{parents}"
    );
    let held = whole.double.get(ROUTES, "ns", "r").unwrap();
    let manager = held["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["manager"] == "heddle-controller");
    assert_eq!(
        manager.map(|one| (&one["operation"], &one["subresource"])),
        Some((&json!("Apply"), &json!("status")))
    );
    // Its own writes come back to it as news, and must not make more of them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let is_status = |request: &&String| request.starts_with("patch") && request.contains("/status");
    let patches = || whole.double.requests().iter().filter(is_status).count();
    let before = patches();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(patches(), before, "{:?}", whole.double.requests());
    assert!(before <= 6, "{before}");
    whole.controller.stop().await;
}

#[tokio::test]
async fn the_controller_needs_what_it_says_it_needs_and_nothing_else() {
    let whole = Whole::start(Setup { rbac: true, tls: true, ..Setup::default() }, |double| {
        for name in ["ns", "istio-system"] {
            double.namespace(name, &json!({"heddle.dev/mesh": "enabled"}));
        }
        double.put(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": rights::ACCOUNT, "namespace": rights::NAMESPACE}}));
        for role in rights::roles() {
            double.put(role);
        }
        double.put(virtual_service("v", "a.example"));
        let (namespace, account) = (rights::NAMESPACE.to_owned(), rights::ACCOUNT.to_owned());
        double.token(&TokenSpec { namespace, account, ..TokenSpec::default() }).unwrap()
    })
    .await;
    whole.ready().await;
    eventually("a status is written", async || !whole.status(VIRTUAL_SERVICES, "v").is_null()).await;
    assert_eq!(whole.double.denied(), Vec::<String>::new());
    whole.controller.stop().await;
}

#[tokio::test]
async fn what_is_not_granted_is_named_and_not_taken_for_nothing() {
    let whole = Whole::start(Setup { rbac: true, ..Setup::default() }, |double| {
        double.put(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": rights::ACCOUNT, "namespace": rights::NAMESPACE}}));
        for mut role in rights::roles() {
            if let Some(rules) = role["rules"].as_array_mut() {
                rules.retain(|rule| rule["resources"][0] != "authorizationpolicies");
            }
            double.put(role);
        }
        let (namespace, account) = (rights::NAMESPACE.to_owned(), rights::ACCOUNT.to_owned());
        double.token(&TokenSpec { namespace, account, ..TokenSpec::default() }).unwrap()
    })
    .await;
    eventually("what lacks is named", async || {
        let text = whole.get("/readyz").await;
        let lines: Vec<&str> =
            text.lines().filter(|line| line.contains(": ") && line.contains(".")).collect();
        text.contains("503")
            && lines.iter().any(|line| line.contains("authorizationpolicies") && line.contains("forbidden"))
    })
    .await;
    for role in rights::roles() {
        whole.double.put(role);
    }
    whole.ready().await;
    whole.controller.stop().await;
}

#[tokio::test]
async fn networks_and_enrolled_namespaces_come_from_objects() {
    let double = Double::start(Setup::default()).await.unwrap();
    double.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.244.1.0/24"]}}));
    double.put(json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/12"]}}));
    double.namespace("istio-system", &json!({}));
    double.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}}));
    double.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": "heddle-system"}}));
    let mut watcher = Watcher::start(double).await;
    watcher.until("complete", |watcher| watcher.last.complete).await;
    let has = |watcher: &Watcher, kind, namespace: &str, name: &str| {
        watcher.inputs.get(&Key::new(kind, namespace, name)).cloned()
    };
    let node = has(&watcher, InputKind::Node, "", "n1");
    assert!(matches!(node, Some(Input::Node(node)) if node.pod_cidrs == ["10.244.1.0/24"]));
    let cidr = has(&watcher, InputKind::ServiceCidr, "", "kubernetes");
    assert_eq!(cidr, Some(Input::ServiceCidr(vec!["10.96.0.0/12".into()])));
    assert!(has(&watcher, InputKind::MeshConfig, "istio-system", "istio").is_some());
    assert!(
        !watcher.double.requests().iter().any(|request| request.contains("configmaps /")),
        "of ConfigMaps only ours are asked for"
    );
}

#[tokio::test]
async fn a_server_that_comes_later_or_never_is_no_end() {
    let whole = Whole::start(Setup::default(), |double| {
        double.down(true);
        admin(double)
    })
    .await;
    eventually("it says so", async || {
        let text = whole.get("/readyz").await;
        text.contains("503") && text.contains("API server")
    })
    .await;
    assert!(whole.get("/healthz").await.contains("200 OK"));
    whole.double.down(false);
    whole.ready().await;
    whole.double.down(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(whole.get("/readyz").await.contains("200 OK"), "what was read is served on");
    whole.controller.stop().await;
}
