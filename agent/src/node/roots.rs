//! Where the node's file system can be reached from.

use std::path::{Path, PathBuf};

/// Roots to look below when a path of the node's is not there as it is: empty beside the node, the node's own in a container.
#[derive(Clone, Debug, Default)]
pub struct NodeRoots(Vec<PathBuf>);

impl NodeRoots {
    /// In the order in which to look.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(roots.into_iter().collect())
    }

    /// Where the node's path may be: as it is, then below each root.
    pub fn candidates(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        // A link with an absolute target would lead out of the root again; this is the one that every node has.
        let plain = path
            .strip_prefix("/var/run")
            .map_or_else(|_| path.to_owned(), |below| Path::new("/run").join(below));
        let relative = plain.strip_prefix("/").map(Path::to_owned).unwrap_or(plain);
        std::iter::once(path.to_owned()).chain(self.0.iter().map(move |root| root.join(&relative)))
    }

    /// The first of them that exists; else the path as it is.
    pub fn find(&self, path: &Path) -> PathBuf {
        self.candidates(path).find(|candidate| candidate.exists()).unwrap_or_else(|| path.to_owned())
    }
}

/// A path as the node has it, for people: without the open folder by which a container reaches the node's root.
pub fn as_of_node(path: &Path) -> PathBuf {
    let held = path.strip_prefix("/proc/self/fd").ok();
    let below = held.map(|held| held.components().skip(1).collect::<PathBuf>());
    below.map_or_else(|| path.to_owned(), |below| Path::new("/").join(below))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn people_are_shown_the_paths_of_the_node() {
        for (path, shown) in [("/proc/self/fd/3/sys/fs/cgroup", "/sys/fs/cgroup"), ("/run/x", "/run/x")] {
            assert_eq!(as_of_node(Path::new(path)), Path::new(shown));
        }
    }

    #[test]
    fn a_path_of_the_node_is_found_as_it_is_or_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        let netns = root.path().join("run/netns/heddle-nowhere");
        std::fs::create_dir_all(netns.parent().unwrap()).unwrap();
        std::fs::write(&netns, "").unwrap();
        let roots = NodeRoots::new([root.path().to_owned()]);
        for path in ["/run/netns/heddle-nowhere", "/var/run/netns/heddle-nowhere"] {
            assert_eq!(roots.find(Path::new(path)), netns);
            assert_eq!(NodeRoots::default().find(Path::new(path)), Path::new(path));
        }
        assert_eq!(roots.find(Path::new("/proc/self")), Path::new("/proc/self"));
    }
}
