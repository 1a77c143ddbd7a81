//! Routing objects: VirtualService, HTTPRoute and GRPCRoute, each made into `heddle_core::route::model`.

pub(crate) mod hosts;
mod regex;
pub mod virtual_service;

pub use virtual_service::virtual_service;

pub(crate) use hosts::qualified;
