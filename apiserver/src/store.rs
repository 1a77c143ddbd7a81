//! Objects by resource and key, and the log of what happened to them: a version of any time within it can be told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::failure::{Answer, Failure};

/// Namespace, empty where there is none, and name: lists are in this order.
pub(crate) type Key = (String, String);

/// The objects of a resource.
pub(crate) type Objects = BTreeMap<Key, Arc<Value>>;

/// Of more events the oldest are forgotten.
const MOST_EVENTS: usize = 100_000;

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) resource: Arc<str>,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Value>>,
    /// `None`: it was deleted.
    pub(crate) after: Option<Arc<Value>>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    /// What happened until then is forgotten.
    compacted: u64,
    objects: BTreeMap<Arc<str>, Objects>,
    log: VecDeque<Event>,
    changed: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            version: 1,
            compacted: 0,
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            changed: watch::channel(1).0,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn get(&self, resource: &str, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(resource)?.get(key)
    }

    pub(crate) fn all(&self, resource: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.get(resource).into_iter().flatten()
    }

    /// Every resource of which there are objects.
    pub(crate) fn resources(&self) -> Vec<Arc<str>> {
        self.objects.keys().cloned().collect()
    }

    /// Stores an object under the next version.
    pub(crate) fn put(&mut self, resource: &Arc<str>, key: &Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let before = self.objects.entry(resource.clone()).or_default().insert(key.clone(), object.clone());
        self.tell(resource, key, before, Some(object.clone()));
        object
    }

    /// Deletes an object; gives it back as it was, with the version of the deletion.
    pub(crate) fn remove(&mut self, resource: &Arc<str>, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.get_mut(resource)?.remove(key)?;
        self.version += 1;
        let gone = as_of(&before, self.version);
        self.tell(resource, key, Some(before), None);
        Some(Arc::new(gone))
    }

    /// Wakes everybody who waits for a change, though there is none.
    pub(crate) fn wake(&self) {
        self.changed.send_replace(self.version);
    }

    fn tell(
        &mut self,
        resource: &Arc<str>,
        key: &Key,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
    ) {
        let event =
            Event { version: self.version, resource: resource.clone(), key: key.clone(), before, after };
        self.log.push_back(event);
        while self.log.len() > MOST_EVENTS {
            self.compacted = self.log.pop_front().map_or(self.compacted, |event| event.version);
        }
        self.changed.send_replace(self.version);
    }

    /// Forgets everything that happened until now.
    pub(crate) fn compact(&mut self) {
        self.log.clear();
        self.compacted = self.version;
    }

    /// What happened to a resource after a version.
    pub(crate) fn since(&self, resource: &str, version: u64) -> Answer<Vec<Event>> {
        if version < self.compacted {
            return Err(Failure::expired(version, self.compacted));
        }
        let begin = self.log.partition_point(|event| event.version <= version);
        let events = self.log.range(begin..).filter(|event| &*event.resource == resource);
        Ok(events.cloned().collect())
    }

    /// The objects of a resource as they were at a version.
    pub(crate) fn at(&self, resource: &str, version: u64) -> Answer<Objects> {
        let mut objects = self.objects.get(resource).cloned().unwrap_or_default();
        if version >= self.version {
            return Ok(objects);
        }
        for event in self.since(resource, version)?.into_iter().rev() {
            match event.before {
                Some(before) => objects.insert(event.key, before),
                None => objects.remove(&event.key),
            };
        }
        Ok(objects)
    }
}

/// An object with another version.
pub(crate) fn as_of(object: &Value, version: u64) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object
}
