//! The double as any client sees it: over HTTP, request by request.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use heddle_apiserver::{ADMIN, Double, Fault, Setup, TokenSpec, What};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

struct Client {
    double: Double,
    token: String,
}

impl Client {
    async fn new(setup: Setup) -> Self {
        Self { double: Double::start(setup).await.unwrap(), token: ADMIN.to_owned() }
    }

    async fn raw(&self, method: &str, path: &str, kind: &str, body: &str) -> String {
        let address = self.double.url().replace("http://", "");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: double\r\nConnection: close\r\nUser-Agent: test/1\r\n\
             Authorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await;
        let _ = read.unwrap();
        String::from_utf8(text).unwrap()
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let text = self.raw(method, path, kind, &body).await;
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        (code, serde_json::from_str(body).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "", &Value::Null).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "application/json", body).await
    }

    /// Everything that a watch says within a second.
    async fn watch(&self, path: &str) -> Vec<(String, Value)> {
        let text = self.raw("GET", path, "", "").await;
        let lines = text.lines().filter(|line| line.starts_with('{'));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.map(|event| (event["type"].as_str().unwrap().to_owned(), event["object"].clone())).collect()
    }
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": name}}, "data": data})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_made_changed_and_deleted_with_the_conflicts_that_a_real_server_has() {
    let client = Client::new(Setup::default()).await;
    let (code, made) = client.post(MAPS, &map("a", &json!({"k": "1"}))).await;
    assert_eq!((code, &made["metadata"]["namespace"]), (201, &json!("default")));
    assert_eq!(client.post(MAPS, &map("a", &json!({}))).await.1["reason"], "AlreadyExists");
    assert_eq!(client.post("/api/v1/namespaces/none/configmaps", &map("a", &json!({}))).await.0, 404);
    assert_eq!(client.post(MAPS, &map("A_b", &json!({}))).await.0, 422);
    let path = format!("{MAPS}/a");
    let mut newer = made.clone();
    newer["data"]["k"] = "2".into();
    assert_eq!(client.send("PUT", &path, "application/json", &newer).await.0, 200);
    assert_eq!(client.send("PUT", &path, "application/json", &newer).await.1["reason"], "Conflict");
    let (_, same) = client.send("PATCH", &path, MERGE, &json!({"data": {"k": "2"}})).await;
    let (_, again) = client.get(&path).await;
    assert_eq!(same["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"], "nothing changed");
    let test = json!([{"op": "test", "path": "/data/k", "value": "1"}]);
    assert_eq!(client.send("PATCH", &path, "application/json-patch+json", &test).await.0, 422);
    let add = json!([{"op": "add", "path": "/data/a~1b", "value": "3"}, {"op": "remove", "path": "/data/k"}]);
    let (_, patched) = client.send("PATCH", &path, "application/json-patch+json", &add).await;
    assert_eq!(patched["data"], json!({"a/b": "3"}));
    assert_eq!(client.send("DELETE", &path, "", &Value::Null).await.1["status"], "Success");
    assert_eq!(client.get(&path).await.1["message"], "configmaps \"a\" not found");
}

#[tokio::test]
async fn status_is_written_by_its_subresource_only_and_a_generation_counts_the_rest() {
    let client = Client::new(Setup::default()).await;
    let path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
    let object = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "v"},
        "spec": {"hosts": ["a"]}, "status": {"x": 1}});
    let (_, made) = client.post(path, &object).await;
    assert_eq!((&made["status"], &made["metadata"]["generation"]), (&Value::Null, &json!(1)));
    let one = format!("{path}/v");
    let both = json!({"spec": {"hosts": ["b"]}, "status": {"x": 2}});
    let (_, changed) = client.send("PATCH", &one, MERGE, &both).await;
    assert_eq!((&changed["status"], &changed["metadata"]["generation"]), (&Value::Null, &json!(2)));
    let (_, told) = client.send("PATCH", &format!("{one}/status"), MERGE, &both).await;
    assert_eq!((&told["status"]["x"], &told["metadata"]["generation"]), (&json!(2), &json!(2)));
    let (_, old) =
        client.get("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/v").await;
    assert_eq!(old["apiVersion"], "networking.istio.io/v1alpha3");
}

