//! What plugin and agent say to each other: one JSON line each way, one question per connection.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::CniError;

/// Where the agent listens.
pub const SOCKET: &str = "/run/heddle/cni.sock";
/// The longest line; a GC lists every attachment of the node.
pub const MAX_LINE: usize = 1 << 20;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "UPPERCASE")]
pub enum Request {
    /// Answered when the pod may start.
    Add(Attachment),
    /// Answered at once.
    Check(Attachment),
    /// Answered at once, and well if there is no such attachment.
    Del(Key),
    /// Records of attachments that are not in the list, and whose namespace is gone, go.
    Gc {
        /// What still is.
        valid: Vec<Key>,
    },
    /// Whether ADD would be served.
    Status,
}

/// The specification's identity of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `CNI_CONTAINERID`: of the pod's sandbox.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// A pod and its interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Which attachment.
    #[serde(flatten)]
    pub key: Key,
    /// Path of the network namespace on the node.
    pub netns: PathBuf,
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: String,
    /// Addresses that the plugins before this one gave it.
    pub ips: Vec<IpAddr>,
    /// Whether its namespace is one whose pods start while nobody can say what they are.
    pub excluded: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Done; for ADD: the pod may start.
    Ok,
    /// Refused.
    Error(CniError),
}
