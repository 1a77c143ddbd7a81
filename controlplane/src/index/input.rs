//! What the index reads: small structs that hold of each object what a mesh needs, and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use heddle_api::normalised::Context;
use heddle_core::mtls::MtlsMode;
use heddle_core::object::TrafficObject;
use heddle_core::store::MeshTraffic;
use heddle_core::workload::L7Mode;

mod traffic;

pub use traffic::{
    EntryInput, GATEWAY_GROUP, GrantInput, KeyedInput, Parent, PolicyInput, RouteInput, SecretInput,
    WorkloadEntryInput,
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The kinds that change what agents get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// v1 Namespace.
    Namespace,
    /// v1 Node.
    Node,
    /// v1 Pod.
    Pod,
    /// v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// v1 ServiceAccount.
    ServiceAccount,
    /// The ConfigMap that carries the mesh config.
    MeshConfig,
    /// security.istio.io PeerAuthentication.
    PeerAuthentication,
    /// security.istio.io AuthorizationPolicy.
    AuthorizationPolicy,
    /// security.istio.io RequestAuthentication.
    RequestAuthentication,
    /// networking.istio.io VirtualService.
    VirtualService,
    /// networking.istio.io DestinationRule.
    DestinationRule,
    /// networking.istio.io ServiceEntry.
    ServiceEntry,
    /// networking.istio.io WorkloadEntry.
    WorkloadEntry,
    /// gateway.networking.k8s.io HTTPRoute.
    HttpRoute,
    /// gateway.networking.k8s.io GRPCRoute.
    GrpcRoute,
    /// gateway.networking.k8s.io ReferenceGrant.
    ReferenceGrant,
    /// v1 Secret, of those that hold certificates.
    Secret,
    /// networking.k8s.io/v1 ServiceCIDR.
    ServiceCidr,
}

impl InputKind {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceAccount => "ServiceAccount",
            Self::MeshConfig => "ConfigMap",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Secret => "Secret",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

/// One object's place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: InputKind,
    /// Empty where the kind has none.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its parts.
    pub fn new(kind: InputKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// One change of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is now this.
    Put(Key, Input),
    /// The object is gone.
    Remove(Key),
}

/// An object as the index takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Labels of a namespace.
    Namespace(NamespaceInput),
    /// A node.
    Node(NodeInput),
    /// A pod.
    Pod(Box<PodInput>),
    /// A service.
    Service(ServiceInput),
    /// A slice of endpoints.
    EndpointSlice(SliceInput),
    /// It exists.
    ServiceAccount,
    /// Mesh-wide settings.
    MeshConfig(Box<MeshConfigInput>),
    /// What mTLS some workloads take.
    PeerAuthentication(PeerAuthenticationInput),
    /// A security object that is not served, or cannot be read: it denies what it selects.
    Denial(Selection),
    /// A policy that is served.
    Policy(Arc<PolicyInput>),
    /// A VirtualService or DestinationRule, which is tied to nothing before it reaches an agent.
    Traffic(Arc<TrafficObject>),
    /// A DestinationRule that names Secrets.
    Keyed(Arc<KeyedInput>),
    /// The certificates of a Secret.
    Secret(Arc<SecretInput>),
    /// A route of the Gateway API.
    Route(Arc<RouteInput>),
    /// Leave for routes of other namespaces.
    Grant(GrantInput),
    /// A ServiceEntry.
    Entry(Arc<EntryInput>),
    /// A WorkloadEntry.
    WorkloadEntry(Arc<WorkloadEntryInput>),
    /// Networks of services.
    ServiceCidr(Vec<String>),
}

/// A node's place in the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInput {
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `topology.istio.io/subzone`.
    pub subzone: String,
    /// `spec.podCIDRs`: networks of its pods.
    pub pod_cidrs: Vec<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodInput {
    /// `metadata.uid`.
    pub uid: String,
    /// Labels.
    pub labels: Labels,
    /// `spec.nodeName`; empty until it is bound.
    pub node: String,
    /// `spec.serviceAccountName`, `default` where it is empty.
    pub service_account: String,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// Succeeded or Failed.
    pub terminal: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// Named and unnamed TCP ports of its containers.
    pub ports: Vec<(String, u16)>,
    /// Kind and name of the controlling owner.
    pub owner: Option<(String, String)>,
    /// Creation time as text that sorts.
    pub created: String,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceInput {
    /// Labels that its pods have; empty: its endpoints come from slices.
    pub selector: Labels,
    /// ClusterIPs; none for a headless one.
    pub addresses: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// An alias of a name outside: it has no endpoints and no address.
    pub external_name: bool,
    /// Label `heddle.dev/l7`.
    pub l7: Option<L7Mode>,
    /// Annotation `networking.istio.io/exportTo`, as written, else the mesh's default; empty: all.
    pub export_to: Vec<String>,
    /// `spec.trafficDistribution`, else the annotation; `None`: as its namespace has it.
    pub distribution: Option<Distribution>,
    /// `spec.internalTrafficPolicy: Local`.
    pub local_only: bool,
}

/// Which endpoints a service prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// None: a value that nobody knows, as Istio takes it.
    Any,
    /// `PreferSameZone`, or `PreferClose`.
    SameZone,
    /// `PreferSameNode`.
    SameNode,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceInput {
    /// Labels.
    pub labels: Labels,
    /// Annotation `networking.istio.io/traffic-distribution`.
    pub distribution: Option<Distribution>,
}

impl From<Labels> for NamespaceInput {
    fn from(labels: Labels) -> Self {
        Self { labels, distribution: None }
    }
}

/// A TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// May be empty.
    pub name: String,
    /// What clients dial.
    pub port: u16,
    /// Where it leads.
    pub target: TargetPort,
    /// `appProtocol`, or the prefix of the port's name.
    pub protocol: String,
}

/// `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container's port.
    Name(String),
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceInput {
    /// Label `kubernetes.io/service-name`.
    pub service: String,
    /// By name of the service's port.
    pub ports: Vec<(String, u16)>,
    /// Endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// One address, as Kubernetes has it.
    pub addresses: Vec<IpAddr>,
    /// Ready unless said otherwise, and not terminating.
    pub ready: bool,
    /// Its node.
    pub node: String,
}

/// Fields of the mesh config that are served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshConfigInput {
    /// `outboundTrafficPolicy.mode: REGISTRY_ONLY`.
    pub registry_only: bool,
    /// `heddle.dev/l7`.
    pub l7: L7Mode,
    /// How traffic is treated where no object says otherwise.
    pub traffic: MeshTraffic,
    /// `defaultVirtualServiceExportTo` and its neighbours; of the rest of it nothing counts.
    pub defaults: Context,
}

/// A PeerAuthentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthenticationInput {
    /// Empty: the whole namespace, or the mesh.
    pub selector: Labels,
    /// `None`: UNSET.
    pub mode: Option<MtlsMode>,
    /// `None`: UNSET.
    pub ports: BTreeMap<u16, Option<MtlsMode>>,
    /// Creation time as text that sorts; the oldest wins.
    pub created: String,
}

/// The workloads that a security object judges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Empty: the whole namespace, or the mesh.
    pub selector: Labels,
    /// Names of services of its namespace that it targets; `None`: it has no targetRefs.
    pub services: Option<Vec<String>>,
}
