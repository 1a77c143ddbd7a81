//! From nothing to a running sandbox, and back to nothing.
//!
//! The command starts the daemon detached and holds a pipe to it. Until the command has said "keep", the end of
//! that pipe takes the sandbox down: an `up` that fails or is killed leaves nothing.
mod bring;
pub mod daemon;
mod down;
mod lock;
mod mesh;
mod tokens;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fabric::Layout;
use crate::images::ImageMap;

pub use bring::{Starting, start};
pub use down::down;
pub use mesh::Mesh;

/// What a sandbox is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    pub nodes: u8,
    pub images: ImageMap,
    /// None: no controller and no agents.
    pub mesh: Option<MeshPlan>,
}

/// The processes of the mesh, and what is passed on to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeshPlan {
    pub controller: PathBuf,
    pub agent: PathBuf,
    pub controller_args: Vec<String>,
    pub agent_args: Vec<String>,
}

impl MeshPlan {
    /// The binaries below `HEDDLE_BIN_DIR`, else beside this one.
    pub fn find(controller_args: Vec<String>, agent_args: Vec<String>) -> io::Result<MeshPlan> {
        let directory = match std::env::var_os("HEDDLE_BIN_DIR") {
            Some(directory) => std::path::absolute(PathBuf::from(directory))?,
            None => std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default(),
        };
        let find = |name: &str| {
            let path = directory.join(name);
            if path.is_file() {
                return Ok(path);
            }
            let message = format!(
                "{} is not there: build it, point HEDDLE_BIN_DIR at the directory that has it, or use --no-mesh",
                path.display()
            );
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        };
        Ok(MeshPlan {
            controller: find("heddle-controller")?,
            agent: find("heddle-agent")?,
            controller_args,
            agent_args,
        })
    }
}

/// A sandbox's name is a directory, a cgroup and part of host names.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= 40 && name.bytes().all(fits) && !name.starts_with('-') {
        return Ok(());
    }
    Err(format!("sandbox name {name:?}: write 1 to 40 of a-z, 0-9 and '-', beginning with a letter or digit"))
}

/// Only root can make namespaces and load eBPF.
pub fn check_root() -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let message = "the sandbox makes network namespaces and cgroups: run this as root (sudo)";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Changes `sandbox.json`, by rename.
pub(crate) fn describe(layout: &Layout, change: impl FnOnce(&mut Value)) -> io::Result<()> {
    let path = layout.description();
    let mut value: Value = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Value::Object(serde_json::Map::new()),
        Err(error) => return Err(error),
    };
    change(&mut value);
    let temporary = path.with_extension("json.new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(&value)?)?;
    std::fs::rename(temporary, path)
}
