//! What the controller has to be allowed in a cluster: the one list. Manifests carry the objects that [`roles`] makes of it, and a
//! test runs the controller against a server that denies everything else.

use heddle_api::kind::KindInfo;
use serde_json::{Value, json};

use crate::registry::cluster::watched::{self, Watched};

/// Name of the controller's account and of its roles.
pub const ACCOUNT: &str = "heddle-controller";
/// Namespace of the account.
pub const NAMESPACE: &str = heddle_api::mesh::NAMESPACE;

/// One thing that is needed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// API group.
    pub group: &'static str,
    /// `pods`, `virtualservices/status`.
    pub resource: String,
    /// What is done to it.
    pub verbs: &'static [&'static str],
    /// In one namespace only.
    pub namespace: Option<&'static str>,
    /// Of one name only.
    pub name: Option<&'static str>,
    /// For people who grant it.
    pub why: &'static str,
}

/// Everything.
pub fn rights() -> Vec<Right> {
    let mut all: Vec<Right> = watched::all().iter().map(read).collect();
    for watched in watched::all().iter().filter(|watched| has_status(watched.kind)) {
        let of = |resource: String, verbs, why| Right {
            group: watched.kind.group,
            resource,
            verbs,
            namespace: None,
            name: None,
            why,
        };
        all.push(of(watched.kind.plural.to_owned(), &["get"], "to keep what others wrote into a status"));
        all.push(of(
            format!("{}/status", watched.kind.plural),
            &["patch"],
            "to say what became of an object",
        ));
    }
    all
}

fn read(watched: &Watched) -> Right {
    let why = match watched.kind.kind {
        "Secret" => "certificates that DestinationRules name; tokens and Helm's releases are not asked for",
        "ConfigMap" => "the mesh's configuration",
        "ServiceCIDR" | "Node" => "which networks are the cluster's",
        _ => "what the mesh is made of",
    };
    Right {
        group: watched.kind.group,
        resource: watched.kind.plural.to_owned(),
        verbs: &["list", "watch"],
        namespace: watched.namespace,
        name: watched.name,
        why,
    }
}

/// As the writer of status has it.
fn has_status(kind: &KindInfo) -> bool {
    kind.group.ends_with(".istio.io") || matches!(kind.kind, "HTTPRoute" | "GRPCRoute")
}

/// The ClusterRole and Roles that grant this and nothing else, with their bindings.
pub fn roles() -> Vec<Value> {
    let all = rights();
    let mut places: Vec<Option<&str>> = all.iter().map(|right| right.namespace).collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter().flat_map(|place| role(place, &all)).collect()
}

fn role(place: Option<&str>, all: &[Right]) -> [Value; 2] {
    let here = all.iter().filter(|right| right.namespace == place);
    let rules: Vec<Value> = here
        .map(|right| {
            let mut rule =
                json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": right.verbs});
            if let Some(name) = right.name {
                rule["resourceNames"] = json!([name]);
            }
            rule
        })
        .collect();
    let kind = if place.is_some() { "Role" } else { "ClusterRole" };
    let group = "rbac.authorization.k8s.io";
    let object = |kind: &str| {
        let mut metadata = json!({"name": ACCOUNT});
        if let Some(namespace) = place {
            metadata["namespace"] = namespace.into();
        }
        json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata})
    };
    let (mut role, mut binding) = (object(kind), object(&format!("{kind}Binding")));
    role["rules"] = rules.into();
    binding["roleRef"] = json!({"apiGroup": group, "kind": kind, "name": ACCOUNT});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}]);
    [role, binding]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_of_everything_and_secrets_are_only_read() {
        for right in rights() {
            assert!(!right.verbs.contains(&"*") && right.resource != "*" && right.group != "*", "{right:?}");
            let writes = right.verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
            assert!(!writes || right.resource.ends_with("/status"), "{right:?}");
        }
        assert_eq!(roles().len(), 6, "the cluster, heddle-system and istio-system");
    }
}
