//! `heddle config`: what an agent holds, as it will act on it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Target;
use crate::output::{self, Table};

/// Show the configuration that an agent holds: what it acts on, not what was applied.
///
/// POD is NAME, NAMESPACE/NAME or deploy/NAME; its node's agent is asked, and policies and certificates are those of
/// the pod. With --node, everything that the agent holds.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to show.
    #[arg(value_enum)]
    what: What,

    /// Whose configuration.
    #[arg(required_unless_present = "node", conflicts_with = "node")]
    pod: Option<String>,

    /// Of the agent on this node.
    #[arg(long)]
    node: Option<String>,

    /// Namespace of POD.
    #[arg(short, long, default_value = "default")]
    namespace: String,

    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Pods: addresses, identity, how they are reached.
    Workloads,
    /// Services and their endpoints.
    Services,
    /// Each service's endpoints: address, health, protocol.
    Endpoints,
    /// Authorization policies.
    Policies,
    /// Certificates; never a key.
    Certs,
    /// All of these.
    All,
}

pub(super) fn run(options: &Options) -> io::Result<ExitCode> {
    let world = options.target.world()?;
    let (node, pod) = match (&options.node, &options.pod) {
        (Some(node), _) => (world.node(node)?, None),
        (None, pod) => {
            let pod = world.pod(&options.namespace, pod.as_deref().unwrap_or_default())?;
            (pod.node.clone(), Some((pod.namespace, pod.name)))
        }
    };
    let name = match options.what {
        What::Workloads => "workloads",
        What::Services | What::Endpoints => "services",
        What::Policies => "policies",
        What::Certs => "certs",
        What::All => "all",
    };
    let mut answer = node.agent(&format!("/config/{name}"))?;
    if let Some((namespace, name)) = &pod {
        match options.what {
            What::All => {
                only(&mut answer["policies"], What::Policies, namespace, name);
                only(&mut answer["certs"], What::Certs, namespace, name);
            }
            what => only(&mut answer, what, namespace, name),
        }
    }
    if options.what == What::Endpoints {
        answer = endpoint_list(&answer);
    }
    output::print(options.target.output, &answer, |out| print(options.what, &answer, out))
}

/// Keeps what is the pod's own; of workloads and services, all are what it may reach.
fn only(list: &mut Value, what: What, namespace: &str, name: &str) {
    let Some(list) = list.as_array_mut() else { return };
    let full = format!("{namespace}/{name}");
    match what {
        What::Policies => {
            list.retain(|policy| items(&policy["pods"]).iter().any(|pod| *pod == full.as_str()))
        }
        What::Certs => list.retain(|cert| cert["namespace"] == namespace && cert["name"] == name),
        What::Workloads | What::Services | What::Endpoints | What::All => {}
    }
}

fn print(what: What, answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    match what {
        What::Workloads => workloads(answer).write(out),
        What::Services => services(answer).write(out),
        What::Endpoints => endpoints(answer).write(out),
        What::Policies => policies(answer).write(out),
        What::Certs => certs(answer, now()).write(out),
        What::All => {
            let tables = [
                ("WORKLOADS", workloads(&answer["workloads"])),
                ("SERVICES", services(&answer["services"])),
                ("POLICIES", policies(&answer["policies"])),
                ("CERTIFICATES", certs(&answer["certs"], now())),
            ];
            for (at, (title, table)) in tables.iter().enumerate() {
                let gap = if at == 0 { "" } else { "\n" };
                writeln!(out, "{gap}{title}")?;
                table.write(out)?;
            }
            Ok(())
        }
    }
}

fn workloads(list: &Value) -> Table {
    let mut table =
        Table::new(["NAMESPACE", "NAME", "ADDRESSES", "NODE", "PROTOCOL", "MTLS", "POLICIES", "HEALTHY"]);
    for each in items(list) {
        let mtls = each["local"]["mtls"]["mode"].as_str().unwrap_or("-").to_owned();
        let healthy = if each["healthy"] == true { "yes" } else { "no" };
        table.row([
            text(&each["namespace"]),
            text(&each["name"]),
            joined(&each["addresses"]),
            text(&each["node"]),
            text(&each["protocol"]),
            mtls,
            joined(&each["policies"]),
            healthy.to_owned(),
        ]);
    }
    table
}

fn services(list: &Value) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "ADDRESSES", "PORTS", "ENDPOINTS"]);
    for each in items(list) {
        let port = |port: &Value| match port["targetPort"].as_u64() {
            Some(0) | None => port["servicePort"].to_string(),
            Some(target) => format!("{}→{target}", port["servicePort"]),
        };
        let ports: Vec<String> = items(&each["ports"]).iter().map(port).collect();
        let endpoints: Vec<String> = items(&each["endpoints"])
            .iter()
            .map(|endpoint| {
                let workload = text(&endpoint["workload"]);
                let name = workload.rsplit('/').next().unwrap_or_default().to_owned();
                if endpoint["healthy"] == true { name } else { format!("{name} (unhealthy)") }
            })
            .collect();
        table.row([
            text(&each["namespace"]),
            text(&each["name"]),
            joined(&each["addresses"]),
            ports.join(","),
            if endpoints.is_empty() { "-".to_owned() } else { endpoints.join(",") },
        ]);
    }
    table
}

