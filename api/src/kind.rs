//! Every kind of object that Heddle takes, and how people name it.

use std::fmt;

use crate::strict::nearest;

#[cfg(test)]
mod any;
mod table;

pub use table::KINDS;

/// What an object of a kind is refused for: a schema check, chosen by kind.
pub(crate) type Check = fn(&serde_json::Value) -> Vec<crate::diagnostic::Problem>;

/// One kind.
pub struct KindInfo {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Versions that are taken, the preferred one first.
    pub versions: &'static [&'static str],
    /// As in a manifest: `Deployment`.
    pub kind: &'static str,
    /// As in a URL: `deployments`.
    pub plural: &'static str,
    /// As people abbreviate it: `deploy`.
    pub short_names: &'static [&'static str],
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// False: stored and shown as `Accepted=False`, reason `Unsupported`.
    pub served: bool,
    /// True: what it selects is denied for as long as it is not served.
    pub security: bool,
    pub(crate) check: Check,
}

impl KindInfo {
    /// `apps/v1`, or `v1` in the core group; the preferred version.
    pub fn api_version(&self) -> String {
        let version = self.versions.first().copied().unwrap_or_default();
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// `deployment.apps`, `pod`: how kubectl names it in its messages.
    pub fn qualified(&self) -> String {
        let singular = self.kind.to_lowercase();
        if self.group.is_empty() { singular } else { format!("{singular}.{}", self.group) }
    }

    /// `deployments.apps`, `pods.core`: the directory of its objects.
    pub fn directory(&self) -> String {
        format!("{}.{}", self.plural, if self.group.is_empty() { "core" } else { self.group })
    }

    fn answers_to(&self, word: &str) -> bool {
        let (name, group) = word.split_once('.').map_or((word, None), |(name, group)| (name, Some(group)));
        let named =
            name == self.plural || name == self.kind.to_lowercase() || self.short_names.contains(&name);
        named && group.is_none_or(|group| self.is_group(group))
    }

    /// `apps`, or `v1.apps` as kubectl's `deployments.v1.apps`.
    fn is_group(&self, group: &str) -> bool {
        let versioned = || {
            let (version, group) = group.split_once('.').unwrap_or((group, ""));
            group == self.group && self.versions.contains(&version)
        };
        (group == self.group && !group.is_empty()) || versioned()
    }
}

impl PartialEq for KindInfo {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group && self.kind == other.kind
    }
}

impl Eq for KindInfo {}

impl std::hash::Hash for KindInfo {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.group, self.kind).hash(state);
    }
}

impl fmt::Debug for KindInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.api_version())
    }
}

/// The kind of an object by its `apiVersion` and `kind`.
pub fn find(api_version: &str, kind: &str) -> Option<&'static KindInfo> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    KINDS.iter().find(|info| info.kind == kind && info.group == group && info.versions.contains(&version))
}

/// The kind that a person means by `po`, `pods`, `Pod`, `deployments.apps`; of two, the first of [`KINDS`].
pub fn by_word(word: &str) -> Option<&'static KindInfo> {
    let word = word.to_lowercase();
    KINDS.iter().find(|info| info.answers_to(&word))
}

/// What to write instead of an `apiVersion` and `kind` that nobody knows: `: did you mean …`, or nothing.
pub(crate) fn suggest(api_version: &str, kind: &str) -> String {
    let same = KINDS.iter().filter(|info| info.kind == kind);
    let names = same.map(|info| info.api_version()).collect::<Vec<_>>();
    let versions: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(first) = nearest(api_version, versions.iter().copied()).or(versions.first().copied()) {
        return format!(": a {kind} has apiVersion {first}");
    }
    match nearest(kind, KINDS.iter().map(|info| info.kind)) {
        Some(near) => format!(": did you mean {near}?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_words_of_kubectl_find_their_kinds() {
        let rows = [
            ("po", "Pod"),
            ("pods", "Pod"),
            ("Pod", "Pod"),
            ("deploy", "Deployment"),
            ("deployments.apps", "Deployment"),
            ("deployment.v1.apps", "Deployment"),
            ("svc", "Service"),
            ("ns", "Namespace"),
            ("sa", "ServiceAccount"),
            ("cm", "ConfigMap"),
            ("sts", "StatefulSet"),
            ("ds", "DaemonSet"),
            ("rs", "ReplicaSet"),
            ("jobs", "Job"),
            ("no", "Node"),
            ("pa", "PeerAuthentication"),
            ("vs", "VirtualService"),
            ("dr", "DestinationRule"),
            ("se", "ServiceEntry"),
            ("httproutes", "HTTPRoute"),
            ("secrets", "Secret"),
            ("endpointslices", "EndpointSlice"),
            ("telemetry", "Telemetry"),
        ];
        for (word, kind) in rows {
            assert_eq!(by_word(word).map(|info| info.kind), Some(kind), "{word}");
        }
        assert!(by_word("pods.apps").is_none());
        assert!(by_word("").is_none());
        assert_eq!(by_word("gateways.networking.istio.io").unwrap().group, "networking.istio.io");
    }

    #[test]
    fn a_kind_is_found_in_each_of_its_versions_and_in_no_other() {
        assert!(find("security.istio.io/v1", "PeerAuthentication").is_some());
        assert!(find("security.istio.io/v1beta1", "PeerAuthentication").is_some());
        assert!(find("security.istio.io/v2", "PeerAuthentication").is_none());
        assert!(find("apps/v1", "Pod").is_none());
        assert_eq!(find("v1", "Pod").unwrap().directory(), "pods.core");
    }

    #[test]
    fn no_two_kinds_share_a_directory() {
        let mut all: Vec<String> = KINDS.iter().map(KindInfo::directory).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), KINDS.len());
    }
}
