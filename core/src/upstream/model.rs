//! DestinationRule and ServiceEntry, normalised.
//!
//! Sources: Istio API `networking/v1/destination_rule.proto`, `service_entry.proto`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::object::{ExportTo, Labels, ObjectRef};

/// One DestinationRule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DestinationRule {
    /// Where it came from.
    pub source: ObjectRef,
    /// Seconds since 1970.
    pub created: i64,
    /// Fully qualified, or `*.suffix`, or `*`.
    pub host: String,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Clients that it counts for; `None`: all.
    pub workload_selector: Option<Labels>,
    /// For every port and subset.
    pub policy: TrafficPolicy,
    /// For single ports of the service: all of the policy is replaced, and what is left out here is the default again.
    pub ports: BTreeMap<u16, TrafficPolicy>,
    /// Parts of the host's endpoints.
    pub subsets: Vec<Subset>,
}

/// Part of a host's endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// Labels that its endpoints have; empty: all.
    pub labels: Labels,
    /// Overrides, field by field.
    pub policy: TrafficPolicy,
    /// Overrides for single ports: all of the policy, that of the host too.
    pub ports: BTreeMap<u16, TrafficPolicy>,
}

/// How a destination is treated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficPolicy {
    /// `None`: least request.
    pub load_balancer: Option<LoadBalancer>,
    /// Bounds.
    pub connection_pool: Option<ConnectionPool>,
    /// Ejection.
    pub outlier_detection: Option<OutlierDetection>,
    /// `None`: the mesh's mTLS where the endpoint is in the mesh, plaintext elsewhere.
    pub tls: Option<ClientTls>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// The choice.
    pub algorithm: Algorithm,
    /// `None`: the default of the mesh (failover where there is outlier detection).
    pub locality: Option<Locality>,
    /// New endpoints are eased in.
    pub warmup: Option<Warmup>,
}

/// The choice among endpoints of one priority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// The less busy of two at random.
    #[default]
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// By weight, at random.
    Random,
    /// As dialled.
    Passthrough,
    /// By a hash of the request.
    ConsistentHash {
        /// What is hashed.
        key: HashKey,
        /// How it is spread.
        ring: Ring,
    },
}

/// What is hashed. Where the request lacks it, the choice is random.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HashKey {
    /// Lower case.
    Header(String),
    /// A cookie, made where it lacks and `ttl` is there; a zero one lives as long as the client's session.
    Cookie {
        /// Its name.
        name: String,
        /// Its path.
        path: String,
        /// Its life.
        ttl: Option<Duration>,
    },
    /// The client's address.
    SourceIp,
    /// The first query parameter of this name.
    Query(String),
}

/// How hashes are spread over endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ring {
    /// Ketama, at least this many points in all (1024).
    RingHash(u64),
    /// A table of this prime size (65537).
    Maglev(u64),
}

/// New endpoints are eased in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Warmup {
    /// How long.
    pub duration: Duration,
    /// Least share, percent (10).
    pub minimum_percent: f64,
    /// 1: linear; more: steeper at the end.
    pub aggression: f64,
}

/// Preference by place. Places are `region/zone/subzone`; `*` stands for any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Locality {
    /// `enabled: false` switches it off, whatever the mesh says.
    pub disabled: bool,
    /// From a place, so many percent to each.
    pub distribute: Vec<(String, BTreeMap<String, u32>)>,
    /// From one region to another when it fails.
    pub failover: Vec<(String, String)>,
    /// Labels (`key` or `key=value`), the more of which an endpoint shares with the client, in order, the better.
    pub failover_priority: Vec<String>,
}

/// Bounds on what one client identity may have open towards a destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`, also HTTP/1 and HTTP/2 connections.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout` (10 s).
    pub connect_timeout: Option<Duration>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`.
    pub tcp_idle_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`: (time, interval, probes).
    pub keepalive: Option<(Option<Duration>, Option<Duration>, Option<u32>)>,
    /// `http.http1MaxPendingRequests`; `None` or 0, here and in its neighbours: no bound.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`: requests under way, whatever the protocol.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`; 0: no bound.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`: repetitions under way; `None`: a fifth of the requests, at least 3.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`: of an upstream connection (1 h).
    pub http_idle_timeout: Option<Duration>,
    /// `http.h2UpgradePolicy: UPGRADE`: HTTP/2 to the endpoint though the client speaks HTTP/1.
    pub h2_upgrade: Option<bool>,
    /// `http.useClientProtocol`.
    pub use_client_protocol: bool,
    /// `http.maxConcurrentStreams` of one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
}

