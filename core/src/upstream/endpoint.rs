//! One place that requests may go to, and how it is spoken to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::object::Labels;
use crate::upstream::model::ClientTls;
use crate::workload::Workload;

/// Who asks: what DestinationRules, visibility and locality look at.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its pod's labels.
    pub labels: &'a Labels,
    /// Region, zone and subzone; empty parts are not known.
    pub locality: [&'a str; 3],
    /// Its node.
    pub node: &'a str,
    /// Its own addresses: endpoints are dialled in a family that it has. None: in any.
    pub addresses: &'a [IpAddr],
}

impl<'a> Client<'a> {
    /// A workload as a client.
    pub fn of(workload: &'a Workload) -> Self {
        let [region, zone, subzone] = &workload.locality;
        Self {
            namespace: workload.identity.namespace(),
            labels: &workload.labels,
            locality: [region, zone, subzone],
            node: workload.node.as_str(),
            addresses: &workload.addresses,
        }
    }
}

/// One place that requests may go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Who is there; `None` outside the mesh's registry.
    pub workload: Option<Arc<Workload>>,
    /// Address and port of the application.
    pub address: SocketAddr,
    /// How it is spoken to beneath HTTP.
    pub transport: Transport,
    /// Its share, at least 1.
    pub weight: u32,
    /// 0 is used first; the next where that is not healthy enough.
    pub priority: u32,
    /// Region, zone and subzone; empty parts are not known.
    pub locality: [Arc<str>; 3],
    /// Labels that a ServiceEntry gives it.
    pub listed: Labels,
}

impl Endpoint {
    /// Labels that subsets and failover look at.
    pub fn labels(&self) -> &Labels {
        match &self.workload {
            Some(workload) if self.listed.is_empty() => &workload.labels,
            _ => &self.listed,
        }
    }

    /// What people call it.
    pub fn name(&self) -> Arc<str> {
        self.workload
            .as_ref()
            .map_or_else(|| self.address.to_string().into(), |workload| workload.name.clone())
    }
}

/// How an endpoint is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// Through the mesh's tunnel.
    Tunnel,
    /// Plain TCP.
    Plain,
    /// TLS that the client's agent originates.
    Tls {
        /// With what.
        tls: Arc<TlsOrigination>,
        /// Inside the tunnel, because the endpoint is in the mesh.
        tunnel: bool,
    },
    /// Not at all: 503 `UF`, and this says why.
    Refused(Arc<str>),
}

impl Transport {
    /// Whether the bytes travel in the mesh's tunnel.
    pub fn tunnels(&self) -> bool {
        matches!(self, Self::Tunnel | Self::Tls { tunnel: true, .. })
    }
}

/// TLS that the client's agent originates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOrigination {
    /// Server name; `None`: the authority of the request (Envoy's `auto_sni`).
    pub sni: Option<String>,
    /// Any of these must be in the certificate; none: the server name must be.
    pub subject_alt_names: Vec<String>,
    /// Roots, client certificate and key as the DestinationRule has them.
    pub settings: ClientTls,
}

/// An endpoint of the host that the cluster leaves out.
#[derive(Clone, Debug, PartialEq)]
pub struct Excluded {
    /// Its name: the workload's, else its address.
    pub name: Arc<str>,
    /// Where it is, if that much is known.
    pub address: Option<SocketAddr>,
    /// Why.
    pub why: Exclusion,
}

/// Why an endpoint is not in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// It is not ready, or is terminating.
    #[error("not ready")]
    Unhealthy,
    /// It lacks a label of the subset.
    #[error("not in the subset: label {label} is {}, not {wanted}", .found.as_deref().unwrap_or("absent"))]
    Subset {
        /// The label.
        label: String,
        /// What the subset wants.
        wanted: String,
        /// What the endpoint has.
        found: Option<String>,
    },
    /// It does not listen for this port of the service.
    #[error("it has no port for port {0} of the service")]
    NoPort(u16),
    /// `distribute` gives its place nothing.
    #[error("no share of the traffic goes to its locality")]
    Locality,
    /// `internalTrafficPolicy: Local`, and it is not where the client is.
    #[error("it is elsewhere, and the service sends nothing there (internalTrafficPolicy)")]
    Elsewhere,
    /// Its name did not resolve.
    #[error("its name does not resolve")]
    Unresolved,
    /// A name where an address is wanted (`resolution: STATIC`).
    #[error("it is no address, and names are not resolved under STATIC")]
    NotAnAddress,
    /// The host has no such subset.
    #[error("no DestinationRule has the subset {0}")]
    NoSubset(String),
}
