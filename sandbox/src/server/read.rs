//! `get`: stored objects, with the status that the controller wrote beside them.
use std::fs;

use heddle_api::object::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::kind_of;
use super::{ApiError, Server};
use crate::store::StoreError;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Get {
    pub kind: String,
    /// None: all namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
}

pub(super) fn get(server: &Server, request: &Get) -> Result<Value, ApiError> {
    let kind = kind_of(&request.kind)?;
    if let Some(name) = &request.name {
        let namespace = request.namespace.as_deref().unwrap_or("default");
        let found = server.store.get(kind, Some(namespace), name);
        let found = found.ok_or_else(|| StoreError::missing(kind, name))?;
        return Ok(json!([shown(server, &found)]));
    }
    let mut all = server.store.list(kind);
    if let Some(namespace) = request.namespace.as_ref().filter(|_| kind.namespaced) {
        all.retain(|object| object.namespace.as_ref() == Some(namespace));
    }
    Ok(Value::Array(all.iter().map(|object| shown(server, object)).collect()))
}

fn shown(server: &Server, object: &Object) -> Value {
    let mut value = object.value.clone();
    let path = server
        .layout
        .status()
        .join(object.kind.directory())
        .join(object.namespace.as_deref().unwrap_or("_"))
        .join(format!("{}.json", object.name));
    let written = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let Some(Value::Object(written)) = written else { return value };
    if !value["status"].is_object() {
        value["status"] = json!({});
    }
    for (field, told) in written {
        match (field.as_str(), told) {
            // Which version of the object it speaks of.
            ("resourceVersion", _) => {}
            // Others may have conditions of their own.
            ("conditions", Value::Array(conditions)) => {
                let mut all = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
                all.retain(|own| !conditions.iter().any(|condition| condition["type"] == own["type"]));
                all.extend(conditions);
                value["status"]["conditions"] = Value::Array(all);
            }
            (field, told) => value["status"][field] = told,
        }
    }
    value
}
