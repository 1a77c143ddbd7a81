//! `heddle logs`: the lines of the agents' logs that are about one pod.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::Target;
use super::world::{Mesh, Node, PodRecord, World};
use crate::output::{self, Format};

const LOOK: Duration = Duration::from_millis(200);
/// More lines than an agent writes in a second about one pod.
const AGAIN: usize = 10_000;

/// Show what the agents logged about a pod: its connections (access log) and anything that went wrong with it.
///
/// For what the pod's own containers print: heddle sandbox logs POD.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// NAME, NAMESPACE/NAME or deploy/NAME.
    pod: String,

    /// Namespace of POD; else that of the context, or `default`.
    #[arg(short, long)]
    namespace: Option<String>,

    /// The last N lines only.
    #[arg(long, value_name = "N")]
    tail: Option<usize>,

    /// Go on with new lines as they come.
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) fn run(options: &Options) -> io::Result<ExitCode> {
    let world = options.target.world()?;
    let pod = world.pod(options.namespace.as_deref(), &options.pod)?;
    if let World::Cluster(mesh) = &world {
        return of_cluster(options, mesh, &pod);
    }
    let nodes = world.nodes();
    let mut logs = Logs { pod, open: HashMap::new() };
    let mut lines = logs.fresh(&nodes);
    if let Some(tail) = options.tail {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    if options.follow {
        loop {
            output::text(|out| write_lines(&lines, nodes.len(), out))?;
            thread::sleep(LOOK);
            lines = logs.fresh(&nodes);
        }
    }
    print(options, &lines, nodes.len())
}

/// In a cluster the agent of the pod's node is asked, which logs both directions of the pod's connections.
fn of_cluster(options: &Options, mesh: &Mesh, pod: &PodRecord) -> io::Result<ExitCode> {
    let text = mesh.log(&pod.node)?;
    let lines = text.lines().filter(|line| is_about(line, pod));
    let mut lines: Vec<_> = lines.map(|line| (pod.node.name.clone(), line.to_owned())).collect();
    if let Some(tail) = options.tail {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    let printed = print(options, &lines, 1)?;
    if options.follow {
        // The last second is sent again; a line of an access log has its time and ports, and comes once.
        let seen: HashSet<&str> = lines.iter().rev().take(AGAIN).map(|(_, line)| line.as_str()).collect();
        mesh.follow(&pod.node, |line| {
            let fresh = is_about(line, pod) && !seen.contains(line);
            !fresh || writeln!(io::stdout(), "{line}").is_ok()
        })?;
    }
    Ok(printed)
}

fn print(options: &Options, lines: &[(String, String)], nodes: usize) -> io::Result<ExitCode> {
    if options.target.output == Format::Table {
        return output::text(|out| write_lines(lines, nodes, out));
    }
    let values: Vec<_> = lines.iter().map(|(node, line)| json!({ "node": node, "line": line })).collect();
    output::print(options.target.output, &values, |_table| Ok(()))
}

struct Logs {
    pod: PodRecord,
    open: HashMap<PathBuf, BufReader<File>>,
}

impl Logs {
    /// Lines about the pod that were not read before, by node. The peer's node logs its side of a connection too.
    fn fresh(&mut self, nodes: &[Node]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (node, path) in
            nodes.iter().flat_map(|node| node.logs().into_iter().map(move |path| (node, path)))
        {
            if !self.open.contains_key(&path) {
                let Ok(file) = File::open(&path) else { continue };
                self.open.insert(path.clone(), BufReader::new(file));
            }
            let Some(log) = self.open.get_mut(&path) else { continue };
            let mut line = Vec::new();
            let mut at = String::new();
            while log.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line);
                if is_about(&text, &self.pod) {
                    at = time(&text).map_or(at, str::to_owned);
                    found.push((at.clone(), node.name.clone(), text.trim_end().to_owned()));
                }
                line.clear();
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.into_iter().map(|(_, node, line)| (node, line)).collect()
    }
}

/// When a line was written, to the millisecond; lines of a format without a time stay behind the one before.
fn time(line: &str) -> Option<&str> {
    let time = line.strip_prefix('[').unwrap_or(line).get(..23)?;
    (time.starts_with(|c: char| c.is_ascii_digit()) && time.as_bytes()[10] == b'T').then_some(time)
}

fn write_lines(lines: &[(String, String)], nodes: usize, out: &mut dyn Write) -> io::Result<()> {
    for (node, line) in lines {
        if nodes > 1 {
            write!(out, "[{node}] ")?;
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Whether the line has the pod's name, UID or address as a whole word.
fn is_about(line: &str, pod: &PodRecord) -> bool {
    let words = [&pod.name, &pod.uid].into_iter().chain(&pod.addresses);
    words.into_iter().filter(|word| !word.is_empty()).any(|word| has_word(line, word))
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(inside) && !line[at + word.len()..].starts_with(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_logs_are_ordered_by_their_time() {
        assert_eq!(time("[2026-11-21T14:53:12.175Z] \"GET"), Some("2026-11-21T14:53:12.175"));
        assert_eq!(time("2026-11-21T14:53:12.175568Z  INFO"), Some("2026-11-21T14:53:12.175"));
        assert_eq!(time("{\"start_time\": \"2026-11-21T14:53:12.175Z\"}"), None);
        assert_eq!(time("short"), None);
    }

    #[test]
    fn a_pod_is_not_mistaken_for_one_whose_name_or_address_begins_alike() {
        assert!(has_word("src.pod=default/backend-1 dst", "backend-1"));
        assert!(!has_word("src.pod=default/backend-11 dst", "backend-1"));
        assert!(has_word("from 10.244.1.2:4711", "10.244.1.2"));
        assert!(!has_word("from 10.244.1.23:4711", "10.244.1.2"));
        assert!(!has_word("from 110.244.1.2:4711", "10.244.1.2"));
    }
}
