//! From a path and a query to what is asked.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::failure::{Answer, Failure};
use crate::resource::Resource;
use crate::selector::Selector;
use crate::world::World;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    pub(crate) body: Vec<u8>,
}

/// What it asks of a resource.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    pub(crate) resource: Resource,
    pub(crate) version: String,
    /// Empty: all, or none.
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) selector: Selector,
}

impl Asked {
    /// Reads a path below `/api` or `/apis`; `None` where it names no resource.
    pub(crate) fn read(raw: &Raw, world: &World) -> Answer<Option<Self>> {
        let parts: Vec<String> =
            raw.path.split('/').filter(|part| !part.is_empty()).map(|part| decoded(part, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return Ok(None),
        };
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, String::new()),
            [plural, name] => (*plural, Some((*name).to_owned()), String::new()),
            [plural, name, sub @ ..] => (*plural, Some((*name).to_owned()), sub.join("/")),
            [] => return Ok(None),
        };
        let resource = world.resource(group, version, plural).ok_or_else(Failure::no_such_path)?.clone();
        let place = resource.namespaced || namespace.is_empty();
        let whole = name.is_none() && raw.method == "GET";
        if !place || (resource.namespaced && namespace.is_empty() && !whole && raw.method != "DELETE") {
            return Err(Failure::no_such_path());
        }
        let query = query(&raw.query);
        let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
        let selector = Selector::parse(&resource, text("labelSelector"), text("fieldSelector"))?;
        let watches = matches!(text("watch"), "true" | "1");
        let verb = match (raw.method.as_str(), &name) {
            ("GET", Some(_)) => "get",
            ("GET", None) if watches => "watch",
            ("GET", None) => "list",
            ("POST", _) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            _ => return Err(Failure::method_not_allowed()),
        };
        let version = version.to_owned();
        let namespace = namespace.to_owned();
        Ok(Some(Self { verb, resource, version, namespace, name, subresource, query, selector }))
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.query.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.text(key), "true" | "1" | "All")
    }

    pub(crate) fn number(&self, key: &str) -> Answer<Option<u64>> {
        let text = self.text(key);
        let wrong = |error| Failure::bad_request(format!("{key}: {text:?}: {error}"));
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(wrong) }
    }

    /// `get pods/status ns/name`.
    pub(crate) fn sentence(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        // A list or a watch of one name is of that object.
        let name = self.name.as_deref().or(self.selector.name()).unwrap_or_default();
        format!("{} {}{slash}{} {}/{name}", self.verb, self.resource.id, self.subresource, self.namespace)
    }
}

/// A body, JSON or YAML.
pub(crate) fn body(raw: &Raw) -> Answer<Value> {
    if raw.content_type.contains("protobuf") {
        return Err(Failure::new(415, "UnsupportedMediaType", "this server reads JSON and YAML"));
    }
    let text = String::from_utf8_lossy(&raw.body);
    if raw.content_type.contains("yaml") && !text.trim_start().starts_with('{') {
        return serde_saphyr::from_str(&text).map_err(|error| Failure::bad_request(error.to_string()));
    }
    serde_json::from_str(&text).map_err(|error| Failure::bad_request(error.to_string()))
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (decoded(key, true), decoded(value, true))).collect()
}

fn decoded(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' if plus => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).ok();
                bytes.extend(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()));
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
