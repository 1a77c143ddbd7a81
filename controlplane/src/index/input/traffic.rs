//! Traffic and policy as the index reads them: each object normalised by itself, with what ties it to others beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use heddle_api::normalised::Context;
use heddle_api::object::Object;
use heddle_api::upstream::Credential;
use heddle_core::object::Labels;
use heddle_core::policy::Policy;
use heddle_core::route::model::RouteObject;
use heddle_core::upstream::model::ServiceEntry;
use serde_json::Value;

use super::Selection;

/// Group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// HTTPRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteInput {
    /// Its backends of kind Service as hosts, whether or not they exist; others are invalid already.
    pub route: RouteObject,
    /// Every parent.
    pub parents: Vec<Parent>,
    /// Rules that were dropped, and why.
    pub dropped: Vec<String>,
}

/// A `parentRef`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// Empty: the core group.
    pub group: String,
    /// `Service`, `Gateway`.
    pub kind: String,
    /// Of the route where none is written.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name of a Service's port.
    pub section: Option<String>,
    /// The number of a Service's port.
    pub port: Option<u16>,
    /// As written: status repeats it.
    pub written: Value,
}

impl Parent {
    /// Reads what can be read of it; a refused object names its parents too.
    pub fn read(written: &Value, namespace: &str) -> Self {
        let text = |key: &str| written.get(key).and_then(Value::as_str);
        Self {
            group: text("group").unwrap_or(GATEWAY_GROUP).to_owned(),
            kind: text("kind").unwrap_or("Gateway").to_owned(),
            namespace: text("namespace").unwrap_or(namespace).to_owned(),
            name: text("name").unwrap_or_default().to_owned(),
            section: text("sectionName").map(str::to_owned),
            port: written.get("port").and_then(Value::as_u64).and_then(|port| port.try_into().ok()),
            written: written.clone(),
        }
    }

    /// Whether the mesh speaks for it.
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}

/// ReferenceGrant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantInput {
    /// Group, kind and namespace of those who may refer.
    pub from: Vec<(String, String, String)>,
    /// Group, kind and perhaps the name of what they may refer to.
    pub to: Vec<(String, String, Option<String>)>,
}

impl GrantInput {
    /// Whether routes of a kind and namespace may refer to a Service.
    pub fn allows(&self, kind: &str, namespace: &str, service: &str) -> bool {
        let from = |(group, from, place): &(String, String, String)| {
            group == GATEWAY_GROUP && from == kind && place == namespace
        };
        let to = |(group, to, name): &(String, String, Option<String>)| {
            group.is_empty() && to == "Service" && name.as_ref().is_none_or(|name| name == service)
        };
        self.from.iter().any(from) && self.to.iter().any(to)
    }
}

/// A DestinationRule that names Secrets of its namespace: what it means depends on what they hold.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedInput {
    /// As written.
    pub object: Object,
    /// Names of the Secrets.
    pub secrets: BTreeSet<String>,
    /// What its meaning depends on.
    pub context: Context,
}

/// The certificates of a Secret. Its Debug form shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretInput(pub Credential);

impl fmt::Debug for SecretInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretInput").finish_non_exhaustive()
    }
}

/// ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryInput {
    /// As written.
    pub entry: ServiceEntry,
    /// `workloadSelector`: pods and WorkloadEntries of its namespace.
    pub selector: Option<Labels>,
}

/// WorkloadEntry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadEntryInput {
    /// An address, or a name to be resolved.
    pub address: String,
    /// By the port's name.
    pub ports: BTreeMap<String, u16>,
    /// Labels: of the object, and of its spec, which win.
    pub labels: Labels,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Its share; 0: 1.
    pub weight: u32,
    /// Its identity; empty: `default`.
    pub service_account: String,
}

/// An AuthorizationPolicy that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInput {
    /// What it judges.
    pub selection: Selection,
    /// How.
    pub policy: Policy,
}
