//! Tables of routes, clusters, listeners and policies.

use serde_json::Value;

use super::{items, joined, text};
use crate::output::Table;

/// One row per match of each rule, in the order in which they are asked.
pub(super) fn routes(list: &Value) -> Table {
    let mut table = Table::new(["HOST", "PORTS", "SOURCE", "RULE", "MATCH", "DOES"]);
    for host in items(list) {
        for rule in items(&host["rules"]) {
            let matches = items(&rule["matches"]);
            let name = match rule["name"].as_str() {
                Some("") | None => text(&rule["index"]),
                Some(name) => format!("{} {name}", rule["index"]),
            };
            let matches: Vec<String> = if matches.is_empty() {
                vec!["anything".to_owned()]
            } else {
                matches.iter().map(text).collect()
            };
            for each in matches {
                table.row([
                    text(&host["host"]),
                    joined(&host["ports"]),
                    text(&rule["source"]),
                    name.clone(),
                    each,
                    does(rule),
                ]);
            }
        }
    }
    table
}

/// `90% outbound|80|v1|a, 10% outbound|80|v2|a; timeout 3s; 2 retries`.
pub(crate) fn does(rule: &Value) -> String {
    let mut said = Vec::new();
    let fault = &rule["fault"];
    if let Some(delay) = fault["delay"].as_object() {
        said.push(format!("delays {}% by {}", delay["percent"], text(&delay["for"])));
    }
    if let Some(abort) = fault["abort"].as_object() {
        said.push(format!("aborts {}% with {}", abort["percent"], text(&abort["with"])));
    }
    let to = items(&rule["to"]);
    let total: u64 = to.iter().filter_map(|each| each["weight"].as_u64()).sum();
    match to {
        [] => said.push(text(&rule["does"])),
        [one] => said.push(text(&one["cluster"])),
        several => {
            let share = |each: &Value| {
                let percent = each["weight"].as_u64().unwrap_or(0) * 100 / total.max(1);
                format!("{percent}% {}", text(&each["cluster"]))
            };
            said.push(several.iter().map(share).collect::<Vec<_>>().join(", "));
        }
    }
    for mirror in items(&rule["mirrors"]) {
        said.push(format!("mirrors {}% to {}", mirror["percent"], text(&mirror["cluster"])));
    }
    if rule["timeout"].is_string() {
        said.push(format!("timeout {}", text(&rule["timeout"])));
    }
    if let Some(attempts) = rule["retries"]["attempts"].as_u64() {
        said.push(format!("{attempts} retries"));
    }
    for (field, words) in
        [("rewrites", "rewrites"), ("changesHeaders", "changes headers"), ("cors", "answers CORS")]
    {
        said.extend((rule[field] == true).then(|| words.to_owned()));
    }
    said.join("; ")
}

/// One row per endpoint; those that a cluster leaves out come last, with the reason.
pub(super) fn endpoints(list: &Value) -> Table {
    let mut table = Table::new([
        "CLUSTER",
        "ENDPOINT",
        "ADDRESS",
        "TRANSPORT",
        "WEIGHT",
        "PRIORITY",
        "LOCALITY",
        "ACTIVE",
        "STATE",
        "POLICY",
    ]);
    let several = of_several_pods(list);
    for cluster in items(list) {
        let name = whose(several, cluster, text(&cluster["cluster"]));
        let policy = match items(&cluster["treatedBy"]) {
            [] => text(&cluster["loadBalancer"]),
            rules => format!("{} ({})", text(&cluster["loadBalancer"]), joined(&Value::from(rules))),
        };
        for each in items(&cluster["endpoints"]) {
            let state = match each["ejected"].as_object() {
                Some(ejected) => format!("EJECTED {} s: {}", ejected["secondsLeft"], text(&ejected["cause"])),
                None => "HEALTHY".to_owned(),
            };
            let row = [
                name.clone(),
                text(&each["name"]),
                text(&each["address"]),
                text(&each["transport"]),
                text(&each["weight"]),
                text(&each["priority"]),
                text(&each["locality"]),
                text(&each["active"]),
                state,
                policy.clone(),
            ];
            table.row(row);
        }
        for each in items(&cluster["excluded"]) {
            let dash = || "-".to_owned();
            let state = format!("LEFT OUT: {}", text(&each["why"]));
            let (who, address) = (text(&each["name"]), text(&each["address"]));
            let row =
                [name.clone(), who, address, dash(), dash(), dash(), dash(), dash(), state, policy.clone()];
            table.row(row);
        }
    }
    table
}

