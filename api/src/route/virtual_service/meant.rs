//! Plain intent in slightly wrong YAML: what people write in tutorials and Istio refuses, taken as meant.
//!
//! | written | meant |
//! |---|---|
//! | `fault`, `timeout`, `retries`, … below the only item of `route` | the same field of the rule |
//! | `percentage: 50`, `"50"`, `50%` | `percentage: {value: 50}` |
//! | `abort.percent: 10` | `percentage: {value: 10}` |
//! | `retries: 2` | `retries: {attempts: 2}` |
//! | `port: 80` of a destination | `port: {number: 80}` |
//! | `- host: a` as an item of `route` | `- destination: {host: a}` |
//! | one item where a list stands | a list of one |
//! | `"90"` for a weight, a port, a status or a count | the number |
//! | a text for a method, scheme, authority, header or query parameter | `{exact: …}` |
//!
//! Each is told in a warning that shows the canonical form. What could mean two things (a number without a unit, a text
//! for `uri`) is refused as ever.

use serde_json::{Map, Number, Value, json};

use crate::report::{At, Notes};

/// Fields of a rule that people write one level too deep.
const OF_THE_RULE: &[&str] = &[
    "fault",
    "timeout",
    "retries",
    "rewrite",
    "mirror",
    "mirrors",
    "mirrorPercentage",
    "mirrorPercent",
    "corsPolicy",
];

/// Rewrites what is plainly meant into its canonical form.
pub(super) fn mend(value: &mut Value, notes: &mut Notes) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let at = At::root("spec");
    for field in ["hosts", "gateways", "exportTo"] {
        list(spec, field, Value::is_string, &at, notes);
    }
    each(spec, "http", &at, notes, http);
    for field in ["tcp", "tls"] {
        each(spec, field, &at, notes, |rule, at, notes| {
            each(rule, "match", at, notes, |_, _, _| {});
            each(rule, "route", at, notes, target);
        });
    }
}

fn http(rule: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    each(rule, "match", at, notes, texts);
    each(rule, "route", at, notes, target);
    raise(rule, at, notes);
    if let Some(attempts) = rule.get("retries").and_then(whole) {
        let message = format!("a number is taken as the attempts: write `retries: {{attempts: {attempts}}}`");
        replace(rule, "retries", json!({"attempts": attempts}), message, at, notes);
    }
    if let Some(retries) = rule.get_mut("retries").and_then(Value::as_object_mut) {
        number(retries, "attempts", &at.field("retries"), notes);
    }
    fault(rule, at, notes);
    percentage(rule, "mirrorPercentage", at, notes);
    number(rule, "mirrorPercent", at, notes);
    if let Some(mirror) = rule.get_mut("mirror").and_then(Value::as_object_mut) {
        port(mirror, &at.field("mirror"), notes);
    }
    each(rule, "mirrors", at, notes, |mirror, at, notes| {
        target(mirror, at, notes);
        percentage(mirror, "percentage", at, notes);
    });
    for (field, status) in [("directResponse", "status"), ("redirect", "redirectCode")] {
        if let Some(answer) = rule.get_mut(field).and_then(Value::as_object_mut) {
            number(answer, status, &at.field(field), notes);
        }
    }
}

fn fault(rule: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    let Some(fault) = rule.get_mut("fault").and_then(Value::as_object_mut) else { return };
    let at = at.field("fault");
    for kind in ["delay", "abort"] {
        let Some(fault) = fault.get_mut(kind).and_then(Value::as_object_mut) else { continue };
        let at = at.field(kind);
        percentage(fault, "percentage", &at, notes);
        number(fault, "httpStatus", &at, notes);
        if kind == "delay" {
            number(fault, "percent", &at, notes);
        } else if let Some(percent) = fault.get("percent").and_then(decimal) {
            let message = format!("is taken as percentage: write `percentage: {{value: {percent}}}`");
            notes.warning(&at.field("percent"), message);
            fault.remove("percent");
            fault.entry("percentage").or_insert_with(|| json!({"value": percent}));
        }
    }
}

/// Lifts fields of the rule out of its destinations, where it is plain that they were meant for it: the rule has one
/// destination, or all of them say the same.
fn raise(rule: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    for field in OF_THE_RULE {
        let Some(items) = rule.get("route").and_then(Value::as_array) else { return };
        let Some(found) = items.iter().find_map(|item| item.get(field)).cloned() else { continue };
        let plain = items.iter().all(|item| item.get(field) == Some(&found)) && !rule.contains_key(*field);
        if !plain {
            let message = format!(
                "{field} belongs to the rule, beside `route`, once for all its destinations: move it there"
            );
            notes.error(&at.field("route"), message);
        } else {
            let message = format!(
                "{field} is taken as that of the rule: write it beside `route`, not below its item: `- route: […]` and, indented alike, `{field}: …`"
            );
            notes.warning(&at.field(field), message);
            rule.insert((*field).to_owned(), found);
        }
        for item in rule.get_mut("route").and_then(Value::as_array_mut).into_iter().flatten() {
            item.as_object_mut().and_then(|item| item.shift_remove(*field));
        }
    }
}

