//! `wait --for synced`: the controller's own word, for a version of ours.
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ApiError, Server};
use crate::client;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Synced {
    version: u64,
}

/// `{"synced": bool, "why": "what is missing"}`
pub(super) async fn synced(server: &Server, request: &Synced) -> Result<Value, ApiError> {
    if server.mesh.is_none() {
        return Ok(json!({"synced": true, "why": ""}));
    }
    let socket = server.layout.controller().join("admin.sock");
    let status = match status(&socket).await {
        Ok(status) => status,
        Err(error) => {
            return Ok(json!({"synced": false, "why": format!("the controller does not answer: {error}")}));
        }
    };
    let seen = status["resourceVersion"].as_u64().unwrap_or(0);
    let ready = status["synced"] == true && seen >= request.version;
    Ok(
        json!({"synced": ready, "why": if ready { String::new() } else { missing(&status, seen, request.version) }}),
    )
}

async fn status(socket: &Path) -> std::io::Result<Value> {
    let answer =
        tokio::time::timeout(Duration::from_secs(5), client::request(socket, "GET", "/status", None));
    Ok(answer.await.map_err(std::io::Error::other)??.1)
}

fn missing(status: &Value, seen: u64, version: u64) -> String {
    if seen < version {
        let problem = &status["problems"][0];
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        let unread = match problem.is_null() {
            true => String::new(),
            false => format!("; it cannot read {}: {}", text("object"), text("message")),
        };
        return format!("the controller has seen version {seen} of {version}{unread}");
    }
    let agents = status["agents"].as_array().into_iter().flatten();
    let behind: Vec<String> = agents.filter_map(behind).collect();
    if behind.is_empty() { "not every agent has connected".to_owned() } else { behind.join("; ") }
}

fn behind(agent: &Value) -> Option<String> {
    let node = agent["node"].as_str().unwrap_or_default();
    if agent["connected"] != true {
        return Some(format!("the agent of {node} is not connected"));
    }
    let types = agent["types"].as_object()?;
    let (name, state) = types.iter().find(|(_, state)| state["state"] != "SYNCED")?;
    let word = state["state"].as_str().unwrap_or("unknown");
    let error = state["error"].as_str().unwrap_or_default();
    Some(format!("{node}: {name} is {word} {error}").trim_end().to_owned())
}
