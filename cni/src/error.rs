//! What a runtime is told when something fails: the specification's error object.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A code of the specification's table; those from 100 on are our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u32);

impl Code {
    /// The configuration's version is not supported, or does not have the command.
    pub const VERSION: Self = Self(1);
    /// An environment variable is missing or wrong.
    pub const ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO: Self = Self(5);
    /// Not JSON, or JSON of another shape.
    pub const DECODE: Self = Self(6);
    /// The network configuration says something that cannot be.
    pub const CONFIG: Self = Self(7);
    /// It will pass: the runtime tries again.
    pub const AGAIN: Self = Self(11);
    /// ADD cannot be served at all.
    pub const UNAVAILABLE: Self = Self(50);
    /// Whoever has the agent's socket is not to be trusted.
    pub const UNTRUSTED: Self = Self(100);
    /// The pod cannot be captured as it is; trying again changes nothing by itself.
    pub const REFUSED: Self = Self(101);
    /// CHECK found the pod in another state than ADD left it in.
    pub const MISMATCH: Self = Self(102);
}

/// An error as the runtime gets it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{msg}: {details}")]
pub struct CniError {
    /// Which kind.
    pub code: Code,
    /// Short.
    pub msg: String,
    /// What is wrong with what, and what to do.
    pub details: String,
}

impl CniError {
    /// From its parts.
    pub fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
    }

    /// The object for standard output.
    pub fn output(&self, version: &str) -> Value {
        json!({ "cniVersion": version, "code": self.code, "msg": self.msg, "details": self.details })
    }
}
