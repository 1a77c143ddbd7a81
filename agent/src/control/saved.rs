//! The last configuration on disk: from it an agent that starts while the controller is away serves at once.
//!
//! ```text
//! 8 bytes  magic "HDLSAVED"     4 bytes  version 1, big endian     8 bytes  length of the body, big endian
//! 32 bytes SHA-256 of the body  body: length-delimited protobuf: the node as a Resource, then one response per type
//! ```
//!
//! No key is ever in it. What cannot be read is set aside: the agent starts as if it were new, which denies.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use heddle_proto::discovery::{DeltaDiscoveryResponse, Resource};
use prost::Message;

const MAGIC: &[u8; 8] = b"HDLSAVED";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 32;
/// About a million workloads.
const MAX_BODY: u64 = 512 << 20;
/// One per type, and room for types to come.
const MAX_RESPONSES: usize = 64;
const FILE: &str = "configuration";

/// Why a saved configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// Reading it failed.
    #[error("reading it failed: {0}")]
    Io(#[from] io::Error),
    /// It is not such a file, or not the whole of it.
    #[error("it is not a saved configuration, or only a part of one")]
    Shape,
    /// Another version of the agent wrote it.
    #[error("its format is version {0}; this agent reads version {VERSION}")]
    Version(u32),
    /// The bytes changed since it was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// The body is not what it says.
    #[error("its content cannot be read: {0}")]
    Content(#[from] prost::DecodeError),
    /// It belongs to another node.
    #[error("it is that of node '{0}'")]
    Node(String),
}

/// Encodes what is held by `node`.
pub fn encode(node: &str, responses: &[DeltaDiscoveryResponse]) -> Vec<u8> {
    let owner = Resource { name: node.to_owned(), ..Default::default() };
    let mut body = owner.encode_length_delimited_to_vec();
    for response in responses {
        body.extend_from_slice(&response.encode_length_delimited_to_vec());
    }
    frame(&body)
}

/// A file around a body: what makes it recognizable and whole.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADER + body.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_be_bytes());
    file.extend_from_slice(&(body.len() as u64).to_be_bytes());
    file.extend_from_slice(digest(&SHA256, body).as_ref());
    file.extend_from_slice(body);
    file
}

/// Decodes a whole file; any bytes are safe to give.
///
/// # Errors
/// See [`SavedError`].
pub fn decode(node: &str, file: &[u8]) -> Result<Vec<DeltaDiscoveryResponse>, SavedError> {
    let (magic, rest) = file.split_first_chunk::<8>().ok_or(SavedError::Shape)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(SavedError::Shape)?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or(SavedError::Shape)?;
    let (checksum, mut body) = rest.split_first_chunk::<32>().ok_or(SavedError::Shape)?;
    if magic != MAGIC {
        return Err(SavedError::Shape);
    }
    match u32::from_be_bytes(*version) {
        VERSION => {}
        other => return Err(SavedError::Version(other)),
    }
    if u64::from_be_bytes(*length) != body.len() as u64 {
        return Err(SavedError::Shape);
    }
    if digest(&SHA256, body).as_ref() != checksum {
        return Err(SavedError::Checksum);
    }
    let owner = Resource::decode_length_delimited(&mut body)?;
    if owner.name != node {
        return Err(SavedError::Node(owner.name));
    }
    let mut responses = Vec::new();
    while !body.is_empty() && responses.len() < MAX_RESPONSES {
        responses.push(DeltaDiscoveryResponse::decode_length_delimited(&mut body)?);
    }
    Ok(responses)
}

/// Reads what [`write`] left in `directory`; `None` where there is nothing.
///
/// # Errors
/// See [`SavedError`].
pub fn read(directory: &Path, node: &str) -> Result<Option<Vec<DeltaDiscoveryResponse>>, SavedError> {
    let file = match File::open(directory.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BODY + HEADER as u64).read_to_end(&mut bytes)?;
    decode(node, &bytes).map(Some)
}

/// Replaces the file in `directory`, so that a crash at any time leaves the old one or the new one.
///
/// # Errors
/// The directory cannot be written.
pub fn write(directory: &Path, file: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join(".configuration.new");
    let mut output =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    output.write_all(file)?;
    output.sync_all()?;
    fs::rename(&temporary, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}
