//! What the server holds: the store, the resources, the clock, the faults to come, and what was asked.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::access::User;
use crate::faults::Fault;
use crate::resource::{self, Resource};
use crate::store::{Key, Store};
use crate::write::{self, Writer};

/// Of more requests the oldest are forgotten.
const MOST_SEEN: usize = 100_000;

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    resources: Vec<Resource>,
    /// How far the clock was put forward.
    pub(crate) ahead: Duration,
    pub(crate) faults: Vec<Fault>,
    /// `verb resource[/subresource] namespace/name`, in order.
    pub(crate) seen: Vec<String>,
    /// `user: verb resource namespace/name` of everything that was refused.
    pub(crate) denied: Vec<String>,
    /// Whoever brings one of these tokens.
    pub(crate) users: BTreeMap<String, User>,
    /// What TokenReview says of these tokens, whatever they are.
    pub(crate) verdicts: BTreeMap<String, Value>,
    /// Signs tokens of service accounts.
    pub(crate) key: Vec<u8>,
    /// Without it everybody may do everything.
    pub(crate) rbac: bool,
    pub(crate) bookmarks: Duration,
}

impl World {
    pub(crate) fn new(rbac: bool, bookmarks: Duration) -> Self {
        Self {
            store: Store::new(),
            resources: resource::built_in(),
            ahead: Duration::ZERO,
            faults: Vec::new(),
            seen: Vec::new(),
            denied: Vec::new(),
            users: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            key: write::fresh().into_bytes(),
            rbac,
            bookmarks,
        }
    }

    pub(crate) fn clock(&self) -> OffsetDateTime {
        OffsetDateTime::from(SystemTime::now() + self.ahead)
    }

    /// As Kubernetes writes times.
    pub(crate) fn now(&self) -> String {
        timestamp(self.clock())
    }

    pub(crate) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    pub(crate) fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| {
            resource.group == group
                && resource.plural == plural
                && resource.versions.iter().any(|known| known == version)
        })
    }

    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<(Resource, String)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let mut all = self.resources.iter();
        let found = all.find(|resource| {
            resource.kind == kind
                && resource.group == group
                && resource.versions.iter().any(|known| known == version)
        })?;
        Some((found.clone(), version.to_owned()))
    }

    pub(crate) fn saw(&mut self, request: String) {
        if self.seen.len() == MOST_SEEN {
            self.seen.remove(0);
        }
        self.seen.push(request);
    }

    /// What follows from a write: definitions add resources, namespaces that end take what is in them along.
    pub(crate) fn settle(&mut self, written: &str) {
        if written == resource::CRD_ID {
            self.establish();
        }
        let ending = self.store.all("namespaces").filter(|(_, object)| ends(object));
        let ending: Vec<Key> = ending.map(|(key, _)| key.clone()).collect();
        for key in ending {
            self.empty(&key);
        }
    }

    fn establish(&mut self) {
        let definitions: Vec<(Key, Value)> =
            self.store.all(resource::CRD_ID).map(|(key, object)| (key.clone(), (**object).clone())).collect();
        self.resources = resource::built_in();
        for (key, mut definition) in definitions {
            let Some(added) = resource::custom(&definition) else { continue };
            self.resources.push(added);
            if definition.pointer("/status/conditions").is_none() {
                let condition = |name: &str| {
                    json!({"type": name, "status": "True", "reason": name, "message": "",
                    "lastTransitionTime": self.now()})
                };
                definition["status"]["conditions"] =
                    json!([condition("NamesAccepted"), condition("Established")]);
                definition["status"]["acceptedNames"] = definition["spec"]["names"].clone();
                self.store.put(&resource::CRD_ID.into(), &key, definition);
            }
        }
        // What a definition that is gone described is gone with it.
        for id in self.store.resources() {
            if !self.resources.iter().any(|resource| resource.id == id) {
                let keys: Vec<Key> = self.store.all(&id).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    self.store.remove(&id, &key);
                }
            }
        }
    }

    fn empty(&mut self, namespace: &Key) {
        let now = self.now();
        let mut left = false;
        for resource in self.resources.clone() {
            let keys = self.store.all(&resource.id).map(|(key, _)| key.clone());
            let keys: Vec<Key> = keys.filter(|key| key.0 == namespace.1).collect();
            for key in keys {
                let mut writer = Writer {
                    store: &mut self.store,
                    version: &resource.versions[0],
                    resource: &resource,
                    subresource: "",
                    manager: "double",
                    now: &now,
                    dry_run: false,
                };
                let ends = writer.store.get(&resource.id, &key).is_some_and(ends);
                left |=
                    ends || writer.delete(&key, &write::Deletion::default()).is_ok_and(|kept| kept.is_some());
            }
        }
        if !left {
            self.store.remove(&"namespaces".into(), namespace);
        }
    }
}

fn ends(object: &impl AsRef<Value>) -> bool {
    !object.as_ref()["metadata"]["deletionTimestamp"].is_null()
}

/// To the second.
pub(crate) fn timestamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
