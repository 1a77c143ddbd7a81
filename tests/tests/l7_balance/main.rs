//! Where requests go among the endpoints of a destination, how often, and when no more: balancers, places, outliers, pools
//! and retries, each with packets.

use std::process::ExitCode;

use anyhow::{Context, Result};
use heddle_tests::mesh::{Mesh, Reply};
use heddle_tests::suite::{self, Case};
use serde_json::Value;

mod flags;
mod hashes;
mod outliers;
mod places;
mod pool;
mod retries;
mod rules;
mod streams;

const CASES: &[Case<Mesh>] = &[
    ("every_word_of_retry_on_repeats_what_it_names_and_nothing_else", retries::words),
    ("a_refused_stream_is_repeated", retries::refused),
    ("a_connection_that_fails_is_repeated_and_then_uf_urx", retries::connect_failure),
    ("each_try_has_its_deadline_and_pauses_are_as_long_as_written", retries::times),
    ("a_repetition_goes_elsewhere_unless_told_otherwise", retries::previous_hosts),
    ("retry_remote_localities_leaves_a_priority_after_two_tries", retries::remote),
    ("an_http_route_repeats_its_codes_and_stays_where_it_is", retries::http_route),
    ("max_connections_is_kept_by_all_workers_and_pods_together", pool::connections),
    ("max_connections_is_kept_over_http_2_too", pool::connections_two),
    ("pending_requests_and_requests_under_way_are_bounded", pool::requests),
    ("max_retries_bounds_repetitions_under_way", pool::retries),
    ("a_connection_ends_after_its_requests_its_idleness_or_its_age", pool::lives),
    ("connect_timeout_is_as_written", pool::connect_timeout),
    ("streams_are_bounded_and_protocols_as_the_policy_says", pool::protocols),
    ("keepalive_is_set_as_written", pool::keepalive),
    ("opaque_connections_are_bounded_in_number_silence_and_age", streams::bounded),
    ("consecutive_errors_set_an_endpoint_aside", outliers::errors),
    ("connections_that_fail_count_apart_where_somebody_says_so", outliers::local_origin),
    ("an_ejection_lasts_longer_each_time", outliers::growth),
    ("no_more_are_set_aside_than_may_be_and_too_few_are_none", outliers::bounds),
    ("nearer_endpoints_come_first_and_fail_over", places::failover),
    ("shares_go_to_places_as_written", places::distribute),
    ("labels_order_failover_and_enabled_false_ends_it", places::labels),
    ("a_service_prefers_its_zone_or_node", places::distribution),
    ("a_new_endpoint_is_eased_in", places::warmup),
    ("each_hash_sticks_on_ring_and_table", hashes::sticky),
    ("a_cookie_is_made_as_written_and_counts", hashes::cookie),
    ("ports_subsets_and_selectors_override", rules::overriding),
    ("the_clients_namespace_the_services_and_the_root_are_asked_in_turn", rules::order),
    ("rules_of_one_host_are_merged", rules::merged),
    ("every_flag_is_in_the_access_log", flags::all),
];

fn main() -> ExitCode {
    suite::run(up, 4, CASES)
}

fn up() -> Result<Mesh> {
    let parts = [
        retries::objects(),
        pool::objects(),
        streams::objects(),
        outliers::objects(),
        places::objects(),
        hashes::objects(),
        rules::objects(),
        flags::objects(),
    ];
    let manifest = [include_str!("balance.yaml").to_owned(), parts.concat()].concat();
    let mesh = Mesh::up("t-l7-bal", &[], &manifest)?;
    for (node, zone) in [("node-1", "z1"), ("node-2", "z2")] {
        let labels = ["topology.kubernetes.io/region=r1", &format!("topology.kubernetes.io/zone={zone}")];
        mesh.sandbox.run(&["sandbox", "label", "node", node, labels[0], labels[1], "--overwrite"])?;
    }
    mesh.sandbox.synced()?;
    Ok(mesh)
}

/// A Service of port 80 for the pods of an app, in the namespace that they are in.
fn service(name: &str, app: &str, target: u16) -> String {
    let namespace = if app == "plain" { "outside" } else { "default" };
    format!(
        "\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{selector: \
         {{app: {app}}}, ports: [{{name: http, port: 80, targetPort: {target}}}]}}}}"
    )
}

/// A DestinationRule in `default`.
fn rule(host: &str, policy: &str) -> String {
    let name = host.replace('.', "-");
    format!(
        "\n---\n{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: {name}}}, spec: {{host: {host}, \
         trafficPolicy: {{{policy}}}}}}}"
    )
}

/// A VirtualService in `default` with these routes.
fn routes(host: &str, http: &str) -> String {
    let name = host.replace('.', "-");
    format!(
        "\n---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, spec: {{hosts: [{host}], \
         http: [{http}]}}}}"
    )
}

/// How many requests with this `x-key` a pod has seen.
fn seen(mesh: &Mesh, (namespace, pod): (&str, &str), key: &str) -> Result<u64> {
    let said = told(mesh, (namespace, pod), &format!("seen/{key}"))?;
    said["seen"].as_u64().context("seen")
}

/// What a server says of itself.
fn told(mesh: &Mesh, (namespace, pod): (&str, &str), path: &str) -> Result<Value> {
    let url = format!("http://127.0.0.1:8080/{path}");
    let output = mesh.sandbox.exec(namespace, pod, &["curl", "-sS", "-m", "5", &url])?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{pod}: {path}"))
}

/// A request with an `x-key`, which the server counts.
fn keyed(mesh: &Mesh, url: &str, key: &str) -> Result<Reply> {
    mesh.call(url, &["-H", &format!("x-key: {key}")])
}

/// How many answers came from each version.
fn versions(tally: &Value) -> Vec<(&str, u64)> {
    let counts = tally["versions"].as_object().into_iter().flatten();
    counts.map(|(version, count)| (version.as_str(), count.as_u64().unwrap_or(0))).collect()
}

/// So many requests, one after the other on one connection.
fn requests(mesh: &Mesh, url: &str, count: u64) -> Result<Value> {
    mesh.probe(&["requests", url, "--count", &count.to_string(), "--connections", "1"])
}

fn status(tally: &Value, status: u16) -> u64 {
    tally["statuses"][status.to_string()].as_u64().unwrap_or(0)
}
