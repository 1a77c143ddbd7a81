//! What the index makes of traffic objects, policies, entries and routes.

use heddle_core::object::TrafficObject;

use super::input::{Input, InputKind, Key};
use super::route::{self, ParentVerdict};
use super::table::Resource;
use super::{Index, denial, entry, keyed, policy, strict};

impl Index {
    /// A VirtualService or DestinationRule.
    pub(super) fn compute_traffic(&mut self, key: &Key) {
        let resource = match self.world.get(key) {
            Some(Input::Traffic(object)) => Some(policy::traffic(object).1),
            Some(Input::Keyed(input)) => keyed::resource(&self.world, key, input),
            _ => None,
        };
        self.output.put_traffic(&wire_name(key), resource);
    }

    /// A route of the Gateway API.
    pub(super) fn compute_route(&mut self, key: &Key) {
        let resolved = match self.world.get(key) {
            Some(Input::Route(input)) => {
                Some(route::resolve(&self.world, key, input, &self.settings.cluster_domain))
            }
            _ => None,
        };
        let (object, verdicts) = resolved.map_or((None, None), |(object, said)| (object, Some(said)));
        let resource = object.map(|object| policy::traffic(&TrafficObject::Route(object)).1);
        self.output.put_traffic(&wire_name(key), resource);
        let changed = match &verdicts {
            Some(verdicts) => self.verdicts.get(key) != Some(verdicts),
            None => self.verdicts.contains_key(key),
        };
        if !changed {
            return;
        }
        match verdicts {
            Some(verdicts) => drop(self.verdicts.insert(key.clone(), verdicts)),
            None => drop(self.verdicts.remove(key)),
        }
        self.news.insert(key.clone());
    }

    /// Routes whose parents say something else than before the last call, each with what they say now.
    pub fn take_verdicts(&mut self) -> Vec<(Key, Vec<ParentVerdict>)> {
        let news = std::mem::take(&mut self.news);
        let said = |key: &Key| self.verdicts.get(key).cloned().unwrap_or_default();
        news.into_iter().map(|key| (said(&key), key)).map(|(said, key)| (key, said)).collect()
    }

    /// A ServiceEntry: the object, and the services and workloads that it announces.
    pub(super) fn compute_entry(&mut self, key: &Key) {
        let (object, addresses) = match self.world.get(key) {
            Some(Input::Entry(input)) => {
                let object = entry::object(&self.world, key, input).1;
                (Some(object), entry::addresses(&self.world, &self.settings, key, input))
            }
            _ => (None, Vec::new()),
        };
        self.output.put_traffic(&wire_name(key), object);
        self.put_addresses(key, addresses);
    }

    /// A WorkloadEntry.
    pub(super) fn compute_workload_entry(&mut self, key: &Key) {
        let workload = match self.world.get(key) {
            Some(Input::WorkloadEntry(input)) => {
                entry::workload_entry(&self.world, &self.settings, key, input)
            }
            _ => None,
        };
        self.put_addresses(key, workload.into_iter().collect());
    }

    /// Sets all workloads and services that one object announces.
    pub(super) fn put_addresses(&mut self, key: &Key, addresses: Vec<(String, Resource)>) {
        for (name, resource) in self.claims.put(key, addresses) {
            self.output.put_address(&name, resource);
        }
    }

    /// A security object.
    pub(super) fn compute_policy(&mut self, key: &Key) {
        let (resource, in_full) = match self.world.get(key) {
            Some(Input::Denial(selection)) => (Some(Resource::of(&denial::resource(key, selection))), None),
            Some(Input::Policy(input)) => {
                let resource = Resource::of(&policy::authorization(key, input));
                (Some(resource), policy::in_full(&input.policy))
            }
            _ => (None, None),
        };
        self.output.put_authorization(&denial::policy_name(key), resource);
        if key.kind == InputKind::AuthorizationPolicy {
            self.output.put_traffic(&wire_name(key), in_full.map(|(_, resource)| resource));
        }
        if key.kind == InputKind::PeerAuthentication {
            let converted = match self.world.get(key) {
                Some(Input::PeerAuthentication(object)) => {
                    let effective = self.world.mtls_of_object(key, object);
                    strict::converted_resource(&key.namespace, &key.name, &effective)
                }
                _ => None,
            };
            let name = strict::converted_name(&key.namespace, &key.name);
            self.output.put_authorization(&name, converted.as_ref().map(Resource::of));
        }
    }
}

/// As `TrafficObject::wire_name`.
fn wire_name(key: &Key) -> String {
    format!("{}/{}/{}", key.kind.name(), key.namespace, key.name)
}
