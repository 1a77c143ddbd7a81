//! What everybody reads: the index's output as of one moment.

use std::sync::Arc;

use crate::index::Output;
use crate::registry::Unread;

/// One publication.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Grows with every change of the output.
    pub sequence: u64,
    /// What agents get.
    pub output: Output,
    /// Highest version of an object in it.
    pub resource_version: u64,
    /// Nodes that there are.
    pub nodes: Vec<Arc<str>>,
    /// What could not be read.
    pub problems: Vec<Unread>,
    /// Pods on their way into the mesh or out of it.
    pub moving: usize,
}

/// `None` until the source was read whole: half a world would delete the other half.
pub type Latest = tokio::sync::watch::Receiver<Option<Arc<Published>>>;
