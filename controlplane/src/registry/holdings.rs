//! What a registry holds of each object: its verdict, and the last good of it, which stays where a newer one is wrong.

use std::collections::{BTreeMap, BTreeSet};

use heddle_api::normalised::Context;
use heddle_api::object::Object;
use serde_json::Value;

use super::decode::{self, Decoded};
use super::shelf::Shelf;
use super::{Batch, Judged, ObjectId, Unread, Verdict};
use crate::index::input::{Change, Input, Key};

#[derive(Debug)]
struct Held {
    /// What the index has of it.
    input: Option<(Key, Input)>,
    judged: Judged,
    /// The input is the object's own, not a denial in its place.
    good: bool,
}

/// Every object of a registry.
#[derive(Debug)]
pub struct Holdings {
    held: BTreeMap<ObjectId, Held>,
    /// Those that are wrong, and what is.
    wrong: BTreeMap<ObjectId, String>,
    context: Context,
    shelf: Shelf,
    /// Secrets that rules name, by rule.
    named: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
}

impl Holdings {
    /// Nothing yet; objects that are right are laid on the shelf for who looks at all of them.
    pub fn new(context: Context, shelf: Shelf) -> Self {
        Self { held: BTreeMap::new(), wrong: BTreeMap::new(), context, shelf, named: BTreeMap::new() }
    }

    /// Judges an object, and notes what changes by it.
    pub fn take(&mut self, id: ObjectId, mut object: Object, batch: &mut Batch) {
        let resource_version = object.resource_version().unwrap_or(0);
        let generation = object.value.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        let Decoded { input, fallback, verdict, findings, parents } =
            decode::decode(&mut object, &self.context);
        let old = self.held.remove(&id);
        let (old_input, old_good) =
            old.as_ref().map_or((None, false), |held| (held.input.clone(), held.good));
        let wrong = matches!(verdict, Verdict::Invalid(_));
        match &verdict {
            Verdict::Invalid(message) => drop(self.wrong.insert(id.clone(), message.clone())),
            _ => drop(self.wrong.remove(&id)),
        }
        let (input, good) = match (wrong, old_good) {
            (false, _) => (input, true),
            (true, true) => (old_input.clone(), true),
            (true, false) => (fallback, false),
        };
        self.name_secrets(&id, input.as_ref());
        if input != old_input {
            match (&input, &old_input) {
                (Some((key, input)), _) => batch.changes.push(Change::Put(key.clone(), input.clone())),
                (None, Some((key, _))) => batch.changes.push(Change::Remove(key.clone())),
                (None, None) => {}
            }
        }
        self.shelf.lay(&id, (!wrong).then_some(object));
        let judged = Judged { resource_version, generation, verdict, findings, parents };
        if old.as_ref().is_none_or(|held| held.judged != judged) {
            batch.verdicts.push((id.clone(), Some(judged.clone())));
        }
        self.held.insert(id, Held { input, judged, good });
    }

    /// What the mesh config says of objects that do not say who sees them may have changed: they are judged anew. One
    /// that is wrong keeps the last good of it as it was.
    pub fn heed(&mut self, batch: &mut Batch) {
        let said = self.held.values().find_map(|held| match &held.input {
            Some((_, Input::MeshConfig(config))) => Some(self.context.with_exports_of(&config.defaults)),
            _ => None,
        });
        let context = said.unwrap_or_else(|| self.context.with_exports_of(&Context::default()));
        if context == self.context {
            return;
        }
        self.context = context;
        let exported = |id: &ObjectId| {
            id.directory.ends_with(".networking.istio.io") || &*id.directory == "services.core"
        };
        for (id, object) in self.shelf.all().into_iter().filter(|(id, _)| exported(id)) {
            self.take(id, Object::clone(&object), batch);
        }
    }

    /// The object is gone.
    pub fn remove(&mut self, id: &ObjectId, batch: &mut Batch) {
        let Some(held) = self.held.remove(id) else { return };
        self.wrong.remove(id);
        self.name_secrets(id, None);
        self.shelf.lay(id, None);
        if let Some((key, _)) = held.input {
            batch.changes.push(Change::Remove(key));
        }
        batch.verdicts.push((id.clone(), None));
    }

    fn name_secrets(&mut self, rule: &ObjectId, input: Option<&(Key, Input)>) {
        let Some((key, Input::Keyed(keyed))) = input else {
            self.named.remove(rule);
            return;
        };
        let secret = |name: &String| ObjectId {
            directory: "secrets.core".into(),
            namespace: key.namespace.clone(),
            name: name.as_str().into(),
        };
        self.named.insert(rule.clone(), keyed.secrets.iter().map(secret).collect());
    }

    /// Secrets that rules name: what others hold is nobody's business here.
    pub fn named_secrets(&self) -> BTreeSet<ObjectId> {
        self.named.values().flatten().cloned().collect()
    }

    /// Every object of a kind: `pods.core`.
    pub fn of_kind(&self, directory: &str) -> Vec<ObjectId> {
        self.held.keys().filter(|id| &*id.directory == directory).cloned().collect()
    }

    /// The highest version of an object that is there.
    pub fn resource_version(&self) -> u64 {
        self.held.values().map(|held| held.judged.resource_version).max().unwrap_or(0)
    }

    /// Objects that are wrong.
    pub fn problems(&self) -> impl Iterator<Item = Unread> {
        let unread =
            |(id, message): (&ObjectId, &String)| Unread { object: id.to_string(), message: message.clone() };
        self.wrong.iter().map(unread)
    }
}
