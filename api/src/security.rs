//! PeerAuthentication: its type, and what Istio refuses beside the schema.
//!
//! Source: Istio API `security/v1/peer_authentication.proto`.

use std::collections::BTreeMap;

use heddle_core::mtls::MtlsMode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnostic::Problem;
use crate::names;
use crate::strict;

/// A PeerAuthentication of `security.istio.io` v1 or v1beta1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthentication {
    /// `security.istio.io/v1`.
    pub api_version: String,
    /// `PeerAuthentication`.
    pub kind: String,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is wanted; without it, nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PeerAuthenticationSpec>,
    /// Written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// Which pods of the namespace; without labels, all of them (in a root namespace, of the mesh).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// For every port; `UNSET` or absent: what the namespace or the mesh says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// For single ports of the pods (not of a service).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_level_mtls: Option<BTreeMap<u16, MutualTls>>,
}

/// Pods by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// All of these; none selects every pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// A mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutualTls {
    /// `null` is `UNSET`.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// As written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// What the parent says; at the root, PERMISSIVE.
    #[default]
    Unset,
    /// Plaintext.
    Disable,
    /// Both.
    Permissive,
    /// mTLS only.
    Strict,
}

impl Mode {
    /// `None`: the parent decides.
    pub fn explicit(self) -> Option<MtlsMode> {
        match self {
            Self::Unset => None,
            Self::Disable => Some(MtlsMode::Disable),
            Self::Permissive => Some(MtlsMode::Permissive),
            Self::Strict => Some(MtlsMode::Strict),
        }
    }
}

impl PeerAuthenticationSpec {
    /// The labels of the selector; empty: every pod.
    pub fn match_labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.selector.iter().filter_map(|selector| selector.match_labels.as_ref()).flatten();
        labels.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether it speaks for a whole namespace (or, in a root namespace, for the mesh).
    pub fn selects_all(&self) -> bool {
        self.match_labels().next().is_none()
    }

    /// The mode for every port, if it says one.
    pub fn mode(&self) -> Option<MtlsMode> {
        self.mtls.and_then(|mtls| mtls.mode)?.explicit()
    }

    /// The ports it speaks for. `None`: that port follows [`Self::mode`] and what stands above it.
    pub fn port_modes(&self) -> impl Iterator<Item = (u16, Option<MtlsMode>)> {
        let ports = self.port_level_mtls.iter().flatten();
        ports.map(|(port, mtls)| (*port, mtls.mode.and_then(Mode::explicit)))
    }
}

/// Schema and rules.
pub(crate) fn check_peer_authentication(value: &Value) -> Vec<Problem> {
    let mut problems = strict::schema::<PeerAuthentication>(value);
    let Some(spec) = value.get("spec").and_then(Value::as_object) else { return problems };
    let labels =
        spec.get("selector").and_then(|selector| selector.get("matchLabels")).and_then(Value::as_object);
    for (key, label) in labels.into_iter().flatten() {
        names::check_selector_label("spec.selector.matchLabels", key, label.as_str(), &mut problems);
    }
    if let Some(ports) = spec.get("portLevelMtls").and_then(Value::as_object) {
        check_ports(ports, labels.is_some_and(|labels| !labels.is_empty()), &mut problems);
    }
    problems
}

fn check_ports(ports: &serde_json::Map<String, Value>, selects: bool, problems: &mut Vec<Problem>) {
    const PATH: &str = "spec.portLevelMtls";
    if ports.is_empty() {
        problems.push(Problem::schema(PATH, "names no port: give at least one, or remove the field"));
    } else if !selects {
        let message = "needs a selector: for a whole namespace or mesh write spec.mtls, or add spec.selector.matchLabels";
        problems.push(Problem::schema(PATH, message));
    }
    if ports.contains_key("0") {
        problems.push(Problem::schema(
            format!("{PATH}.0"),
            "port 0 does not exist: write a port from 1 to 65535",
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn check(spec: &Value) -> Vec<(String, String)> {
        let object = json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
        check_peer_authentication(&object).into_iter().map(|found| (found.path, found.message)).collect()
    }

    #[test]
    fn right_policies_are_taken() {
        let rows = [
            json!({}),
            json!({"mtls": {"mode": "STRICT"}}),
            json!({"mtls": {}}),
            json!({"mtls": {"mode": "UNSET"}, "selector": {}}),
            json!({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}),
            json!({"selector": {"matchLabels": {"a.b/c": ""}}, "portLevelMtls": {"65535": {}}}),
        ];
        for spec in rows {
            assert_eq!(check(&spec), [], "{spec}");
        }
    }

    #[test]
    fn wrong_policies_are_refused_with_the_path_and_the_way_out() {
        let label = json!({"matchLabels": {"app": "a"}});
        let rows = [
            (json!({"mtls": {"mode": "STRCT"}}), "spec.mtls.mode", "STRICT"),
            (json!({"mtls": {"mode": "strict"}}), "spec.mtls.mode", "STRICT"),
            (json!({"mtls": {"mdoe": "STRICT"}}), "spec.mtls.mdoe", "mode"),
            (json!({"mtls": "STRICT"}), "spec.mtls", "mapping"),
            (json!({"mtl": {}}), "spec.mtl", "mtls"),
            (json!({"mtls": {"mode": 3}}), "spec.mtls.mode", "string"),
            (json!({"portLevelMtls": {"80": {}}}), "spec.portLevelMtls", "selector"),
            (json!({"selector": label, "portLevelMtls": {}}), "spec.portLevelMtls", "at least one"),
            (json!({"selector": label, "portLevelMtls": {"0": {}}}), "spec.portLevelMtls.0", "65535"),
            (json!({"selector": label, "portLevelMtls": {"65536": {}}}), "spec.portLevelMtls.65536", "65535"),
            (json!({"selector": label, "portLevelMtls": {"http": {}}}), "spec.portLevelMtls.http", "65535"),
            (
                json!({"selector": label, "portLevelMtls": {"+80": {}}}),
                "spec.portLevelMtls[\"+80\"]",
                "65535",
            ),
            (
                json!({"selector": {"matchLabels": {"a*": "b"}}}),
                "spec.selector.matchLabels[\"a*\"]",
                "wildcard",
            ),
            (json!({"selector": {"matchLabels": {"a": "b*"}}}), "spec.selector.matchLabels.a", "wildcard"),
            (json!({"selector": {"matchLabels": {"": "b"}}}), "spec.selector.matchLabels[\"\"]", "empty"),
            (json!({"selector": {"matchLabel": {}}}), "spec.selector.matchLabel", "matchLabels"),
        ];
        for (spec, path, word) in rows {
            let found = check(&spec);
            assert_eq!(found.len(), 1, "{spec}: {found:?}");
            assert_eq!(found[0].0, path, "{spec}");
            assert!(found[0].1.contains(word), "{spec}: {}", found[0].1);
        }
    }

    #[test]
    fn the_type_reads_what_the_check_takes() {
        let text = json!({"apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication", "metadata": {"name": "a"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"9000": {"mode": "DISABLE"}, "9001": {}}}});
        let policy: PeerAuthentication = serde_json::from_value(text).unwrap();
        let spec = policy.spec.unwrap();
        assert_eq!(spec.mode(), Some(MtlsMode::Strict));
        assert_eq!(spec.port_modes().collect::<Vec<_>>(), [(9000, Some(MtlsMode::Disable)), (9001, None)]);
        assert!(!spec.selects_all());
    }
}
