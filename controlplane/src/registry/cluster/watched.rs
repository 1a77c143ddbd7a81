//! Which kinds are watched, and how much of each.

use heddle_api::kind::{self, KindInfo};
use heddle_api::mesh;

/// One list and watch.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// The kind.
    pub kind: &'static KindInfo,
    /// Of one namespace only.
    pub namespace: Option<&'static str>,
    /// Of one name only.
    pub name: Option<&'static str>,
    /// What the server is to leave out.
    pub fields: Option<&'static str>,
    /// Nothing is served before it was read, if it exists.
    pub needed: bool,
}

/// Tokens of service accounts and releases of Helm are most of a cluster's Secrets, and no rule can name them, nor our own
/// authority.
const NO_CERTIFICATES: &str = "type!=kubernetes.io/service-account-token,type!=helm.sh/release.v1,type!=bootstrap.kubernetes.io/token,type!=heddle.dev/ca";

/// Kinds of Kubernetes itself; its API server always has them, but for ServiceCIDR, which is new.
const KUBERNETES: [(&str, &str); 7] = [
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("networking.k8s.io/v1", "ServiceCIDR"),
];

/// Everything that is watched.
pub fn all() -> Vec<Watched> {
    let whole = |kind| Watched { kind, namespace: None, name: None, fields: None, needed: true };
    let own = KUBERNETES.iter().filter_map(|(version, name)| kind::find(version, name)).map(whole);
    let config = kind::find("v1", "ConfigMap").into_iter().flat_map(|kind| {
        mesh::PLACES.map(|(namespace, name)| Watched {
            namespace: Some(namespace),
            name: Some(name),
            ..whole(kind)
        })
    });
    let secrets =
        kind::find("v1", "Secret").map(|kind| Watched { fields: Some(NO_CERTIFICATES), ..whole(kind) });
    let mesh = kind::KINDS.iter().filter(|kind| is_ours(kind));
    // A kind without effect keeps nobody waiting.
    let mesh = mesh.map(|kind| Watched { needed: kind.served || kind.security, ..whole(kind) });
    own.chain(config).chain(secrets).chain(mesh).collect()
}

/// What the writer of root certificates watches besides: namespaces, and in all of them the ConfigMaps of one name.
pub fn roots() -> Vec<Watched> {
    let of = |name, only| {
        let kind = kind::find("v1", name)?;
        Some(Watched { kind, namespace: None, name: only, fields: None, needed: false })
    };
    [of("Namespace", None), of("ConfigMap", Some(crate::roots::NAME))].into_iter().flatten().collect()
}

/// Istio's kinds all: they say what the mesh is to do, and their status whether it does. Of the Gateway API those that are
/// served: Gateways, their classes and other routes belong to whichever controller their class names.
fn is_ours(kind: &KindInfo) -> bool {
    kind.group.ends_with(".istio.io") || (kind.group == "gateway.networking.k8s.io" && kind.served)
}

impl Watched {
    /// `pods.core`, and of a part of a kind, of which: what problems call it.
    pub fn called(&self) -> String {
        match (self.namespace, self.name) {
            (Some(namespace), Some(name)) => format!("{} {namespace}/{name}", self.kind.directory()),
            _ => self.kind.directory(),
        }
    }

    /// Where its objects are, in a version that is served.
    pub fn path(&self, version: &str) -> String {
        let group =
            if self.kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.kind.group) };
        match self.namespace {
            Some(namespace) => format!("{group}/{version}/namespaces/{namespace}/{}", self.kind.plural),
            None => format!("{group}/{version}/{}", self.kind.plural),
        }
    }

    /// What is asked of the server.
    pub fn selector(&self) -> Option<String> {
        self.name.map(|name| format!("metadata.name={name}")).or_else(|| self.fields.map(str::to_owned))
    }
}
