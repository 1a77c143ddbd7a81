//! What keeps the controller from being ready besides objects that are not read, and what people should know though it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One note by key; whoever has a key writes and clears it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Note>>>);

#[derive(Debug)]
struct Note {
    blocks: bool,
    /// Nobody was told.
    expected: bool,
    text: String,
}

impl Readiness {
    /// Not ready yet, as is to be expected for a while.
    pub fn wait(&self, key: &'static str, text: &str) {
        tracing::debug!(what = key, text, "not ready yet");
        self.notes().insert(key, Note { blocks: true, expected: true, text: text.to_owned() });
    }

    /// Not ready, for this reason.
    pub fn block(&self, key: &'static str, text: &str) {
        self.set(key, true, text);
    }

    /// Ready, but somebody should know.
    pub fn note(&self, key: &'static str, text: &str) {
        self.set(key, false, text);
    }

    /// Nothing to say any more.
    pub fn clear(&self, key: &'static str) {
        if self.notes().remove(key).is_some_and(|note| !note.expected) {
            tracing::info!(what = key, "is well again");
        }
    }

    /// Whether nothing blocks, and every note.
    pub fn report(&self) -> (bool, Vec<String>) {
        let notes = self.notes();
        let lines = notes.iter().map(|(key, note)| format!("{key}: {}", note.text));
        (notes.values().all(|note| !note.blocks), lines.collect())
    }

    /// What is new is logged; what stays as it is, is not.
    fn set(&self, key: &'static str, blocks: bool, text: &str) {
        let mut notes = self.notes();
        if notes.get(key).is_none_or(|note| note.text != text) {
            tracing::warn!(what = key, blocks, text, "needs attention");
        }
        notes.insert(key, Note { blocks, expected: false, text: text.to_owned() });
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_does_not_block_and_what_blocks_is_cleared_by_its_key() {
        let readiness = Readiness::default();
        assert!(readiness.report().0);
        readiness.note("ca", "gone");
        readiness.block("tokens", "forbidden");
        assert_eq!(readiness.report(), (false, vec!["ca: gone".to_owned(), "tokens: forbidden".to_owned()]));
        readiness.clear("tokens");
        assert_eq!(readiness.report(), (true, vec!["ca: gone".to_owned()]));
    }
}