#[tokio::test]
async fn lists_come_in_pages_of_one_version_and_expire() {
    let client = Client::new(Setup::default()).await;
    for name in ["a", "b", "c"] {
        client.double.put(map(name, &json!({})));
    }
    let (_, page) = client.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["metadata"]["remainingItemCount"]),
        (2, &json!(1))
    );
    assert_eq!(
        page["items"][0]["kind"],
        Value::Null,
        "items of Kubernetes' own kinds do not say what they are"
    );
    client.double.put(map("d", &json!({})));
    let next = format!("{MAPS}?limit=2&continue={}", page["metadata"]["continue"].as_str().unwrap());
    let (_, rest) = client.get(&next).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "of the first page's version");
    assert_eq!(rest["metadata"]["resourceVersion"], page["metadata"]["resourceVersion"]);
    client.double.compact();
    assert_eq!(client.get(&next).await.1["code"], 410);
    let (_, some) = client.get(&format!("{MAPS}?labelSelector=app%20in%20(a,b),app!=b")).await;
    assert_eq!(some["items"].as_array().unwrap().len(), 1);
    assert_eq!(client.get(&format!("{MAPS}?fieldSelector=data.x%3D1")).await.0, 400);
    assert_eq!(client.get(&format!("{MAPS}?resourceVersion=99999")).await.0, 504);
}

#[tokio::test]
async fn a_watch_tells_what_happened_since_a_version_and_what_a_selector_loses() {
    let client = Client::new(Setup::default()).await;
    client.double.put(map("a", &json!({})));
    let version = client.double.version();
    client.double.put(map("b", &json!({})));
    let mut other = map("a", &json!({}));
    other["metadata"]["labels"]["app"] = "z".into();
    client.double.put(other);
    client.double.remove("configmaps", "default", "b");
    let events = client.watch(&format!("{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1")).await;
    let types: Vec<&str> = events.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(types, ["ADDED", "MODIFIED", "DELETED"]);
    let last = client.double.version().to_string();
    assert_eq!(events[2].1["metadata"]["resourceVersion"], *last, "a deletion has a version of its own");
    let selected = format!("{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1&labelSelector=app%3Da");
    let events = client.watch(&selected).await;
    assert_eq!((events.len(), events[0].0.as_str()), (1, "DELETED"), "no longer selected: {events:?}");
    client.double.compact();
    let events = client.watch(&format!("{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1")).await;
    assert_eq!((events[0].0.as_str(), &events[0].1["code"]), ("ERROR", &json!(410)));
    let bookmarks =
        format!("{MAPS}?watch=1&resourceVersion={last}&timeoutSeconds=2&allowWatchBookmarks=true");
    assert_eq!(client.watch(&bookmarks).await[0].0, "BOOKMARK");
}

#[tokio::test]
async fn server_side_apply_knows_who_owns_what() {
    let client = Client::new(Setup::default()).await;
    let path = format!("{MAPS}/a");
    let apply = |manager: &'static str, data: Value, force: bool| {
        let (client, path) = (&client, format!("{path}?fieldManager={manager}&force={force}"));
        async move {
            let body =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
            client.send("PATCH", &path, APPLY, &body).await
        }
    };
    assert_eq!(apply("one", json!({"x": "1", "y": "1"}), false).await.0, 201);
    let (code, refused) = apply("two", json!({"x": "2"}), false).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (409, &json!(".data.x")));
    assert_eq!(apply("two", json!({"x": "1", "z": "1"}), false).await.0, 200, "the same value is shared");
    let (_, taken) = apply("two", json!({"x": "2", "z": "1"}), true).await;
    assert_eq!(taken["data"], json!({"x": "2", "y": "1", "z": "1"}));
    let (_, less) = apply("one", json!({}), false).await;
    assert_eq!(less["data"], json!({"x": "2", "z": "1"}), "what one gives up, and nobody else has, goes");
    let (_, same) = apply("two", json!({"x": "2", "z": "1"}), false).await;
    assert_eq!(same["metadata"]["resourceVersion"], less["metadata"]["resourceVersion"]);
    let (_, written) = client.send("PATCH", &path, MERGE, &json!({"data": {"x": "3"}})).await;
    let managers = written["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["manager"] == "test" && entry["operation"] == "Update"));
    assert_eq!(apply("two", json!({"x": "2", "z": "1"}), false).await.0, 409);
}

