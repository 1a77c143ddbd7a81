//! Which resources there are: Kubernetes' own, and those that CustomResourceDefinitions add.

use std::sync::Arc;

use serde_json::{Value, json};

/// One resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    /// `pods`, `deployments.apps`: where its objects are kept.
    pub(crate) id: Arc<str>,
    pub(crate) group: String,
    /// Every version that is served; objects are kept as of the first.
    pub(crate) versions: Vec<String>,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) namespaced: bool,
    /// It has a status subresource: what else writes an object leaves its status as it is.
    pub(crate) status: bool,
    /// `metadata.generation` counts changes of what is not status.
    pub(crate) generation: bool,
    /// It is only asked, never kept.
    pub(crate) review: bool,
    /// Fields besides name and namespace that a selector may ask.
    pub(crate) selectable: &'static [&'static str],
    /// Of a CustomResourceDefinition: its schema by version.
    pub(crate) schemas: Vec<Value>,
    pub(crate) custom: bool,
}

impl Resource {
    /// `deployments.apps`: as messages name it.
    pub(crate) fn qualified(&self) -> &str {
        &self.id
    }

    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The schema of a version; `None`: anything goes.
    pub(crate) fn schema(&self, version: &str) -> Option<&Value> {
        let at = self.versions.iter().position(|known| known == version)?;
        self.schemas.get(at).filter(|schema| schema.is_object())
    }

    fn verbs(&self) -> Vec<&'static str> {
        if self.review {
            return vec!["create"];
        }
        vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }

    /// Its entries in an `APIResourceList`.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let mut entries = vec![json!({"name": self.plural, "singularName": self.kind.to_lowercase(),
            "namespaced": self.namespaced, "kind": self.kind, "verbs": self.verbs(), "shortNames": self.short_names})];
        if self.status {
            entries.push(json!({"name": format!("{}/status", self.plural), "singularName": "",
                "namespaced": self.namespaced, "kind": self.kind, "verbs": ["get", "patch", "update"]}));
        }
        if &*self.id == "serviceaccounts" {
            entries.push(json!({"name": "serviceaccounts/token", "singularName": "", "namespaced": true,
                "group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest", "verbs": ["create"]}));
        }
        entries
    }
}

/// Group, kind, plural, and letters: c cluster-scoped, s status, g generation, r a review.
const BUILT_IN: &[(&str, &str, &str, &str, &str)] = &[
    ("", "Namespace", "namespaces", "cs", "ns"),
    ("", "Node", "nodes", "cs", "no"),
    ("", "Pod", "pods", "sg", "po"),
    ("", "Service", "services", "s", "svc"),
    ("", "ServiceAccount", "serviceaccounts", "", "sa"),
    ("", "ConfigMap", "configmaps", "", "cm"),
    ("", "Secret", "secrets", "", ""),
    ("", "Endpoints", "endpoints", "", "ep"),
    ("", "Event", "events", "", "ev"),
    ("apps", "Deployment", "deployments", "sg", "deploy"),
    ("apps", "ReplicaSet", "replicasets", "sg", "rs"),
    ("apps", "StatefulSet", "statefulsets", "sg", "sts"),
    ("apps", "DaemonSet", "daemonsets", "sg", "ds"),
    ("batch", "Job", "jobs", "sg", ""),
    ("batch", "CronJob", "cronjobs", "sg", "cj"),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices", "g", ""),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies", "g", "netpol"),
    ("networking.k8s.io", "ServiceCIDR", "servicecidrs", "csg", ""),
    ("policy", "PodDisruptionBudget", "poddisruptionbudgets", "sg", "pdb"),
    ("scheduling.k8s.io", "PriorityClass", "priorityclasses", "cg", "pc"),
    ("coordination.k8s.io", "Lease", "leases", "", ""),
    ("rbac.authorization.k8s.io", "Role", "roles", "", ""),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", "", ""),
    ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", "c", ""),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", "c", ""),
    ("apiextensions.k8s.io", "CustomResourceDefinition", CRDS, "csg", "crd"),
    (
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "cg",
        "",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "cg",
        "",
    ),
    ("authentication.k8s.io", "TokenReview", "tokenreviews", "cr", ""),
    ("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", "cr", ""),
    ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "cr", ""),
];

const CRDS: &str = "customresourcedefinitions";
pub(crate) const CRD_ID: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Kubernetes' own.
pub(crate) fn built_in() -> Vec<Resource> {
    let rows = BUILT_IN.iter().map(|(group, kind, plural, letters, short)| Resource {
        id: id(plural, group),
        group: (*group).to_owned(),
        versions: vec!["v1".to_owned()],
        kind: (*kind).to_owned(),
        plural: (*plural).to_owned(),
        short_names: Some((*short).to_owned()).filter(|short| !short.is_empty()).into_iter().collect(),
        namespaced: !letters.contains('c'),
        status: letters.contains('s'),
        generation: letters.contains('g'),
        review: letters.contains('r'),
        selectable: selectable(plural),
        schemas: Vec::new(),
        custom: false,
    });
    rows.collect()
}

fn selectable(plural: &str) -> &'static [&'static str] {
    match plural {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "secrets" => &["type"],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "jobs" => &["status.successful"],
        "events" => {
            &["involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "reason", "type"]
        }
        _ => &[],
    }
}

fn id(plural: &str, group: &str) -> Arc<str> {
    if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() }
}

/// What a CustomResourceDefinition adds.
pub(crate) fn custom(definition: &Value) -> Option<Resource> {
    let spec = definition.get("spec")?;
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let mut versions: Vec<&Value> = spec.get("versions")?.as_array()?.iter().collect();
    versions.retain(|version| version["served"] == true);
    // The one that is kept comes first.
    versions.sort_by_key(|version| version["storage"] != true);
    let (group, plural) = (text("/group")?, text("/names/plural")?);
    let short = spec.pointer("/names/shortNames").and_then(Value::as_array).into_iter().flatten();
    Some(Resource {
        id: id(&plural, &group),
        kind: text("/names/kind")?,
        short_names: short.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        namespaced: text("/scope")? == "Namespaced",
        status: versions.iter().any(|version| version.pointer("/subresources/status").is_some()),
        generation: true,
        review: false,
        selectable: &[],
        schemas: versions
            .iter()
            .map(|version| version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default())
            .collect(),
        versions: versions.iter().filter_map(|version| version["name"].as_str().map(str::to_owned)).collect(),
        custom: true,
        group,
        plural,
    })
}
