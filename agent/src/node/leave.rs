//! The node as it was before: the kubelet back in its cgroup, and no folder of ours in cgroup2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroup;
use super::processes::Proc;

/// A process that is moved may start another one meanwhile.
const ROUNDS: usize = 10;

/// Gives back what was moved into folders of this node's name. Where the kubelet went to, if it was moved.
///
/// # Errors
/// The kernel refuses; which folder.
pub fn leave(proc: &Proc, root: &Path, node: &str) -> io::Result<Option<PathBuf>> {
    let kubelet = root.join(format!("heddle-kubelet-{node}"));
    let agent = root.join(format!("heddle-agent-{node}"));
    let mut home = None;
    for folder in [kubelet, agent] {
        if let Some(found) = empty(proc, root, &folder).map_err(|error| at(&folder, &error))? {
            home.get_or_insert(found);
        }
    }
    Ok(home)
}

/// Moves what is in a folder to where it came from, and removes the folder.
fn empty(proc: &Proc, root: &Path, folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut home = None;
    for _ in 0..ROUNDS {
        let processes = cgroup::processes(folder);
        if processes.is_empty() {
            break;
        }
        for pid in processes {
            let to = home_of(proc, root, pid);
            match fs::write(to.join("cgroup.procs"), pid.to_string()) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                moved => {
                    moved?;
                    home.get_or_insert(to);
                }
            }
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(home),
    }
}

/// Only from the root, or where version 2 has no controllers, is anything moved. There systemd's own hierarchy still says where a
/// process belongs; else it was in the root.
fn home_of(proc: &Proc, root: &Path, pid: u32) -> PathBuf {
    let cgroups = proc.cgroups(pid).unwrap_or_default();
    let named = cgroups.lines().find_map(|line| line.split_once(":name=systemd:/").map(|(_, path)| path));
    let home = named.filter(|path| !path.is_empty() && !path.contains("..")).map(|path| root.join(path));
    home.filter(|home| home.join("cgroup.procs").exists()).unwrap_or_else(|| root.to_owned())
}

fn at(folder: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
}
