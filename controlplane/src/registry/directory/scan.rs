//! One look at a directory after another: what changed, what is wrong, and the last good of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use heddle_api::diagnostic::Diagnostic;
use heddle_api::manifest;
use heddle_api::object::Object;

use super::walk;
use crate::registry::holdings::Holdings;
use crate::registry::{Batch, ObjectId, Unread};

/// Longest file read: an object of Kubernetes' own limit, 1.5 MiB, written with indentation, and then twice that.
const MOST_BYTES: u64 = 16 << 20;

/// No file has this size.
const READ_AGAIN: u64 = u64::MAX;

/// Tells whether a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    objects: BTreeSet<ObjectId>,
    problems: Vec<Unread>,
}

/// What was there at the last look.
#[derive(Debug)]
pub(super) struct Scan {
    root: PathBuf,
    files: BTreeMap<PathBuf, File>,
    /// The file that each object is read from.
    places: BTreeMap<ObjectId, PathBuf>,
    holdings: Holdings,
    resource_version: u64,
    /// Folders that the last walk could not read; `None`: it did not find the directory.
    unread: Option<BTreeSet<PathBuf>>,
}

impl Scan {
    pub(super) fn new(root: PathBuf, holdings: Holdings) -> Self {
        let (files, places) = (BTreeMap::new(), BTreeMap::new());
        Self { root, files, places, holdings, resource_version: 0, unread: None }
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Walks the directory and reads what changed.
    pub(super) fn look(&mut self) -> Batch {
        // Read before the walk, so that what it counts is seen by the walk.
        let marker = std::fs::read_to_string(self.root.join(".resource-version")).ok();
        let marker = marker.and_then(|text| text.trim().parse().ok());
        let (mut now, mut unread) = (BTreeMap::new(), BTreeSet::new());
        let exists = self.root.is_dir();
        walk(&self.root, &mut now, &mut unread);
        let mut batch = Batch { complete: exists && unread.is_empty(), ..Batch::default() };
        if exists {
            let kept = |path: &Path| unread.iter().any(|folder| path.starts_with(folder));
            let gone =
                self.files.keys().filter(|path| !now.contains_key(*path) && !kept(path)).cloned().collect();
            self.take_files(gone, now, &mut batch);
        }
        let newest = self.holdings.resource_version().max(marker.unwrap_or(0));
        self.resource_version = self.resource_version.max(newest);
        self.unread = exists.then_some(unread);
        self.finish(batch)
    }

    /// Reads what changed among these files. The version seen stays: of what else moved nothing is known yet.
    pub(super) fn look_at(&mut self, files: &BTreeSet<PathBuf>) -> Batch {
        if self.unread.is_none() {
            return self.look();
        }
        let (mut gone, mut now) = (Vec::new(), BTreeMap::new());
        for path in files {
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => drop(now.insert(path.clone(), Stamp::of(&metadata))),
                // What cannot be looked at is left to the walk.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
                _ if self.files.contains_key(path) => gone.push(path.clone()),
                _ => {}
            }
        }
        let complete = self.unread.as_ref().is_some_and(BTreeSet::is_empty);
        let mut batch = Batch { complete, ..Batch::default() };
        self.take_files(gone, now, &mut batch);
        let again = self.files.iter().filter(|(_, file)| file.stamp.size == READ_AGAIN);
        let again: BTreeSet<PathBuf> = again.map(|(path, _)| path.clone()).collect();
        let again = again.into_iter().filter_map(|path| {
            let stamp = Stamp::of(&std::fs::metadata(&path).ok()?);
            Some((path, stamp))
        });
        self.take_files(Vec::new(), again.collect(), &mut batch);
        self.finish(batch)
    }

    fn take_files(&mut self, gone: Vec<PathBuf>, now: BTreeMap<PathBuf, Stamp>, batch: &mut Batch) {
        // Removals first: a file may have been renamed.
        for path in gone {
            let objects = self.files.remove(&path).map(|file| file.objects).unwrap_or_default();
            self.drop_objects(&path, objects, batch);
        }
        let changed: Vec<(PathBuf, Stamp)> = now
            .into_iter()
            .filter(|(path, stamp)| self.files.get(path).is_none_or(|file| file.stamp != *stamp))
            .collect();
        for (path, stamp) in changed {
            self.read(path, stamp, batch);
        }
    }

