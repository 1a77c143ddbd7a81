//! Owner references: who made an object, and what an object has made.
use std::sync::Arc;

use heddle_api::kind::KindInfo;
use heddle_api::object::Object;
use serde_json::{Value, json};

use crate::store::Store;

/// The reference that a controller puts on what it makes.
pub(super) fn reference(owner: &Object) -> Value {
    json!([{
        "apiVersion": owner.kind.api_version(), "kind": owner.kind.kind, "name": owner.name,
        "uid": owner.uid(), "controller": true, "blockOwnerDeletion": true
    }])
}

/// The objects of a kind that this owner controls.
pub(super) fn children(store: &Store, kind: &KindInfo, owner: &Object) -> Vec<Arc<Object>> {
    let mut all = store.list(kind);
    all.retain(|child| child.namespace == owner.namespace && is_controlled_by(child, owner));
    all
}

pub(super) fn owners(object: &Object) -> impl Iterator<Item = &str> {
    let references = object.value["metadata"]["ownerReferences"].as_array();
    references.into_iter().flatten().filter_map(|reference| reference["uid"].as_str())
}

fn is_controlled_by(child: &Object, owner: &Object) -> bool {
    owner.uid().is_some_and(|uid| owners(child).any(|of| of == uid))
}
