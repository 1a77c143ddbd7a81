//! The resource types of the discovery stream, in the order in which they apply.

use heddle_proto::type_url;

/// One type of resource. The order is the order of application: what a type refers to comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Facts about the mesh, trust bundle included.
    Mesh,
    /// L4 policies.
    Authorization,
    /// Routes, destination rules, service entries and policies that ask of requests.
    Traffic,
    /// Workloads and services.
    Address,
    /// The pods of this node.
    LocalWorkload,
}

impl Kind {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::Mesh, Self::Authorization, Self::Traffic, Self::Address, Self::LocalWorkload];

    /// The type of a URL, where it is one of ours.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// Its type URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Mesh => type_url::MESH,
            Self::Authorization => type_url::AUTHORIZATION,
            Self::Traffic => type_url::TRAFFIC,
            Self::Address => type_url::ADDRESS,
            Self::LocalWorkload => type_url::LOCAL_WORKLOAD,
        }
    }

    /// Its name in `heddle status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::Authorization => "Authorization",
            Self::Traffic => "Traffic",
            Self::Address => "Address",
            Self::LocalWorkload => "LocalWorkload",
        }
    }

    /// Its place in tables that have one entry per type.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
