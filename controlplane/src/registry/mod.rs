//! Where objects come from. A registry reads them, judges each by itself, and hands over changes.

pub mod cluster;
pub mod decode;
pub mod directory;
pub mod holdings;
mod kubernetes;
pub mod shelf;

use std::fmt;
use std::sync::Arc;

use heddle_api::diagnostic::Problem;
use heddle_api::kind::KindInfo;
use heddle_api::object::Object;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::index::input::{Change, InputKind, Key};

/// A running registry.
#[derive(Clone, Debug)]
pub enum Registry {
    /// A directory of manifests.
    Directory(directory::Directory),
    /// A Kubernetes cluster.
    Cluster(cluster::Cluster),
}

impl Registry {
    /// Waits until what was stored when this was called is published. Of a cluster that cannot be asked: what it told is.
    pub async fn barrier(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.barrier().await,
            Self::Cluster(cluster) => cluster.waiting().is_empty(),
        }
    }

    /// What is not read yet, as far as it is known.
    pub fn waiting(&self) -> Vec<String> {
        match self {
            Self::Directory(_) => Vec::new(),
            Self::Cluster(cluster) => cluster.waiting(),
        }
    }
}

/// Place of any object, of a kind that the index reads or not: `<plural>.<group>`, namespace, name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// `pods.core`, `peerauthentications.security.istio.io`.
    pub directory: Arc<str>,
    /// Empty where the kind has none.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectId {
    /// The place of an object.
    pub fn of(object: &Object) -> Self {
        Self::new(object.kind, object.namespace.as_deref().unwrap_or_default(), &object.name)
    }

    /// The place of a route of the Gateway API.
    pub fn of_route(key: &Key) -> Option<Self> {
        let directory = match key.kind {
            InputKind::HttpRoute => "httproutes.gateway.networking.k8s.io",
            InputKind::GrpcRoute => "grpcroutes.gateway.networking.k8s.io",
            _ => return None,
        };
        Some(Self { directory: directory.into(), namespace: key.namespace.clone(), name: key.name.clone() })
    }

    /// Whether it is of Istio's kinds or the Gateway API's, whose status is ours to write.
    pub fn is_of_mesh(&self) -> bool {
        self.directory.ends_with(".istio.io") || self.directory.ends_with(".gateway.networking.k8s.io")
    }

    /// From its parts.
    pub fn new(kind: &KindInfo, namespace: &str, name: &str) -> Self {
        Self { directory: kind.directory().into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.directory, self.namespace, self.name)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In force; perhaps with something worth saying.
    Accepted(String),
    /// Its kind, or something in it, is not served.
    Unsupported(String),
    /// It is wrong; the last good one, if there was one, stays in force.
    Invalid(String),
}

/// The verdict on one version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.generation`, 0 where there is none.
    pub generation: i64,
    /// What became of it.
    pub verdict: Verdict,
    /// Everything that was found in it.
    pub findings: Vec<Problem>,
    /// Of a route: its `parentRefs` as written.
    pub parents: Vec<Value>,
}

/// Something that could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unread {
    /// The file, or the object.
    pub object: String,
    /// What is wrong.
    pub message: String,
}

/// One look at the source: everything that changed since the last one.
#[derive(Debug, Default)]
pub struct Batch {
    /// For the index.
    pub changes: Vec<Change>,
    /// New verdicts; `None`: the object is gone.
    pub verdicts: Vec<(ObjectId, Option<Judged>)>,
    /// Everything that is wrong now.
    pub problems: Vec<Unread>,
    /// The highest version seen, never going back.
    pub resource_version: u64,
    /// Whether the whole source was read at least once.
    pub complete: bool,
    /// Told once the batch is published.
    pub published: Vec<oneshot::Sender<()>>,
}
