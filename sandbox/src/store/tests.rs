//! The store as kubectl's users know an API server.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]
use super::*;
use heddle_api::kind;

fn store() -> Store {
    Store::in_memory().unwrap()
}

fn object(value: Value) -> Object {
    let mut object = Object::from_value(value).unwrap();
    object.default_namespace("default");
    object
}

fn service(name: &str, spec: Value) -> Object {
    object(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
}

fn deployment(name: &str) -> Object {
    object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]}
            }
        }
    }))
}

fn pod(name: &str) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx"}]}
    }))
}

fn kind_of(word: &str) -> &'static KindInfo {
    kind::by_word(word).unwrap()
}

#[test]
fn a_new_store_has_the_namespaces_their_accounts_and_the_dns_service() {
    let store = store();
    for name in ["default", "kube-system", "heddle-system", "istio-system"] {
        assert!(store.get(kind_of("ns"), None, name).is_some(), "{name}");
        assert!(store.get(kind_of("sa"), Some(name), "default").is_some(), "{name}");
    }
    let dns = store.get(kind_of("svc"), Some("kube-system"), "kube-dns").unwrap();
    assert_eq!(dns.value["spec"]["clusterIPs"], json!(["10.96.0.10", "fd00:10:96::a"]));
}

#[test]
fn an_object_in_a_namespace_that_does_not_exist_is_refused() {
    let mut lost = pod("a");
    lost.namespace = Some("nowhere".to_owned());
    let error = store().create(lost).unwrap_err();
    assert_eq!(error.to_string(), "namespaces \"nowhere\" not found");
    assert_eq!(error.reason(), "NotFound");
}

