//! Reads of entries that the agent may replace at the same moment.

use heddle_abi::Sealed;

/// A try fails only if the agent writes within the few instructions between its lookup and the end of its copy.
const TRIES: u32 = 3;

/// The entry changed whenever it was read.
#[must_use]
pub struct Unsettled;

/// A copy of the entry that `lookup` finds, whole and of this key. The map gives the memory of an entry that was replaced
/// or removed to the next one at once: what a lookup found may be another pod's before it is read.
#[inline(always)]
pub fn settled<V: Sealed>(
    key: &V::Key,
    lookup: impl Fn(&V::Key) -> Option<*const V>,
) -> Result<Option<V>, Unsettled> {
    for _ in 0..TRIES {
        let Some(at) = lookup(key) else { return Ok(None) };
        // SAFETY: a value of the map, for as long as the program runs.
        let value = unsafe { V::copied(at) };
        if value.is_of(key) {
            return Ok(Some(value));
        }
    }
    Err(Unsettled)
}
