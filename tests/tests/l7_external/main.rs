//! What leaves towards ServiceEntries, and TLS: real servers outside the mesh, with certificates of two authorities.

mod certificates;
mod entries;
mod names;
mod origination;
mod server_names;
mod world;

use std::process::ExitCode;

use heddle_tests::mesh::Mesh;
use heddle_tests::suite::{self, Case};

const CASES: &[Case<Mesh>] = &[
    ("names_of_the_cluster_are_resolved_as_the_pod_would", names::cluster),
    ("hosts_of_a_pod_are_its_own", names::hosts),
    ("a_name_that_nobody_knows_is_answered_503", names::nobody),
    ("a_name_inside_the_mesh_is_reached_by_tunnel", names::within),
    ("an_answer_that_changes_is_followed", names::moving),
    ("resolution_none_goes_as_dialled", entries::none),
    ("static_endpoints_are_reached_by_name_address_and_network", entries::fixed),
    ("a_port_without_addresses_is_its_entrys", entries::by_port),
    ("an_entry_that_is_not_exported_is_not_seen", entries::hidden),
    ("requests_leave_in_the_tls_that_their_rule_says", origination::requests),
    ("opaque_connections_leave_in_the_tls_that_their_rule_says", origination::opaque),
    ("a_client_certificate_is_its_namespaces", origination::foreign),
    ("tls_passes_through_by_server_name", server_names::routed),
    ("server_names_are_seen_on_ports_that_declare_nothing", server_names::undeclared),
    ("each_field_of_a_tcp_match_counts", server_names::fields),
];

fn main() -> ExitCode {
    suite::run(world::up, 3, CASES)
}
