//! Resources by name, with versions that are hashes of their content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

/// First 16 bytes of the SHA-256 of the encoded resource: equal content has an equal version in every controller.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(u128);

impl Version {
    /// The version of what an agent was told does not exist.
    pub const ABSENT: Self = Self(u128::MAX);

    fn of(encoded: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, encoded);
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_ref()[..16]);
        Self(u128::from_be_bytes(half))
    }

    /// What an agent says it holds; an unknown text is a version that nothing has.
    pub fn parse(text: &str) -> Self {
        Self(u128::from_str_radix(text, 16).unwrap_or(0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One encoded resource. Its Debug form shows no content, which may hold keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Hash of the content.
    pub version: Version,
    /// The encoded message.
    pub encoded: Bytes,
    /// Only some nodes get it.
    pub kept: Option<Arc<Kept>>,
}

/// Who gets a resource, and what everybody else gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Nodes that get it.
    pub nodes: BTreeSet<Arc<str>>,
    /// What the others get.
    pub otherwise: Resource,
}

impl Resource {
    /// Encodes a message.
    pub fn of(message: &impl Message) -> Self {
        let encoded = Bytes::from(message.encode_to_vec());
        Self { version: Version::of(&encoded), encoded, kept: None }
    }

    /// This for some nodes, and another for the rest.
    pub fn for_some(self, nodes: BTreeSet<Arc<str>>, otherwise: Self) -> Self {
        Self { kept: Some(Arc::new(Kept { nodes, otherwise })), ..self }
    }

    /// What a node gets of it.
    pub fn for_node(&self, node: &str) -> &Self {
        match &self.kept {
            Some(kept) if !kept.nodes.contains(node) => &kept.otherwise,
            _ => self,
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Resource");
        shown.field("version", &self.version).field("bytes", &self.encoded.len());
        if let Some(kept) = &self.kept {
            shown.field("nodes", &kept.nodes);
        }
        shown.finish()
    }
}

/// All resources of one type. Shared with publications, and copied when written while shared.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: Arc<BTreeMap<Arc<str>, Resource>>,
    changes: u64,
}

impl Table {
    /// Adds or replaces; false where it is there already with the same content.
    pub fn put(&mut self, name: &str, resource: Resource) -> bool {
        let same = |held: &Resource| held.version == resource.version && held.kept == resource.kept;
        if self.entries.get(name).is_some_and(same) {
            return false;
        }
        Arc::make_mut(&mut self.entries).insert(name.into(), resource);
        self.changes += 1;
        true
    }

    /// Removes; false where there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        if !self.entries.contains_key(name) {
            return false;
        }
        Arc::make_mut(&mut self.entries).remove(name);
        self.changes += 1;
        true
    }

    /// By name.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.entries.get(name)
    }

    /// By name, as a node gets it.
    pub fn seen_by(&self, node: &str, name: &str) -> Option<&Resource> {
        self.entries.get(name).map(|resource| resource.for_node(node))
    }

    /// In order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Resource)> {
        self.entries.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Grows with every change: equal counts of one table mean equal content.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}
