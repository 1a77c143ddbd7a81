//! The objects as they are now, and the look-ups that resources are computed from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::input::{
    Distribution, Input, InputKind, Key, Labels, MeshConfigInput, NodeInput, PodInput, Selection,
};
use super::input::{EntryInput, PeerAuthenticationInput, ServiceInput, SliceInput, WorkloadEntryInput};
use super::mentions::Mentions;
use super::peer_authentication::{self, Candidate, Effective};
use super::{entry, l7, selector};
use heddle_api::enrolment;
use heddle_core::upstream::model::{EntryEndpoint, Resolution};
use heddle_core::workload::L7Mode;

/// Every object by key, which sorts by kind, namespace and name.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    objects: BTreeMap<Key, Input>,
    /// Pods that say they have an address.
    claims: HashMap<IpAddr, BTreeSet<Key>>,
    /// Slices, ServiceEntries and WorkloadEntries that name an address.
    references: HashMap<IpAddr, BTreeSet<Key>>,
    mentions: Mentions,
}

impl World {
    /// Sets or removes an object; gives back what was there.
    pub(super) fn replace(&mut self, key: &Key, input: Option<Input>) -> Option<Input> {
        let old = match input {
            Some(input) => self.objects.insert(key.clone(), input),
            None => self.objects.remove(key),
        };
        self.mentions.replace(key, old.as_ref(), self.objects.get(key));
        for address in old.iter().flat_map(addresses) {
            let table = self.by_address(key.kind);
            if let Some(keys) = table.get_mut(&address) {
                keys.remove(key);
                if keys.is_empty() {
                    table.remove(&address);
                }
            }
        }
        let now: Vec<IpAddr> = self.objects.get(key).map(addresses).unwrap_or_default();
        for address in now {
            self.by_address(key.kind).entry(address).or_default().insert(key.clone());
        }
        old
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Input> {
        self.objects.get(key)
    }

    pub(super) fn pod(&self, key: &Key) -> Option<&PodInput> {
        match self.objects.get(key) {
            Some(Input::Pod(pod)) => Some(pod),
            _ => None,
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&ServiceInput> {
        match self.objects.get(&Key::new(InputKind::Service, namespace, name)) {
            Some(Input::Service(service)) => Some(service),
            _ => None,
        }
    }

    pub(super) fn slice(&self, key: &Key) -> Option<&SliceInput> {
        match self.objects.get(key) {
            Some(Input::EndpointSlice(slice)) => Some(slice),
            _ => None,
        }
    }

    pub(super) fn node(&self, name: &str) -> Option<&NodeInput> {
        match self.objects.get(&Key::new(InputKind::Node, "", name)) {
            Some(Input::Node(node)) => Some(node),
            _ => None,
        }
    }

    pub(super) fn mesh_config(&self) -> Option<&MeshConfigInput> {
        self.of_kind(InputKind::MeshConfig).find_map(|(_, input)| match input {
            Input::MeshConfig(config) => Some(&**config),
            _ => None,
        })
    }

    pub(super) fn of_kind(&self, kind: InputKind) -> impl Iterator<Item = (&Key, &Input)> {
        self.objects.range(Key::new(kind, "", "")..).take_while(move |(key, _)| key.kind == kind)
    }

    pub(super) fn within<'w, 'n>(
        &'w self,
        kind: InputKind,
        namespace: &'n str,
    ) -> impl Iterator<Item = (&'w Key, &'w Input)> + use<'w, 'n> {
        self.objects
            .range(Key::new(kind, namespace, "")..)
            .take_while(move |(key, _)| key.kind == kind && &*key.namespace == namespace)
    }

    /// Services of a namespace whose selector selects these labels.
    pub(super) fn services_for<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = (&'a Key, &'a ServiceInput)> {
        self.within(InputKind::Service, namespace).filter_map(move |(key, input)| match input {
            Input::Service(service) => (!service.external_name
                && !service.selector.is_empty()
                && selector::selects(&service.selector, labels))
            .then_some((key, service)),
            _ => None,
        })
    }

    /// Slices that name this address on behalf of a service without a selector.
    pub(super) fn slices_for(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = (&Key, &SliceInput, &ServiceInput)> {
        self.references.get(&address).into_iter().flatten().filter_map(|key| {
            let slice = self.slice(key)?;
            Some((key, slice, self.sliced_service(key)?))
        })
    }

    /// The service of a slice, where the slice counts: a selector makes the pods themselves the endpoints.
    pub(super) fn sliced_service(&self, slice: &Key) -> Option<&ServiceInput> {
        let service = self.service(&slice.namespace, &self.slice(slice)?.service)?;
        (service.selector.is_empty() && !service.external_name).then_some(service)
    }

    /// The pod that has an address: of several, one that is not on its way out, then the newest.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Key> {
        let claimants = self.claims.get(&address)?.iter();
        claimants
            .filter_map(|key| self.pod(key).map(|pod| (key, pod)))
            .max_by_key(|(key, pod)| (!pod.terminating, pod.created.as_str(), *key))
            .map(|(key, _)| key)
    }

    /// Every pod that claims an address.
    pub(super) fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &Key> {
        self.claims.get(&address).into_iter().flatten()
    }

    /// Everything but pods that names an address.
    pub(super) fn naming(&self, address: IpAddr) -> impl Iterator<Item = &Key> {
        self.references.get(&address).into_iter().flatten()
    }

    /// Whether the labels want this pod in the mesh.
    pub(super) fn enrolled(&self, key: &Key, pod: &PodInput) -> bool {
        let empty = Labels::new();
        let namespace = self.namespace(&key.namespace).unwrap_or(&empty);
        enrolment::pod_enrolled(namespace, &pod.labels, pod.host_network)
    }

    /// Labels of a namespace.
    pub(super) fn namespace(&self, name: &str) -> Option<&Labels> {
        match self.objects.get(&Key::new(InputKind::Namespace, "", name)) {
            Some(Input::Namespace(namespace)) => Some(&namespace.labels),
            _ => None,
        }
    }

    /// Which endpoints a namespace's services prefer, where they do not say so themselves.
    pub(super) fn namespace_distribution(&self, name: &str) -> Option<Distribution> {
        match self.objects.get(&Key::new(InputKind::Namespace, "", name)) {
            Some(Input::Namespace(namespace)) => namespace.distribution,
            _ => None,
        }
    }

    /// What a namespace says about where requests are seen.
    pub(super) fn namespace_l7(&self, name: &str) -> Option<L7Mode> {
        l7::of(self.namespace(name)?)
    }

    /// Where requests from and to a pod are seen.
    pub(super) fn pod_l7(&self, key: &Key, pod: &PodInput) -> L7Mode {
        let said = l7::of(&pod.labels).or_else(|| self.namespace_l7(&key.namespace));
        said.or(self.mesh_config().map(|config| config.l7)).unwrap_or_default()
    }

    /// The mTLS policy in force for a pod.
    pub(super) fn mtls(&self, key: &Key, pod: &PodInput) -> Effective<'_> {
        peer_authentication::effective(&key.namespace, &pod.labels, self.peer_authentications(&key.namespace))
    }

    /// What is in force for the workloads that a PeerAuthentication wins.
    pub(super) fn mtls_of_object(&self, key: &Key, object: &PeerAuthenticationInput) -> Effective<'_> {
        let candidates = self.peer_authentications(&key.namespace);
        let candidates = candidates.filter(|candidate| {
            candidate.policy.selector.is_empty()
                || (candidate.namespace, candidate.name) == (&key.namespace, &key.name)
        });
        peer_authentication::effective(&key.namespace, &object.selector, candidates)
    }

    /// Those that can concern a workload of a namespace.
    fn peer_authentications(&self, namespace: &str) -> impl Iterator<Item = Candidate<'_>> {
        let objects: Vec<_> = scopes(namespace)
            .into_iter()
            .flat_map(|namespace| self.within(InputKind::PeerAuthentication, namespace).collect::<Vec<_>>())
            .collect();
        objects.into_iter().filter_map(|(key, input)| match input {
            Input::PeerAuthentication(policy) => {
                Some(Candidate { namespace: &key.namespace, name: &key.name, policy })
            }
            _ => None,
        })
    }

