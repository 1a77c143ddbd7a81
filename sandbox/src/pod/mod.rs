//! A pod on its node: its network, its files, its volumes.

pub mod environment;
mod files;
mod sandbox;
mod volumes;

pub use sandbox::PodSandbox;
pub use volumes::{Missing, Volumes};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::fabric::address::Pair;

/// What the kubelet knows of a pod when it makes its containers.
#[derive(Clone, Debug)]
pub struct PodContext {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub spec: PodSpec,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    pub node: String,
    pub host: Pair,
    /// The pod's own addresses; a pod on the host's network has its node's.
    pub address: Option<Pair>,
}

impl PodContext {
    /// `None` when the object lacks what every stored pod has.
    pub fn new(pod: &Pod, node: &str, host: Pair) -> Option<Self> {
        let meta = &pod.metadata;
        let pairs = |map: &Option<std::collections::BTreeMap<String, String>>| {
            map.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        Some(Self {
            uid: meta.uid.clone()?,
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            spec: pod.spec.clone()?,
            labels: pairs(&meta.labels),
            annotations: pairs(&meta.annotations),
            node: node.to_owned(),
            host,
            address: None,
        })
    }

    pub fn host_network(&self) -> bool {
        self.spec.host_network.unwrap_or(false)
    }

    /// `spec.hostname`, else the name cut to what a hostname may be; the node's name on the host's network.
    pub fn hostname(&self) -> String {
        if self.host_network() {
            return self.node.clone();
        }
        let name = self.spec.hostname.as_ref().unwrap_or(&self.name);
        name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned()
    }

    pub fn service_account(&self) -> &str {
        self.spec.service_account_name.as_deref().unwrap_or("default")
    }

    /// The value that a `fieldRef` names, if there is such a field.
    pub fn field(&self, path: &str) -> Option<String> {
        let of = |pairs: &[(String, String)], key: &str| {
            pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default()
        };
        let keyed = |prefix: &str| {
            path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']").map(str::to_owned)
        };
        if let Some(key) = keyed("metadata.labels") {
            return Some(of(&self.labels, &key));
        }
        if let Some(key) = keyed("metadata.annotations") {
            return Some(of(&self.annotations, &key));
        }
        let address = self.address.unwrap_or(self.host);
        Some(match path {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.clone(),
            "metadata.uid" => self.uid.clone(),
            "metadata.labels" => lines(&self.labels),
            "metadata.annotations" => lines(&self.annotations),
            "spec.nodeName" => self.node.clone(),
            "spec.serviceAccountName" => self.service_account().to_owned(),
            "status.hostIP" => self.host.v4.to_string(),
            "status.hostIPs" => format!("{},{}", self.host.v4, self.host.v6),
            "status.podIP" => address.v4.to_string(),
            "status.podIPs" => format!("{},{}", address.v4, address.v6),
            _ => return None,
        })
    }
}

/// As the downward API writes maps: `key="value"` a line.
fn lines(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}
