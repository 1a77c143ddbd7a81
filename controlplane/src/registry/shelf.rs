//! Objects that are right by themselves, for who looks at all of them together. Cheap to clone; every clone is the same shelf.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::ObjectId;

/// Where they are.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    objects: Arc<Mutex<BTreeMap<ObjectId, Arc<Object>>>>,
}

impl Shelf {
    /// Lays an object there, or takes it away.
    pub(super) fn lay(&self, id: &ObjectId, object: Option<Object>) {
        let kept = object.and_then(what_is_looked_at).map(Arc::new);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        match kept {
            Some(object) => drop(objects.insert(id.clone(), object)),
            None => drop(objects.remove(id)),
        }
    }

    /// All of them, in their order.
    pub fn all(&self) -> Vec<(ObjectId, Arc<Object>)> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.iter().map(|(id, object)| (id.clone(), object.clone())).collect()
    }
}

/// Of the many objects of Kubernetes only what is asked of them; of Secrets nothing that is secret.
fn what_is_looked_at(mut object: Object) -> Option<Object> {
    match (object.kind.group, object.kind.kind) {
        ("" | "discovery.k8s.io", "Node" | "EndpointSlice" | "ServiceAccount") => return None,
        ("", "Secret") => object.value = slim(&object, &Value::Null),
        ("", "Pod") => {
            let spec = json!({"hostNetwork": object.value.pointer("/spec/hostNetwork")});
            object.value = slim(&object, &spec);
        }
        _ => {}
    }
    Some(object)
}

fn slim(object: &Object, spec: &Value) -> Value {
    json!({"apiVersion": object.kind.api_version(), "kind": object.kind.kind, "spec": spec,
        "metadata": {"name": object.name, "namespace": object.namespace, "labels": object.labels()}})
}
