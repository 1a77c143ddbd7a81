//! What outlives its owner or its namespace goes.
use std::collections::BTreeSet;

use heddle_api::object::Object;

use super::{kind_named, note, ownership, pods};
use crate::store::Store;

pub(super) fn reconcile(store: &Store) {
    let everything = store.everything();
    let alive: BTreeSet<&str> = everything.iter().filter_map(|object| object.uid()).collect();
    for object in &everything {
        let mut owners = ownership::owners(object).peekable();
        if owners.peek().is_some() && !owners.any(|owner| alive.contains(owner)) {
            delete(store, object);
        }
    }
    for namespace in store.list(kind_named("Namespace")) {
        if pods::is_terminating(&namespace) {
            empty(store, &namespace);
        }
    }
}

fn empty(store: &Store, namespace: &Object) {
    let mut rest = store.everything();
    rest.retain(|object| object.namespace.as_deref() == Some(&namespace.name));
    for object in &rest {
        delete(store, object);
    }
    let uid = namespace.uid().unwrap_or_default();
    if rest.is_empty() {
        note("namespace", &namespace.name, store.remove(namespace.kind, None, &namespace.name, uid));
    }
}

fn delete(store: &Store, object: &Object) {
    if !pods::is_terminating(object) {
        note("collect", &object.name, store.delete(object.kind, object.namespace.as_deref(), &object.name));
    }
}
