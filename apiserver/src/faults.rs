//! Faults that a test asks for: what a real server, or the way to it, does on a bad day.

use serde::{Deserialize, Serialize};

use crate::world::World;

/// One fault, for some requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// `list`, `watch`, `patch`, …; empty: any.
    #[serde(default)]
    pub verb: String,
    /// `pods`, `httproutes.gateway.networking.k8s.io`; empty: any.
    #[serde(default)]
    pub resource: String,
    /// How many requests it strikes.
    pub times: u32,
    /// What happens.
    pub what: What,
}

impl Fault {
    /// Once, for a verb and a resource; either may be empty.
    pub fn once(verb: &str, resource: &str, what: What) -> Self {
        Self { verb: verb.to_owned(), resource: resource.to_owned(), times: 1, what }
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// This status code is answered.
    Status(u16),
    /// The connection ends: before the answer, in the middle of a list, or between two events.
    Cut,
    /// 410: of a watch, as an event; of a list, as its answer.
    Expired,
    /// A list as it was so many versions ago, and of that version: from a cache that lags.
    Stale(u64),
    /// A list of nothing, of the newest version.
    Empty,
    /// Events come twice.
    Duplicate,
    /// Events come in the wrong order.
    Reorder,
    /// No answer for so many milliseconds.
    Hang(u64),
}

impl World {
    /// Takes the first fault that strikes this request.
    pub(crate) fn strike(&mut self, verb: &str, resource: &str, can: impl Fn(What) -> bool) -> Option<What> {
        let at = self.faults.iter().position(|fault| {
            (fault.verb.is_empty() || fault.verb == verb)
                && (fault.resource.is_empty() || fault.resource == resource)
                && can(fault.what)
        })?;
        let fault = self.faults.get_mut(at)?;
        let what = fault.what;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(what)
    }
}
