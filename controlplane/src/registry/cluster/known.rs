//! What is known of one kind, pure: which versions were seen, and what a list or an event therefore means.
//!
//! Versions of one kind can be compared (Kubernetes API concepts, "Resource versions"; KEP-5504). So what is older than what is
//! known changes nothing: neither an event that comes twice or late, nor a list from a cache that lags.
//! A list that lacks objects takes nothing away until a second one agrees: a list that is wrong once (an empty cache behind a
//! server that has just come back) would else pull every policy from every node. Deletions that a watch tells count at once.

use std::collections::{BTreeMap, BTreeSet};

use heddle_api::object::Object;

use crate::registry::ObjectId;

/// How many lists in a row may be older than what is known. Then the store itself has gone back, as after a restore from a
/// backup, and the list is the truth.
const PATIENCE: u32 = 5;
/// Deletions remembered: enough for any disorder within a watch.
const MOST_GONE: usize = 10_000;

/// What to make of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Listing {
    /// These are new or changed, those are gone; the watch goes on from this version.
    Taken {
        /// New or changed.
        puts: Vec<(ObjectId, Object)>,
        /// Gone.
        gone: Vec<ObjectId>,
        /// Where the watch begins.
        version: u64,
    },
    /// It is older than what is known.
    Behind,
    /// So many objects would be gone; another list is to say so too.
    Doubtful(usize),
}

/// A list that waits for another one to agree.
#[derive(Clone, Debug)]
struct Doubt {
    version: u64,
    objects: Vec<(ObjectId, u64, Object)>,
    missing: BTreeSet<ObjectId>,
}

/// One kind.
#[derive(Clone, Debug, Default)]
pub struct Known {
    held: BTreeMap<ObjectId, u64>,
    gone: BTreeMap<ObjectId, u64>,
    newest: u64,
    behind: u32,
    doubt: Option<Doubt>,
}

impl Known {
    /// Takes a whole list as of a version.
    pub fn listed(&mut self, version: u64, objects: Vec<(ObjectId, u64, Object)>) -> Listing {
        if version < self.newest {
            self.behind += 1;
            if self.behind <= PATIENCE {
                return Listing::Behind;
            }
            self.forget_versions();
        }
        self.behind = 0;
        let there: BTreeSet<&ObjectId> = objects.iter().map(|(id, ..)| id).collect();
        let missing: BTreeSet<ObjectId> =
            self.held.keys().filter(|id| !there.contains(id)).cloned().collect();
        match self.doubt.take() {
            // Nobody holds anything against this list, or it says that the one before was wrong.
            _ if missing.is_empty() => self.take(version, objects, BTreeSet::new()),
            // They agree; what was deleted between the two comes with the watch from the first.
            Some(doubt) if doubt.missing.is_subset(&missing) => {
                self.take(doubt.version, doubt.objects, doubt.missing)
            }
            _ => {
                let count = missing.len();
                self.doubt = Some(Doubt { version, objects, missing });
                Listing::Doubtful(count)
            }
        }
    }

    fn take(
        &mut self,
        version: u64,
        objects: Vec<(ObjectId, u64, Object)>,
        missing: BTreeSet<ObjectId>,
    ) -> Listing {
        let mut puts = Vec::new();
        for (id, at, object) in objects {
            if self.held.get(&id).is_none_or(|held| *held < at) {
                self.held.insert(id.clone(), at);
                puts.push((id, object));
            }
        }
        for id in &missing {
            self.held.remove(id);
        }
        self.gone.clear();
        self.newest = version;
        Listing::Taken { puts, gone: missing.into_iter().collect(), version }
    }

    /// Whether an event of this version comes in its turn. A watch that breaks the order is not to be gone on with.
    pub fn in_order(&self, version: u64) -> bool {
        version >= self.newest
    }

    /// Whether an object that was added or changed is news.
    pub fn put(&mut self, id: &ObjectId, version: u64) -> bool {
        let is_old = |known: Option<&u64>| known.is_some_and(|known| *known >= version);
        if is_old(self.held.get(id)) || is_old(self.gone.get(id)) {
            return false;
        }
        self.held.insert(id.clone(), version);
        self.newest = self.newest.max(version);
        true
    }

    /// Whether it is news that an object was deleted.
    pub fn delete(&mut self, id: &ObjectId, version: u64) -> bool {
        self.newest = self.newest.max(version);
        if self.held.get(id).is_some_and(|held| *held > version) {
            return false;
        }
        if self.gone.len() >= MOST_GONE {
            self.gone.clear();
        }
        self.gone.insert(id.clone(), version);
        self.held.remove(id).is_some()
    }

    /// Nothing happened until this version but what is known.
    pub fn bookmark(&mut self, version: u64) {
        self.newest = self.newest.max(version);
    }

    /// Where a watch goes on.
    pub fn version(&self) -> u64 {
        self.newest
    }

    /// Everything that is held is to be looked at again, whatever its version.
    pub fn forget_versions(&mut self) {
        self.held.values_mut().for_each(|version| *version = 0);
        self.gone.clear();
        self.newest = 0;
        self.behind = 0;
        self.doubt = None;
    }
}

#[cfg(test)]
mod tests;
