//! `heddle bpf`: the programs and maps of each agent, in words.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::{Failure, Target};
use crate::output::{self, Table};

/// Show the eBPF programs and maps of the agents: what is attached where, and how full the maps are.
///
/// With --map, the entries of that map; with -o json, those of every map.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Of this node only.
    #[arg(long)]
    node: Option<String>,

    /// The entries of this map, decoded: PODS, GUARDS, ORIG_DST, TUPLES, COUNTERS …
    #[arg(long, value_name = "NAME")]
    map: Option<String>,

    #[command(flatten)]
    target: Target,
}

pub(super) fn run(options: &Options) -> io::Result<ExitCode> {
    let Answers { mut answers, silent } = each_node(&options.target, options.node.as_deref(), "/bpf")?;
    if let Some(name) = &options.map {
        only(&mut answers, name)?;
        let printed = output::print(options.target.output, &answers, |out| entries(&answers).write(out));
        return ended(printed, &silent);
    }
    let printed = output::print(options.target.output, &answers, |out| {
        let (programs, maps) = tables(&answers);
        writeln!(out, "PROGRAMS")?;
        programs.write(out)?;
        writeln!(out, "\nMAPS")?;
        maps.write(out)
    });
    ended(printed, &silent)
}

/// Keeps one map; a name that no agent has is an error that says which there are.
fn only(answers: &mut Map<String, Value>, name: &str) -> Result<(), Failure> {
    let maps = |answer: &Value| answer["maps"].as_array().cloned().unwrap_or_default();
    let known: BTreeSet<String> = answers.values().flat_map(maps).map(|map| text(&map["name"])).collect();
    if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        let known: Vec<String> = known.into_iter().collect();
        return Err(Failure(format!("there is no map {name}; there are {}", known.join(", "))));
    }
    for answer in answers.values_mut() {
        let found = maps(answer).into_iter().filter(|map| text(&map["name"]).eq_ignore_ascii_case(name));
        *answer = Value::Array(found.collect());
    }
    Ok(())
}

fn entries(answers: &Map<String, Value>) -> Table {
    let mut table = Table::new(["NODE", "MAP", "ENTRY"]);
    for (node, answer) in answers {
        for map in answer.as_array().into_iter().flatten() {
            let decoded = map["decoded"].as_array().into_iter().flatten();
            decoded.for_each(|entry| table.row([node.clone(), text(&map["name"]), text(entry)]));
        }
    }
    table
}

/// What each agent answers, by node.
pub(super) struct Answers {
    pub(super) answers: Map<String, Value>,
    /// Agents that did not.
    pub(super) silent: Vec<Failure>,
}

/// Asks each agent, or one. An error: none of them answers.
pub(super) fn each_node(target: &Target, only: Option<&str>, path: &str) -> Result<Answers, Failure> {
    let world = target.world()?;
    let nodes = match only {
        Some(name) => vec![world.node(name)?],
        None => world.nodes(),
    };
    let mut all = Answers { answers: Map::new(), silent: Vec::new() };
    for (node, answer) in nodes.iter().zip(world.agents(&nodes, path)) {
        match answer {
            Ok(answer) => drop(all.answers.insert(node.name.clone(), answer)),
            Err(failure) => all.silent.push(failure),
        }
    }
    match all.silent.first() {
        Some(failure) if all.answers.is_empty() => Err(failure.clone()),
        _ => Ok(all),
    }
}

/// What was printed lacks the agents that did not answer: said on standard error, and exit status 1.
pub(super) fn ended(printed: io::Result<ExitCode>, silent: &[Failure]) -> io::Result<ExitCode> {
    let code = printed?;
    silent.iter().for_each(|failure| eprintln!("heddle: {failure}"));
    Ok(if silent.is_empty() { code } else { ExitCode::FAILURE })
}

fn tables(answers: &Map<String, Value>) -> (Table, Table) {
    let mut programs = Table::new(["NODE", "NAME", "TYPE", "ID", "ATTACHED", "INSTRUCTIONS"]);
    let mut maps = Table::new(["NODE", "NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "MAX"]);
    for (node, answer) in answers {
        for each in answer["programs"].as_array().into_iter().flatten() {
            let attached: Vec<String> = each["attached"].as_array().into_iter().flatten().map(text).collect();
            let attached = if attached.is_empty() { "-".to_owned() } else { attached.join(",") };
            let [name, kind, id, verified] =
                [&each["name"], &each["type"], &each["id"], &each["verified"]].map(text);
            programs.row([node.clone(), name, kind, id, attached, verified]);
        }
        for each in answer["maps"].as_array().into_iter().flatten() {
            let cells = ["name", "type", "key", "value", "entries", "max"].map(|key| text(&each[key]));
            maps.row(std::iter::once(node.clone()).chain(cells));
        }
    }
    (programs, maps)
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
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
    fn one_map_is_shown_entry_by_entry() {
        let node = json!({"programs": [], "maps": [{"name": "PODS", "decoded": ["netns 7: a", "netns 8: b"]}, {"name": "GUARDS", "decoded": []}]});
        let mut answers = Map::from_iter([("node-1".to_owned(), node)]);
        assert!(only(&mut answers.clone(), "NOPE").is_err());
        only(&mut answers, "pods").unwrap();
        let mut out = Vec::new();
        entries(&answers).write_within(&mut out, None).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("netns 7: a") && text.contains("netns 8: b") && !text.contains("GUARDS"),
            "{text}"
        );
    }
}