#[tokio::test]
async fn a_schema_cuts_off_refuses_and_says_which_lists_merge() {
    let client = Client::new(Setup { mesh: false, ..Setup::default() }).await;
    let item =
        json!({"type": "object", "properties": {"type": {"type": "string"}, "n": {"type": "integer"}}});
    let status = json!({"type": "object", "required": ["list"], "properties": {
        "list": {"type": "array", "items": item, "maxItems": 2,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.io"}, "spec": {"group": "x.io", "scope": "Cluster",
        "names": {"kind": "Thing", "plural": "things"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object"}, "status": status}}}}]}});
    assert_eq!(client.get("/apis/x.io/v1/things").await.0, 404);
    let (_, made) = client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    assert_eq!(made["kind"], "CustomResourceDefinition");
    assert_eq!(client.get("/apis/x.io/v1").await.1["resources"][1]["name"], "things/status");
    client.post("/apis/x.io/v1/things", &json!({"metadata": {"name": "t"}, "spec": {"unknown": 1}})).await;
    let (_, kept) = client.get("/apis/x.io/v1/things/t").await;
    assert_eq!(kept["spec"], json!({}));
    let apply = |manager: &'static str, list: Value| {
        let client = &client;
        async move {
            let path = format!("/apis/x.io/v1/things/t/status?fieldManager={manager}");
            let body = json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t"},
                "status": {"list": list, "extra": true}});
            client.send("PATCH", &path, APPLY, &body).await
        }
    };
    apply("one", json!([{"type": "a", "n": 1}])).await;
    let (code, both) = apply("two", json!([{"type": "b", "n": 2}])).await;
    assert_eq!((code, both["status"]["list"].as_array().unwrap().len()), (200, 2), "{both}");
    assert_eq!(both["status"]["extra"], Value::Null);
    assert_eq!(apply("two", json!([{"type": "b", "n": "2"}])).await.0, 422);
    assert_eq!(apply("three", json!([{"type": "c"}])).await.0, 422, "three are too many");
    let put = json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t"}, "status": {}});
    assert_eq!(client.send("PUT", "/apis/x.io/v1/things/t/status", "application/json", &put).await.0, 422);
    client
        .send(
            "DELETE",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.x.io",
            "",
            &Value::Null,
        )
        .await;
    assert_eq!(client.get("/apis/x.io/v1/things").await.0, 404);
}

#[tokio::test]
async fn what_no_role_grants_is_denied_and_remembered() {
    let mut client = Client::new(Setup { rbac: true, ..Setup::default() }).await;
    let double = client.double.clone();
    double.put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "c", "namespace": "default"}}));
    let bind = |kind: &str, role: &str, namespace: Option<&str>| {
        let mut binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": {"name": role}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "c", "namespace": "default"}]});
        if let Some(namespace) = namespace {
            binding["metadata"]["namespace"] = namespace.into();
        }
        double.put(binding);
    };
    double.put(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]}),
    );
    double.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "m", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["get", "patch"]}]}));
    bind("ClusterRole", "r", None);
    bind("Role", "m", Some("default"));
    let spec = TokenSpec { namespace: "default".into(), account: "c".into(), ..TokenSpec::default() };
    client.token = double.token(&spec).unwrap();
    assert_eq!(client.get("/api/v1/pods").await.0, 200);
    assert_eq!(client.get("/api/v1/namespaces/default/pods/x").await.0, 403);
    assert_eq!(client.get(&format!("{MAPS}/b")).await.0, 403);
    assert_eq!(client.get(&format!("{MAPS}/a")).await.0, 404);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let path = format!("{MAPS}/a?fieldManager=c");
    assert_eq!(
        client.send("PATCH", &path, APPLY, &body).await.0,
        403,
        "an apply that creates is a create too"
    );
    double.put(map("a", &json!({})));
    assert_eq!(client.send("PATCH", &path, APPLY, &body).await.0, 200);
    let last = double.denied().last().cloned();
    assert_eq!(last.as_deref(), Some("system:serviceaccount:default:c: create configmaps. default/a"));
    let review = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let (_, review) = client.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!(review["status"]["allowed"], true);
    client.token = "nonsense".into();
    assert_eq!(client.get("/api/v1/pods").await.0, 401);
}

