//! VirtualService: what matches, where it goes, and what is changed on the way.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::{Mesh, Reply};
use heddle_tests::sandbox::eventually;
use heddle_tests::suite::{self, Case};
use serde_json::Value;

mod changes;
mod faults;

const HOSTS: &[&str] = &[
    "canary",
    "mobile",
    "matches",
    "changes",
    "timing",
    "mirrored",
    "delegating",
    "merged",
    "private",
    "broken",
    "opaque",
    "my-service",
];

const CASES: &[Case<Mesh>] = &[
    ("a_90_10_canary_splits_ten_thousand_requests_within_one_percent", canary),
    ("mobile_traffic_goes_to_v3", mobile),
    ("paths_match_exactly_by_prefix_by_expression_and_without_case", paths),
    ("headers_query_method_authority_port_and_scheme_match", parts),
    ("labels_and_namespace_of_the_client_match", clients),
    ("several_virtual_services_on_one_host_are_merged_and_what_none_matches_is_404_nr", merged),
    ("delegates_are_asked_for_their_part", delegates),
    ("export_to_hides_a_route_from_other_namespaces", export),
    ("a_missing_subset_or_host_is_503_nc_and_the_rest_keeps_working", broken),
    ("tcp_routes_choose_a_subset_for_opaque_connections", opaque),
    ("paths_are_matched_and_forwarded_in_their_canonical_form", canonical),
    ("rewrites_change_prefix_whole_path_expression_and_authority", changes::rewrites),
    ("redirects_and_direct_responses_are_answered_without_an_upstream", changes::answers),
    ("headers_are_set_added_and_removed_at_rule_and_destination", changes::headers),
    ("cors_preflights_are_answered_and_origins_are_told", changes::cors),
    ("mirrors_send_copies_and_nobody_waits_for_them", changes::mirrors),
    ("a_timeout_of_3_seconds_is_504_ut", faults::timeout),
    ("two_retries_hide_two_failures_and_three_show", faults::retries),
    ("each_try_has_its_own_timeout", faults::tries),
    ("faults_delay_half_and_abort_a_tenth", faults::faults),
    ("tutorial_13_applies_as_written_with_a_warning", faults::tutorial),
];

fn main() -> ExitCode {
    let up = || Mesh::up("t-l7-routes", HOSTS, include_str!("routes.yaml"));
    suite::run(up, 4, CASES)
}

/// One request to each URL, and the version that must answer.
fn expect(mesh: &Mesh, want: &[(&str, &[&str], &str)]) -> Result<()> {
    for (url, arguments, version) in want {
        let got = mesh.version(url, arguments)?;
        ensure!(got == *version, "curl {arguments:?} {url}: {got}, not {version}");
    }
    Ok(())
}

fn count(tally: &Value, field: &str, key: &str) -> u64 {
    tally[field][key].as_u64().unwrap_or(0)
}

fn canary(mesh: &Mesh) -> Result<()> {
    for (http, counted) in [("--connections=16", 10_000), ("--http2", 1_000)] {
        let tally = mesh.probe(&["requests", "http://canary/", "--count", &counted.to_string(), http])?;
        let new = count(&tally, "versions", "v2");
        ensure!(count(&tally, "statuses", "200") == counted, "{tally}");
        let most = if counted == 10_000 { 100 } else { 40 };
        ensure!(new.abs_diff(counted / 10) <= most, "{new} of {counted} went to v2");
    }
    Ok(())
}

fn mobile(mesh: &Mesh) -> Result<()> {
    let phone = "user-agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148";
    expect(
        mesh,
        &[
            ("http://mobile/", &["-H", phone], "v3"),
            ("http://mobile/", &[], "v1"),
            ("http://mobile.default/", &["-H", phone], "v3"),
            ("http://mobile.default.svc.cluster.local/", &["-H", phone], "v3"),
            ("http://mobile/", &["--http2-prior-knowledge", "-H", phone], "v3"),
        ],
    )
}

fn paths(mesh: &Mesh) -> Result<()> {
    let hit = ["/exact", "/exact?q=1", "/prefix/", "/prefix/a/b", "/re/abc", "/case", "/CASE"];
    let miss = ["/exact/", "/exactly", "/prefix", "/re/abc1", "/re/abc/", "/Exact", "/"];
    for (paths, version) in [(&hit[..], "v2"), (&miss[..], "v1")] {
        for path in paths {
            expect(mesh, &[(&format!("http://matches{path}"), &[], version)])?;
        }
    }
    Ok(())
}

