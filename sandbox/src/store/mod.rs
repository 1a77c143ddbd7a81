//! The sandbox's object store: what an API server keeps, in memory and one file an object.
//!
//! Consumers are level-triggered: they wait on [`Store::changed`], then list again. A pod is not gone when
//! [`Store::delete`] returns: its kubelet ends it within its grace period and calls [`Store::remove`].
mod addresses;
mod admit;
mod defaults;
mod disk;
mod error;
mod immutable;
mod merge;
mod meta;
mod seed;
pub mod selector;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use meta::{now, seconds, suffix, timestamp};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heddle_api::kind::KindInfo;
use heddle_api::object::Object;
use serde_json::{Value, json};
use tokio::sync::watch;

use addresses::ServiceAddresses;

/// A cheap handle on the one store of a sandbox.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What `apply` did, worded as kubectl words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Created,
    Configured,
    Unchanged,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    directory: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Arc<Object>>,
    version: u64,
    addresses: ServiceAddresses,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    plural: &'static str,
    group: &'static str,
    namespace: Option<String>,
    name: String,
}

impl Key {
    fn new(kind: &KindInfo, namespace: Option<&str>, name: &str) -> Key {
        let namespace = namespace.filter(|_| kind.namespaced).map(str::to_owned);
        Key { plural: kind.plural, group: kind.group, namespace, name: name.to_owned() }
    }
}

