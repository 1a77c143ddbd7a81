//! The index: objects in, resources for agents out. Pure: apply, then read.
//!
//! ```text
//! Change ──► World ──► Dirt ──► workload / service / policy / route / entry ──► Output (tables of encoded resources)
//!            objects   what it touches
//! ```

mod claims;
mod denial;
mod dirt;
mod entry;
pub mod input;
mod keyed;
pub mod l7;
mod mentions;
mod mesh;
pub mod naming;
mod output;
pub mod peer_authentication;
mod policy;
pub mod route;
pub mod selector;
mod service;
mod strict;
pub mod table;
mod traffic;
mod workload;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use claims::Claims;
use dirt::Dirt;
use input::{Change, Input, InputKind, Key};
use mesh::Alone;
pub use output::{Output, PodRecord};
use route::ParentVerdict;
use table::Resource;
use workload::View;
use world::World;

/// What does not come from objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For example `cluster.local`.
    pub trust_domain: String,
    /// For example `cluster.local`.
    pub cluster_domain: String,
    /// First part of every workload's name.
    pub cluster_id: String,
    /// Pod networks of the cluster.
    pub pod_cidrs: Vec<String>,
    /// Service networks of the cluster.
    pub service_cidrs: Vec<String>,
    /// PEM of every trusted root.
    pub trust_bundle: Vec<String>,
}

/// A pod that lives on while its labels move it into the mesh or out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The pod.
    pub uid: Arc<str>,
    /// `<namespace>/<name>`.
    pub pod: String,
    /// Where it runs.
    pub node: Arc<str>,
    /// True: into the mesh.
    pub enrolled: bool,
}

/// The index. One owner applies changes to it and publishes its output.
#[derive(Clone, Debug)]
pub struct Index {
    settings: Settings,
    world: World,
    /// Pods (by UID) that are captured, while others do not tunnel to them: not yet, or no more.
    held: BTreeSet<Arc<str>>,
    claims: Claims,
    /// Pods that are in the mesh by their own labels, by namespaces that are not.
    alone: Alone,
    /// What the parents of Gateway API routes say.
    verdicts: BTreeMap<Key, Vec<ParentVerdict>>,
    /// Routes whose verdicts nobody has taken yet.
    news: BTreeSet<Key>,
    output: Output,
}

