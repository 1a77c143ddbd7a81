//! The manifests that people apply: generated ones are as the code says, all are typed, and none asks for more than is written here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod definitions;
mod files;
mod generated;
mod pods;
mod rights;
mod samples;
mod typed;
