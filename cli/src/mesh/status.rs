//! `heddle status`: every agent, and whether it has applied what the controller said.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::world::World;
use super::{Failure, Target};
use crate::output::{self, Table};

const TYPES: [&str; 5] = ["Mesh", "Authorization", "Traffic", "Address", "LocalWorkload"];
const LOOK: Duration = Duration::from_millis(200);
/// Every look is a command in each agent's pod.
const LOOK_AT_CLUSTER: Duration = Duration::from_secs(1);

/// Show every agent: its version, whether it has applied each type of configuration, its workloads and certificates.
///
/// SYNCED: the latest is in force, in the kernel too. STALE: an agent is behind, or not connected. NACK: it refused an
/// update and keeps the last good one; the reason is printed below the table.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,

    /// Wait until every agent is SYNCED; exit status 1 if that takes too long.
    #[arg(long)]
    wait: bool,

    /// How long to wait: 500ms, 60s, 5m.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
}

pub(super) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut world = options.target.world()?;
    let pause = if matches!(world, World::Cluster(_)) { LOOK_AT_CLUSTER } else { LOOK };
    let deadline = Instant::now() + options.timeout;
    let (status, late) = loop {
        let status = collect(&world);
        let settled = status.as_ref().is_ok_and(|status| status["synced"] == true);
        if !options.wait || settled {
            break (status?, false);
        }
        if Instant::now() >= deadline {
            break (status?, true);
        }
        thread::sleep(pause);
        // Whatever is wrong now is said if it still is at the end.
        let _later = world.look_again();
    };
    let printed = output::print(options.target.output, &status, |out| print(&status, out))?;
    if late {
        eprintln!("heddle: not every agent is SYNCED after {:?}", options.timeout);
        return Ok(ExitCode::FAILURE);
    }
    Ok(printed)
}

/// The controller's view of each agent, with what only the agent knows: pods that it failed at.
fn collect(world: &World) -> Result<Value, Failure> {
    let controller = world.controller("/status")?;
    let known = controller["agents"].as_array().cloned().unwrap_or_default();
    let mut agents = Vec::new();
    let nodes = world.nodes();
    for (node, own) in nodes.iter().zip(world.agents(&nodes, "/status")) {
        let seen = known.iter().find(|agent| agent["node"] == node.name.as_str());
        let mut agent = seen.cloned().unwrap_or_else(|| json!({ "node": node.name, "connected": false }));
        if let Ok(own) = own {
            for (key, value) in [
                ("version", &own["version"]),
                ("workloads", &own["workloads"]["enrolled"]),
                ("certificates", &own["certificates"]),
                ("failed", &own["workloads"]["failed"]),
                ("fromDisk", &own["fromDisk"]),
            ] {
                agent[key] = value.clone();
            }
        }
        agents.push(agent);
    }
    let synced = !agents.is_empty() && controller["synced"] != false && agents.iter().all(is_synced);
    Ok(json!({
        "synced": synced,
        "resourceVersion": controller["resourceVersion"],
        "agents": agents,
    }))
}

fn is_synced(agent: &Value) -> bool {
    let all = TYPES.iter().all(|kind| agent["types"][kind]["state"] == "SYNCED");
    all && agent["connected"] == true
}

fn print(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let agents = status["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table = Table::new(
        ["NODE", "VERSION", "CONNECTED"]
            .into_iter()
            .chain(TYPES)
            .chain(["WORKLOADS", "CERTS"])
            .map(str::to_uppercase),
    );
    for agent in agents {
        let connected = if agent["connected"] == true { "yes" } else { "no" };
        let states = TYPES.iter().map(|kind| text(&agent["types"][kind]["state"]));
        table.row(
            [text(&agent["node"]), text(&agent["version"]), connected.to_owned()]
                .into_iter()
                .chain(states)
                .chain([text(&agent["workloads"]), text(&agent["certificates"])]),
        );
    }
    table.write(out)?;
    for agent in agents {
        for kind in TYPES {
            if let Some(error) = agent["types"][kind]["error"].as_str().filter(|error| !error.is_empty()) {
                writeln!(out, "{} {kind}: {error}", text(&agent["node"]))?;
            }
        }
        for pod in agent["failed"].as_array().into_iter().flatten() {
            let [node, namespace, name, reason] =
                [&agent["node"], &pod["namespace"], &pod["name"], &pod["reason"]].map(text);
            writeln!(out, "{node} pod {namespace}/{name}: {reason}")?;
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write for example 500ms, 60s or 5m");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let count: u32 = text[..split].parse().map_err(|_none| wrong())?;
    let unit = match &text[split..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(wrong()),
    };
    unit.checked_mul(count).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn agent(connected: bool, state: &str) -> Value {
        let types: serde_json::Map<String, Value> =
            TYPES.iter().map(|kind| ((*kind).to_owned(), json!({ "state": state, "error": "" }))).collect();
        json!({ "node": "node-1", "version": "0.1.0", "connected": connected, "types": types, "workloads": 2 })
    }

    #[test]
    fn an_agent_is_synced_when_it_is_connected_and_every_type_is() {
        assert!(is_synced(&agent(true, "SYNCED")));
        assert!(!is_synced(&agent(false, "SYNCED")));
        assert!(!is_synced(&agent(true, "STALE")));
        assert!(!is_synced(&json!({ "node": "node-2", "connected": false })));
    }

    #[test]
    fn reasons_stand_below_the_table() {
        let mut refused = agent(true, "NACK");
        refused["types"]["Address"]["error"] = json!("default/x: broken");
        refused["failed"] = json!([{ "namespace": "default", "name": "a", "reason": "no interface" }]);
        let mut out = Vec::new();
        print(&json!({ "agents": [refused] }), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("NODE     VERSION   CONNECTED   MESH   AUTHORIZATION"), "{text}");
        assert!(text.contains("node-1 Address: default/x: broken\n"), "{text}");
        assert!(text.contains("node-1 pod default/a: no interface\n"), "{text}");
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("60s").unwrap(), Duration::from_secs(60));
        assert!(duration("60").is_err() && duration("s").is_err());
    }
}