/// One object per endpoint of each service, from the services.
fn endpoint_list(services: &Value) -> Value {
    let of = |service: &Value| {
        let (namespace, name, ports) = (&service["namespace"], &service["name"], &service["ports"]);
        let one = |endpoint: &Value| {
            let mut object = json!({ "namespace": namespace, "service": name, "servicePorts": ports });
            if let (Some(object), Some(fields)) = (object.as_object_mut(), endpoint.as_object()) {
                object.extend(fields.clone());
            }
            object
        };
        items(&service["endpoints"]).iter().map(one).collect::<Vec<_>>()
    };
    Value::Array(items(services).iter().flat_map(of).collect())
}

fn endpoints(list: &Value) -> Table {
    let mut table =
        Table::new(["NAMESPACE", "SERVICE", "ENDPOINT", "ADDRESSES", "PORTS", "PROTOCOL", "HEALTHY"]);
    for each in items(list) {
        let port = |port: &Value| match port["targetPort"].as_u64() {
            Some(0) | None => port["servicePort"].to_string(),
            Some(target) => target.to_string(),
        };
        // The endpoint's own ports, where a service's port has a name that differs from pod to pod.
        let ports = if each["ports"].is_array() { &each["ports"] } else { &each["servicePorts"] };
        let ports: Vec<String> = items(ports).iter().map(port).collect();
        table.row([
            text(&each["namespace"]),
            text(&each["service"]),
            text(&each["workload"]).rsplit('/').next().unwrap_or_default().to_owned(),
            joined(&each["addresses"]),
            ports.join(","),
            text(&each["protocol"]),
            if each["healthy"] == true { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

fn policies(list: &Value) -> Table {
    let mut table = Table::new(["NAME", "ACTION", "RULES", "PODS"]);
    for each in items(list) {
        let rules = items(&each["rules"]).len().to_string();
        table.row([text(&each["name"]), text(&each["action"]), rules, joined(&each["pods"])]);
    }
    table
}

fn certs(list: &Value, now: u64) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "IDENTITY", "STATE", "EXPIRES", "ERROR"]);
    for each in items(list) {
        table.row([
            text(&each["namespace"]),
            text(&each["name"]),
            text(&each["identity"]),
            text(&each["state"]),
            expiry(each["notAfter"].as_u64().unwrap_or(0), now),
            text(&each["error"]),
        ]);
    }
    table
}

/// `in 23h59m`, `5m ago`, or `-` where there is no certificate.
fn expiry(at: u64, now: u64) -> String {
    let span = |seconds: u64| match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    };
    match at {
        0 => "-".to_owned(),
        _ if at > now => format!("in {}", span(at - now)),
        _ => format!("{} ago", span(now - at)),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn joined(list: &Value) -> String {
    let texts: Vec<String> = items(list).iter().map(text).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(",") }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pods_policies_and_certificates_are_its_own() {
        let mut policies =
            json!([{ "name": "a", "pods": ["default/x"] }, { "name": "b", "pods": ["default/y"] }]);
        only(&mut policies, What::Policies, "default", "x");
        assert_eq!(policies.as_array().unwrap().len(), 1);
        let mut certs =
            json!([{ "namespace": "default", "name": "x" }, { "namespace": "other", "name": "x" }]);
        only(&mut certs, What::Certs, "default", "x");
        assert_eq!(certs.as_array().unwrap().len(), 1);
    }

    #[test]
    fn services_show_ports_and_unhealthy_endpoints() {
        let list = json!([{ "namespace": "default", "name": "backend", "addresses": ["10.96.0.7"],
            "ports": [{ "servicePort": 80, "targetPort": 8080 }, { "servicePort": 81, "targetPort": 0 }],
            "endpoints": [{ "workload": "c//Pod/default/b-1", "healthy": false }] }]);
        let mut out = Vec::new();
        services(&list).write_within(&mut out, None).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("80→8080,81") && text.contains("b-1 (unhealthy)"), "{text}");
    }

    #[test]
    fn endpoints_show_health_protocol_and_ports() {
        let services = json!([{ "namespace": "default", "name": "backend",
            "ports": [{ "servicePort": 80, "targetPort": 8080 }],
            "endpoints": [
                { "workload": "c//Pod/default/b-1", "addresses": ["10.244.1.2"], "healthy": false, "protocol": "HBONE" },
                { "workload": "c//Pod/default/b-2", "addresses": [], "healthy": true, "protocol": "TCP",
                  "ports": [{ "servicePort": 80, "targetPort": 9090 }] }] }]);
        let mut out = Vec::new();
        endpoints(&endpoint_list(&services)).write_within(&mut out, None).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["default", "backend", "b-1", "10.244.1.2", "8080", "HBONE", "no"]);
        assert_eq!(rows[2], ["default", "backend", "b-2", "-", "9090", "TCP", "yes"]);
    }

    #[test]
    fn expiry_is_told_in_words() {
        assert_eq!(expiry(0, 100), "-");
        assert_eq!(expiry(86_400, 30), "in 23h59m");
        assert_eq!(expiry(100, 165), "1m5s ago");
    }
}