/// When an endpoint is set aside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors` (5; 0: never).
    pub consecutive_5xx: Option<u32>,
    /// `consecutiveGatewayErrors` (0: never): 502, 503, 504 and connections that fail.
    pub consecutive_gateway_errors: Option<u32>,
    /// `splitExternalLocalOriginErrors`.
    pub split_local_origin: bool,
    /// `consecutiveLocalOriginFailures` (5).
    pub consecutive_local_origin: Option<u32>,
    /// Between sweeps (10 s).
    pub interval: Option<Duration>,
    /// For the first time, and times the number of ejections (30 s).
    pub base_ejection_time: Option<Duration>,
    /// At most so much of the set, but one always may (10 %).
    pub max_ejection_percent: Option<u32>,
    /// Below so much of the set healthy, all of it is used (0 %).
    pub min_health_percent: Option<u32>,
}

/// How the endpoint is spoken to beneath HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientTls {
    /// The mode.
    pub mode: TlsMode,
    /// `sni`; `None`: the host of the request, where the mode originates TLS.
    pub sni: Option<String>,
    /// Any of these must be in the certificate; none: the host is.
    pub subject_alt_names: Vec<String>,
    /// PEM of the roots (`caCertificates`, or `cacert` of the Secret); `None`: those of the system.
    pub ca: Option<String>,
    /// PEM of the chain (`clientCertificate`).
    pub certificate: Option<String>,
    /// PEM of the key. Only agents whose pods may use it get it.
    pub private_key: Option<String>,
    /// No verification, because somebody asked for that.
    pub insecure_skip_verify: bool,
    /// It cannot be done (a file of the pod, a Secret that is not there): connections are refused, and this says why.
    pub broken: Option<String>,
}

/// `ClientTLSSettings.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// The mesh's own; an endpoint outside the mesh is then refused.
    #[default]
    IstioMutual,
    /// Nothing beneath HTTP. A tunnel to a workload of the mesh that takes nothing else stays: there it means plaintext only
    /// where the receiver admits it.
    Disable,
    /// TLS to the endpoint.
    Simple,
    /// TLS with a client certificate.
    Mutual,
}

/// One ServiceEntry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceEntry {
    /// Where it came from.
    pub source: ObjectRef,
    /// Seconds since 1970.
    pub created: i64,
    /// Names; `*.suffix` only without resolution.
    pub hosts: Vec<String>,
    /// Virtual addresses, as networks.
    pub addresses: Vec<String>,
    /// Its ports.
    pub ports: Vec<EntryPort>,
    /// `MESH_EXTERNAL`: reached without the mesh's mTLS.
    pub external: bool,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Endpoints written in it, and those of WorkloadEntries that it selects. Pods that it selects are workloads of their own.
    pub endpoints: Vec<EntryEndpoint>,
    /// `subjectAltNames`: what the endpoints' certificates must have.
    pub subject_alt_names: Vec<String>,
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryPort {
    /// Its name.
    pub name: String,
    /// What clients dial.
    pub number: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// What endpoints listen on, where it differs.
    pub target: Option<u16>,
}

/// How the endpoints of a ServiceEntry are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// As dialled.
    #[default]
    None,
    /// As written.
    Static,
    /// All addresses of the names.
    Dns,
    /// One address of the name for each new connection.
    DnsRoundRobin,
}

/// An endpoint of a ServiceEntry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryEndpoint {
    /// An address, or a name to be resolved.
    pub address: String,
    /// By the port's name.
    pub ports: BTreeMap<String, u16>,
    /// Labels.
    pub labels: Labels,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Its share; 0: 1.
    pub weight: u32,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Not declared: the first bytes say.
    #[default]
    Unknown,
    /// HTTP/1.x, with its upgrades.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
    /// TLS of the application's own, HTTPS too: opaque but for the server name.
    Tls,
    /// Opaque.
    Tcp,
}

impl Protocol {
    /// Whether requests are to be seen.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}
