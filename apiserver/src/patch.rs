//! JSON merge patch (RFC 7386), JSON patch (RFC 6902), and what stands for the strategic merge patch.

use serde_json::{Map, Value};

use crate::failure::{Answer, Failure};

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(into) = target.as_object_mut() else { return };
    for (key, value) in fields {
        if value.is_null() {
            into.shift_remove(key);
        } else {
            merge(into.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A merge patch in which the directives of a strategic one are left out, and lists of named items merge by name.
pub(crate) fn strategic(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(into), Value::Object(fields)) => {
            for (key, value) in fields.iter().filter(|(key, _)| !key.starts_with('$')) {
                if value.is_null() {
                    into.shift_remove(key);
                } else {
                    strategic(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(into), Value::Array(items)) if items.iter().all(|item| item["name"].is_string()) => {
            for item in items {
                let same = into.iter().position(|held| held["name"] == item["name"]);
                match (same, item["$patch"] == "delete") {
                    (Some(at), true) => drop(into.remove(at)),
                    (Some(at), false) => strategic(&mut into[at], item),
                    (None, true) => {}
                    (None, false) => into.push(item.clone()),
                }
            }
        }
        (target, patch) => target.clone_from(patch),
    }
}

/// RFC 6902.
pub(crate) fn json(target: &mut Value, patch: &Value) -> Answer<()> {
    let steps = patch.as_array().ok_or_else(|| Failure::bad_request("a JSON patch is a list"))?;
    steps.iter().try_for_each(|step| one(target, step))
}

fn one(target: &mut Value, step: &Value) -> Answer<()> {
    let text = |key: &str| {
        step[key].as_str().ok_or_else(|| Failure::bad_request(format!("JSON patch: {key} is missing")))
    };
    let missing = |path: &str| {
        Failure::new(
            422,
            "Invalid",
            format!("the server rejected our request: JSON patch: {path} does not exist"),
        )
    };
    let path = text("path")?;
    match text("op")? {
        "add" => add(target, path, step["value"].clone()).ok_or_else(|| missing(path)),
        "remove" => take(target, path).map(drop).ok_or_else(|| missing(path)),
        "replace" => {
            *target.pointer_mut(path).ok_or_else(|| missing(path))? = step["value"].clone();
            Ok(())
        }
        "test" if target.pointer(path) == Some(&step["value"]) => Ok(()),
        "test" => Err(missing(path)),
        op @ ("move" | "copy") => {
            let from = text("from")?;
            let value = if op == "move" { take(target, from) } else { target.pointer(from).cloned() };
            add(target, path, value.ok_or_else(|| missing(from))?).ok_or_else(|| missing(path))
        }
        other => Err(Failure::bad_request(format!("JSON patch: {other} is no operation"))),
    }
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let Some((parent, token)) = path.rsplit_once('/') else {
        *target = value;
        return Some(());
    };
    match target.pointer_mut(parent)? {
        Value::Object(fields) => drop(fields.insert(unescaped(token), value)),
        Value::Array(items) if token == "-" => items.push(value),
        Value::Array(items) => {
            let at = token.parse().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, token) = path.rsplit_once('/')?;
    match target.pointer_mut(parent)? {
        Value::Object(fields) => fields.shift_remove(&unescaped(token)),
        Value::Array(items) => {
            let at = token.parse().ok().filter(|at| *at < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}
