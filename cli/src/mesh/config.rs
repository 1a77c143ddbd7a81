//! `heddle config`: what an agent holds, as it will act on it.

mod traffic;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub(super) use traffic::does;

use super::world::{Node, World};
use super::{Failure, Target};
use crate::output::{self, Table};

const EXAMPLES: &str = "Examples:
  heddle config routes deploy/frontend
  heddle config endpoints frontend -n shop -o json
  heddle config workloads --node node-1";

/// Show the configuration that an agent holds: what it acts on, not what was applied.
///
/// POD is NAME, NAMESPACE/NAME or deploy/NAME; its node's agent is asked, and routes, endpoints, listeners, policies and
/// certificates are those of the pod. With --node, everything that the agent holds.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
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

    /// Namespace of POD; else that of the context, or `default`.
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Pods: addresses, identity, how they are reached.
    Workloads,
    /// Services and their endpoints.
    Services,
    /// Clusters as the pod sees them: endpoints, weight, place, load, and whether one is set aside.
    Endpoints,
    /// The agent's listeners in the pod, and what it does with the traffic of each service.
    Listeners,
    /// Rules of VirtualServices, HTTPRoutes and GRPCRoutes that are in force for the pod's requests.
    Routes,
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
            let pod = world.pod(options.namespace.as_deref(), pod.as_deref().unwrap_or_default())?;
            (pod.node.clone(), Some(pod))
        }
    };
    let of = |what: What| -> Result<Value, Failure> {
        let mut answer = ask(&world, &node, what, pod.as_ref().map(|pod| pod.uid.as_str()))?;
        if let Some(pod) = &pod {
            only(&mut answer, what, &pod.namespace, &pod.name);
        }
        Ok(answer)
    };
    let answer = match options.what {
        What::All => {
            let parts = What::PARTS.map(|(what, name, _)| of(what).map(|answer| (name.to_owned(), answer)));
            Value::Object(parts.into_iter().collect::<Result<_, _>>()?)
        }
        what => of(what)?,
    };
    output::print(options.target.output, &answer, |out| print(options.what, &answer, out))
}

fn ask(world: &World, node: &Node, what: What, pod: Option<&str>) -> Result<Value, Failure> {
    let name = What::PARTS.iter().find(|(each, _, _)| *each == what).map_or("all", |(_, name, _)| name);
    match pod {
        Some(uid) if matches!(what, What::Endpoints | What::Listeners | What::Routes) => {
            world.agent(node, &format!("/config/{name}?pod={uid}"))
        }
        _ => world.agent(node, &format!("/config/{name}")),
    }
}

impl What {
    /// All of them but `all`: what the agent and JSON call them, and the title of the table.
    const PARTS: [(Self, &str, &str); 7] = [
        (Self::Workloads, "workloads", "WORKLOADS"),
        (Self::Services, "services", "SERVICES"),
        (Self::Endpoints, "endpoints", "ENDPOINTS"),
        (Self::Listeners, "listeners", "LISTENERS"),
        (Self::Routes, "routes", "ROUTES"),
        (Self::Policies, "policies", "POLICIES"),
        (Self::Certs, "certs", "CERTIFICATES"),
    ];

    fn table(self, answer: &Value) -> Table {
        match self {
            Self::Workloads => workloads(answer),
            Self::Services => services(answer),
            Self::Endpoints => traffic::endpoints(answer),
            Self::Listeners => traffic::listeners(answer),
            Self::Routes => traffic::routes(answer),
            Self::Policies => traffic::policies(answer),
            Self::Certs | Self::All => certs(answer, now()),
        }
    }
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
        _ => {}
    }
}

fn print(what: What, answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    if what != What::All {
        return what.table(answer).write(out);
    }
    for (at, (part, name, title)) in What::PARTS.into_iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        writeln!(out, "{gap}{title}")?;
        part.table(&answer[name]).write(out)?;
    }
    Ok(())
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
    use serde_json::json;

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
    fn expiry_is_told_in_words() {
        assert_eq!(expiry(0, 100), "-");
        assert_eq!(expiry(86_400, 30), "in 23h59m");
        assert_eq!(expiry(100, 165), "1m5s ago");
    }
}
