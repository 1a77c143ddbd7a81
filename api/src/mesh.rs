//! The mesh configuration: ConfigMap `heddle` in `heddle-system`, key `mesh`, with the fields of Istio's MeshConfig
//! that are served.

use heddle_core::identity::Identity;
use heddle_core::store::MeshTraffic;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::diagnostic::{Code, Problem, Severity};
use crate::manifest;
use crate::normalised::{Context, written};
use crate::object::Object;
use crate::report::Notes;
use crate::route::virtual_service::schema::HttpRetry;
use crate::strict;
use crate::upstream::destination_rule::schema::LocalityLbSetting;

mod traffic;

use traffic::{LogEncoding, PathNormalization};

/// Namespace of the ConfigMap, and of everything of Heddle's own.
pub const NAMESPACE: &str = "heddle-system";
/// Name of the ConfigMap.
pub const NAME: &str = "heddle";
/// Key of its data.
pub const KEY: &str = "mesh";
/// Label of Namespaces, Pods and Services, and field of the mesh configuration: where requests are seen.
pub const L7_LABEL: &str = "heddle.dev/l7";
/// Namespaces whose policies speak for the whole mesh, ours first.
pub const ROOT_NAMESPACES: [&str; 2] = [NAMESPACE, "istio-system"];

/// Fields of Istio's MeshConfig that are not served: they are named as such, not as misspelt.
/// Source: Istio API `mesh/v1alpha1/config.proto`.
const ISTIO_FIELDS: &[&str] = &[
    "ca",
    "caCertificates",
    "certificates",
    "configSources",
    "defaultConfig",
    "defaultProviders",
    "discoverySelectors",
    "dnsRefreshRate",
    "enableAutoMtls",
    "enableEnvoyAccessLogService",
    "enablePrometheusMerge",
    "enableTracing",
    "extensionProviders",
    "inboundTrafficPolicy",
    "ingressClass",
    "ingressControllerMode",
    "ingressSelector",
    "ingressService",
    "meshMTLS",
    "protocolDetectionTimeout",
    "proxyHttpPort",
    "proxyInboundListenPort",
    "proxyListenPort",
    "rootNamespace",
    "serviceScopeConfigs",
    "serviceSettings",
    "tcpKeepalive",
    "tlsDefaults",
    "trustDomainAliases",
    "verifyCertificateAtClient",
];

/// What is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshConfig {
    /// Of every identity; `cluster.local` by default.
    pub trust_domain: Option<String>,
    /// What happens to destinations outside the mesh.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// When the agent reads HTTP.
    pub l7: Option<L7>,
    /// How pods of one node speak to each other.
    pub same_node: Option<SameNode>,
    /// What carries the tunnel.
    pub transport: Option<Transport>,
    traffic: MeshTraffic,
    defaults: Context,
}

written! {
    /// The served fields as written.
    WrittenMesh {
        trust_domain: Option<String>,
        outbound_traffic_policy: Option<OutboundTrafficPolicy>,
        #[serde(rename = "heddle.dev/l7")]
        l7: Option<L7>,
        #[serde(rename = "heddle.dev/same-node")]
        same_node: Option<SameNode>,
        #[serde(rename = "heddle.dev/transport")]
        transport: Option<Transport>,
        default_http_retry_policy: Option<HttpRetry>,
        locality_lb_setting: Option<LocalityLbSetting>,
        connect_timeout: Option<String>,
        access_log_file: Option<String>,
        access_log_encoding: Option<LogEncoding>,
        access_log_format: Option<String>,
        path_normalization: Option<PathNormalization>,
        default_virtual_service_export_to: Vec<String>,
        default_destination_rule_export_to: Vec<String>,
        default_service_export_to: Vec<String>,
    }
}

/// Istio's `MeshConfig.OutboundTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// `ALLOW_ANY` by default.
    pub mode: Option<OutboundMode>,
}

/// Whether destinations outside the mesh are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// As dialled.
    #[default]
    AllowAny,
    /// Refused.
    RegistryOnly,
}

/// `heddle.dev/l7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // DESIGN.md section 2
pub enum L7 {
    #[default]
    Auto,
    Rules,
    Never,
}

