//! An object of a known kind, as JSON: everything that was written is kept.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::kind::{self, KindInfo};

/// An object. The namespace and name are those of `value.metadata`.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: &'static KindInfo,
    /// `None`: its kind has none, or it was not given yet (see [`Object::default_namespace`]).
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// The whole object.
    pub value: Value,
}

/// Why a value is not an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Not a mapping.
    #[error("is not an object")]
    NotAnObject,
    /// `apiVersion` or `kind` is missing or not a text.
    #[error("{0} is missing or not a string")]
    Missing(&'static str),
    /// Nobody knows it.
    #[error("kind {kind} of {api_version} is not known{hint}")]
    UnknownKind {
        /// As written.
        api_version: String,
        /// As written.
        kind: String,
        /// What to write instead, if that can be told.
        hint: String,
    },
}

impl Object {
    /// Takes a value whose schema was checked before, or need not be. A missing name becomes the empty one.
    ///
    /// # Errors
    /// It is not an object of a known kind.
    pub fn from_value(value: Value) -> Result<Self, ObjectError> {
        let fields = value.as_object().ok_or(ObjectError::NotAnObject)?;
        let text = |key| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let api_version = text("apiVersion").ok_or(ObjectError::Missing("apiVersion"))?;
        let kind = text("kind").ok_or(ObjectError::Missing("kind"))?;
        let info = kind::find(api_version, kind).ok_or_else(|| ObjectError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            hint: kind::suggest(api_version, kind),
        })?;
        let metadata = |key| value.pointer(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            kind: info,
            namespace: metadata("/metadata/namespace").filter(|name| info.namespaced && !name.is_empty()),
            name: metadata("/metadata/name").unwrap_or_default(),
            value,
        })
    }

    /// Reads a JSON text as [`Object::from_value`] does.
    ///
    /// # Errors
    /// It is not JSON, or not an object of a known kind.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        Self::from_value(value).map_err(|error| error.to_string())
    }

    /// Gives a namespaced object that names no namespace this one.
    pub fn default_namespace(&mut self, namespace: &str) {
        if self.kind.namespaced && self.namespace.is_none() {
            self.namespace = Some(namespace.to_owned());
            self.metadata_mut().insert("namespace".to_owned(), namespace.into());
        }
    }

    /// The whole object as a type of k8s-openapi or of ours.
    ///
    /// # Errors
    /// The object breaks the type's schema.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.value)
    }

    /// `metadata.labels`; what is not a text is left out.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.texts("/metadata/labels")
    }

    /// `metadata.annotations`; what is not a text is left out.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.texts("/metadata/annotations")
    }

    /// `metadata.uid`, once stored.
    pub fn uid(&self) -> Option<&str> {
        self.value.pointer("/metadata/uid").and_then(Value::as_str)
    }

    /// `metadata.resourceVersion`, once stored.
    pub fn resource_version(&self) -> Option<u64> {
        self.value.pointer("/metadata/resourceVersion").and_then(Value::as_str)?.parse().ok()
    }

    /// `metadata`, made if it is not there.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        member(&mut self.value, "metadata")
    }

    /// `status`, made if it is not there.
    pub fn status_mut(&mut self) -> &mut Map<String, Value> {
        member(&mut self.value, "status")
    }

    fn texts(&self, pointer: &str) -> BTreeMap<String, String> {
        let fields = self.value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }
}

/// The mapping below a key of a mapping; whatever else stands there gives way.
fn member<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value[key].is_object() {
        value[key] = Value::Object(Map::new());
    }
    value[key].as_object_mut().expect("it was made a mapping just now")
}