    /// Policies and denials that apply to a pod.
    pub(super) fn policies<'w>(&'w self, pod_key: &Key, pod: &PodInput) -> Vec<(&'w Key, &'w Selection)> {
        let kinds =
            [InputKind::PeerAuthentication, InputKind::AuthorizationPolicy, InputKind::RequestAuthentication];
        let mut found = Vec::new();
        for namespace in scopes(&pod_key.namespace) {
            for (key, input) in kinds.iter().flat_map(|kind| self.within(*kind, namespace)) {
                let selection = match input {
                    Input::Denial(selection) => selection,
                    Input::Policy(policy) => &policy.selection,
                    _ => continue,
                };
                if self.judges(key, selection, (pod_key, pod)) {
                    found.push((key, selection));
                }
            }
        }
        found
    }

    fn judges(&self, key: &Key, selection: &Selection, (pod_key, pod): (&Key, &PodInput)) -> bool {
        match &selection.services {
            None => selector::selects(&selection.selector, &pod.labels),
            // A targetRef names a service of the policy's own namespace, also in a root namespace.
            Some(_) if key.namespace != pod_key.namespace => false,
            Some(names) => names.iter().any(|name| {
                self.service(&key.namespace, name).is_some_and(|service| {
                    !service.selector.is_empty() && selector::selects(&service.selector, &pod.labels)
                })
            }),
        }
    }

    /// Routes by the Services that they name.
    pub(super) fn mentions(&self) -> &Mentions {
        &self.mentions
    }

    /// ServiceEntries of a namespace that select workloads with these labels.
    pub(super) fn entries_selecting<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = (&'a Key, &'a EntryInput)> {
        self.within(InputKind::ServiceEntry, namespace).filter_map(move |(key, input)| match input {
            Input::Entry(entry) => {
                let selects = entry.selector.as_ref().is_some_and(|wanted| selector::selects(wanted, labels));
                selects.then_some((key, &**entry))
            }
            _ => None,
        })
    }

    /// WorkloadEntries that a ServiceEntry selects.
    pub(super) fn entries_selected<'a>(
        &'a self,
        key: &'a Key,
        entry: &'a EntryInput,
    ) -> impl Iterator<Item = (&'a Key, &'a WorkloadEntryInput)> {
        let wanted = entry.selector.as_ref();
        let all = wanted.map(|_| self.within(InputKind::WorkloadEntry, &key.namespace));
        all.into_iter().flatten().filter_map(move |(key, input)| match input {
            Input::WorkloadEntry(held) => {
                wanted.is_some_and(|wanted| selector::selects(wanted, &held.labels)).then_some((key, &**held))
            }
            _ => None,
        })
    }

    /// ServiceEntries that have this address as an endpoint: written in them, or by a WorkloadEntry that they select.
    pub(super) fn entries_naming(&self, address: IpAddr) -> Vec<(&Key, &EntryInput, EntryEndpoint)> {
        let is_it = |text: &str| text.parse() == Ok(address);
        let mut found = Vec::new();
        for key in self.references.get(&address).into_iter().flatten() {
            match self.objects.get(key) {
                Some(Input::Entry(entry)) => {
                    let endpoint = entry.entry.endpoints.iter().find(|endpoint| is_it(&endpoint.address));
                    found.extend(endpoint.map(|endpoint| (key, &**entry, endpoint.clone())));
                }
                Some(Input::WorkloadEntry(held)) => {
                    let entries = self.entries_selecting(&key.namespace, &held.labels);
                    found.extend(entries.map(|(key, entry)| (key, entry, entry::endpoint(held))));
                }
                _ => {}
            }
        }
        found
    }

    fn by_address(&mut self, kind: InputKind) -> &mut HashMap<IpAddr, BTreeSet<Key>> {
        if kind == InputKind::Pod { &mut self.claims } else { &mut self.references }
    }
}

/// Namespaces whose policies can concern a pod of this one.
fn scopes(namespace: &str) -> Vec<&str> {
    let mut scopes = peer_authentication::ROOT_NAMESPACES.to_vec();
    if !peer_authentication::is_root(namespace) {
        scopes.push(namespace);
    }
    scopes
}

/// Addresses that an object claims: a terminal pod owns none, and one with hostNetwork only borrows its node's.
pub(super) fn addresses(input: &Input) -> Vec<IpAddr> {
    match input {
        Input::Pod(pod) if !pod.terminal && !pod.host_network => pod.addresses.clone(),
        Input::EndpointSlice(slice) => {
            slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().copied()).collect()
        }
        Input::Entry(entry) if entry.entry.resolution == Resolution::Static => {
            entry.entry.endpoints.iter().filter_map(|endpoint| endpoint.address.parse().ok()).collect()
        }
        Input::WorkloadEntry(entry) => entry.address.parse().into_iter().collect(),
        _ => Vec::new(),
    }
}