#[test]
fn a_service_gets_one_address_of_each_family_and_keeps_them() {
    let store = store();
    let first = store.apply(service("a", json!({"ports": [{"port": 80}]}))).unwrap().1;
    let ips = first.value["spec"]["clusterIPs"].clone();
    assert_eq!(ips, json!(["10.96.1.0", "fd00:10:96::101"]));
    assert_eq!(first.value["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    let (applied, second) = store.apply(service("a", json!({"ports": [{"port": 81}]}))).unwrap();
    assert_eq!(applied, Applied::Configured);
    assert_eq!(second.value["spec"]["clusterIPs"], ips);
}

#[test]
fn a_requested_address_is_given_once_and_only_from_the_range() {
    let store = store();
    store.create(service("a", json!({"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}))).unwrap();
    let taken = store.create(service("b", json!({"clusterIP": "10.96.7.7", "ports": [{"port": 80}]})));
    assert!(taken.unwrap_err().to_string().contains("already allocated"));
    let outside = store.create(service("b", json!({"clusterIP": "10.1.1.1", "ports": [{"port": 80}]})));
    assert!(outside.unwrap_err().to_string().contains("not in the valid range"));
    store.delete(kind_of("svc"), Some("default"), "a").unwrap();
    store.create(service("b", json!({"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}))).unwrap();
}

#[test]
fn a_headless_service_has_no_address() {
    let made = store().create(service("a", json!({"clusterIP": "None", "ports": [{"port": 80}]}))).unwrap();
    assert_eq!(made.value["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn applying_the_same_twice_changes_nothing_and_a_removed_field_goes() {
    let store = store();
    assert_eq!(store.apply(deployment("a")).unwrap().0, Applied::Created);
    let version = store.version();
    assert_eq!(store.apply(deployment("a")).unwrap().0, Applied::Unchanged);
    assert_eq!(store.version(), version);
    let mut labelled = deployment("a");
    labelled.value["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(store.apply(labelled).unwrap().0, Applied::Configured);
    store
        .edit(kind_of("deploy"), Some("default"), "a", |v| v["metadata"]["labels"]["own"] = json!("1"))
        .unwrap();
    let (_, back) = store.apply(deployment("a")).unwrap();
    assert!(back.value["metadata"]["labels"].get("x").is_none());
}

#[test]
fn apply_keeps_what_others_scaled_when_the_manifest_says_nothing_of_it() {
    let store = store();
    store.apply(deployment("a")).unwrap();
    store.edit(kind_of("deploy"), Some("default"), "a", |v| v["spec"]["replicas"] = json!(3)).unwrap();
    let (applied, object) = store.apply(deployment("a")).unwrap();
    assert_eq!((applied, &object.value["spec"]["replicas"]), (Applied::Unchanged, &json!(3)));
}

#[test]
fn a_changed_spec_is_a_new_generation_and_a_changed_label_is_not() {
    let store = store();
    let made = store.create(deployment("a")).unwrap();
    assert_eq!(made.value["metadata"]["generation"], 1);
    let edit = |change: fn(&mut Value)| store.edit(kind_of("deploy"), Some("default"), "a", change).unwrap();
    assert_eq!(edit(|v| v["metadata"]["labels"] = json!({"a": "b"})).value["metadata"]["generation"], 1);
    assert_eq!(edit(|v| v["spec"]["replicas"] = json!(2)).value["metadata"]["generation"], 2);
    assert_eq!(edit(|v| v["status"] = json!({"x": 1})).uid(), made.uid());
}

#[test]
fn an_outdated_resource_version_is_a_conflict() {
    let store = store();
    let made = store.create(deployment("a")).unwrap();
    store.edit(kind_of("deploy"), Some("default"), "a", |v| v["spec"]["replicas"] = json!(2)).unwrap();
    let error = store.put(Object::clone(&made)).unwrap_err();
    assert_eq!(error.reason(), "Conflict");
    assert!(error.to_string().contains("the object has been modified"));
}

#[test]
fn immutable_fields_stay() {
    let store = store();
    store.apply(deployment("a")).unwrap();
    let mut other = deployment("a");
    other.value["spec"]["selector"]["matchLabels"] = json!({"app": "b"});
    other.value["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
    assert!(store.apply(other).unwrap_err().to_string().ends_with("field is immutable"));
    store.apply(service("s", json!({"ports": [{"port": 80}]}))).unwrap();
    let moved = store.apply(service("s", json!({"clusterIP": "10.96.9.9", "ports": [{"port": 80}]})));
    assert!(moved.unwrap_err().to_string().contains("spec.clusterIP"));
}

#[test]
fn a_selector_that_misses_its_own_template_is_refused() {
    let mut odd = deployment("a");
    odd.value["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    let error = store().create(odd).unwrap_err().to_string();
    assert!(error.contains("`selector` does not match template `labels`"), "{error}");
}

#[test]
fn a_pod_on_a_node_ends_when_its_kubelet_says_so() {
    let store = store();
    let made = store.create(pod("a")).unwrap();
    store.delete_within(kind_of("po"), Some("default"), "a", Some(5)).unwrap();
    let ending = store.get(kind_of("po"), Some("default"), "a").unwrap();
    assert_eq!(ending.value["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(ending.value["metadata"]["deletionTimestamp"].is_string());
    store.remove(kind_of("po"), Some("default"), "a", "another uid").unwrap();
    assert!(store.get(kind_of("po"), Some("default"), "a").is_some());
    store.remove(kind_of("po"), Some("default"), "a", made.uid().unwrap()).unwrap();
    assert!(store.get(kind_of("po"), Some("default"), "a").is_none());
}

#[test]
fn a_status_patch_without_a_difference_writes_nothing() {
    let store = store();
    store.create(pod("a")).unwrap();
    let patch =
        || store.patch_status(kind_of("po"), Some("default"), "a", |s| s["podIP"] = json!("10.244.1.2"));
    patch().unwrap();
    let version = store.version();
    patch().unwrap();
    assert_eq!(store.version(), version);
}

#[test]
fn each_object_is_one_file_and_a_deleted_one_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.create(deployment("a")).unwrap();
    let file = folder.path().join("deployments.apps/default/a.json");
    let read: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(read["metadata"]["resourceVersion"], json!(store.version().to_string()));
    assert!(folder.path().join("namespaces.core/_/default.json").exists());
    store.delete(kind_of("deploy"), Some("default"), "a").unwrap();
    assert!(!file.exists());
}

#[test]
fn the_text_of_a_secret_is_kept_as_data() {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let made = store().create(object(secret)).unwrap();
    assert_eq!((&made.value["data"]["k"], made.value.get("stringData")), (&json!("dg=="), None));
}

#[test]
fn selectors_select_as_kubernetes_says() {
    let labels = json!({"app": "a", "tier": "web"});
    let rows = [
        (json!({"matchLabels": {"app": "a"}}), true),
        (json!({"matchLabels": {"app": "b"}}), false),
        (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}), false),
        (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true),
        (json!({"app": "a", "tier": "web"}), true),
        (json!({}), true),
        (Value::Null, false),
    ];
    for (selector, expected) in rows {
        assert_eq!(selector::matches(&selector, &labels), expected, "{selector}");
    }
    let texts = [
        ("app=a", true),
        ("app==b", false),
        ("app!=b,tier", true),
        ("!x", true),
        ("app in (a, b)", true),
        ("app notin (a)", false),
        ("x!=1", true),
    ];
    for (text, expected) in texts {
        let parsed = selector::parse(text).unwrap();
        assert_eq!(parsed.iter().all(|requirement| requirement.holds(&labels)), expected, "{text}");
    }
    assert!(selector::parse("a b c").is_err());
}
