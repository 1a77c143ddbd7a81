//! The table of kinds: Kubernetes' own that a sandbox runs, Gateway API's, Istio's.

use super::{Check, KindInfo};
use crate::authorization;
use crate::route::{gateway as gateway_api, virtual_service};
use crate::security::check_peer_authentication;
use crate::strict::{metadata_only, schema};
use crate::upstream::{destination_rule, service_entry};
use k8s_openapi::api::{
    apps::v1 as apps, batch::v1 as batch, core::v1 as core, discovery::v1 as discovery,
    networking::v1 as networking,
};

const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY: &[&str] = &["v1", "v1beta1"];

/// Every kind.
pub static KINDS: &[KindInfo] = &[
    kubernetes("", "Namespace", "namespaces", &["ns"], schema::<core::Namespace>).cluster_scoped(),
    kubernetes("", "Node", "nodes", &["no"], schema::<core::Node>).cluster_scoped(),
    kubernetes("", "ServiceAccount", "serviceaccounts", &["sa"], schema::<core::ServiceAccount>),
    kubernetes("", "ConfigMap", "configmaps", &["cm"], schema::<core::ConfigMap>),
    kubernetes("", "Secret", "secrets", &[], schema::<core::Secret>),
    kubernetes("", "Service", "services", &["svc"], schema::<core::Service>),
    kubernetes(
        "discovery.k8s.io",
        "EndpointSlice",
        "endpointslices",
        &[],
        schema::<discovery::EndpointSlice>,
    ),
    kubernetes(
        "networking.k8s.io",
        "NetworkPolicy",
        "networkpolicies",
        &["netpol"],
        schema::<networking::NetworkPolicy>,
    ),
    kubernetes("networking.k8s.io", "ServiceCIDR", "servicecidrs", &[], schema::<networking::ServiceCIDR>)
        .cluster_scoped(),
    kubernetes("apps", "Deployment", "deployments", &["deploy"], schema::<apps::Deployment>),
    kubernetes("apps", "ReplicaSet", "replicasets", &["rs"], schema::<apps::ReplicaSet>),
    kubernetes("apps", "StatefulSet", "statefulsets", &["sts"], schema::<apps::StatefulSet>),
    kubernetes("apps", "DaemonSet", "daemonsets", &["ds"], schema::<apps::DaemonSet>),
    kubernetes("batch", "Job", "jobs", &[], schema::<batch::Job>),
    kubernetes("", "Pod", "pods", &["po"], schema::<core::Pod>),
    gateway("GatewayClass", "gatewayclasses", &["gc"], &["v1", "v1beta1"]).cluster_scoped(),
    gateway("Gateway", "gateways", &["gtw"], &["v1", "v1beta1"]),
    gateway("HTTPRoute", "httproutes", &[], &["v1", "v1beta1"]).served_by(gateway_api::check_http),
    gateway("GRPCRoute", "grpcroutes", &[], &["v1", "v1alpha2"]).served_by(gateway_api::check_grpc),
    gateway("TLSRoute", "tlsroutes", &[], &["v1", "v1alpha3", "v1alpha2"]),
    gateway("TCPRoute", "tcproutes", &[], &["v1alpha2"]),
    gateway("ReferenceGrant", "referencegrants", &["refgrant"], &["v1", "v1beta1"])
        .served_by(gateway_api::grant::check),
    istio("networking.istio.io", ISTIO, "VirtualService", "virtualservices", &["vs"])
        .served_by(virtual_service::check),
    istio("networking.istio.io", ISTIO, "DestinationRule", "destinationrules", &["dr"])
        .served_by(destination_rule::check),
    istio("networking.istio.io", ISTIO, "Gateway", "gateways", &["gw"]),
    istio("networking.istio.io", ISTIO, "Sidecar", "sidecars", &[]),
    istio("networking.istio.io", ISTIO, "ServiceEntry", "serviceentries", &["se"])
        .served_by(service_entry::check),
    istio("networking.istio.io", ISTIO, "WorkloadEntry", "workloadentries", &["we"])
        .served_by(service_entry::endpoints::check),
    istio("security.istio.io", SECURITY, "PeerAuthentication", "peerauthentications", &["pa"])
        .served_by(check_peer_authentication),
    istio("security.istio.io", SECURITY, "AuthorizationPolicy", "authorizationpolicies", &["ap"])
        .secures()
        .served_by(authorization::check),
    istio("security.istio.io", SECURITY, "RequestAuthentication", "requestauthentications", &["ra"])
        .secures(),
    istio("telemetry.istio.io", &["v1", "v1alpha1"], "Telemetry", "telemetries", &["telemetry"]),
];

const fn kubernetes(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    check: Check,
) -> KindInfo {
    let versions = &["v1"];
    KindInfo {
        group,
        versions,
        kind,
        plural,
        short_names,
        namespaced: true,
        served: true,
        security: false,
        check,
    }
}

const fn gateway(
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    versions: &'static [&'static str],
) -> KindInfo {
    istio("gateway.networking.k8s.io", versions, kind, plural, short_names)
}

/// A kind of a mesh API; not served until [`KindInfo::served`] gives it a schema.
const fn istio(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
) -> KindInfo {
    KindInfo {
        group,
        versions,
        kind,
        plural,
        short_names,
        namespaced: true,
        served: false,
        security: false,
        check: metadata_only,
    }
}

impl KindInfo {
    const fn cluster_scoped(self) -> Self {
        Self { namespaced: false, ..self }
    }

    const fn secures(self) -> Self {
        Self { security: true, ..self }
    }

    const fn served_by(self, check: Check) -> Self {
        Self { served: true, check, ..self }
    }
}
