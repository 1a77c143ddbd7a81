//! What the controller has to be allowed in a cluster: the one list. Manifests carry the objects that [`roles`] makes of it, and a
//! test runs the controller against a server that denies everything else.

use heddle_api::kind::KindInfo;
use serde_json::{Value, json};

use crate::ca::record;
use crate::ca::secret::{self, Place};
use crate::registry::cluster::watched::{self, Watched};
use crate::roots;

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
    all.extend(identity());
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

/// What it takes to know agents, to sign, and to say whom to trust.
fn identity() -> Vec<Right> {
    let of = |(group, resource): (&'static str, &str), verbs, name, why| Right {
        group,
        resource: resource.to_owned(),
        verbs,
        namespace: None,
        name,
        why,
    };
    let mut all = vec![
        of(
            ("authentication.k8s.io", "tokenreviews"),
            &["create"],
            None,
            "to have agents' tokens verified; it reveals nothing about anybody who did not bring one",
        ),
        of(
            ("", "configmaps"),
            &["list", "watch", "patch"],
            Some(roots::NAME),
            "the root certificate in every namespace",
        ),
        of(
            ("", "configmaps"),
            &["create"],
            None,
            "the root certificate in a new namespace; RBAC cannot limit what is created by its name",
        ),
    ];
    for Place { namespace, name } in secret::PLACES {
        let why = "the certificate authority's key, plugged in or made by the controller";
        all.push(Right { namespace: here(namespace), ..of(("", "secrets"), &["get"], Some(name), why) });
    }
    let why = "which roots are trusted: so that a restart neither forgets one nor makes a second one";
    let record = of(("", "secrets"), &["get", "patch"], Some(record::PLACE.name), why);
    all.push(Right { namespace: Some(NAMESPACE), ..record });
    let why = "to make the certificate authority where there is none; RBAC cannot limit what is created by its name";
    all.push(Right { namespace: Some(NAMESPACE), ..of(("", "secrets"), &["create"], None, why) });
    all
}

/// Other namespaces than our own may not exist, and then no Role can be put there: what is needed of them is granted by name
/// at the scope of the cluster.
fn here(namespace: &'static str) -> Option<&'static str> {
    Some(namespace).filter(|namespace| *namespace == NAMESPACE)
}

/// What the API server said of a right that lacks, and what to do about it.
pub fn lacking(message: &str) -> String {
    format!("{message}; grant it with `kubectl apply -k manifests` or `heddle install --apply`")
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
        namespace: watched.namespace.and_then(here),
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

    /// Everything that is more than reading, by heart: a change of this list is a change of what a stolen controller can do.
    const WRITES: [&str; 5] = [
        "create  configmaps",
        "create  secrets in heddle-system",
        "create authentication.k8s.io tokenreviews",
        "patch  configmaps istio-ca-root-cert",
        "patch  secrets heddle-roots in heddle-system",
    ];

    #[test]
    fn nothing_is_asked_of_everything_and_what_is_written_is_listed_here() {
        let mut writes = Vec::new();
        for right in rights() {
            assert!(!right.verbs.contains(&"*") && right.resource != "*" && right.group != "*", "{right:?}");
            for verb in right.verbs.iter().filter(|verb| !["get", "list", "watch"].contains(verb)) {
                if right.resource.ends_with("/status") {
                    assert_eq!(*verb, "patch", "{right:?}");
                    continue;
                }
                let name = right.name.map(|name| format!(" {name}")).unwrap_or_default();
                let place = right.namespace.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
                writes.push(format!("{verb} {} {}{name}{place}", right.group, right.resource));
            }
        }
        writes.sort();
        assert_eq!(writes, WRITES);
    }

    #[test]
    fn roles_are_put_into_no_namespace_that_may_not_exist() {
        let places: Vec<Value> = roles().iter().map(|role| role["metadata"]["namespace"].clone()).collect();
        assert_eq!(places, [Value::Null, Value::Null, NAMESPACE.into(), NAMESPACE.into()]);
    }

    #[test]
    fn a_key_is_read_by_its_name_only() {
        let gets =
            rights().into_iter().filter(|right| right.resource == "secrets" && right.verbs.contains(&"get"));
        let names: Vec<_> = gets.map(|right| (right.namespace, right.name)).collect();
        let home = Some(NAMESPACE);
        let wanted = [(home, "cacerts"), (None, "cacerts"), (home, "heddle-ca"), (home, "heddle-roots")];
        assert_eq!(names, wanted.map(|(namespace, name)| (namespace, Some(name))));
    }
}
