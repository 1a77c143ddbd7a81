//! Routing objects: VirtualService, HTTPRoute and GRPCRoute, each made into `heddle_core::route::model`.

pub mod gateway;
pub(crate) mod hosts;
mod regex;
pub mod virtual_service;

pub use gateway::{Grant, GrantFrom, GrantTo, ParentRef, grpc_route, http_route, reference_grant};
pub use virtual_service::virtual_service;

pub(crate) use hosts::qualified;
