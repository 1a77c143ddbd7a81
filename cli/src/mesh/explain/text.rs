//! An explanation for people: one step a line, in the order in which things happen.

use std::io::{self, Write};

use serde_json::Value;

use crate::mesh::config::does;

pub(super) fn write(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let (source, dialled) = (&answer["source"], &answer["dialled"]);
    let place =
        format!("{}/{} ({})", word(&source["namespace"]), word(&source["name"]), word(&source["identity"]));
    step(out, "SOURCE", &place)?;
    step(out, "CAPTURE", &word(&answer["capture"]))?;
    let address = dialled["address"].as_str().map(|ip| format!(" at {ip}")).unwrap_or_default();
    step(out, "DIALLED", &format!("{}:{}{address}", word(&dialled["host"]), dialled["port"]))?;
    step(out, "RESOLVED", &word(&answer["resolved"]))?;
    let declares = match answer["treatment"]["protocol"].as_str() {
        Some(protocol) => format!(" (the port declares {protocol})"),
        None => String::new(),
    };
    step(out, "TREATMENT", &format!("{}{declares}", word(&answer["treatment"]["does"])))?;
    if answer["request"].is_object() {
        request(&answer["request"], out)?;
    }
    if answer["direct"].is_object() && answer["request"]["backends"].as_array().is_none_or(Vec::is_empty) {
        let direct = &answer["direct"];
        let pod = format!("{}/{}", word(&direct["namespace"]), word(&direct["name"]));
        step(
            out,
            "ENDPOINT",
            &format!("{pod} at {} on {}", word(&direct["address"]), word(&direct["node"])),
        )?;
        policies(&direct["policies"], out)?;
    }
    Ok(())
}

fn request(request: &Value, out: &mut dyn Write) -> io::Result<()> {
    let line = format!(
        "{} {} host {}",
        word(&request["method"]),
        word(&request["path"]),
        word(&request["authority"])
    );
    step(out, "REQUEST", &line)?;
    step(out, "HOST", request["virtualHost"].as_str().unwrap_or("no routes for this authority"))?;
    let (chosen, nearest) = (request["chosen"].as_u64(), request["nearest"].as_u64());
    let candidates = request["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (at, each) in candidates.iter().enumerate() {
        let at = at as u64;
        let mark = match chosen {
            Some(chosen) if at == chosen => "MATCHES",
            Some(chosen) if at > chosen => "not asked",
            _ if Some(at) == nearest => "no, nearest",
            _ => "no",
        };
        let rule = &each["rule"];
        let name = rule["name"].as_str().filter(|name| !name.is_empty()).map(|name| format!(" {name:?}"));
        let place = format!("{} rule {}{}", word(&rule["source"]), rule["index"], name.unwrap_or_default());
        step(
            out,
            if at == 0 { "RULES" } else { "" },
            &format!("{mark:<12} {place}: {}", word(&each["match"])),
        )?;
        let misses = each["misses"].as_array().into_iter().flatten();
        let asked = chosen.is_none_or(|chosen| at <= chosen);
        for miss in misses.filter(|_| asked) {
            let got = miss["got"]
                .as_str()
                .map_or_else(|| "there is none".to_owned(), |got| format!("it is {got:?}"));
            step(
                out,
                "",
                &format!("{:12} wants {} {}: {got}", "", word(&miss["field"]), word(&miss["wanted"])),
            )?;
        }
        if Some(at) == chosen {
            step(out, "", &format!("{:12} does: {}", "", does(rule)))?;
        }
    }
    if let Some(outcome) = request["outcome"].as_str() {
        step(out, "OUTCOME", outcome)?;
    }
    request["backends"].as_array().into_iter().flatten().try_for_each(|each| backend(each, out))
}

