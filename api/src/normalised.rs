//! From an object as written to the model that the mesh works with: one pass that converts and says what is wrong.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use heddle_core::object::{ExportTo, ObjectRef};

use crate::diagnostic::{Problem, Severity};
use crate::report::Notes;
use crate::strict;

/// Types of an API as written: every field may be missing, and what the API does not know is found by the strict reader.
macro_rules! written {
    ($($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            pub(crate) struct $name { $($(#[$meta])* pub(crate) $field: $type),* }
        )*
    };
}
pub(crate) use written;

/// What an object's meaning depends on beside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// `cluster.local`.
    pub cluster_domain: String,
    /// `cluster.local`: what principals without a trust domain get.
    pub trust_domain: String,
    /// MeshConfig `defaultVirtualServiceExportTo`, where an object says nothing; empty: everywhere.
    pub virtual_service_export_to: Vec<String>,
    /// MeshConfig `defaultDestinationRuleExportTo`.
    pub destination_rule_export_to: Vec<String>,
    /// MeshConfig `defaultServiceExportTo`.
    pub service_export_to: Vec<String>,
}

impl Context {
    /// The same under the `default…ExportTo` of another.
    #[must_use]
    pub fn with_exports_of(&self, other: &Self) -> Self {
        Self {
            cluster_domain: self.cluster_domain.clone(),
            trust_domain: self.trust_domain.clone(),
            ..other.clone()
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            virtual_service_export_to: Vec::new(),
            destination_rule_export_to: Vec::new(),
            service_export_to: Vec::new(),
        }
    }
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised<T> {
    /// `None`: it is refused, or nothing in it concerns the mesh; the problems say which.
    pub model: Option<T>,
    /// Everything that was found.
    pub problems: Vec<Problem>,
}

impl<T> Normalised<T> {
    /// Whether the object is refused.
    pub fn refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    pub(crate) fn new(model: Option<T>, notes: Notes) -> Self {
        Self { model: model.filter(|_| !notes.refused()), problems: notes.finish() }
    }
}

/// An object of a mesh API with this spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource<S> {
    #[allow(dead_code)] // read for the schema
    api_version: String,
    #[allow(dead_code)] // read for the schema
    kind: String,
    metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: S,
    #[serde(default)]
    #[allow(dead_code)] // read for the schema
    status: Option<Value>,
}

impl<S: DeserializeOwned + Default> Resource<S> {
    /// Reads strictly; what breaks the schema is noted, and then there is nothing.
    pub(crate) fn read(value: &Value, notes: &mut Notes) -> Option<Self> {
        let problems = strict::schema::<Self>(value);
        let refused = !problems.is_empty();
        notes.extend(problems);
        if refused { None } else { Self::deserialize(value).ok() }
    }

    /// Its namespace; `default` where it was not given yet.
    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Seconds since 1970; an object that was not stored yet is the youngest.
    pub(crate) fn created(&self) -> i64 {
        self.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
    }

    /// Its name among the mesh's objects.
    pub(crate) fn source(&self, kind: &str) -> ObjectRef {
        ObjectRef {
            kind: kind.to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }
}

/// `exportTo` with `.` and `~` resolved; `default` counts where nothing is said.
pub(crate) fn export_to(written: &[String], default: &[String], namespace: &str) -> ExportTo {
    let names = if written.is_empty() { default } else { written };
    if names.is_empty() || names.iter().any(|name| name == "*") {
        return ExportTo::All;
    }
    let named = names.iter().filter(|name| *name != "~");
    ExportTo::Namespaces(named.map(|name| if name == "." { namespace } else { name }.to_owned()).collect())
}
