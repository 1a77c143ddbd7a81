//! The verbs that change what is stored: delete, label, scale, rollout restart.
use std::collections::BTreeMap;

use heddle_api::kind::{self, KindInfo};
use heddle_api::names;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ApiError, Server};
use crate::store::now;

/// An object by the words of a command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Delete {
    pub object: Named,
    pub grace: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Label {
    pub object: Named,
    pub set: BTreeMap<String, String>,
    pub remove: Vec<String>,
    pub overwrite: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Scale {
    pub object: Named,
    pub replicas: i64,
}

pub(super) fn kind_of(word: &str) -> Result<&'static KindInfo, ApiError> {
    kind::by_word(word).ok_or_else(|| ApiError {
        reason: "NoKind".to_owned(),
        message: format!("the server doesn't have a resource type \"{word}\""),
    })
}

impl Named {
    /// The kind, and where its object lives.
    fn place(&self) -> Result<(&'static KindInfo, Option<&str>, &str), ApiError> {
        let kind = kind_of(&self.kind)?;
        let namespace = kind.namespaced.then(|| self.namespace.as_deref().unwrap_or("default"));
        Ok((kind, namespace, &self.name))
    }
}

pub(super) fn delete(server: &Server, request: &Delete) -> Result<Value, ApiError> {
    let (kind, namespace, name) = request.object.place()?;
    let uid = server.store.get(kind, namespace, name).and_then(|object| object.uid().map(str::to_owned));
    server.store.delete_within(kind, namespace, name, request.grace)?;
    Ok(json!({"done": format!("{} \"{name}\" deleted", kind.qualified()), "uid": uid}))
}

pub(super) fn label(server: &Server, request: &Label) -> Result<Value, ApiError> {
    let (kind, namespace, name) = request.object.place()?;
    for (key, value) in &request.set {
        if !names::is_qualified_name(key) {
            return Err(ApiError::bad(format!(
                "invalid label key {key:?}: want [PREFIX/]NAME of letters, digits, '-', '_', '.'"
            )));
        }
        if !names::is_label_value(value) {
            return Err(ApiError::bad(format!(
                "invalid label value {value:?}: want at most 63 letters, digits, '-', '_', '.'"
            )));
        }
    }
    let found = server.store.get(kind, namespace, name);
    let labels = found.map(|object| object.labels()).unwrap_or_default();
    for (key, value) in &request.set {
        if let Some(old) = labels.get(key).filter(|old| *old != value && !request.overwrite) {
            let message = format!("'{key}' already has a value ({old}), and --overwrite is false");
            return Err(ApiError::bad(message));
        }
    }
    let before = server.store.version();
    let after = server.store.edit(kind, namespace, name, |value| {
        if !value["metadata"]["labels"].is_object() {
            value["metadata"]["labels"] = json!({});
        }
        for (key, text) in &request.set {
            value["metadata"]["labels"][key] = json!(text);
        }
        if let Some(map) = value["metadata"]["labels"].as_object_mut() {
            map.retain(|key, _| !request.remove.contains(key));
        }
    })?;
    let changed = after.resource_version() > Some(before);
    let outcome = match (changed, request.set.is_empty()) {
        (false, _) => "not labeled",
        (true, true) => "unlabeled",
        (true, false) => "labeled",
    };
    Ok(json!({"done": format!("{}/{name} {outcome}", kind.qualified())}))
}

pub(super) fn scale(server: &Server, request: &Scale) -> Result<Value, ApiError> {
    let (kind, namespace, name) = request.object.place()?;
    if !matches!(kind.kind, "Deployment" | "ReplicaSet" | "StatefulSet") {
        return Err(ApiError::bad(format!("cannot scale a {}", kind.kind)));
    }
    if request.replicas < 0 {
        return Err(ApiError::bad(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0",
        ));
    }
    server.store.edit(kind, namespace, name, |value| value["spec"]["replicas"] = json!(request.replicas))?;
    Ok(json!({"done": format!("{}/{name} scaled", kind.qualified())}))
}

/// `rollout restart`: a new template annotation is a new template.
pub(super) fn restart(server: &Server, object: &Named) -> Result<Value, ApiError> {
    let (kind, namespace, name) = object.place()?;
    if !matches!(kind.kind, "Deployment" | "StatefulSet" | "DaemonSet") {
        return Err(ApiError::bad(format!("{} \"{name}\" restarting is not supported", kind.qualified())));
    }
    server.store.edit(kind, namespace, name, |value| {
        let metadata = &mut value["spec"]["template"]["metadata"];
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!(now());
    })?;
    Ok(json!({"done": format!("{}/{name} restarted", kind.qualified())}))
}