/// `heddle.dev/same-node`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // DESIGN.md section 2
pub enum SameNode {
    #[default]
    Tunnel,
    Direct,
}

/// `heddle.dev/transport`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // DESIGN.md section 2
pub enum Transport {
    #[default]
    Hbone,
    Quic,
}

impl MeshConfig {
    /// Reads the value of the key `mesh`. `None` with the problems if anything in it is an error.
    pub fn parse(text: &str) -> (Option<Self>, Vec<Problem>) {
        let value = match manifest::value(text) {
            Ok(value) => value.unwrap_or_else(|| Value::Object(Map::new())),
            Err(problem) => return (None, vec![problem]),
        };
        let mut problems = strict::schema::<WrittenMesh>(&value);
        for problem in &mut problems {
            soften(&value, problem);
        }
        problems.extend(without_effect(&value));
        let mut notes = Notes::default();
        let config = WrittenMesh::deserialize(&value).ok().map(|written| Self::of(written, &mut notes));
        problems.extend(notes.finish());
        let trust_domain = value.get("trustDomain").and_then(Value::as_str);
        if let Some(error) = trust_domain.and_then(|name| Identity::new(name, "a", "a").err()) {
            problems.push(Problem::schema("trustDomain", error.to_string()));
        }
        let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
        (config.filter(|_| !refused), problems)
    }

    fn of(written: WrittenMesh, notes: &mut Notes) -> Self {
        let (traffic, defaults) = traffic::read(&written, notes);
        let WrittenMesh { trust_domain, outbound_traffic_policy, l7, same_node, transport, .. } = written;
        Self { trust_domain, outbound_traffic_policy, l7, same_node, transport, traffic, defaults }
    }

    /// The mesh's trust domain.
    pub fn trust_domain(&self) -> &str {
        self.trust_domain.as_deref().unwrap_or("cluster.local")
    }

    /// Whether destinations outside the mesh are refused.
    pub fn registry_only(&self) -> bool {
        self.outbound_traffic_policy.and_then(|policy| policy.mode) == Some(OutboundMode::RegistryOnly)
    }
}

/// Namespace and name of the ConfigMaps that may hold the mesh configuration: of two that are there, the first counts.
pub const PLACES: [(&str, &str); 2] = [(NAMESPACE, NAME), ("istio-system", "istio")];

/// Whether this object is a mesh configuration: ours, or Istio's, which counts where there is none of ours.
pub fn is_mesh_config(object: &Object) -> bool {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    object.kind.kind == "ConfigMap" && PLACES.contains(&(namespace, &object.name))
}

/// The mesh configuration that counts.
pub fn of<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Option<&'a Object> {
    let configs = objects.into_iter().filter(|object| is_mesh_config(object));
    configs.min_by_key(|object| PLACES.iter().position(|(_, name)| *name == object.name))
}

/// What is wrong with the mesh configuration, if the object is that.
pub(crate) fn check(object: &Object) -> Vec<Problem> {
    let text = object.value.get("data").and_then(|data| data.get(KEY)).and_then(Value::as_str);
    let (true, Some(text)) = (is_mesh_config(object), text) else { return Vec::new() };
    let (_, mut problems) = MeshConfig::parse(text);
    for problem in &mut problems {
        let inner = std::mem::take(&mut problem.path);
        problem.path = if inner.is_empty() { format!("data.{KEY}") } else { format!("data.{KEY}: {inner}") };
    }
    problems
}

/// A field at the top that we do not know is a warning: a file from an Istio mesh has many.
fn soften(value: &Value, problem: &mut Problem) {
    let known_here = |name: &&String| problem.path == **name && problem.message.starts_with("unknown field");
    let Some(name) = value.as_object().and_then(|fields| fields.keys().find(known_here)) else { return };
    problem.severity = Severity::Warning;
    problem.code = Code::MeshField;
    if ISTIO_FIELDS.contains(&name.as_str()) {
        problem.message = "is not served yet: it has no effect".to_owned();
    }
}

