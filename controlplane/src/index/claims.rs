//! Workloads and services by name, where several objects may speak for one name: of them the least key counts.

use std::collections::{BTreeMap, BTreeSet};

use super::input::Key;
use super::table::Resource;

/// Who says what about which name.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    by_name: BTreeMap<String, BTreeMap<Key, Resource>>,
    by_owner: BTreeMap<Key, BTreeSet<String>>,
}

impl Claims {
    /// Sets all that an object says; yields the names that this touches, each with what counts now.
    pub(super) fn put(
        &mut self,
        owner: &Key,
        resources: Vec<(String, Resource)>,
    ) -> Vec<(String, Option<Resource>)> {
        let mut touched = self.by_owner.remove(owner).unwrap_or_default();
        for name in &touched {
            if let Some(claimants) = self.by_name.get_mut(name) {
                claimants.remove(owner);
                if claimants.is_empty() {
                    self.by_name.remove(name);
                }
            }
        }
        let names: BTreeSet<String> = resources.iter().map(|(name, _)| name.clone()).collect();
        // Of two for one name the first counts.
        for (name, resource) in resources {
            self.by_name.entry(name).or_default().entry(owner.clone()).or_insert(resource);
        }
        touched.extend(names.iter().cloned());
        if !names.is_empty() {
            self.by_owner.insert(owner.clone(), names);
        }
        let counts =
            |name: &String| self.by_name.get(name).and_then(|claimants| claimants.values().next()).cloned();
        touched.into_iter().map(|name| (counts(&name), name)).map(|(counts, name)| (name, counts)).collect()
    }
}
