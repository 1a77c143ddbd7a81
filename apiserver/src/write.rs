//! Every change of an object: what may be written, and what the server adds.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::failure::{Answer, Failure};
use crate::resource::Resource;
use crate::schema;
use crate::store::{Key, Store};

/// One request that writes.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) resource: &'a Resource,
    /// As in the path.
    pub(crate) version: &'a str,
    /// Empty, `status`, `finalize`.
    pub(crate) subresource: &'a str,
    pub(crate) manager: &'a str,
    /// RFC 3339.
    pub(crate) now: &'a str,
    pub(crate) dry_run: bool,
}

/// What a deletion asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
}

impl Writer<'_> {
    pub(crate) fn api_version(&self) -> String {
        self.resource.api_version(self.version)
    }

    pub(crate) fn create(&mut self, namespace: &str, mut object: Value) -> Answer<Arc<Value>> {
        self.check_kind(&mut object)?;
        let metadata = metadata(&mut object);
        if let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned)
            && metadata.get("name").and_then(Value::as_str).is_none_or(str::is_empty)
        {
            metadata.insert("name".to_owned(), format!("{prefix}{}", &fresh()[..5]).into());
        }
        if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty())
        {
            return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let key = self.key(namespace, &mut object)?;
        if self.store.get(&self.resource.id, &key).is_some() {
            return Err(Failure::already_exists(self.resource, &key.1));
        }
        self.check_namespace(&key)?;
        if self.resource.status {
            object.as_object_mut().into_iter().for_each(|fields| drop(fields.shift_remove("status")));
        }
        self.begin(&mut object);
        self.note_update(None, &mut object);
        self.keep(&key, None, object)
    }

    /// What every new object gets.
    fn begin(&self, object: &mut Value) {
        let metadata = metadata(object);
        metadata.insert("uid".to_owned(), uid().into());
        metadata.insert("creationTimestamp".to_owned(), self.now.into());
        for gone in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
            metadata.shift_remove(gone);
        }
        if self.resource.generation {
            metadata.insert("generation".to_owned(), 1.into());
        }
        match &*self.resource.id {
            "namespaces" => {
                object["spec"]["finalizers"] = json!(["kubernetes"]);
                object["status"] = json!({"phase": "Active"});
            }
            "pods" => object["status"] = json!({"phase": "Pending"}),
            "secrets" if object["type"].is_null() => object["type"] = "Opaque".into(),
            _ => {}
        }
    }

    /// PUT, and the end of every patch that is no apply.
    pub(crate) fn update(&mut self, key: &Key, mut object: Value) -> Answer<Arc<Value>> {
        self.check_kind(&mut object)?;
        let before = self.store.get(&self.resource.id, key).cloned();
        let before = before.ok_or_else(|| Failure::not_found(self.resource, &key.1))?;
        if self.key(&key.0, &mut object)? != *key {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let held = before.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if !version.is_empty() && version != held {
            return Err(Failure::modified(self.resource, &key.1));
        }
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        if uid.is_some_and(|uid| before.pointer("/metadata/uid").and_then(Value::as_str) != Some(uid)) {
            return Err(Failure::conflict(self.resource, &key.1, "Precondition failed: UID in precondition"));
        }
        let mut after = self.allowed(&before, object);
        self.note_update(Some(&before), &mut after);
        self.keep(key, Some(&before), after)
    }

    /// PATCH with `application/apply-patch+yaml`.
    pub(crate) fn apply(&mut self, key: &Key, mut object: Value, force: bool) -> Answer<Arc<Value>> {
        self.check_kind(&mut object)?;
        if object.pointer("/metadata/managedFields").is_some() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        if self.key(&key.0, &mut object)? != *key {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        let before = self.store.get(&self.resource.id, key).cloned();
        let wanted = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let held = before.as_ref().and_then(|before| before.pointer("/metadata/resourceVersion")?.as_str());
        if wanted.is_some_and(|wanted| held != Some(&wanted)) {
            return Err(Failure::modified(self.resource, &key.1));
        }
        self.only_mine(&mut object);
        self.prune(&mut object);
        let Some(before) = before else {
            if !self.subresource.is_empty() {
                return Err(Failure::not_found(self.resource, &key.1));
            }
            self.check_namespace(key)?;
            let mut live = json!({"apiVersion": self.api_version(), "kind": self.resource.kind,
                "metadata": {"name": key.1}});
            if !key.0.is_empty() {
                live["metadata"]["namespace"] = key.0.as_str().into();
            }
            let mut after = self.applied(&live, &object, force)?;
            self.begin(&mut after);
            return self.keep(key, None, after);
        };
        let after = self.applied(&before, &object, force)?;
        let owners = after["metadata"]["managedFields"].clone();
        let mut after = self.allowed(&before, after);
        after["metadata"]["managedFields"] = owners;
        self.keep(key, Some(&before), after)
    }

    /// Of an applied object, what this subresource takes.
    fn only_mine(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        match self.subresource {
            "status" => {
                fields.retain(|name, _| ["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()))
            }
            _ if self.resource.status => drop(fields.shift_remove("status")),
            _ => {}
        }
    }

    /// What is written of an object: its status here, everything else there; never what the server owns.
    fn allowed(&self, before: &Value, mut after: Value) -> Value {
        if self.subresource == "status" {
            let mut kept = before.clone();
            let status = after.get("status").cloned();
            let fields = kept.as_object_mut().into_iter();
            fields.for_each(|fields| match &status {
                Some(status) => drop(fields.insert("status".to_owned(), status.clone())),
                None => drop(fields.shift_remove("status")),
            });
            return kept;
        }
        let old = before.get("metadata").cloned().unwrap_or_default();
        let metadata = metadata(&mut after);
        for owned in
            ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            match old.get(owned) {
                Some(value) => drop(metadata.insert(owned.to_owned(), value.clone())),
                None => drop(metadata.shift_remove(owned)),
            }
        }
        if self.resource.status {
            let fields = after.as_object_mut().into_iter();
            fields.for_each(|fields| match before.get("status") {
                Some(status) => drop(fields.insert("status".to_owned(), status.clone())),
                None => drop(fields.shift_remove("status")),
            });
        }
        after
    }

    /// Stores an object, or nothing where nothing changed; removes it where it only waited for its finalizers.
    pub(crate) fn keep(
        &mut self,
        key: &Key,
        before: Option<&Arc<Value>>,
        mut after: Value,
    ) -> Answer<Arc<Value>> {
        self.prune(&mut after);
        let schema = self.resource.schema(self.version);
        for part in ["spec", "status"] {
            let schema = schema.and_then(|schema| schema["properties"].get(part));
            if let (Some(value), Some(schema)) = (after.get(part), schema)
                && let Some(problem) = schema::refused(value, schema, part)
            {
                return Err(Failure::invalid(self.resource, &key.1, &problem));
            }
        }
        after["apiVersion"] = self.resource.api_version(&self.resource.versions[0]).into();
        after["kind"] = self.resource.kind.clone().into();
        if let Some(before) = before {
            after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if after == **before {
                return Ok(before.clone());
            }
            let mut rest = [(**before).clone(), after.clone()];
            rest.iter_mut().filter_map(Value::as_object_mut).for_each(|fields| {
                fields.retain(|name, _| name != "metadata" && name != "status");
            });
            if self.resource.generation && rest[0] != rest[1] {
                let generation = before.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
                after["metadata"]["generation"] = (generation + 1).into();
            }
        }
        if self.dry_run {
            return Ok(Arc::new(after));
        }
        let waits = !after["metadata"]["deletionTimestamp"].is_null();
        let kept = self.store.put(&self.resource.id, key, after);
        if waits
            && finalized(&kept)
            && kept["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        {
            return Ok(self.store.remove(&self.resource.id, key).unwrap_or(kept));
        }
        Ok(kept)
    }

    fn prune(&self, object: &mut Value) {
        let schema = self.resource.schema(self.version);
        for part in ["spec", "status"] {
            let schema = schema.and_then(|schema| schema["properties"].get(part));
            if let (Some(value), Some(schema)) = (object.get_mut(part), schema) {
                schema::prune(value, schema);
            }
        }
    }

    /// DELETE; the object, if it is still there.
    pub(crate) fn delete(&mut self, key: &Key, asked: &Deletion) -> Answer<Option<Arc<Value>>> {
        let before = self.store.get(&self.resource.id, key).cloned();
        let before = before.ok_or_else(|| Failure::not_found(self.resource, &key.1))?;
        let is = |name: &str| before["metadata"][name].as_str();
        if asked.uid.as_deref().is_some_and(|uid| is("uid") != Some(uid))
            || asked.version.as_deref().is_some_and(|version| is("resourceVersion") != Some(version))
        {
            return Err(Failure::conflict(
                self.resource,
                &key.1,
                "the UID or resourceVersion in the precondition differs",
            ));
        }
        if self.dry_run {
            return Ok(Some(before));
        }
        let grace = self.grace(&before, asked);
        if grace == 0 && finalized(&before) {
            self.store.remove(&self.resource.id, key);
            return Ok(None);
        }
        let mut after = (*before).clone();
        if after["metadata"]["deletionTimestamp"].is_null() {
            after["metadata"]["deletionTimestamp"] = self.now.into();
        }
        after["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        if &*self.resource.id == "namespaces" {
            after["status"]["phase"] = "Terminating".into();
        }
        Ok(Some(self.store.put(&self.resource.id, key, after)))
    }

    /// Only pods that run somewhere are given time.
    fn grace(&self, before: &Value, asked: &Deletion) -> i64 {
        let runs =
            before.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty());
        let ended = matches!(before["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if &*self.resource.id != "pods" || !runs || ended {
            return 0;
        }
        let own = before.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
        asked.grace.or(own).unwrap_or(30)
    }

    fn check_kind(&self, object: &mut Value) -> Answer<()> {
        let fields =
            object.as_object_mut().ok_or_else(|| Failure::bad_request("the body is not an object"))?;
        let wanted = [("apiVersion", self.api_version()), ("kind", self.resource.kind.clone())];
        for (name, wanted) in wanted {
            match fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
                Some(written) if *written != *wanted => {
                    let why =
                        format!("{name} in the data ({written}) does not match the expected one ({wanted})");
                    return Err(Failure::bad_request(why));
                }
                _ => drop(fields.insert(name.to_owned(), wanted.into())),
            }
        }
        Ok(())
    }

    fn key(&self, namespace: &str, object: &mut Value) -> Answer<Key> {
        let metadata = metadata(object);
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Failure::invalid(
                self.resource,
                "",
                "metadata.name: Required value: name or generateName is required",
            ));
        }
        let fits = name.len() <= 253
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c));
        if !fits {
            return Err(Failure::invalid(
                self.resource,
                &name,
                "metadata.name: Invalid value: a lowercase RFC 1123 subdomain is wanted",
            ));
        }
        let written = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if self.resource.namespaced && !written.is_empty() && written != namespace {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if self.resource.namespaced {
            metadata.insert("namespace".to_owned(), namespace.into());
        } else {
            metadata.shift_remove("namespace");
        }
        Ok((if self.resource.namespaced { namespace.to_owned() } else { String::new() }, name))
    }

    fn check_namespace(&self, key: &Key) -> Answer<()> {
        if key.0.is_empty() {
            return Ok(());
        }
        match self.store.get("namespaces", &(String::new(), key.0.clone())) {
            None => Err(Failure::new(404, "NotFound", format!("namespaces \"{}\" not found", key.0))),
            Some(namespace) if !namespace["metadata"]["deletionTimestamp"].is_null() => {
                let message = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    key.0
                );
                Err(Failure::new(403, "Forbidden", message))
            }
            Some(_) => Ok(()),
        }
    }
}

fn finalized(object: &Value) -> bool {
    let waits = |pointer: &str| {
        object.pointer(pointer).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    };
    let held = object["kind"] == "Namespace" && waits("/spec/finalizers");
    !held && !waits("/metadata/finalizers")
}

pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("it was made a mapping just now")
}

/// Letters and digits that nobody had before.
pub(crate) fn fresh() -> String {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel gives randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn uid() -> String {
    let text = fresh();
    format!("{}-{}-4{}-a{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..])
}
