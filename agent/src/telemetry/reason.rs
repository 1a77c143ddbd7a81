//! Why a connection did not complete: one name per reason, for counters, the access log and people.

use std::fmt;

use heddle_core::authorize::Denied;
use heddle_core::resolve::Refusal;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $flag:literal;)+) => {
        /// A reason, its name in counters, and Envoy's response flag for it (ztunnel's `DENY` where Envoy has none).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// Every reason, in the order of the discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in counters and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// `response_flags` of metrics and access log.
            pub fn response_flag(self) -> &'static str {
                match self { $(Self::$variant => $flag,)+ }
            }
        }
    };
}

reasons! {
    /// Somebody dialled port 15001 itself.
    NotCaptured = "not_captured", "NR";
    /// The controller does not know this pod (yet).
    PodUnknown = "pod_unknown", "NR";
    /// The pod is not enrolled.
    NotEnrolled = "not_enrolled", "DENY";
    /// STRICT, and no mTLS.
    MtlsRequired = "mtls_required", "DENY";
    /// A foreign trust domain.
    TrustDomain = "trust_domain", "DENY";
    /// A policy applies and is not known.
    PolicyMissing = "policy_missing", "DENY";
    /// A DENY policy matched.
    PolicyDenied = "policy_denied", "DENY";
    /// There are ALLOW policies and none matched.
    NoAllowMatched = "no_allow_matched", "DENY";
    /// Inside the cluster's ranges, and still unknown after the hold.
    UnknownDestination = "unknown_destination", "NR";
    /// The service has no such port.
    NoSuchPort = "no_such_port", "NR";
    /// The service has no healthy endpoint.
    NoEndpoint = "no_endpoint", "UH";
    /// REGISTRY_ONLY, and not registered.
    NotRegistered = "not_registered", "NR";
    /// Loopback, multicast and their kind.
    BadAddress = "bad_address", "NR";
    /// No valid certificate for the pod.
    NoCertificate = "no_certificate", "UF";
    /// The tunnel's TCP connection failed.
    TunnelConnect = "tunnel_connect", "UF";
    /// TLS towards the destination failed.
    TunnelTls = "tunnel_tls", "UF";
    /// Somebody else than the expected identity answered.
    TunnelIdentity = "tunnel_identity", "UF";
    /// HTTP/2 towards the destination failed before the stream was open.
    TunnelProtocol = "tunnel_protocol", "UF";
    /// The other agent denied the connection.
    TunnelDenied = "tunnel_denied", "DENY";
    /// The other agent could not serve the connection.
    TunnelRefused = "tunnel_refused", "UF";
    /// The tunnel was not open in time.
    TunnelTimeout = "tunnel_timeout", "UF";
    /// A client's TLS handshake failed.
    TlsHandshake = "tls_handshake", "-";
    /// A client's certificate was refused.
    TlsCertificate = "tls_certificate", "-";
    /// A client's handshake took too long.
    TlsTimeout = "tls_timeout", "-";
    /// A client's HTTP/2 was broken.
    TunnelBroken = "tunnel_broken", "-";
    /// Not a CONNECT to an address and port of this pod.
    BadRequest = "bad_request", "-";
    /// Addressed to an agent port or to an address that is not the pod's.
    WrongDestination = "wrong_destination", "NR";
    /// The destination did not take the connection.
    Connect = "connect", "UF";
    /// The destination did not answer in time.
    ConnectTimeout = "connect_timeout", "UF";
    /// The pod has too many connections.
    PodConnections = "pod_connections", "UO";
    /// The pod has too many handshakes in flight.
    PodHandshakes = "pod_handshakes", "UO";
    /// The agent is short of file descriptors.
    Descriptors = "descriptors", "UO";
    /// The circuit breaker of the destination is open.
    Overflow = "overflow", "UO";
    /// `accept` failed for want of a resource.
    Accept = "accept", "UO";
    /// The client's side reset the connection.
    ClientReset = "client_reset", "DC";
    /// The server's side reset the connection.
    ServerReset = "server_reset", "UC";
    /// One side had finished, and the other was silent for too long.
    HalfClosedIdle = "half_closed_idle", "SI";
    /// Nothing passed for longer than the destination's `tcp.idleTimeout`.
    Idle = "idle", "SI";
    /// It has lasted as long as the destination's `tcp.maxConnectionDuration`.
    TooOld = "too_old", "DT";
    /// A newer configuration denies it.
    Revoked = "revoked", "DENY";
    /// Its pod is gone.
    PodStopped = "pod_stopped", "UC";
    /// The drain deadline has passed.
    Drained = "drained", "UC";
    /// It was dropped without a conclusion: a panic, or the end of the process.
    Abandoned = "abandoned", "-";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<&Denied> for Reason {
    fn from(denied: &Denied) -> Self {
        match denied {
            Denied::NotEnrolled => Self::NotEnrolled,
            Denied::MtlsRequired => Self::MtlsRequired,
            Denied::TrustDomain => Self::TrustDomain,
            Denied::PolicyMissing(_) => Self::PolicyMissing,
            Denied::DeniedBy(..) => Self::PolicyDenied,
            Denied::NoAllowMatched => Self::NoAllowMatched,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchPort => Self::NoSuchPort,
            Refusal::NoEndpoint => Self::NoEndpoint,
            Refusal::NotRegistered => Self::NotRegistered,
            Refusal::Address => Self::BadAddress,
        }
    }
}

/// A reason and, where there is more to say, the words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is counted.
    pub reason: Reason,
    /// What is logged besides; never a peer's bytes unescaped.
    pub detail: Option<Box<str>>,
}

impl Failure {
    /// A reason with words of ours or an error's.
    pub fn new(reason: Reason, detail: &dyn fmt::Display) -> Self {
        Self { reason, detail: Some(detail.to_string().into()) }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let reason = Reason::from(&denied);
        match denied {
            Denied::DeniedBy(..) | Denied::PolicyMissing(_) | Denied::NoAllowMatched => {
                Self::new(reason, &denied.response_code_details())
            }
            Denied::NotEnrolled | Denied::MtlsRequired | Denied::TrustDomain => Self::new(reason, &denied),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}
