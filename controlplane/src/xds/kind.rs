//! The types of resources, in the order in which agents apply them.

use heddle_proto::type_url;

use crate::index::Output;
use crate::index::table::Table;

/// A type on the discovery stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// Facts about the mesh.
    Mesh,
    /// Policies.
    Authorization,
    /// Routes, destination rules, service entries and policies that ask of requests.
    Traffic,
    /// Workloads and services.
    Address,
    /// The pods of the agent's node.
    LocalWorkload,
}

impl ResourceKind {
    /// In order of application.
    pub const ALL: [Self; 5] =
        [Self::Mesh, Self::Authorization, Self::Traffic, Self::Address, Self::LocalWorkload];

    /// By type URL.
    pub fn by_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// Type URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Mesh => type_url::MESH,
            Self::Authorization => type_url::AUTHORIZATION,
            Self::Traffic => type_url::TRAFFIC,
            Self::Address => type_url::ADDRESS,
            Self::LocalWorkload => type_url::LOCAL_WORKLOAD,
        }
    }

    /// As people see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::Authorization => "Authorization",
            Self::Traffic => "Traffic",
            Self::Address => "Address",
            Self::LocalWorkload => "LocalWorkload",
        }
    }

    /// The resources of this type that a node gets.
    pub fn table<'a>(self, output: &'a Output, node: &str) -> Option<&'a Table> {
        match self {
            Self::Mesh => Some(output.mesh()),
            Self::Authorization => Some(output.authorizations()),
            Self::Traffic => Some(output.traffic()),
            Self::Address => Some(output.addresses()),
            Self::LocalWorkload => output.locals(node),
        }
    }
}
