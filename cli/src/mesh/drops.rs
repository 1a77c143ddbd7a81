//! `heddle drops`: what was refused in the kernel, by reason.

use std::io;
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::Target;
use super::bpf::{Answers, each_node, ended, text};
use crate::output::{self, Table};

/// Show what the eBPF programs refused: how often, where and why; by pod where the pod is known.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Of this node only.
    #[arg(long)]
    node: Option<String>,

    #[command(flatten)]
    target: Target,
}

pub(super) fn run(options: &Options) -> io::Result<ExitCode> {
    let Answers { answers, silent } = each_node(&options.target, options.node.as_deref(), "/drops")?;
    let printed = output::print(options.target.output, &answers, |out| {
        let (counters, pods) = tables(&answers);
        counters.write(out)?;
        match pods {
            Some(pods) => {
                writeln!(out)?;
                pods.write(out)
            }
            None => Ok(()),
        }
    });
    ended(printed, &silent)
}

/// Counters that are not zero, and drops by pod where there are some.
fn tables(answers: &Map<String, Value>) -> (Table, Option<Table>) {
    let mut counters = Table::new(["NODE", "WHERE", "REASON", "COUNT"]);
    let mut pods = Table::new(["NODE", "NAMESPACE", "NAME", "REASON", "COUNT"]);
    let mut any = false;
    for (node, answer) in answers {
        for each in answer["counters"].as_array().into_iter().flatten().filter(|each| each["count"] != 0) {
            counters.row([node.clone(), text(&each["where"]), text(&each["reason"]), text(&each["count"])]);
        }
        for each in answer["pods"].as_array().into_iter().flatten() {
            any = true;
            let [namespace, name, reason, count] =
                [&each["namespace"], &each["name"], &each["reason"], &each["count"]].map(text);
            pods.row([node.clone(), namespace, name, reason, count]);
        }
    }
    (counters, any.then_some(pods))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_was_dropped_is_shown() {
        let answer = json!({ "node-1": {
            "counters": [{ "reason": "spoofed", "where": "guard", "count": 3 }, { "reason": "x", "where": "y", "count": 0 }],
            "pods": [] } });
        let (counters, pods) = tables(answer.as_object().unwrap());
        let mut out = Vec::new();
        counters.write_within(&mut out, None).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("node-1   guard   spoofed   3") && text.lines().count() == 2, "{text}");
        assert!(pods.is_none());
    }
}