impl Store {
    /// A store that writes every object below `directory`, with the namespaces that every sandbox has.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        Store::seeded(Some(directory.to_owned()))
    }

    /// A store without files, for tests.
    pub fn in_memory() -> Result<Store, StoreError> {
        Store::seeded(None)
    }

    fn seeded(directory: Option<PathBuf>) -> Result<Store, StoreError> {
        let (changed, _) = watch::channel(0);
        let store = Store { shared: Arc::new(Shared { state: Mutex::default(), changed, directory }) };
        seed::fill(&store)?;
        Ok(store)
    }

    pub fn get(&self, kind: &KindInfo, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        self.state().objects.get(&Key::new(kind, namespace, name)).cloned()
    }

    /// Every object of a kind in all namespaces, ordered by namespace and name.
    pub fn list(&self, kind: &KindInfo) -> Vec<Arc<Object>> {
        self.select(|key| key.plural == kind.plural && key.group == kind.group)
    }

    /// Every object of every kind.
    pub fn everything(&self) -> Vec<Arc<Object>> {
        self.select(|_| true)
    }

    fn select(&self, wanted: impl Fn(&Key) -> bool) -> Vec<Arc<Object>> {
        self.state().objects.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect()
    }

    /// Stores an object that must not exist yet.
    pub fn create(&self, object: Object) -> Result<Arc<Object>, StoreError> {
        let created = {
            let mut state = self.state();
            if state.objects.contains_key(&key_of(&object)) {
                return Err(StoreError::exists(&object));
            }
            self.insert(&mut state, object)?
        };
        if created.kind.kind == "Namespace" {
            seed::service_account(self, &created.name)?;
        }
        Ok(created)
    }

    /// Creates or replaces. A `metadata.resourceVersion` that is not the stored one is a conflict.
    pub fn put(&self, object: Object) -> Result<Arc<Object>, StoreError> {
        if self.get(object.kind, object.namespace.as_deref(), &object.name).is_none() {
            return self.create(object);
        }
        let mut state = self.state();
        let Some(old) = state.objects.get(&key_of(&object)).cloned() else {
            return Err(StoreError::missing(object.kind, &object.name));
        };
        meta::check_version(&old, &object)?;
        self.replace(&mut state, &old, object)
    }

    /// `kubectl apply`: merges what changed since the last apply, and keeps what others wrote.
    pub fn apply(&self, mut object: Object) -> Result<(Applied, Arc<Object>), StoreError> {
        merge::remember(&mut object.value);
        if self.get(object.kind, object.namespace.as_deref(), &object.name).is_none() {
            return Ok((Applied::Created, self.create(object)?));
        }
        let mut state = self.state();
        let Some(old) = state.objects.get(&key_of(&object)).cloned() else {
            return Err(StoreError::missing(object.kind, &object.name));
        };
        meta::check_version(&old, &object)?;
        object.value = merge::three_way(&old.value, &object.value);
        let next = self.replace(&mut state, &old, object)?;
        let applied = if Arc::ptr_eq(&next, &old) { Applied::Unchanged } else { Applied::Configured };
        Ok((applied, next))
    }

    /// Changes a stored object in place: labels, scale, annotations.
    pub fn edit(
        &self,
        kind: &KindInfo,
        namespace: Option<&str>,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Object>, StoreError> {
        let mut state = self.state();
        let old = state.existing(kind, namespace, name)?;
        let mut next = Object::clone(&old);
        change(&mut next.value);
        self.replace(&mut state, &old, next)
    }

    /// Changes `.status` alone (it is created when absent); without a difference nothing is written.
    pub fn patch_status(
        &self,
        kind: &KindInfo,
        namespace: Option<&str>,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Object>, StoreError> {
        let mut state = self.state();
        let old = state.existing(kind, namespace, name)?;
        let mut next = Object::clone(&old);
        let mut status = next.value.get("status").cloned().unwrap_or_else(|| json!({}));
        change(&mut status);
        next.value["status"] = status;
        if next.value["status"] == old.value.get("status").cloned().unwrap_or_else(|| json!({})) {
            return Ok(old);
        }
        self.commit(&mut state, next)
    }

    /// Begins to delete: pods on a node and namespaces end later, everything else at once.
    pub fn delete(&self, kind: &KindInfo, namespace: Option<&str>, name: &str) -> Result<(), StoreError> {
        self.delete_within(kind, namespace, name, None)
    }

    /// As [`Store::delete`], with another grace period than the pod's own.
    pub fn delete_within(
        &self,
        kind: &KindInfo,
        namespace: Option<&str>,
        name: &str,
        grace: Option<i64>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let old = state.existing(kind, namespace, name)?;
        admit::deletion(&old)?;
        match meta::terminating(&old, grace) {
            Some(next) if next.value == old.value => Ok(()),
            Some(next) => self.commit(&mut state, next).map(drop),
            None => self.forget(&mut state, &old),
        }
    }

    /// Ends a deletion: the object goes, if it still is the one with this uid.
    pub fn remove(
        &self,
        kind: &KindInfo,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        match state.existing(kind, namespace, name) {
            Ok(old) if meta::uid(&old) == uid => self.forget(&mut state, &old),
            _ => Ok(()),
        }
    }

    /// The highest resourceVersion, on every change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The highest resourceVersion that was given out.
    pub fn version(&self) -> u64 {
        self.state().version
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, state: &mut State, mut object: Object) -> Result<Arc<Object>, StoreError> {
        admit::creation(&object, |kind, namespace, name| {
            state.objects.get(&Key { plural: kind, group: "", namespace, name }).cloned()
        })?;
        defaults::fill(&mut object.value, object.kind);
        admit::consistency(&object)?;
        meta::stamp_new(&mut object)?;
        state.addresses.assign(&mut object)?;
        self.commit(state, object)
    }

    fn replace(
        &self,
        state: &mut State,
        old: &Arc<Object>,
        mut next: Object,
    ) -> Result<Arc<Object>, StoreError> {
        immutable::carry_over(&old.value, &mut next.value);
        defaults::fill(&mut next.value, next.kind);
        admit::consistency(&next)?;
        immutable::check(old, &next)?;
        meta::stamp_update(old, &mut next);
        state.addresses.assign(&mut next)?;
        if next.value == old.value {
            return Ok(old.clone());
        }
        self.commit(state, next)
    }

    fn commit(&self, state: &mut State, mut object: Object) -> Result<Arc<Object>, StoreError> {
        let version = state.version + 1;
        object.value["metadata"]["resourceVersion"] = json!(version.to_string());
        if let Some(directory) = &self.shared.directory {
            disk::write(directory, &object)?;
        }
        let object = Arc::new(object);
        state.objects.insert(key_of(&object), object.clone());
        state.version = version;
        self.shared.changed.send_replace(version);
        Ok(object)
    }

    fn forget(&self, state: &mut State, old: &Object) -> Result<(), StoreError> {
        if let Some(directory) = &self.shared.directory {
            disk::remove(directory, old)?;
        }
        state.addresses.release(old);
        state.objects.remove(&key_of(old));
        // A removed file carries no version. Writing this one after it lets a reader of the directory know that
        // it has seen the removal too.
        let mark = seed::change_mark(state.version + 1);
        self.commit(state, mark).map(drop)
    }
}

impl State {
    fn existing(
        &self,
        kind: &KindInfo,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Arc<Object>, StoreError> {
        let found = self.objects.get(&Key::new(kind, namespace, name)).cloned();
        found.ok_or_else(|| StoreError::missing(kind, name))
    }
}

fn key_of(object: &Object) -> Key {
    Key::new(object.kind, object.namespace.as_deref(), &object.name)
}
