//! Many routing rules, the same for the mesh and for Envoy: all but the last match paths that nobody asks for.

use serde_json::{Value, json};

/// Path of one of the rules that do not match.
fn path(number: usize) -> String {
    format!("/area-{}/thing-{number}", number % 97)
}

/// A VirtualService with `count` rules.
pub(super) fn virtual_service(count: usize) -> Value {
    let to = json!([{"destination": {"host": "server", "port": {"number": 80}}}]);
    let mut rules: Vec<Value> =
        (1..count).map(|number| json!({"match": [{"uri": {"prefix": path(number)}}], "route": to})).collect();
    rules.push(json!({"route": to}));
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "server", "namespace": "bench-l7"},
        "spec": {"hosts": ["server"], "http": rules},
    })
}

/// Envoy's route configuration with `count` routes to a cluster.
pub(super) fn envoy(count: usize, cluster: &str) -> Value {
    let mut routes: Vec<Value> = (1..count)
        .map(|number| json!({"match": {"prefix": path(number)}, "route": {"cluster": cluster}}))
        .collect();
    routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}));
    json!({"name": cluster, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]})
}
