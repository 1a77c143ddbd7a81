//! What one changed object touches.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::input::{EntryInput, Input, InputKind, Key, KeyedInput, Labels, ServiceInput};
use super::peer_authentication::is_root;
use super::selector;
use super::world::{World, addresses};

/// Keys whose resources have to be computed again.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    pub(super) pods: BTreeSet<Key>,
    pub(super) services: BTreeSet<Key>,
    pub(super) slices: BTreeSet<Key>,
    /// Security objects of every kind.
    pub(super) policies: BTreeSet<Key>,
    /// VirtualServices and DestinationRules.
    pub(super) traffic: BTreeSet<Key>,
    /// Routes of the Gateway API.
    pub(super) routes: BTreeSet<Key>,
    pub(super) entries: BTreeSet<Key>,
    pub(super) workload_entries: BTreeSet<Key>,
    pub(super) mesh: bool,
}

impl Dirt {
    /// Marks what depends on `key`, whose object is or was `input`. The world has the new object already.
    pub(super) fn mark(&mut self, world: &World, key: &Key, input: &Input) {
        match input {
            Input::Namespace(_) => {
                self.mesh = true;
                self.namespace(world, &key.name);
                let services = world.within(InputKind::Service, &key.name);
                self.services.extend(services.map(|(service, _)| service.clone()));
                let entries = world.within(InputKind::ServiceEntry, &key.name);
                self.entries.extend(entries.map(|(entry, _)| entry.clone()));
                self.keyed(world, &key.name, |_| true);
            }
            Input::ServiceCidr(_) => self.mesh = true,
            Input::Node(_) => {
                self.mesh = true;
                let pods = world.of_kind(InputKind::Pod);
                let there =
                    pods.filter(|(_, input)| matches!(input, Input::Pod(held) if *held.node == *key.name));
                self.pods.extend(there.map(|(pod, _)| pod.clone()));
            }
            Input::Pod(_) => {
                self.pods.insert(key.clone());
                self.neighbours(world, input);
                self.keyed(world, &key.namespace, |_| true);
            }
            Input::Service(service) => self.service(world, key, service),
            Input::EndpointSlice(_) => {
                self.slices.insert(key.clone());
                self.neighbours(world, input);
            }
            Input::ServiceAccount => {}
            Input::MeshConfig(_) => {
                self.mesh = true;
                self.pods.extend(world.of_kind(InputKind::Pod).map(|(pod, _)| pod.clone()));
            }
            Input::Traffic(_) | Input::Keyed(_) => drop(self.traffic.insert(key.clone())),
            Input::Secret(_) => self.keyed(world, &key.namespace, |input| input.secrets.contains(&*key.name)),
            // See `mark_routes`.
            Input::Route(_) | Input::Grant(_) => {}
            Input::Entry(entry) => self.entry(world, (key, input), entry),
            Input::WorkloadEntry(held) => {
                self.workload_entries.insert(key.clone());
                self.neighbours(world, input);
                let entries = world.entries_selecting(&key.namespace, &held.labels);
                self.entries.extend(entries.map(|(entry, _)| entry.clone()));
            }
            Input::PeerAuthentication(_) | Input::Denial(_) | Input::Policy(_) => self.security(world, key),
        }
    }

    fn service(&mut self, world: &World, key: &Key, service: &ServiceInput) {
        self.services.insert(key.clone());
        if !service.selector.is_empty() {
            self.selected(world, &key.namespace, &service.selector);
        }
        for (slice, input) in world.within(InputKind::EndpointSlice, &key.namespace) {
            if matches!(input, Input::EndpointSlice(held) if *held.service == *key.name) {
                self.mark(world, slice, input);
            }
        }
    }

    fn entry(&mut self, world: &World, (key, input): (&Key, &Input), entry: &EntryInput) {
        self.entries.insert(key.clone());
        self.neighbours(world, input);
        let Some(wanted) = &entry.selector else { return };
        self.selected(world, &key.namespace, wanted);
        // A pod that has the address of one of them is what is reached.
        let workloads: Vec<Key> = world.entries_selected(key, entry).map(|(held, _)| held.clone()).collect();
        for input in workloads.iter().filter_map(|held| world.get(held)) {
            self.neighbours(world, input);
        }
    }

    fn security(&mut self, world: &World, key: &Key) {
        self.policies.insert(key.clone());
        if key.kind == InputKind::PeerAuthentication {
            // Those that inherit from it.
            let all = world.of_kind(InputKind::PeerAuthentication).map(|(other, _)| other);
            let here = all.filter(|other| is_root(&key.namespace) || other.namespace == key.namespace);
            self.policies.extend(here.cloned());
        }
        if is_root(&key.namespace) {
            self.pods.extend(world.of_kind(InputKind::Pod).map(|(pod, _)| pod.clone()));
        } else {
            self.namespace(world, &key.namespace);
        }
    }

    /// Rules of a namespace that name Secrets.
    fn keyed(&mut self, world: &World, namespace: &str, wanted: impl Fn(&KeyedInput) -> bool) {
        let rules = world.within(InputKind::DestinationRule, namespace);
        let keyed = rules.filter(|(_, input)| matches!(input, Input::Keyed(input) if wanted(input)));
        self.traffic.extend(keyed.map(|(rule, _)| rule.clone()));
    }

    fn namespace(&mut self, world: &World, namespace: &Arc<str>) {
        self.pods.extend(world.within(InputKind::Pod, namespace).map(|(pod, _)| pod.clone()));
    }

    /// Marks the routes that depend on `key`: `old` was there, the world has what is there now. Of a Service they ask only
    /// whether it is there and which ports it has.
    pub(super) fn mark_routes(&mut self, world: &World, key: &Key, old: Option<&Input>) {
        let ports = |input: Option<&Input>| match input {
            Some(Input::Service(service)) => {
                let ports = service.ports.iter().map(|port| (port.name.clone(), port.port));
                Some(ports.collect::<Vec<_>>())
            }
            _ => None,
        };
        match key.kind {
            InputKind::HttpRoute | InputKind::GrpcRoute => drop(self.routes.insert(key.clone())),
            InputKind::Service if ports(old) != ports(world.get(key)) => {
                self.routes.extend(world.mentions().of(&key.namespace, &key.name).cloned());
            }
            InputKind::ReferenceGrant => {
                let others =
                    world.mentions().within(&key.namespace).filter(|route| route.namespace != key.namespace);
                self.routes.extend(others.cloned());
            }
            _ => {}
        }
    }

    /// Pods and WorkloadEntries of a namespace with these labels.
    fn selected(&mut self, world: &World, namespace: &str, wanted: &Labels) {
        for (key, input) in world.within(InputKind::Pod, namespace) {
            if matches!(input, Input::Pod(held) if selector::selects(wanted, &held.labels)) {
                self.pods.insert(key.clone());
            }
        }
        for (key, input) in world.within(InputKind::WorkloadEntry, namespace) {
            if matches!(input, Input::WorkloadEntry(held) if selector::selects(wanted, &held.labels)) {
                self.workload_entries.insert(key.clone());
            }
        }
    }

    /// Whoever else claims or names the object's addresses.
    fn neighbours(&mut self, world: &World, input: &Input) {
        for address in addresses(input) {
            self.pods.extend(world.claimants(address).cloned());
            for key in world.naming(address) {
                match key.kind {
                    InputKind::ServiceEntry => self.entries.insert(key.clone()),
                    InputKind::WorkloadEntry => self.workload_entries.insert(key.clone()),
                    _ => self.slices.insert(key.clone()),
                };
            }
        }
    }
}
