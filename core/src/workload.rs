//! Workloads and services as the data plane sees them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::Identity;
use crate::mtls::MtlsPolicy;
use crate::names::{NodeName, PodUid, PolicyName, ServiceKey, WorkloadUid};
use crate::object::{ExportTo, Labels};
use crate::upstream::model::Protocol;

/// How a workload is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// In clear: it is outside the mesh.
    None,
    /// HTTP/2 CONNECT over mTLS to its port 15008.
    Hbone,
}

/// A pod (or another endpoint) anywhere in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Key.
    pub uid: WorkloadUid,
    /// Pod name.
    pub name: Arc<str>,
    /// Its identity; also carries its namespace.
    pub identity: Identity,
    /// v4 and v6, in order of preference.
    pub addresses: Box<[IpAddr]>,
    /// How it is reached.
    pub tunnel: Tunnel,
    /// Ports that are reached in clear all the same (`DISABLE`).
    pub plaintext_ports: Box<[u16]>,
    /// Where it runs.
    pub node: NodeName,
    /// Telemetry: `service.istio.io/canonical-name`, else the `app` label, else the controller's name.
    pub canonical_name: Arc<str>,
    /// Telemetry: revision, `latest` by default.
    pub canonical_revision: Arc<str>,
    /// Telemetry: the owner's name (a Deployment's, say).
    pub workload_name: Arc<str>,
    /// Services that it is an endpoint of, with (service port, target port).
    pub services: Box<[(ServiceKey, Box<[PortMapping]>)]>,
    /// Every policy that applies to it, and those that STRICT is sent as.
    pub policies: Box<[PolicyName]>,
    /// False: it takes no new connections by way of a service.
    pub healthy: bool,
    /// It shares its node's addresses and has no identity of its own.
    pub host_network: bool,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Region, zone and subzone; empty parts are not known.
    pub locality: [Arc<str>; 3],
    /// Its share among the endpoints of a service: 1 unless a WorkloadEntry says otherwise.
    pub weight: u32,
}

impl Workload {
    /// Whether a connection to this port goes through the tunnel.
    pub fn tunnels(&self, port: u16) -> bool {
        // Few ports; and a list that was not sorted must not turn DISABLE into a tunnel.
        self.tunnel == Tunnel::Hbone && !self.host_network && !self.plaintext_ports.contains(&port)
    }
}

/// One port of a service or of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortMapping {
    /// What clients dial.
    pub service_port: u16,
    /// What the pod listens on; 0 in a service: the endpoints say.
    pub target_port: u16,
    /// What `appProtocol` or the port's name declare.
    pub protocol: Protocol,
}

/// Where requests are seen: `heddle.dev/l7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum L7Mode {
    /// Rules exist, or the port declares HTTP or gRPC, or the client's first bytes show it.
    #[default]
    Auto,
    /// Only where rules exist.
    Rules,
    /// Nowhere; what rules ask of requests denies.
    Never,
}

/// A service and its virtual addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Key.
    pub key: ServiceKey,
    /// Kubernetes name.
    pub name: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// `<name>.<namespace>.svc.<cluster domain>`.
    pub hostname: Arc<str>,
    /// ClusterIPs; none for a headless service.
    pub addresses: Box<[IpAddr]>,
    /// Its ports.
    pub ports: Box<[PortMapping]>,
    /// What it, or its namespace, says; `None`: what the client's pod has.
    pub l7: Option<L7Mode>,
    /// Namespaces whose pods see it by name.
    pub export_to: ExportTo,
    /// Endpoints that are not ready serve while none is (`publishNotReadyAddresses`).
    pub unready: bool,
    /// Which of its endpoints are preferred, where no DestinationRule says so; `None`: whatever the mesh has.
    pub routing: Option<Routing>,
}

/// Which endpoints of a service are preferred: `trafficDistribution` and `internalTrafficPolicy`, as WDS has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The more of these an endpoint shares with the client, in order, the better.
    pub scopes: Box<[Scope]>,
    /// Those that do not share all of them are never chosen.
    pub strict: bool,
}

/// A place that client and endpoint may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The network; there is one.
    Network,
    /// Of their localities.
    Region,
    /// Of their localities.
    Zone,
    /// Of their localities.
    Subzone,
    /// The node.
    Node,
}

impl Scope {
    /// The label by which Istio's `failoverPriority` knows it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Network => "topology.istio.io/network",
            Self::Region => "topology.kubernetes.io/region",
            Self::Zone => "topology.kubernetes.io/zone",
            Self::Subzone => "topology.istio.io/subzone",
            Self::Node => "kubernetes.io/hostname",
        }
    }
}

/// A pod of this node, as the controller wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWorkload {
    /// Key.
    pub pod_uid: PodUid,
    /// The same workload in WDS.
    pub workload_uid: WorkloadUid,
    /// Pod name.
    pub name: Arc<str>,
    /// Its identity.
    pub identity: Identity,
    /// Whether its traffic is to be captured.
    pub enrolled: bool,
    /// What it takes.
    pub mtls: MtlsPolicy,
    /// Every policy that applies to it; one that is missing denies.
    pub policies: Box<[PolicyName]>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// For what it receives, and for what it sends to services that do not say otherwise.
    pub l7: L7Mode,
}
