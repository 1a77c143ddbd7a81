//! The gRPC contracts: delta xDS, Istio's workload and authorization types, its certificate service, and ours; and how an admin
//! socket is asked.
//!
//! Protobuf types stay at the edges (STYLE 5): each side converts them to `heddle_core` types as they arrive.
#![allow(
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]

pub mod admin;

/// `envoy.service.discovery.v3`: delta xDS.
pub mod discovery {
    tonic::include_proto!("envoy.service.discovery.v3");
}

/// `istio.workload` and `istio.security`, nested as protobuf nests them.
pub mod istio {
    /// WDS: workloads and services.
    pub mod workload {
        tonic::include_proto!("istio.workload");
    }
    /// L4 authorization policies.
    pub mod security {
        tonic::include_proto!("istio.security");
    }
    /// Protobuf package `istio.v1.auth`.
    pub mod v1 {
        /// The certificate service.
        pub mod auth {
            tonic::include_proto!("istio.v1.auth");
        }
    }
}

/// `heddle.v1`: what our agents need beyond Istio's types.
pub mod heddle {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("heddle.v1");
    }
}

/// Type URLs of the resources on the discovery stream, in the order in which an agent applies them.
pub mod type_url {
    /// [`crate::heddle::v1::Mesh`].
    pub const MESH: &str = "type.googleapis.com/heddle.v1.Mesh";
    /// [`crate::istio::security::Authorization`].
    pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
    /// [`crate::istio::workload::Address`].
    pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
    /// [`crate::heddle::v1::TrafficObject`].
    pub const TRAFFIC: &str = "type.googleapis.com/heddle.v1.TrafficObject";
    /// [`crate::heddle::v1::LocalWorkload`].
    pub const LOCAL_WORKLOAD: &str = "type.googleapis.com/heddle.v1.LocalWorkload";
    /// Name of [`crate::heddle::v1::WorkloadExtension`] in a workload's extensions.
    pub const WORKLOAD_EXTENSION: &str = "heddle.dev/workload";
    /// Type URL of the same.
    pub const WORKLOAD_EXTENSION_URL: &str = "type.googleapis.com/heddle.v1.WorkloadExtension";
    /// Name of [`crate::heddle::v1::ServiceExtension`] in a service's extensions.
    pub const SERVICE_EXTENSION: &str = "heddle.dev/service";
    /// Type URL of the same.
    pub const SERVICE_EXTENSION_URL: &str = "type.googleapis.com/heddle.v1.ServiceExtension";
}
