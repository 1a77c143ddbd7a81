//! A network configuration as text: with our entry, or without it. Everything that is not ours stays as it was.

use serde_json::{Map, Value, json};

/// `type` of our entry, and name of the binary.
pub const TYPE: &str = "heddle-cni";

/// What a file's name makes of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `.conflist`: a chain.
    List,
    /// `.conf` or `.json`: one plugin.
    Single,
}

impl Form {
    /// By the ending, as containerd and CRI-O go by it; `None`: they do not read it.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "conflist" => Some(Self::List),
            "conf" | "json" => Some(Self::Single),
            _ => None,
        }
    }
}

/// The chain with our entry at its end, or where it stands already; one plugin becomes a chain of two. `None`: it is so.
///
/// # Errors
/// It is not a configuration that a runtime would take.
pub fn with_entry(text: &[u8], form: Form, entry: &Value) -> Result<Option<Vec<u8>>, String> {
    let mut list = read(text, form)?;
    let before = list.clone();
    let plugins = plugins(&mut list)?;
    let ours = plugins.iter().position(is_ours);
    let mut position = 0;
    plugins.retain(|plugin| {
        position += 1;
        !is_ours(plugin) || ours == Some(position - 1)
    });
    match ours {
        Some(at) => plugins[at] = entry.clone(),
        None => plugins.push(entry.clone()),
    }
    let same = form == Form::List && list == before;
    Ok((!same).then(|| written(&list)))
}

/// The chain without our entry. `None`: it has none.
///
/// # Errors
/// It is not a configuration that a runtime would take.
pub fn without_entry(text: &[u8], form: Form) -> Result<Option<Vec<u8>>, String> {
    if form == Form::Single {
        return Ok(None);
    }
    let mut list = read(text, form)?;
    let plugins = plugins(&mut list)?;
    let count = plugins.len();
    plugins.retain(|plugin| !is_ours(plugin));
    let changed = plugins.len() != count;
    Ok(changed.then(|| written(&list)))
}

/// Whether a runtime takes it.
///
/// # Errors
/// Why not.
pub fn check(text: &[u8], form: Form) -> Result<(), String> {
    plugins(&mut read(text, form)?).map(drop)
}

/// As a chain, whichever form it has.
fn read(text: &[u8], form: Form) -> Result<Map<String, Value>, String> {
    let object: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if form == Form::List {
        return Ok(object);
    }
    // A chain in a file that is named as if it were none: the runtimes refuse it.
    if object.get("type").and_then(Value::as_str).unwrap_or_default().is_empty() {
        return Err("it has no type; a file with plugins must be named .conflist".to_owned());
    }
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        if let Some(value) = object.get(key) {
            list.insert(key.to_owned(), value.clone());
        }
    }
    list.insert("plugins".to_owned(), json!([object]));
    Ok(list)
}

fn plugins(list: &mut Map<String, Value>) -> Result<&mut Vec<Value>, String> {
    let Some(Value::Array(plugins)) = list.get_mut("plugins") else {
        return Err("it has no list of plugins".to_owned());
    };
    if plugins.is_empty() {
        return Err("its list of plugins is empty".to_owned());
    }
    if let Some(number) = plugins.iter().position(|plugin| !plugin["type"].is_string()) {
        return Err(format!("plugins[{number}] has no type"));
    }
    Ok(plugins)
}

fn is_ours(plugin: &Value) -> bool {
    plugin["type"] == TYPE
}

fn written(list: &Map<String, Value>) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(list).expect("keys of JSON objects are texts");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests;
