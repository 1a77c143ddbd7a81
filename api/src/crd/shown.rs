//! What people see of a kind: a sentence in `kubectl explain`, columns in `kubectl get`, as Istio and the Gateway API have them.

use serde_json::{Value, json};

use crate::kind::KindInfo;

/// Of one kind.
pub(super) struct Shown {
    pub(super) about: &'static str,
    /// None: the server shows the age.
    pub(super) columns: &'static [Column],
}

/// Title, path, explanation.
pub(super) struct Column(&'static str, &'static str, &'static str);

const AGE: Column = Column("Age", ".metadata.creationTimestamp", "How long ago it was created.");

impl Column {
    pub(super) fn json(&self) -> Value {
        let Self(name, path, about) = self;
        let kind = if *path == AGE.1 { "date" } else { "string" };
        json!({"name": name, "type": kind, "jsonPath": path, "description": about})
    }
}

/// By the kind's group and name.
pub(super) fn of(kind: &KindInfo) -> Shown {
    let (about, columns) = if kind.group == "gateway.networking.k8s.io" {
        of_gateway_api(kind.kind)
    } else {
        of_istio(kind.kind)
    };
    Shown { about, columns }
}

type Entry = (&'static str, &'static [Column]);

fn of_istio(kind: &str) -> Entry {
    match kind {
        "VirtualService" => (
            "How requests to a host are routed.",
            &[
                Column("Gateways", ".spec.gateways", "Gateways, or mesh, that the routes are for."),
                Column("Hosts", ".spec.hosts", "Hosts that requests are for."),
                AGE,
            ],
        ),
        "DestinationRule" => (
            "Policies for requests to a host once they are routed: subsets, balancing, connections, outliers, TLS.",
            &[Column("Host", ".spec.host", "The service that it is about."), AGE],
        ),
        "Gateway" => ("Ports at the edge of the mesh, and what they take.", &[]),
        "Sidecar" => ("What workloads may reach, and on which ports they are reached.", &[]),
        "ServiceEntry" => (
            "A service that the cluster does not know by itself.",
            &[
                Column("Hosts", ".spec.hosts", "Names of the service."),
                Column(
                    "Location",
                    ".spec.location",
                    "Whether it is in the mesh (MESH_INTERNAL or MESH_EXTERNAL).",
                ),
                Column(
                    "Resolution",
                    ".spec.resolution",
                    "How its endpoints are found (NONE, STATIC or DNS).",
                ),
                AGE,
            ],
        ),
        "WorkloadEntry" => {
            ("A workload that is no pod.", &[AGE, Column("Address", ".spec.address", "Where it is.")])
        }
        "PeerAuthentication" => (
            "Whether workloads take connections without mutual TLS.",
            &[Column("Mode", ".spec.mtls.mode", "STRICT, PERMISSIVE, DISABLE or UNSET."), AGE],
        ),
        "AuthorizationPolicy" => (
            "Who may do what at workloads.",
            &[Column("Action", ".spec.action", "ALLOW, DENY, AUDIT or CUSTOM."), AGE],
        ),
        "RequestAuthentication" => ("Which tokens of requests workloads accept.", &[]),
        "Telemetry" => ("What is measured, logged and traced of workloads.", &[]),
        _ => ("", &[]),
    }
}

fn of_gateway_api(kind: &str) -> Entry {
    const HOSTNAMES: &[Column] =
        &[Column("Hostnames", ".spec.hostnames", "Hosts that requests are for."), AGE];
    match kind {
        "GatewayClass" => (
            "A kind of Gateways, and who serves them.",
            &[
                Column("Controller", ".spec.controllerName", "Who serves its Gateways."),
                Column("Accepted", CLASS_ACCEPTED, "Whether somebody does."),
                AGE,
            ],
        ),
        "Gateway" => (
            "Listeners that take traffic into the cluster.",
            &[
                Column("Class", ".spec.gatewayClassName", "Its GatewayClass."),
                Column("Address", ".status.addresses[*].value", "Where it is reached."),
                Column("Programmed", PROGRAMMED, "Whether it is in force."),
                AGE,
            ],
        ),
        "HTTPRoute" => ("How HTTP requests are routed.", HOSTNAMES),
        "GRPCRoute" => ("How gRPC requests are routed.", HOSTNAMES),
        "TLSRoute" => ("How TLS connections are routed by server name.", HOSTNAMES),
        "TCPRoute" => ("How TCP connections are routed.", &[AGE]),
        "ReferenceGrant" => ("Which namespaces may refer to objects of this one.", &[AGE]),
        _ => ("", &[]),
    }
}

const CLASS_ACCEPTED: &str = r#".status.conditions[?(@.type=="Accepted")].status"#;
const PROGRAMMED: &str = r#".status.conditions[?(@.type=="Programmed")].status"#;