#[tokio::test]
async fn a_token_is_bound_to_its_pod_its_audience_and_its_time() {
    let client = Client::new(Setup { rbac: true, ..Setup::default() }).await;
    let double = &client.double;
    double.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    double.put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent", "namespace": "heddle-system"}}));
    double.put(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "heddle-system"},
        "spec": {"nodeName": "n1", "serviceAccountName": "agent"}}),
    );
    let request = json!({"spec": {"audiences": ["heddle-ca"], "expirationSeconds": 600,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
    let path = "/api/v1/namespaces/heddle-system/serviceaccounts/agent/token";
    let (code, made) = client.post(path, &request).await;
    assert_eq!(code, 201, "{made}");
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    let review = |token: String, audience: &'static str| {
        let client = &client;
        async move {
            let body = json!({"spec": {"token": token, "audiences": [audience]}});
            client.post("/apis/authentication.k8s.io/v1/tokenreviews", &body).await.1["status"].clone()
        }
    };
    let good = review(token.clone(), "heddle-ca").await;
    assert_eq!(good["user"]["username"], "system:serviceaccount:heddle-system:agent");
    assert_eq!(good["user"]["extra"]["authentication.kubernetes.io/node-name"], json!(["n1"]));
    assert_ne!(review(token.clone(), "other").await["authenticated"], true);
    assert_ne!(review(format!("{token}x"), "heddle-ca").await["authenticated"], true);
    double.advance(Duration::from_secs(601));
    assert!(review(token, "heddle-ca").await["error"].as_str().unwrap().contains("expired"));
    let spec = TokenSpec {
        namespace: "heddle-system".into(),
        account: "agent".into(),
        pod: "p".into(),
        ..TokenSpec::default()
    };
    let token = double.token(&spec).unwrap();
    double.remove("pods", "heddle-system", "p");
    assert!(
        review(token, "https://kubernetes.default.svc").await["error"].as_str().unwrap().contains("deleted")
    );
}

#[tokio::test]
async fn faults_strike_as_often_as_they_were_asked_for() {
    let client = Client::new(Setup::default()).await;
    client.double.put(map("a", &json!({})));
    client.double.fail(Fault::once("list", "configmaps", What::Status(429)));
    client.double.fail(Fault::once("list", "configmaps", What::Empty));
    client.double.fail(Fault::once("list", "configmaps", What::Stale(1)));
    client.double.fail(Fault::once("list", "configmaps", What::Cut));
    let text = client.raw("GET", MAPS, "", "").await;
    assert!(text.starts_with("HTTP/1.1 429") && text.contains("retry-after: 1"), "{text}");
    assert_eq!(client.get(MAPS).await.1["items"], json!([]));
    assert_eq!(client.get(MAPS).await.1["items"], json!([]), "one version ago there was nothing");
    assert_eq!(client.get(MAPS).await.1, Value::Null, "half an answer");
    assert_eq!(client.get(MAPS).await.1["items"].as_array().unwrap().len(), 1);
    let version = client.double.version();
    client.double.put(map("b", &json!({})));
    client.double.put(map("c", &json!({})));
    let path = format!("{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1");
    for (what, names) in
        [(What::Reorder, vec!["c", "b"]), (What::Duplicate, vec!["b", "b", "c", "c"]), (What::Cut, vec!["b"])]
    {
        client.double.fail(Fault::once("watch", "", what));
        let events = client.watch(&path).await;
        let told: Vec<_> =
            events.iter().map(|(_, object)| object["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(told, names, "{what:?}");
    }
    client.double.fail(Fault::once("watch", "", What::Expired));
    assert_eq!(client.watch(&path).await[0].0, "ERROR");
}

#[tokio::test]
async fn a_namespace_takes_along_what_is_in_it_and_a_pod_that_runs_is_given_time() {
    let client = Client::new(Setup::default()).await;
    client.double.namespace("x", &json!({}));
    let mut held = map("a", &json!({}));
    held["metadata"]["namespace"] = "x".into();
    client.double.put(held);
    client.double.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"},
        "spec": {"nodeName": "n"}}));
    client.send("DELETE", "/api/v1/namespaces/x", "", &Value::Null).await;
    assert!(client.double.get("configmaps", "x", "a").is_none());
    let pod = client.double.get("pods", "x", "p").unwrap();
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(client.double.get("namespaces", "", "x").unwrap()["status"]["phase"], "Terminating");
    client.send("DELETE", "/api/v1/namespaces/x/pods/p?gracePeriodSeconds=0", "", &Value::Null).await;
    assert!(client.double.get("namespaces", "", "x").is_none());
}
