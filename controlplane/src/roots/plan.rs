//! Which namespaces are to be written to, and in which order. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So often a change of somebody else's is undone within [`WINDOW`]; after that they have it until the window is over.
const REPAIRS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(600);
/// Agents of this namespace mount it, so here it must be ours.
pub(super) const HOME: &str = "heddle-system";

/// What is in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) version: u64,
    pub(super) roots: Option<String>,
    /// An istiod has made it.
    pub(super) istio: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Home,
    Soon,
    Bulk,
}

type Due = (Instant, Urgency, Arc<str>);

/// The plan.
#[derive(Debug)]
pub(super) struct Plan {
    begun: Instant,
    bundle: Option<Arc<str>>,
    /// Of namespaces and of ConfigMaps a whole list was seen.
    pub(super) listed: [bool; 2],
    namespaces: BTreeSet<Arc<str>>,
    held: BTreeMap<Arc<str>, Held>,
    due: BTreeSet<Due>,
    at: BTreeMap<Arc<str>, (Instant, Urgency)>,
    repairs: BTreeMap<Arc<str>, (u32, Instant)>,
    /// Left to an istiod.
    foreign: BTreeSet<Arc<str>>,
}

impl Plan {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            bundle: None,
            listed: [false; 2],
            namespaces: BTreeSet::new(),
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            at: BTreeMap::new(),
            repairs: BTreeMap::new(),
            foreign: BTreeSet::new(),
        }
    }

    /// This is to be everywhere.
    pub(super) fn trust(&mut self, bundle: &str, now: Instant) {
        self.bundle = Some(bundle.into());
        self.all(now);
    }

    /// Everything is looked at again.
    pub(super) fn all(&mut self, now: Instant) {
        for namespace in self.namespaces.clone() {
            self.consider(&namespace, Urgency::Bulk, now);
        }
    }

    /// A namespace is there, or is not, or ends.
    pub(super) fn namespace(&mut self, name: &Arc<str>, lives: bool, now: Instant) {
        if lives {
            self.namespaces.insert(name.clone());
        } else {
            self.namespaces.remove(name);
            self.repairs.remove(name);
        }
        self.consider(name, Urgency::Soon, now);
    }

    /// What is in a namespace now.
    pub(super) fn found(&mut self, namespace: &Arc<str>, held: Option<Held>, now: Instant) {
        let before = self.held.get(namespace);
        if let (Some(before), Some(held)) = (before, &held)
            && held.version < before.version
        {
            return;
        }
        let was_right = before.is_some_and(|before| self.is_right(before));
        let is_right = held.as_ref().is_some_and(|held| self.is_right(held));
        match held {
            Some(held) => drop(self.held.insert(namespace.clone(), held)),
            None => drop(self.held.remove(namespace)),
        }
        if was_right && !is_right && self.namespaces.contains(namespace) {
            let (count, since) = self.repairs.entry(namespace.clone()).or_insert((0, now));
            if now.saturating_duration_since(*since) >= WINDOW {
                (*count, *since) = (0, now);
            }
            *count += 1;
        }
        self.consider(namespace, Urgency::Soon, now);
    }

    /// A write came to nothing; it is tried again then.
    pub(super) fn again(&mut self, namespace: &Arc<str>, at: Instant) {
        if self.namespaces.contains(namespace) {
            self.schedule(namespace, at, Urgency::Bulk);
        }
    }

    /// Where to write next, what, and whether over what somebody else wrote there.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Arc<str>, Arc<str>, bool)> {
        let bundle = self.bundle.clone()?;
        let (at, ..) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, _, namespace) = self.due.pop_first()?;
        self.at.remove(&namespace);
        // What is not known yet may be an istiod's.
        let over = self.held.contains_key(&namespace);
        Some((namespace, bundle, over))
    }

    /// Whether something waits to be written, now or later.
    pub(super) fn waits(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether agents can mount it.
    pub(super) fn is_home(&self) -> bool {
        self.held.get(HOME).is_some_and(|held| self.is_right(held))
    }

    /// What people should know.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.foreign.is_empty() {
            remarks.push(format!(
                "in {} namespaces an istiod keeps its own root, and they are left to it; one root for both is what a Secret cacerts in istio-system is for",
                self.foreign.len()
            ));
        }
        let fought: Vec<&str> = self
            .repairs
            .iter()
            .filter(|(namespace, (count, _))| *count > REPAIRS && self.at.contains_key(*namespace))
            .map(|(namespace, _)| &**namespace)
            .collect();
        if !fought.is_empty() {
            remarks.push(format!(
                "somebody else writes it again and again in {}, and has it for ten minutes",
                fought.join(", ")
            ));
        }
        remarks
    }

    fn is_right(&self, held: &Held) -> bool {
        self.bundle.is_some() && held.roots.as_deref() == self.bundle.as_deref()
    }

    fn consider(&mut self, namespace: &Arc<str>, urgency: Urgency, now: Instant) {
        self.unschedule(namespace);
        self.foreign.remove(namespace);
        if self.bundle.is_none() || self.listed != [true; 2] || !self.namespaces.contains(namespace) {
            return;
        }
        let held = self.held.get(namespace);
        if held.is_some_and(|held| self.is_right(held)) {
            return;
        }
        // Its sidecars verify istiod by what is in there, and it would write it again at once.
        if held.is_some_and(|held| held.istio) && **namespace != *HOME {
            self.foreign.insert(namespace.clone());
            return;
        }
        let rests = self.repairs.get(namespace).filter(|(count, _)| *count > REPAIRS);
        let at = match rests {
            Some((_, since)) => *since + WINDOW,
            None if urgency == Urgency::Bulk && **namespace != *HOME => now,
            // Before whatever waits already.
            None => self.begun,
        };
        self.schedule(namespace, at, urgency);
    }

    fn schedule(&mut self, namespace: &Arc<str>, at: Instant, urgency: Urgency) {
        self.unschedule(namespace);
        let urgency = if **namespace == *HOME { Urgency::Home } else { urgency };
        self.at.insert(namespace.clone(), (at, urgency));
        self.due.insert((at, urgency, namespace.clone()));
    }

    fn unschedule(&mut self, namespace: &Arc<str>) {
        if let Some((at, urgency)) = self.at.remove(namespace) {
            self.due.remove(&(at, urgency, namespace.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(version: u64, roots: &str, istio: bool) -> Option<Held> {
        Some(Held { version, roots: Some(roots.to_owned()), istio })
    }

    fn plan(now: Instant, namespaces: &[&str]) -> Plan {
        let mut plan = Plan::new(now);
        for name in namespaces {
            plan.namespace(&(*name).into(), true, now);
        }
        plan
    }

    fn drain(plan: &mut Plan, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| plan.next(now)).map(|(namespace, ..)| namespace.to_string()).collect()
    }

    #[test]
    fn nothing_is_written_before_everything_was_listed_and_then_only_what_differs() {
        let now = Instant::now();
        let mut plan = plan(now, &["a", "b", HOME, "c"]);
        plan.trust("root", now);
        plan.found(&"b".into(), held(1, "root", false), now);
        plan.found(&"c".into(), held(1, "old", false), now);
        assert!(drain(&mut plan, now).is_empty());
        plan.listed = [true; 2];
        plan.all(now);
        assert_eq!(drain(&mut plan, now), [HOME, "a", "c"], "home first");
    }

    #[test]
    fn a_new_namespace_comes_before_a_thousand_that_wait() {
        let now = Instant::now();
        let names: Vec<String> = (0..1000).map(|number| format!("n{number:04}")).collect();
        let mut plan = plan(now, &names.iter().map(String::as_str).collect::<Vec<_>>());
        plan.listed = [true; 2];
        plan.trust("root", now);
        assert_eq!(plan.next(now).map(|(namespace, ..)| namespace.to_string()).as_deref(), Some("n0000"));
        plan.namespace(&"zz-new".into(), true, now);
        assert_eq!(drain(&mut plan, now).first().map(String::as_str), Some("zz-new"));
    }

    #[test]
    fn what_istiod_keeps_is_left_to_it_but_for_our_own_namespace() {
        let now = Instant::now();
        let mut plan = plan(now, &["a", "b", HOME]);
        plan.listed = [true; 2];
        plan.found(&"a".into(), held(1, "theirs", true), now);
        plan.found(&"b".into(), held(1, "root", true), now);
        plan.found(&HOME.into(), held(1, "theirs", true), now);
        plan.trust("root", now);
        assert_eq!(drain(&mut plan, now), [HOME]);
        assert!(plan.remarks()[0].contains("in 1 namespaces"), "{:?}", plan.remarks());
    }

    #[test]
    fn a_fight_ends_after_five_rounds_and_begins_again_ten_minutes_later() {
        let now = Instant::now();
        let mut plan = plan(now, &[HOME]);
        plan.listed = [true; 2];
        plan.trust("root", now);
        let (mut version, mut writes) = (0, 0);
        while plan.next(now).is_some() && writes < 100 {
            writes += 1;
            plan.found(&HOME.into(), held(version + 1, "root", false), now);
            plan.found(&HOME.into(), held(version + 2, "theirs", true), now);
            version += 2;
        }
        assert_eq!(writes, 1 + REPAIRS);
        assert!(plan.waits() && plan.remarks()[0].contains(HOME), "{:?}", plan.remarks());
        assert!(plan.next(now + WINDOW).is_some());
    }

    #[test]
    fn a_namespace_that_ends_is_not_written_to_and_news_of_the_past_change_nothing() {
        let now = Instant::now();
        let mut plan = plan(now, &["a"]);
        plan.listed = [true; 2];
        plan.trust("root", now);
        plan.found(&"a".into(), held(5, "root", false), now);
        plan.found(&"a".into(), held(4, "old", false), now);
        assert!(!plan.waits());
        plan.namespace(&"a".into(), false, now);
        plan.found(&"a".into(), None, now);
        assert!(!plan.waits());
        plan.again(&"a".into(), now);
        assert!(!plan.waits());
    }
}