fn parts(mesh: &Mesh) -> Result<()> {
    let all: &[&str] =
        &["-H", "x-exact: a", "-H", "x-prefix: bc", "-H", "x-regex: ccc", "-H", "x-present: 1"];
    expect(
        mesh,
        &[
            ("http://matches/h", all, "v2"),
            ("http://matches/h", &all[..6], "v1"),
            ("http://matches/h", &[all, &["-H", "x-exact: b"]].concat(), "v1"),
            ("http://matches/without", &[], "v2"),
            ("http://matches/without", &["-H", "x-off: no"], "v2"),
            ("http://matches/without", &["-H", "x-off: yes"], "v1"),
            ("http://matches/query?q=a&r=12", &[], "v2"),
            ("http://matches/query?r=12&x=&q=a", &[], "v2"),
            ("http://matches/query?q=a&r=x", &[], "v1"),
            ("http://matches/query?q=a", &[], "v1"),
            ("http://matches/", &["-X", "PUT"], "v2"),
            ("http://matches/", &["-X", "PATCH"], "v2"),
            ("http://matches/", &["-X", "POST"], "v1"),
            ("http://matches/", &["-H", "host: alias.example.com"], "v2"),
            ("http://matches/scheme", &[], "v2"),
            ("http://matches:9080/port", &[], "v2"),
            ("http://matches/port", &[], "v1"),
            ("http://matches/gateway", &[], "v1"),
        ],
    )
}

fn clients(mesh: &Mesh) -> Result<()> {
    let version = |namespace: &str, pod: &str, path: &str| -> Result<Value> {
        let url = format!("http://matches.default{path}");
        Ok(mesh.call_from(namespace, pod, &url, &[])?.json()?["version"].clone())
    };
    ensure!(version("default", "batch", "/labels")? == "v2");
    ensure!(version("default", "client", "/labels")? == "v1");
    ensure!(version("trusted", "caller", "/namespace")? == "v2");
    ensure!(version("default", "client", "/namespace")? == "v1");
    Ok(())
}

fn merged(mesh: &Mesh) -> Result<()> {
    expect(mesh, &[("http://merged/one", &[], "v1"), ("http://merged/two", &[], "v2")])?;
    let neither = mesh.call("http://merged/three?merged-nr", &[])?;
    ensure!(neither.status == 404, "{neither:?}");
    logged(mesh, "merged-nr", " 404 NR ")
}

/// The client's agent said this of the request, in Envoy's words.
fn logged(mesh: &Mesh, request: &str, words: &str) -> Result<()> {
    let found = eventually(Duration::from_secs(3), || {
        Ok(mesh.access_log("node-1", request)?.iter().any(|line| line.contains(words)))
    });
    ensure!(found.is_ok(), "no {words:?} in {:#?}", mesh.access_log("node-1", request)?);
    Ok(())
}

fn delegates(mesh: &Mesh) -> Result<()> {
    expect(
        mesh,
        &[
            ("http://delegating/shop/cart/1", &[], "v2"),
            ("http://delegating/shop/list", &[], "v3"),
            ("http://delegating/about", &[], "v1"),
        ],
    )
}

fn export(mesh: &Mesh) -> Result<()> {
    let inside = mesh.call("http://private/", &[])?;
    ensure!(inside.status == 203 && inside.body == "private", "{inside:?}");
    let outside = mesh.call_from("trusted", "caller", "http://private.default/", &[])?;
    ensure!(outside.status == 200 && outside.json()?["version"].is_string(), "{outside:?}");
    Ok(())
}

fn broken(mesh: &Mesh) -> Result<()> {
    for path in ["/subset", "/nowhere"] {
        let reply: Reply = mesh.call(&format!("http://broken{path}?broken-nc"), &[])?;
        ensure!(reply.status == 503, "{path}: {reply:?}");
    }
    expect(mesh, &[("http://broken/fine", &[], "v1")])?;
    logged(mesh, "broken-nc", " 503 NC ")
}

fn opaque(mesh: &Mesh) -> Result<()> {
    for _ in 0..6 {
        mesh.probe(&["peer-client", "opaque:7000"])?;
    }
    let heard = |version: &str| -> Result<usize> {
        let log = mesh.sandbox.run(&["sandbox", "logs", &format!("deploy/echo-{version}"), "-c", "peer"])?;
        Ok(log.lines().filter(|line| line.starts_with("accepted")).count())
    };
    let (one, two) = (heard("v1")?, heard("v2")?);
    ensure!(two >= 6 && one == 0, "v1 took {one}, v2 took {two} of 6 connections");
    Ok(())
}

fn canonical(mesh: &Mesh) -> Result<()> {
    // curl would tidy the path itself.
    for (path, forwarded) in [("/a/../exact", "/exact"), ("/%65xact", "/exact"), ("/./exact", "/exact")] {
        let reply = mesh.call(&format!("http://matches{path}"), &["--path-as-is"])?.json()?;
        ensure!(reply["version"] == "v2" && reply["path"] == forwarded, "{path}: {reply}");
    }
    for path in ["/%00", "/a%zz"] {
        let reply = mesh.call(&format!("http://matches{path}"), &["--path-as-is"])?;
        ensure!(reply.status == 400, "{path}: {reply:?}");
    }
    Ok(())
}
