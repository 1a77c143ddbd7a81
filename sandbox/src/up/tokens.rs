//! Join tokens: a secret a node, of which the controller knows the digest only.
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::fabric::Layout;

/// Writes `nodes/NODE/token` for each node and `controller/tokens.json`.
pub(super) fn write(layout: &Layout, nodes: &[String]) -> io::Result<()> {
    let mut digests = Map::new();
    for node in nodes {
        let mut secret = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|error| io::Error::other(format!("random numbers: {error}")))?;
        let token = hex(&secret);
        private_file(&layout.node(node).join("token"), token.as_bytes())?;
        digests.insert(hex(digest(&SHA256, token.as_bytes()).as_ref()), json!(node));
    }
    private_file(&layout.controller().join("tokens.json"), Value::Object(digests).to_string().as_bytes())
}

fn private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
