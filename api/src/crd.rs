//! CustomResourceDefinitions of the mesh kinds, for clusters that have neither Istio's nor the Gateway API's own.
//!
//! Every version has one open schema, so that what a person misspelt reaches the validation that says so: an API server with a
//! closed schema would cut it off without a word. Between versions nothing is converted, because none of them differs in form.

mod shown;

use serde_json::{Value, json};

use crate::kind::{KINDS, KindInfo};

/// The label by which an uninstaller knows what is ours.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "heddle");
/// The label of everything that Heddle consists of.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "heddle");

/// The API server wants a word about definitions in groups of Kubernetes' own.
const APPROVED: (&str, &str) =
    ("api-approved.kubernetes.io", "unapproved, stands in for the Gateway API's own definition");

/// All of them, in the order of [`KINDS`].
pub fn definitions() -> Vec<Value> {
    KINDS.iter().filter(|kind| is_custom(kind)).map(definition).collect()
}

/// Whether an API server knows a kind only by a definition.
pub fn is_custom(kind: &KindInfo) -> bool {
    kind.group.ends_with(".istio.io") || kind.group == "gateway.networking.k8s.io"
}

fn definition(kind: &KindInfo) -> Value {
    let mut metadata = json!({
        "name": format!("{}.{}", kind.plural, kind.group),
        "labels": {MANAGED_BY.0: MANAGED_BY.1, PART_OF.0: PART_OF.1},
    });
    if kind.group.ends_with(".k8s.io") {
        metadata["annotations"] = json!({APPROVED.0: APPROVED.1});
    }
    // The first is preferred, and stored.
    let versions = kind.versions.iter().enumerate().map(|(at, name)| version(kind, name, at == 0));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": kind.group,
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "names": names(kind),
            "conversion": {"strategy": "None"},
            "versions": versions.collect::<Vec<_>>(),
        },
    })
}

fn names(kind: &KindInfo) -> Value {
    let mut names = json!({
        "kind": kind.kind,
        "listKind": format!("{}List", kind.kind),
        "plural": kind.plural,
        "singular": kind.kind.to_lowercase(),
    });
    if !kind.short_names.is_empty() {
        names["shortNames"] = kind.short_names.into();
    }
    names["categories"] = categories(kind.group).into();
    names
}

/// `kubectl get istio-io -A`.
fn categories(group: &str) -> Vec<String> {
    match group.strip_suffix(".istio.io") {
        Some(area) => vec!["istio-io".to_owned(), format!("{area}-istio-io")],
        None => vec!["gateway-api".to_owned()],
    }
}

fn version(kind: &KindInfo, name: &str, stored: bool) -> Value {
    let shown = shown::of(kind);
    let mut version = json!({"name": name, "served": true, "storage": stored});
    let has_status = kind.kind != "ReferenceGrant";
    if has_status {
        version["subresources"] = json!({"status": {}});
    }
    if !shown.columns.is_empty() {
        version["additionalPrinterColumns"] = shown.columns.iter().map(shown::Column::json).collect();
    }
    version["schema"] = json!({"openAPIV3Schema": schema(shown.about, has_status)});
    version
}

fn schema(about: &str, has_status: bool) -> Value {
    let open = |about: &str| json!({"description": about, "type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut properties = json!({
        "apiVersion": {"description": "The version of this form of the object.", "type": "string"},
        "kind": {"description": "The kind of the object.", "type": "string"},
        "metadata": {"type": "object"},
        "spec": open("What is wanted. Heddle checks it; `heddle validate` says what is wrong, before it is applied."),
    });
    if has_status {
        properties["status"] = open("What became of it.");
    }
    json!({"description": about, "type": "object", "properties": properties})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_kind_of_the_mesh_has_a_definition_with_one_version_that_is_stored() {
        let definitions = definitions();
        assert_eq!(definitions.len(), 17, "Istio's ten, the Gateway API's seven");
        for definition in definitions {
            let name = definition["metadata"]["name"].as_str().unwrap();
            let versions = definition["spec"]["versions"].as_array().unwrap();
            let stored = versions.iter().filter(|version| version["storage"] == true).count();
            assert_eq!(stored, 1, "{name}");
            let group = definition["spec"]["group"].as_str().unwrap();
            let approved = &definition["metadata"]["annotations"][APPROVED.0];
            assert_eq!(approved.is_string(), group.ends_with(".k8s.io"), "{name}");
        }
    }

    #[test]
    fn every_kind_says_what_it_is_for() {
        for kind in KINDS.iter().filter(|kind| is_custom(kind)) {
            assert!(!shown::of(kind).about.is_empty(), "{kind:?}");
        }
    }
}
