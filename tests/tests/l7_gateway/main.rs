//! Gateway API in the mesh: every feature of the profiles MESH-HTTP and MESH-GRPC, and of HTTPRoute and GRPCRoute beyond them,
//! with packets. The claims are those of the Gateway API's conformance suite and of its specification.
//!
//! | feature (Gateway API `pkg/features`) | case |
//! |---|---|
//! | Mesh, HTTPRoute, GRPCRoute; MeshClusterIPMatching | `matching`, `attach` |
//! | MeshConsumerRoute, HTTPRouteParentRefPort, ReferenceGrant | `attach` |
//! | HTTPRouteQueryParamMatching, …MethodMatching | `matching` |
//! | …BackendRequestHeaderModification, …ResponseHeaderModification | `changes::headers` |
//! | …HostRewrite, …PathRewrite, …BackendURLRewrite | `changes::rewrites` |
//! | …PortRedirect, …SchemeRedirect, …PathRedirect, …303/307/308…, …BackendRequestRedirect | `changes::redirects` |
//! | …RequestMirror, …MultipleMirrors, …PercentageMirror | `resilience` |
//! | …RequestTimeout, …BackendTimeout, …Retry, …RetryBackendTimeout, …RetryConnectionError | `resilience` |
//! | …CORS | `resilience::cors` |
//! | …BackendProtocolH2C, …BackendProtocolWebSocket | `attach::protocols` |
//! | …NamedRouteRule, GRPCRouteNamedRouteRule | `attach::named_rules` |

use std::process::ExitCode;

use anyhow::Result;
use heddle_tests::mesh::Mesh;
use heddle_tests::suite::{self, Case};

mod attach;
mod changes;
mod conditions;
mod grpc;
mod matching;
mod resilience;
mod seen;

const HOSTS: &[&str] = &[
    "matching",
    "headed",
    "asked",
    "methods",
    "order",
    "across",
    "patterns",
    "changed",
    "changed-backend",
    "changed-each",
    "rewritten",
    "redirected",
    "mirrored",
    "late",
    "retried",
    "shared",
    "split",
    "ports",
    "both",
    "named",
    "consumed",
    "parent-a",
    "parent-b",
    "fronted",
    "unfronted",
    "wrong",
    "wrong-service",
    "wrong-port",
    "wrong-all",
    "bumped",
    "rpc",
    "rpc-headed",
    "rpc-split",
    "rpc-pattern",
    "rpc-lost",
];

const CASES: &[Case<Mesh>] = &[
    ("paths_and_headers_are_matched", matching::paths_and_headers),
    ("headers_are_anded_in_a_match_and_ored_between_matches", matching::headers),
    ("query_parameters_are_matched", matching::query_parameters),
    ("methods_are_matched", matching::methods),
    ("the_most_specific_match_wins_within_a_route_and_across_routes", matching::order),
    ("regular_expressions_match_paths_headers_and_query_parameters", matching::expressions),
    ("header_modifiers_of_rules_and_backends", changes::headers),
    ("header_modifiers_are_those_of_the_backend_that_was_chosen", changes::of_each_backend),
    ("rewrites_of_host_and_path", changes::rewrites),
    ("redirects_of_scheme_host_port_path_and_status", changes::redirects),
    ("mirrors_of_rules_and_backends_one_and_several", resilience::mirrors),
    ("mirrors_by_percent_and_by_fraction", resilience::shares_of_mirrors),
    ("timeouts_of_requests_and_of_tries_are_504", resilience::deadlines),
    ("retries_by_code_on_connection_errors_and_on_slow_tries", resilience::retries),
    ("cors_answers_preflights_and_decorates_answers", resilience::cors),
    ("weights_split_between_services", attach::weights),
    ("a_parent_may_be_one_port_or_all", attach::ports),
    ("a_route_has_several_parents", attach::several_parents),
    ("the_services_address_counts_and_not_the_name", attach::the_address_counts),
    ("a_gateway_api_route_goes_before_a_virtual_service", attach::beside_a_virtual_service),
    ("rules_have_names_in_the_access_log", attach::named_rules),
    ("a_consumer_route_counts_in_its_own_namespace_alone", attach::consumers),
    ("backends_in_other_namespaces_need_a_grant", attach::grants),
    ("backends_of_h2c_and_websocket", attach::protocols),
    ("conditions_have_the_reasons_of_the_specification", conditions::reasons),
    ("what_leads_nowhere_is_500", conditions::nowhere),
    ("conditions_follow_the_generation", conditions::observed_generations),
    ("grpc_methods_are_matched", grpc::methods),
    ("grpc_metadata_is_matched", grpc::metadata),
    ("grpc_filters_and_weights", grpc::filters_and_weights),
];

fn main() -> ExitCode {
    suite::run(up, 4, CASES)
}

/// `one`, `two` and `three` stand for one version each.
fn up() -> Result<Mesh> {
    let version = |name: &str, version: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: echo, version: {version}}}, \
             ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: grpc, port: 7070}}]}}}}\n---\n"
        )
    };
    let services = [("one", "v1"), ("two", "v2"), ("three", "v3")].map(|(name, each)| version(name, each));
    let routes = [
        include_str!("matching.yaml"),
        include_str!("changes.yaml"),
        include_str!("resilience.yaml"),
        include_str!("attach.yaml"),
        include_str!("grpc.yaml"),
    ];
    Mesh::up("t-l7-gw", HOSTS, &(services.concat() + &routes.join("\n---\n")))
}
