//! The objects that people write: their kinds, and how manifests become checked objects.
//!
//! ```text
//! text ──► manifest ──► kind ──► strict ──► rules    ──► Object ──► enrolment, security, mesh
//!          documents    which    misspelt   what the     what the rest of Heddle reads
//!                       one?     fields     API server
//!                                           would refuse
//!                     every finding is a diagnostic
//!
//! route          VirtualService, HTTPRoute, GRPCRoute ┐
//! upstream       DestinationRule, ServiceEntry        ├─► normalised: the model of heddle_core, and what is wrong
//! authorization  AuthorizationPolicy                  ┘
//! analyze        what is wrong between objects
//! crd            definitions of the kinds, for the API server
//! ```
#![forbid(unsafe_code)]

pub mod analyze;
pub mod authorization;
pub mod crd;
pub mod diagnostic;
mod duration;
pub mod enrolment;
pub mod kind;
pub mod manifest;
pub mod mesh;
pub mod names;
pub mod normalised;
pub mod object;
mod report;
pub mod route;
mod rules;
pub mod security;
pub mod strict;
pub mod upstream;