    fn finish(&mut self, mut batch: Batch) -> Batch {
        self.holdings.heed(&mut batch);
        batch.resource_version = self.resource_version;
        batch.problems = self.problems();
        batch
    }

    fn read(&mut self, path: PathBuf, stamp: Stamp, batch: &mut Batch) {
        let (objects, mut problems) = match text_of(&path, stamp.size) {
            Ok(text) => parse(&path, &text),
            Err(message) => (Vec::new(), vec![problem(&path, message)]),
        };
        let unreadable = !problems.is_empty();
        let before = self.files.remove(&path).map(|file| file.objects).unwrap_or_default();
        let mut after = BTreeSet::new();
        for object in objects {
            let id = ObjectId::of(&object);
            match self.places.get(&id).filter(|place| **place != path) {
                Some(other) => {
                    let message = format!("{id} is defined in {} too, which counts", other.display());
                    problems.push(problem(&path, message));
                }
                None => {
                    self.places.insert(id.clone(), path.clone());
                    self.holdings.take(id.clone(), object, batch);
                    after.insert(id);
                }
            }
        }
        if unreadable {
            // What cannot be read is not gone: the last good one stays.
            after.extend(before);
        } else {
            let gone = before.into_iter().filter(|id| !after.contains(id)).collect();
            self.drop_objects(&path, gone, batch);
        }
        self.files.insert(path, File { stamp, objects: after, problems });
    }

    fn drop_objects(&mut self, path: &Path, objects: BTreeSet<ObjectId>, batch: &mut Batch) {
        for id in objects {
            if self.places.get(&id).is_none_or(|place| place != path) {
                continue;
            }
            self.places.remove(&id);
            self.holdings.remove(&id, batch);
            // Another file may define it: have that one read again.
            for file in self.files.values_mut().filter(|file| !file.problems.is_empty()) {
                file.stamp.size = READ_AGAIN;
            }
        }
    }

    fn problems(&self) -> Vec<Unread> {
        let mut problems: Vec<Unread> = self.files.values().flat_map(|file| file.problems.clone()).collect();
        match &self.unread {
            Some(unread) => {
                problems.extend(unread.iter().map(|folder| problem(folder, "cannot be read".to_owned())));
            }
            None => {
                let message = "there is no such directory; what was in it stays".to_owned();
                problems.push(problem(&self.root, message));
            }
        }
        problems.extend(self.holdings.problems());
        problems
    }
}

fn text_of(path: &Path, size: u64) -> Result<String, String> {
    if size > MOST_BYTES {
        return Err(format!("{size} bytes are more than {MOST_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// JSON of one object is what machines write; anything else is a manifest as people write it.
fn parse(path: &Path, text: &str) -> (Vec<Object>, Vec<Unread>) {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    if is_json && let Ok(object) = Object::from_json(text.as_bytes()) {
        if object.name.is_empty() {
            return (Vec::new(), vec![problem(path, "metadata.name is missing".to_owned())]);
        }
        return (vec![in_a_namespace(object)], Vec::new());
    }
    let parsed = manifest::parse(&path.display().to_string(), text);
    let wrong = parsed.diagnostics.iter().filter(|found| found.is_error());
    let problems = wrong.map(|found| problem(path, sentence(found))).collect();
    (parsed.objects.into_iter().map(|(_, object)| in_a_namespace(object)).collect(), problems)
}

fn in_a_namespace(mut object: Object) -> Object {
    object.default_namespace("default");
    object
}

fn sentence(found: &Diagnostic) -> String {
    format!("{} {} {}: {}", found.kind, found.name, found.path, found.message)
}

fn problem(path: &Path, message: String) -> Unread {
    Unread { object: path.display().to_string(), message }
}

#[cfg(test)]
mod tests;
