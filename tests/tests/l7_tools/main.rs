//! What operators see of requests: metrics, the access log, `heddle config` and `heddle explain`.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;
use heddle_tests::suite::{self, Case};
use serde_json::Value;

mod headers;
mod stories;

const HOSTS: &[&str] = &["counted", "mobile", "logged", "headed"];

const CASES: &[Case<Mesh>] = &[
    ("prometheus_reads_istio_requests_total_from_both_reporters", metrics),
    ("the_access_log_is_envoys_to_the_letter", access_log),
    ("config_shows_routes_endpoints_listeners_and_policies", config),
    ("explain_names_the_rule_the_nearest_the_endpoint_and_the_policy", explain),
    ("completion_knows_every_verb", completion),
    ("headers_are_handled_as_users_of_istio_expect", headers::of_requests_and_answers),
    ("policies_that_are_not_served_deny_and_every_tool_says_so", stories::unserved_policies),
    ("what_is_wrong_beside_others_is_told_by_status_and_analyze", stories::wrong_together),
    ("what_is_wrong_by_itself_is_refused_and_told_by_its_status", stories::wrong_alone),
    ("large_objects_are_in_force_and_vast_ones_refused", stories::large),
];

const RULES: &str = "
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: mobile}, spec: {host: mobile,
  subsets: [{name: v1, labels: {version: v1}}, {name: v3, labels: {version: v3}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: mobile}, spec: {hosts: [mobile], http: [
  {name: phones, match: [{headers: {user-agent: {regex: '.*Mobile.*'}}}], route: [{destination: {host: mobile, subset: v3}}]},
  {name: others, timeout: 3s, route: [{destination: {host: mobile, subset: v1}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: no-delete}, spec: {selector: {matchLabels: {app: echo}},
  action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}}
";

fn main() -> ExitCode {
    let rules = [RULES, headers::RULES, stories::JUDGED].join("\n---\n");
    suite::run(|| Mesh::up("t-l7-tools", HOSTS, &rules), 2, CASES)
}

const CONFIG: &str = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: heddle\n  static_configs:\n  - targets: ['127.0.0.1:15020', '172.30.0.12:15020']\n";

fn metrics(mesh: &Mesh) -> Result<()> {
    let directory = mesh.sandbox.directory().join("prometheus");
    std::fs::create_dir(&directory)?;
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, CONFIG)?;
    let argv = [
        "prometheus".to_owned(),
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
        "--web.listen-address=127.0.0.1:9090".into(),
    ];
    let mut command = mesh.sandbox.exec_command("default", "node/node-1", &argv)?;
    let mut prometheus = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    mesh.probe(&["requests", "http://counted/", "--count", "30"])?;
    mesh.probe(&["requests", "http://counted/?status=404", "--count", "10"])?;
    let seen = scraped(mesh);
    prometheus.kill()?;
    prometheus.wait()?;
    seen
}

fn scraped(mesh: &Mesh) -> Result<()> {
    let labels = |reporter: &str, code: u16| {
        format!(
            "reporter=\"{reporter}\",response_code=\"{code}\",request_protocol=\"http\",source_workload=\"client\",\
             source_workload_namespace=\"default\",destination_workload_namespace=\"default\",destination_app=\"echo\",\
             destination_service=\"counted.default.svc.cluster.local\",destination_service_name=\"counted\",\
             destination_service_namespace=\"default\",connection_security_policy=\"mutual_tls\",\
             source_principal=\"spiffe://cluster.local/ns/default/sa/default\",\
             destination_principal=\"spiffe://cluster.local/ns/default/sa/default\""
        )
    };
    for reporter in ["source", "destination"] {
        for (name, code, least) in [
            ("istio_requests_total", 200, 30.0),
            ("istio_requests_total", 404, 10.0),
            ("istio_request_duration_milliseconds_count", 200, 30.0),
            ("istio_request_bytes_count", 200, 30.0),
            ("istio_response_bytes_sum", 200, 1000.0),
        ] {
            // The source does not know what the destination's connection was secured with: Istio says unknown.
            let mut labels = labels(reporter, code);
            if reporter == "source" {
                labels = labels.replace("connection_security_policy=\"mutual_tls\",", "");
            }
            let query = format!("sum({name}{{{labels}}})");
            let there = eventually(Duration::from_secs(15), || Ok(value(mesh, &query)? >= least));
            ensure!(there.is_ok(), "{query}: {}", value(mesh, &query)?);
        }
    }
    Ok(())
}

/// The one value of an instant query; 0 where there is none.
fn value(mesh: &Mesh, query: &str) -> Result<f64> {
    let data = format!("query={query}");
    let argv = ["curl", "-sS", "-m", "5", "--data-urlencode", &data, "http://127.0.0.1:9090/api/v1/query"];
    let output = mesh.sandbox.exec("default", "node/node-1", &argv)?;
    let page: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(page["data"]["result"][0]["value"][1].as_str().unwrap_or("0").parse()?)
}

/// `[2026-01-01T00:00:00.000Z] "GET /x HTTP/1.1" 200 - via_upstream - "-" 0 180 1 0 "-" "curl/7" "id" "host" "10.0.0.1:8080" …`
fn access_log(mesh: &Mesh) -> Result<()> {
    mesh.call("http://logged/to-the-letter?x=1", &["-A", "probe/1.0"])?;
    for node in ["node-1", "node-2"] {
        let mut lines = Vec::new();
        let found = eventually(Duration::from_secs(5), || {
            lines = mesh.access_log(node, "/to-the-letter?x=1")?;
            Ok(!lines.is_empty())
        });
        // The destination may have been on node-1, with the client.
        if found.is_err() && node == "node-2" {
            continue;
        }
        found.with_context(|| format!("no line in the log of {node}"))?;
        for line in lines {
            envoy_line(&line).with_context(|| line.clone())?;
        }
    }
    headers::json_log(mesh)
}

fn envoy_line(line: &str) -> Result<()> {
    let (time, rest) = line.strip_prefix('[').context("[")?.split_once("] ").context("]")?;
    ensure!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "time {time:?}");
    let (request, rest) = rest.strip_prefix('"').context("quote")?.split_once("\" ").context("quote")?;
    ensure!(
        request == "GET /to-the-letter?x=1 HTTP/1.1" || request == "GET /to-the-letter?x=1 HTTP/2",
        "{request}"
    );
    let fields = words(rest);
    ensure!(fields.len() >= 19, "{} fields after the request", fields.len());
    ensure!(fields[..5] == ["200", "-", "via_upstream", "-", "\"-\""], "{:?}", &fields[..5]);
    let numbers = fields[5..9].iter().all(|field| field.parse::<u64>().is_ok());
    ensure!(numbers, "bytes and times: {:?}", &fields[5..9]);
    ensure!(fields[10] == "\"probe/1.0\"" && fields[12] == "\"logged\"", "{:?}", &fields[9..13]);
    ensure!(
        fields[14].contains("|80||logged.default.svc.cluster.local") || fields[14].starts_with("inbound|"),
        "{}",
        fields[14]
    );
    Ok(())
}

/// By spaces, quoted texts whole.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for each in line.trim().chars() {
        quoted ^= each == '"';
        match (each, words.last_mut()) {
            (' ', _) if !quoted => words.push(String::new()),
            (other, Some(word)) => word.push(other),
            _ => {}
        }
    }
    words
}

fn shown(mesh: &Mesh, words: &[&str]) -> Result<Value> {
    let text = mesh.sandbox.run(&[words, &["-o", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| text)
}

fn config(mesh: &Mesh) -> Result<()> {
    let routes = shown(mesh, &["config", "routes", "client"])?;
    let host = "mobile.default.svc.cluster.local";
    let mobile = routes.as_array().into_iter().flatten().find(|each| each["host"] == host);
    let rules = mobile.context("no routes of mobile")?["rules"].clone();
    ensure!(rules[0]["name"] == "phones" && rules[0]["source"] == "VirtualService default/mobile", "{rules}");
    ensure!(
        rules[1]["timeout"] == "3s" && rules[1]["to"][0]["cluster"] == format!("outbound|80|v1|{host}"),
        "{rules}"
    );

    let clusters = shown(mesh, &["config", "endpoints", "client"])?;
    let v3 = format!("outbound|80|v3|{host}");
    let v3 = clusters.as_array().into_iter().flatten().find(|each| each["cluster"] == v3.as_str());
    let v3 = v3.context("no cluster of subset v3")?;
    ensure!(v3["endpoints"].as_array().map(Vec::len) == Some(1), "{v3}");
    ensure!(v3["excluded"].as_array().map(Vec::len) == Some(2), "{v3}");
    ensure!(v3["treatedBy"][0] == "DestinationRule default/mobile", "{v3}");

    let listeners = shown(mesh, &["config", "listeners", "client"])?;
    let ports: Vec<&Value> =
        listeners.as_array().into_iter().flatten().map(|each| &each["listener"]).collect();
    ensure!([15001, 15006, 15008].iter().all(|port| ports.contains(&&Value::from(*port))), "{listeners}");

    let policies = shown(mesh, &["config", "policies", "deploy/echo-v1"])?;
    ensure!(policies[0]["name"] == "default/no-delete" && policies[0]["action"] == "DENY", "{policies}");
    for what in ["routes", "endpoints", "listeners", "policies", "all"] {
        let table = mesh.sandbox.run(&["config", what, "client"])?;
        ensure!(table.lines().count() > 0, "{what}");
        let node = mesh.sandbox.run(&["config", what, "--node", "node-1", "-o", "yaml"])?;
        ensure!(!node.trim().is_empty(), "{what}");
    }
    Ok(())
}

fn explain(mesh: &Mesh) -> Result<()> {
    let desk = shown(mesh, &["explain", "client", "mobile", "--header", "user-agent=curl"])?;
    let request = &desk["request"];
    ensure!(request["chosen"] == 1 && request["nearest"] == 0, "{desk}");
    ensure!(request["candidates"][0]["misses"][0]["field"] == "header user-agent", "{desk}");
    let backend = &request["backends"][0];
    ensure!(backend["cluster"] == "outbound|80|v1|mobile.default.svc.cluster.local", "{desk}");
    ensure!(backend["pick"]["node"] == "node-2" && backend["policies"]["verdict"] == "ALLOW", "{desk}");

    let phone =
        ["explain", "client", "http://mobile/x", "--header", "user-agent=Mobile", "--method", "DELETE"];
    let phone = shown(mesh, &phone)?;
    ensure!(phone["request"]["chosen"] == 0, "{phone}");
    let verdict = &phone["request"]["backends"][0]["policies"];
    ensure!(verdict["verdict"] == "DENY", "{verdict}");
    ensure!(verdict["why"].as_str().unwrap_or_default().contains("default/no-delete"), "{verdict}");
    // What it says is what happens.
    let sent = mesh.call("http://mobile/x", &["-A", "Mobile", "-X", "DELETE"])?;
    ensure!(sent.status == 403, "{sent:?}");
    for to in ["pod/batch", "deploy/echo-v2", "nowhere.example.com", "10.96.255.1"] {
        let text = mesh.sandbox.run(&["explain", "client", to])?;
        ensure!(text.contains("SOURCE") && text.contains("RESOLVED"), "{to}: {text}");
    }
    let unknown = mesh.sandbox.output(&["explain", "nobody", "mobile"])?;
    ensure!(unknown.status.code() == Some(1), "{unknown:?}");
    Ok(())
}

fn completion(mesh: &Mesh) -> Result<()> {
    let heddle = heddle_tests::sandbox::binary("heddle")?;
    let output = std::process::Command::new(heddle).args(["completion", "bash"]).output()?;
    let script = String::from_utf8_lossy(&output.stdout);
    for word in ["explain", "config", "listeners", "routes", "--header"] {
        ensure!(script.contains(word), "{word} is not in the completion of {}", mesh.sandbox.name());
    }
    Ok(())
}