/// Values that are known and not served yet.
fn without_effect(value: &Value) -> Vec<Problem> {
    let rows = [("heddle.dev/same-node", "tunnel"), ("heddle.dev/transport", "hbone")];
    let other = rows.iter().filter_map(|(field, served)| {
        let written = value.get(field)?.as_str().filter(|written| written != served)?;
        let message = format!("{written:?} is not served yet: {served:?} is in force");
        Some(Problem::warning(Code::MeshField, *field, message))
    });
    other.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_served_fields_are_read() {
        let text = "trustDomain: example.org\noutboundTrafficPolicy:\n  mode: REGISTRY_ONLY\nheddle.dev/transport: hbone\n";
        let (config, problems) = MeshConfig::parse(text);
        assert_eq!(problems, []);
        let config = config.unwrap();
        assert_eq!(config.trust_domain(), "example.org");
        assert!(config.registry_only());
    }

    #[test]
    fn defaults_of_traffic_are_read_and_checked() {
        let text = "defaultHttpRetryPolicy: {attempts: 3, retryOn: 5xx}\nlocalityLbSetting: {failover: [{from: a, to: b}]}\nconnectTimeout: 2s\naccessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: '%START_TIME%'\npathNormalization: {normalization: MERGE_SLASHES}\nheddle.dev/l7: rules\ndefaultVirtualServiceExportTo: ['.']\n";
        let (config, problems) = MeshConfig::parse(text);
        assert_eq!(problems, []);
        let config = config.unwrap();
        let traffic = config.traffic();
        assert_eq!(traffic.retries.unwrap().attempts, 3);
        assert_eq!(traffic.connect_timeout, Some(std::time::Duration::from_secs(2)));
        assert!(traffic.access_log_json && traffic.locality.is_some());
        assert_eq!(traffic.path_normalization.as_deref(), Some("MERGE_SLASHES"));
        assert_eq!(config.l7, Some(L7::Rules));
        assert_eq!(config.context("cluster.local").virtual_service_export_to, ["."]);
        let (config, problems) = MeshConfig::parse("accessLogFile: ''");
        assert!(problems.is_empty() && config.unwrap().traffic().access_log_off);
        for (text, path) in [
            ("connectTimeout: 2", "connectTimeout"),
            ("defaultHttpRetryPolicy: {retryOn: x}", "defaultHttpRetryPolicy.attempts"),
            ("pathNormalization: {normalization: MERGE}", "pathNormalization.normalization"),
            ("accessLogEncoding: json", "accessLogEncoding"),
            ("heddle.dev/l7: always", "[\"heddle.dev/l7\"]"),
        ] {
            let (config, problems) = MeshConfig::parse(text);
            assert!(config.is_none(), "{text}");
            assert_eq!(problems[0].path, path, "{problems:?}");
        }
    }

    #[test]
    fn an_empty_configuration_is_the_default() {
        for text in ["", "{}", "# nothing\n"] {
            let (config, problems) = MeshConfig::parse(text);
            assert_eq!(problems, []);
            assert_eq!(config.unwrap(), MeshConfig::default());
        }
        assert_eq!(MeshConfig::default().trust_domain(), "cluster.local");
        assert!(!MeshConfig::default().registry_only());
    }

    #[test]
    fn fields_that_are_not_served_are_warned_of_and_change_nothing() {
        let (config, problems) =
            MeshConfig::parse("enableTracing: true\ntrustDomian: a\nheddle.dev/transport: quic\n");
        assert!(config.is_some());
        assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{problems:?}");
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert!(paths.contains(&"enableTracing") && paths.contains(&"trustDomian"), "{paths:?}");
        assert!(problems.iter().any(|problem| problem.message.contains("trustDomain")));
        assert!(problems.iter().any(|problem| problem.message.contains("\"hbone\" is in force")));
    }

    #[test]
    fn a_wrong_value_of_a_served_field_is_refused() {
        for text in [
            "trustDomain: 1",
            "trustDomain: A/b",
            "outboundTrafficPolicy: {mode: REGISTRY}",
            "outboundTrafficPolicy: {mod: X}",
            "a: [",
            "- a",
        ] {
            let (config, problems) = MeshConfig::parse(text);
            assert!(config.is_none(), "{text}");
            assert!(
                problems.iter().any(|problem| problem.severity == Severity::Error),
                "{text}: {problems:?}"
            );
        }
    }
}