impl Index {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        let mut index = Self {
            settings,
            world: World::default(),
            held: BTreeSet::new(),
            claims: Claims::default(),
            alone: Alone::default(),
            verdicts: BTreeMap::new(),
            news: BTreeSet::new(),
            output: Output::default(),
        };
        index.compute_mesh();
        index
    }

    /// Applies changes, and says which living pods they moved into the mesh or out of it.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Transition> {
        let mut dirt = Dirt::default();
        for change in changes {
            let (key, input) = match change {
                Change::Put(key, input) => (key, Some(input)),
                Change::Remove(key) => (key, None),
            };
            if self.world.get(&key) == input.as_ref() {
                continue;
            }
            let old = self.world.replace(&key, input);
            for input in old.iter().chain(self.world.get(&key)) {
                dirt.mark(&self.world, &key, input);
            }
            dirt.mark_routes(&self.world, &key, old.as_ref());
        }
        self.clean(&dirt)
    }

    /// Holds a pod captured without a tunnel to it, or lets it go to what its labels say.
    pub fn hold(&mut self, uid: &str, hold: bool) {
        let changed = if hold { self.held.insert(uid.into()) } else { self.held.remove(uid) };
        if let Some(record) = self.output.pod(uid).filter(|_| changed) {
            let key = Key::new(InputKind::Pod, &record.namespace, &record.name);
            self.compute_pod(&key);
        }
    }

    /// PEM of every root that is trusted from now on.
    pub fn trust(&mut self, roots: &[String]) {
        if self.settings.trust_bundle != roots {
            self.settings.trust_bundle = roots.to_vec();
            self.compute_mesh();
        }
    }

    /// Whether anybody is trusted.
    pub fn has_roots(&self) -> bool {
        !self.settings.trust_bundle.is_empty()
    }

    /// What agents get.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Names of the nodes there are.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.world.of_kind(InputKind::Node).map(|(key, _)| &key.name)
    }

    fn clean(&mut self, dirt: &Dirt) -> Vec<Transition> {
        let transitions = dirt.pods.iter().filter_map(|key| self.compute_pod(key)).collect();
        for key in &dirt.services {
            self.compute_service(key);
        }
        for key in &dirt.slices {
            self.compute_slice(key);
        }
        for key in &dirt.entries {
            self.compute_entry(key);
        }
        for key in &dirt.workload_entries {
            self.compute_workload_entry(key);
        }
        for key in &dirt.policies {
            self.compute_policy(key);
        }
        for key in &dirt.traffic {
            self.compute_traffic(key);
        }
        for key in &dirt.routes {
            self.compute_route(key);
        }
        if dirt.policies.iter().any(|key| key.kind == InputKind::PeerAuthentication) {
            self.compute_strict();
        }
        if self.alone.changed() || dirt.mesh {
            self.compute_mesh();
        }
        transitions
    }

    fn compute_pod(&mut self, key: &Key) -> Option<Transition> {
        let name = workload::resource_name(key, &self.settings);
        let Some(pod) = self.world.pod(key) else {
            self.output.put_address(&name, None);
            self.alone.set(key, false);
            if let Some(gone) = self.output.remove_pod(key) {
                self.held.remove(&gone.uid);
            }
            return None;
        };
        let wanted = self.world.enrolled(key, pod);
        self.alone.set(key, wanted && !pod.terminal && !self.world.namespace_enrolled(&key.namespace));
        let held = self.held.contains(pod.uid.as_str());
        let view = View {
            key,
            pod,
            captured: wanted || held,
            tunnelled: wanted && !held,
            mtls: self.world.mtls(key, pod),
        };
        let address =
            if pod.terminal { None } else { workload::resource(&self.world, &self.settings, &view) };
        let local = workload::local(&self.world, &self.settings, &view);
        let record = PodRecord::of(key, pod, wanted, local.as_ref().is_some_and(|local| local.enrolled));
        let local = local.map(|local| Resource::of(&local));
        self.output.put_address(&name, address.as_ref().map(Resource::of));
        let old = self.output.put_pod(key, record.clone(), local);
        let old = old?;
        if old.uid != record.uid || !record.alive() {
            self.held.remove(&old.uid);
            return None;
        }
        let moved = old.wanted != record.wanted && old.node == record.node && !record.node.is_empty();
        moved.then(|| Transition {
            pod: format!("{}/{}", record.namespace, record.name),
            uid: record.uid,
            node: record.node,
            enrolled: record.wanted,
        })
    }

    fn compute_service(&mut self, key: &Key) {
        let domain = &self.settings.cluster_domain;
        let service = self.world.service(&key.namespace, &key.name);
        let l7 = service.and_then(|service| service.l7).or_else(|| self.world.namespace_l7(&key.namespace));
        let distribution = self.world.namespace_distribution(&key.namespace);
        let resource =
            service.and_then(|service| service::resource(key, service, (l7, distribution), domain));
        let name = service::resource_name(key, domain);
        self.put_addresses(
            key,
            resource.iter().map(|resource| (name.clone(), Resource::of(resource))).collect(),
        );
    }

    fn compute_slice(&mut self, key: &Key) {
        let mut outsiders: Vec<(String, Resource)> = Vec::new();
        if let (Some(slice), Some(service)) = (self.world.slice(key), self.world.sliced_service(key)) {
            for endpoint in &slice.endpoints {
                // What a pod of ours has is reached as that pod, with its identity.
                if endpoint.addresses.iter().all(|address| self.world.holder(*address).is_none()) {
                    let outsider = workload::outsider(&self.settings, key, (service, slice), endpoint);
                    outsiders.extend(outsider.map(|(name, address)| (name, Resource::of(&address))));
                }
            }
        }
        self.put_addresses(key, outsiders);
    }

    /// As an istiod has it: there when there is any PeerAuthentication.
    fn compute_strict(&mut self) {
        let mut objects = self.world.of_kind(InputKind::PeerAuthentication);
        let any = objects.any(|(_, input)| matches!(input, Input::PeerAuthentication(_)));
        let resource = any.then(|| Resource::of(&strict::static_resource()));
        self.output.put_authorization(&strict::static_name(), resource);
    }
}

#[cfg(test)]
mod tests;
