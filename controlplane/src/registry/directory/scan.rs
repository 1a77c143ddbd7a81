//! One look at a directory after another: what changed, what is wrong, and the last good of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use heddle_api::diagnostic::{Diagnostic, Problem, Severity};
use heddle_api::manifest;
use heddle_api::normalised::Context;
use heddle_api::object::Object;

use super::walk;
use crate::index::input::{Change, Input, Key};
use crate::registry::decode::{self, Decoded};
use crate::registry::{Batch, Judged, ObjectId, Unread, Verdict};

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

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// What the index has of it.
    input: Option<(Key, Input)>,
    judged: Judged,
    /// The input is the object's own, not a denial in its place.
    good: bool,
}

/// What was there at the last look.
#[derive(Debug)]
pub(super) struct Scan {
    root: PathBuf,
    files: BTreeMap<PathBuf, File>,
    held: BTreeMap<ObjectId, Held>,
    resource_version: u64,
    context: Context,
    /// Folders that the last walk could not read; `None`: it did not find the directory.
    unread: Option<BTreeSet<PathBuf>>,
}

impl Scan {
    pub(super) fn new(root: PathBuf, context: Context) -> Self {
        let (files, held) = (BTreeMap::new(), BTreeMap::new());
        Self { root, files, held, resource_version: 0, context, unread: None }
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
        let versions = self.held.values().map(|held| held.judged.resource_version).max();
        self.resource_version = self.resource_version.max(versions.unwrap_or(0)).max(marker.unwrap_or(0));
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

    fn finish(&self, mut batch: Batch) -> Batch {
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
            match self.held.get(&id).filter(|held| held.path != path) {
                Some(other) => {
                    let message = format!("{id} is defined in {} too, which counts", other.path.display());
                    problems.push(problem(&path, message));
                }
                None => {
                    self.take(&path, id.clone(), object, batch);
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

    fn take(&mut self, path: &Path, id: ObjectId, object: Object, batch: &mut Batch) {
        let resource_version = object.resource_version().unwrap_or(0);
        let generation = object.value.pointer("/metadata/generation").and_then(serde_json::Value::as_i64);
        let Decoded { input, fallback, verdict, findings, parents } = decode::decode(object, &self.context);
        let old = self.held.remove(&id);
        let (old_input, old_good) =
            old.as_ref().map_or((None, false), |held| (held.input.clone(), held.good));
        let wrong = matches!(verdict, Verdict::Invalid(_));
        let (input, good) = match (wrong, old_good) {
            (false, _) => (input, true),
            (true, true) => (old_input.clone(), true),
            (true, false) => (fallback, false),
        };
        if input != old_input {
            match (&input, &old_input) {
                (Some((key, input)), _) => batch.changes.push(Change::Put(key.clone(), input.clone())),
                (None, Some((key, _))) => batch.changes.push(Change::Remove(key.clone())),
                (None, None) => {}
            }
        }
        let judged =
            Judged { resource_version, generation: generation.unwrap_or(0), verdict, findings, parents };
        if old.as_ref().is_none_or(|held| held.judged != judged) {
            batch.verdicts.push((id.clone(), Some(judged.clone())));
        }
        self.held.insert(id, Held { path: path.to_owned(), input, judged, good });
    }

    fn drop_objects(&mut self, path: &Path, objects: BTreeSet<ObjectId>, batch: &mut Batch) {
        for id in objects {
            if self.held.get(&id).is_none_or(|held| held.path != path) {
                continue;
            }
            if let Some((key, _)) = self.held.remove(&id).and_then(|held| held.input) {
                batch.changes.push(Change::Remove(key));
            }
            // Another file may define it: have that one read again.
            for file in self.files.values_mut().filter(|file| !file.problems.is_empty()) {
                file.stamp.size = READ_AGAIN;
            }
            batch.verdicts.push((id, None));
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
        problems.extend(self.held.iter().filter_map(|(id, held)| match &held.judged.verdict {
            Verdict::Invalid(message) => Some(Unread { object: id.to_string(), message: message.clone() }),
            _ => None,
        }));
        problems
    }
}

fn text_of(path: &Path, size: u64) -> Result<String, String> {
    if size > MOST_BYTES {
        return Err(format!("{size} bytes are more than {MOST_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// The objects of a file that are right by themselves.
pub(super) fn good_objects(path: &Path, stamp: Stamp) -> Vec<Object> {
    let Ok(text) = text_of(path, stamp.size) else { return Vec::new() };
    let mut objects = parse(path, &text).0;
    objects.retain_mut(|object| !object.kind.served || !manifest::check(object).iter().any(is_error));
    objects
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == Severity::Error
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