fn backend(backend: &Value, out: &mut dyn Write) -> io::Result<()> {
    let percent = backend["percent"].as_f64().unwrap_or(100.0);
    step(out, "CLUSTER", &format!("{percent:.0} % to {}", word(&backend["cluster"])))?;
    let rules: Vec<String> = backend["treatedBy"].as_array().into_iter().flatten().map(word).collect();
    if !rules.is_empty() {
        step(out, "", &format!("treated as {} say", rules.join(", ")))?;
    }
    for (field, what) in [("path", "path becomes"), ("authority", "host becomes")] {
        if let Some(new) = backend[field].as_str() {
            step(out, "", &format!("{what} {new}"))?;
        }
    }
    for (name, value) in backend["headers"].as_object().into_iter().flatten() {
        let becomes =
            value.as_str().map_or_else(|| "is removed".to_owned(), |value| format!("becomes {value:?}"));
        step(out, "", &format!("header {name} {becomes}"))?;
    }
    let pick = &backend["pick"];
    match pick["address"].as_str() {
        Some(address) => {
            let line = format!(
                "{} at {address} on {}: {}",
                word(&pick["name"]),
                word(&pick["node"]),
                word(&pick["why"])
            );
            step(out, "ENDPOINT", &line)?;
        }
        None if pick.is_object() => {
            step(out, "ENDPOINT", &format!("none: answered {}", word(&pick["answered"])))?
        }
        None => {}
    }
    for each in backend["excluded"].as_array().into_iter().flatten() {
        step(out, "", &format!("not {}: {}", word(&each["name"]), word(&each["why"])))?;
    }
    policies(&backend["policies"], out)
}

fn policies(verdict: &Value, out: &mut dyn Write) -> io::Result<()> {
    if let Some(error) = verdict["error"].as_str() {
        return step(out, "POLICIES", &format!("not known: {error}"));
    }
    if !verdict["verdict"].is_string() {
        return Ok(());
    }
    let line =
        format!("{}: {} (mTLS {})", word(&verdict["verdict"]), word(&verdict["why"]), word(&verdict["mtls"]));
    step(out, "POLICIES", &line)?;
    for each in verdict["policies"].as_array().into_iter().flatten() {
        let said = match (each["missing"] == true, each["rule"].as_u64()) {
            (true, _) => "is not known, and denies".to_owned(),
            (false, Some(rule)) => format!("rule {rule} matches"),
            (false, None) => format!("none of its {} rules matches", each["rules"]),
        };
        step(out, "", &format!("{} {}: {said}", word(&each["action"]), word(&each["name"])))?;
    }
    Ok(())
}

fn step(out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{}", format!("{name:<10} {text}").trim_end())
}

fn word(value: &Value) -> String {
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
    fn the_rule_that_matches_and_the_nearest_are_marked() {
        let rule = |index: u64| json!({ "source": "VirtualService default/mobile", "index": index, "name": "", "does": "forward" });
        let answer = json!({
            "source": { "namespace": "default", "name": "client", "identity": "spiffe://a" },
            "capture": "c", "dialled": { "host": "mobile", "port": 80, "address": "10.96.0.1" }, "resolved": "r",
            "treatment": { "does": "HTTP", "protocol": "http" },
            "request": { "method": "GET", "path": "/", "authority": "mobile", "virtualHost": "mobile.default",
                "chosen": 1, "nearest": 0, "candidates": [
                    { "rule": rule(0), "match": "header a", "misses": [{ "field": "header a", "wanted": "exact \"x\"", "got": null }] },
                    { "rule": rule(1), "match": "anything", "misses": [] }],
                "backends": [{ "cluster": "outbound|80|v1|mobile", "percent": 100.0, "pick": { "answered": "503, flag UH" },
                    "policies": {} }] },
        });
        let mut out = Vec::new();
        write(&answer, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("no, nearest  VirtualService default/mobile rule 0: header a"), "{text}");
        assert!(text.contains("wants header a exact \"x\": there is none"), "{text}");
        assert!(text.contains("MATCHES      VirtualService default/mobile rule 1"), "{text}");
        assert!(text.contains("none: answered 503, flag UH"), "{text}");
    }
}
