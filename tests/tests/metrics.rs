//! The metrics, as the real Prometheus scrapes them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::time::Duration;

use heddle_tests::sandbox::eventually;
use heddle_tests::world::World;
use serde_json::Value;

const CONFIG: &str = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: heddle\n  static_configs:\n  - targets: ['127.0.0.1:15020', '172.30.0.12:15020']\n- job_name: controller\n  static_configs:\n  - targets: ['172.30.0.2:15014']\n";

#[test]
fn prometheus_reads_istios_tcp_metrics_from_both_reporters() {
    let world = World::enrolled("t-metrics").unwrap();
    let directory = world.sandbox.directory().join("prometheus");
    std::fs::create_dir(&directory).unwrap();
    let config = directory.join("prometheus.yml");
    std::fs::write(&config, CONFIG).unwrap();
    let argv = [
        "prometheus".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
        "--web.listen-address=127.0.0.1:9090".into(),
    ];
    let mut command = world.sandbox.exec_command("default", "node/node-1", &argv).unwrap();
    let mut prometheus = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    for _ in 0..10 {
        world.probe(&["stream-client", "peers:7001", "--bytes", "1000"]).unwrap();
    }
    let mut result = Ok(());
    for reporter in ["source", "destination"] {
        for name in [
            "connections_opened_total",
            "connections_closed_total",
            "sent_bytes_total",
            "received_bytes_total",
        ] {
            let query = format!(
                "sum(istio_tcp_{name}{{reporter=\"{reporter}\",source_workload=\"client\",destination_workload=\"peers\",\
                 destination_service=\"peers.default.svc.cluster.local\",destination_service_name=\"peers\",destination_service_namespace=\"default\",\
                 request_protocol=\"tcp\",connection_security_policy=\"mutual_tls\",\
                 source_principal=\"spiffe://cluster.local/ns/default/sa/default\",\
                 destination_principal=\"spiffe://cluster.local/ns/default/sa/default\"}})",
            );
            result = result
                .and(eventually(Duration::from_secs(15), || Ok(value(&world, &query)? >= 10.0)).map(drop));
            if result.is_err() {
                eprintln!("{query}");
            }
        }
    }
    let up = eventually(Duration::from_secs(5), || Ok(value(&world, "sum(up)")? == 3.0));
    prometheus.kill().unwrap();
    prometheus.wait().unwrap();
    result.unwrap();
    up.unwrap();
}

/// The one value of an instant query; 0 where there is none.
fn value(world: &World, query: &str) -> anyhow::Result<f64> {
    let data = format!("query={query}");
    let argv = ["curl", "-sS", "-m", "5", "--data-urlencode", &data, "http://127.0.0.1:9090/api/v1/query"];
    let output = world.sandbox.exec("default", "node/node-1", &argv)?;
    let page: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = page["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
    Ok(text.parse()?)
}
