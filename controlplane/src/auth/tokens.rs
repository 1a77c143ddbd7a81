//! The sandbox's join tokens: a file of their digests and nodes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tonic::Status;

use super::{Caller, Digest, Presented, Standing, hash};

/// The tokens file, read again whenever it changes: `{"<sha256 hex of the token>": "<node>"}`.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: Mutex<Read>,
}

/// SHA-256 of a token, and its node.
type Entry = (Digest, Arc<str>);

#[derive(Debug, Default)]
struct Read {
    stamp: Option<(SystemTime, u64)>,
    entries: Vec<Entry>,
}

impl Tokens {
    /// Tokens of a file, which may come later: until then nobody is let in.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// # Errors
    /// Unauthenticated, without saying why.
    pub(super) fn authenticate(&self, presented: &Presented) -> Result<Caller, Status> {
        let refused = || Status::unauthenticated("a join token of this mesh is needed");
        let hash = hash(presented.token().ok_or_else(refused)?);
        let node = self.node_of(&hash).ok_or_else(refused)?;
        Ok(Caller { node, standing: Standing::Entry(hash) })
    }

    /// Whether a token is still good for the same node.
    pub(super) fn is_good(&self, hash: &Digest, node: &Arc<str>) -> bool {
        self.node_of(hash).as_ref() == Some(node)
    }

    /// Nodes that have a token.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        self.with(|entries| entries.iter().map(|(_, node)| node.clone()).collect())
    }

    /// Looks at every entry and compares in constant time.
    fn node_of(&self, hash: &Digest) -> Option<Arc<str>> {
        self.with(|entries| {
            let mut found = None;
            for (held, node) in entries {
                if verify_slices_are_equal(held, hash).is_ok() {
                    found = Some(node.clone());
                }
            }
            found
        })
    }

    fn with<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = std::fs::metadata(&self.path).ok().and_then(|metadata| {
            Some((metadata.modified().ok()?, std::os::unix::fs::MetadataExt::ino(&metadata)))
        });
        if stamp != read.stamp {
            // A file that is gone or broken lets nobody in; it is read again when it changes.
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            read.entries = parse(&text).unwrap_or_else(|error| {
                tracing::warn!(file = %self.path.display(), %error, "join tokens cannot be read");
                Vec::new()
            });
            read.stamp = stamp;
        }
        look(&read.entries)
    }
}

fn parse(text: &str) -> serde_json::Result<Vec<Entry>> {
    let entries: HashMap<String, String> = serde_json::from_str(text)?;
    Ok(entries.iter().filter_map(|(hex, node)| Some((unhex(hex)?, node.as_str().into()))).collect())
}

fn unhex(text: &str) -> Option<Digest> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, pair) in digits.chunks_exact(2).enumerate() {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes[at] = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}