/// With the pod, where the list is of several.
fn whose(several: bool, each: &Value, what: String) -> String {
    if several { format!("{}: {what}", text(&each["pod"])) } else { what }
}

fn of_several_pods(list: &Value) -> bool {
    items(list).windows(2).any(|pair| pair[0]["pod"] != pair[1]["pod"])
}

/// The agent's sockets in the pod, then each port of each service.
pub(super) fn listeners(list: &Value) -> Table {
    let several = of_several_pods(list);
    let mut table = Table::new(["DIRECTION", "LISTENER", "FOR", "PROTOCOL", "L7", "DOES"]);
    for each in items(list) {
        let whom = match each["host"].as_str() {
            Some(host) => format!("{host}:{}", each["port"]),
            None => text(&each["from"]),
        };
        table.row([
            text(&each["direction"]),
            text(&each["listener"]),
            whose(several, each, whom),
            text(&each["protocol"]),
            text(&each["l7"]),
            text(&each["does"]),
        ]);
    }
    table
}

/// One row per rule.
pub(super) fn policies(list: &Value) -> Table {
    let mut table = Table::new(["NAME", "ACTION", "RULE", "MATCHES", "PODS"]);
    for policy in items(list) {
        let rules = items(&policy["rules"]);
        let row = |number: String, matches: String| {
            [text(&policy["name"]), text(&policy["action"]), number, matches, joined(&policy["pods"])]
        };
        if rules.is_empty() {
            table.row(row("-".to_owned(), "nothing: it has no rule".to_owned()));
        }
        for (number, rule) in rules.iter().enumerate() {
            table.row(row(number.to_string(), rule_text(rule)));
        }
    }
    table
}

/// `namespaces=trusted and methods=GET|POST`: clauses by "and", matches by "or".
fn rule_text(rule: &Value) -> String {
    let fields = |each: &Value| {
        let fields = each.as_object().into_iter().flatten();
        let pairs = fields.map(|(name, values)| {
            format!("{name}={}", items(values).iter().map(text).collect::<Vec<_>>().join("|"))
        });
        pairs.collect::<Vec<_>>().join(" ")
    };
    let clause = |clause: &Value| items(clause).iter().map(fields).collect::<Vec<_>>().join(" or ");
    let clauses: Vec<String> = items(rule).iter().map(clause).filter(|text| !text.is_empty()).collect();
    if clauses.is_empty() { "everything".to_owned() } else { clauses.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_is_told_in_one_line() {
        let rule = json!({ "does": "forward", "to": [{ "cluster": "outbound|80|v1|a", "weight": 90 },
            { "cluster": "outbound|80|v2|a", "weight": 10 }], "timeout": "3s", "retries": { "attempts": 2 },
            "fault": { "delay": { "percent": 50.0, "for": "5s" }, "abort": null } });
        let want = "delays 50.0% by 5s; 90% outbound|80|v1|a, 10% outbound|80|v2|a; timeout 3s; 2 retries";
        assert_eq!(does(&rule), want);
        assert_eq!(does(&json!({ "does": "respond 418 (3 bytes)" })), "respond 418 (3 bytes)");
    }

    #[test]
    fn a_policy_rule_is_told_by_and_and_or() {
        let rule =
            json!([[{ "namespaces": ["trusted"] }], [{ "methods": ["GET", "POST"] }, { "paths": ["/x*"] }]]);
        assert_eq!(rule_text(&rule), "namespaces=trusted and methods=GET|POST or paths=/x*");
        assert_eq!(rule_text(&json!([])), "everything");
    }
}