/// An item of `route` or `mirrors`.
fn target(item: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    if !item.contains_key("destination") && item.get("host").is_some_and(Value::is_string) {
        let mut destination = Map::new();
        for field in ["host", "subset", "port"] {
            if let Some(value) = item.shift_remove(field) {
                destination.insert(field.to_owned(), value);
            }
        }
        let canonical = flow(&Value::Object(destination.clone()));
        notes.warning(
            &at.field("host"),
            format!("is taken as a destination: write `- destination: {canonical}`"),
        );
        item.insert("destination".to_owned(), destination.into());
    }
    number(item, "weight", at, notes);
    if let Some(destination) = item.get_mut("destination").and_then(Value::as_object_mut) {
        port(destination, &at.field("destination"), notes);
    }
}

fn port(destination: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    if let Some(number) = destination.get("port").and_then(whole) {
        let message = format!("is taken as the number: write `port: {{number: {number}}}`");
        replace(destination, "port", json!({"number": number}), message, at, notes);
    } else if let Some(selector) = destination.get_mut("port").and_then(Value::as_object_mut) {
        number(selector, "number", &at.field("port"), notes);
    }
}

/// The texts of a match. Of a bare `uri` nobody can tell whether it is exact or a prefix.
fn texts(wanted: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    number(wanted, "port", at, notes);
    for field in ["method", "scheme", "authority"] {
        exact(wanted, field, at, notes);
    }
    for field in ["headers", "withoutHeaders", "queryParams"] {
        let Some(pairs) = wanted.get_mut(field).and_then(Value::as_object_mut) else { continue };
        let at = at.field(field);
        let names: Vec<String> =
            pairs.iter().filter(|(_, value)| value.is_string()).map(|(name, _)| name.clone()).collect();
        for name in names {
            exact(pairs, &name, &at, notes);
        }
    }
}

fn exact(fields: &mut Map<String, Value>, field: &str, at: &At<'_>, notes: &mut Notes) {
    if let Some(text) = fields.get(field).and_then(Value::as_str).map(str::to_owned) {
        let message = format!("a text is taken as an exact match: write `{field}: {{exact: {text:?}}}`");
        replace(fields, field, json!({"exact": text}), message, at, notes);
    }
}

fn percentage(fields: &mut Map<String, Value>, field: &str, at: &At<'_>, notes: &mut Notes) {
    if let Some(percent) = fields.get(field).and_then(decimal) {
        let message =
            format!("a bare number is taken as a percentage: write `{field}: {{value: {percent}}}`");
        replace(fields, field, json!({"value": percent}), message, at, notes);
    } else if let Some(inner) = fields.get_mut(field).and_then(Value::as_object_mut)
        && let Some(percent) = inner.get("value").filter(|value| value.is_string()).and_then(decimal)
    {
        let message = format!("is taken as a number: write `value: {percent}`");
        replace(inner, "value", percent.into(), message, &at.field(field), notes);
    }
}

/// A quoted number where a number stands.
fn number(fields: &mut Map<String, Value>, field: &str, at: &At<'_>, notes: &mut Notes) {
    if let Some(number) = fields.get(field).filter(|value| value.is_string()).and_then(whole) {
        replace(
            fields,
            field,
            number.into(),
            format!("is taken as a number: write `{field}: {number}`"),
            at,
            notes,
        );
    }
}

/// Each item of a list, or the one that stands in its place.
fn each(
    fields: &mut Map<String, Value>,
    field: &str,
    at: &At<'_>,
    notes: &mut Notes,
    mut act: impl FnMut(&mut Map<String, Value>, &At<'_>, &mut Notes),
) {
    list(fields, field, Value::is_object, at, notes);
    let at = at.field(field);
    let items = fields.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
    for (index, item) in items.enumerate() {
        if let Some(item) = item.as_object_mut() {
            act(item, &at.index(index), notes);
        }
    }
}

fn list(
    fields: &mut Map<String, Value>,
    field: &str,
    is_item: fn(&Value) -> bool,
    at: &At<'_>,
    notes: &mut Notes,
) {
    if let Some(item) = fields.get(field).filter(|value| is_item(value)).cloned() {
        let message = format!("one item is taken as a list of one: write `{field}:` and below it `- …`");
        replace(fields, field, vec![item].into(), message, at, notes);
    }
}

fn replace(
    fields: &mut Map<String, Value>,
    field: &str,
    value: Value,
    message: String,
    at: &At<'_>,
    notes: &mut Notes,
) {
    notes.warning(&at.field(field), message);
    fields.insert(field.to_owned(), value);
}

/// A whole number, or a text that is one.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A number, or a text that is one, with or without a percent sign.
fn decimal(value: &Value) -> Option<Number> {
    if let Value::Number(number) = value {
        return Some(number.clone());
    }
    let text = value.as_str()?.trim();
    let text = text.strip_suffix('%').unwrap_or(text).trim_end();
    text.parse::<i64>().ok().map(Number::from).or_else(|| Number::from_f64(text.parse().ok()?))
}

/// A small value as people write it in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let parts: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
