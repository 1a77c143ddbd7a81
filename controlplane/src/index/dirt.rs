//! What one changed object touches.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::input::{Input, InputKind, Key};
use super::peer_authentication::is_root;
use super::selector;
use super::world::{World, addresses};

/// Keys whose resources have to be computed again.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    pub(super) pods: BTreeSet<Key>,
    pub(super) services: BTreeSet<Key>,
    pub(super) slices: BTreeSet<Key>,
    pub(super) denials: BTreeSet<Key>,
    pub(super) mesh: bool,
}

impl Dirt {
    /// Marks what depends on `key`, whose object is or was `input`. The world has the new object already.
    pub(super) fn mark(&mut self, world: &World, key: &Key, input: &Input) {
        match input {
            Input::Namespace(_) => {
                self.namespace(world, &key.name);
                let services = world.within(InputKind::Service, &key.name);
                self.services.extend(services.map(|(service, _)| service.clone()));
            }
            Input::Node(_) => {
                let pods = world.of_kind(InputKind::Pod);
                let there =
                    pods.filter(|(_, input)| matches!(input, Input::Pod(held) if *held.node == *key.name));
                self.pods.extend(there.map(|(pod, _)| pod.clone()));
            }
            Input::Pod(_) => {
                self.pods.insert(key.clone());
                self.neighbours(world, input);
            }
            Input::Service(service) => {
                self.services.insert(key.clone());
                if !service.selector.is_empty() {
                    let pods = world.within(InputKind::Pod, &key.namespace);
                    self.pods.extend(pods.filter_map(|(pod, input)| {
                        let selected = matches!(input, Input::Pod(held) if selector::selects(&service.selector, &held.labels));
                        selected.then(|| pod.clone())
                    }));
                }
                let slices: Vec<_> = world.within(InputKind::EndpointSlice, &key.namespace).collect();
                for (slice, input) in slices {
                    if matches!(input, Input::EndpointSlice(held) if *held.service == *key.name) {
                        self.mark(world, slice, input);
                    }
                }
            }
            Input::EndpointSlice(_) => {
                self.slices.insert(key.clone());
                self.neighbours(world, input);
            }
            Input::ServiceAccount => {}
            Input::MeshConfig(_) => {
                self.mesh = true;
                self.pods.extend(world.of_kind(InputKind::Pod).map(|(pod, _)| pod.clone()));
            }
            Input::PeerAuthentication(_) | Input::Denial(_) => {
                self.denials.insert(key.clone());
                if key.kind == InputKind::PeerAuthentication {
                    // Those that inherit from it.
                    let all = world.of_kind(InputKind::PeerAuthentication).map(|(other, _)| other);
                    let here =
                        all.filter(|other| is_root(&key.namespace) || other.namespace == key.namespace);
                    self.denials.extend(here.cloned());
                }
                if is_root(&key.namespace) {
                    self.pods.extend(world.of_kind(InputKind::Pod).map(|(pod, _)| pod.clone()));
                } else {
                    self.namespace(world, &key.namespace);
                }
            }
        }
    }

    fn namespace(&mut self, world: &World, namespace: &Arc<str>) {
        self.pods.extend(world.within(InputKind::Pod, namespace).map(|(pod, _)| pod.clone()));
    }

    /// Whoever else claims or names the object's addresses.
    fn neighbours(&mut self, world: &World, input: &Input) {
        for address in addresses(input) {
            self.pods.extend(world.claimants(address).cloned());
            self.slices.extend(world.naming(address).cloned());
        }
    }
}
