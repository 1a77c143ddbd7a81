//! The objects as they are now, and the look-ups that resources are computed from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::input::{DenialInput, Input, InputKind, Key, Labels, MeshConfigInput, NodeInput, PodInput};
use super::input::{PeerAuthenticationInput, ServiceInput, SliceInput};
use super::peer_authentication::{self, Candidate, Effective};
use super::{l7, selector};
use heddle_api::enrolment;
use heddle_core::workload::L7Mode;

/// Every object by key, which sorts by kind, namespace and name.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    objects: BTreeMap<Key, Input>,
    /// Pods that say they have an address.
    claims: HashMap<IpAddr, BTreeSet<Key>>,
    /// Slices that name an address.
    references: HashMap<IpAddr, BTreeSet<Key>>,
}

impl World {
    /// Sets or removes an object; gives back what was there.
    pub(super) fn replace(&mut self, key: &Key, input: Option<Input>) -> Option<Input> {
        let old = match input {
            Some(input) => self.objects.insert(key.clone(), input),
            None => self.objects.remove(key),
        };
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

    pub(super) fn mesh_config(&self) -> MeshConfigInput {
        self.of_kind(InputKind::MeshConfig)
            .find_map(|(_, input)| match input {
                Input::MeshConfig(config) => Some(config.clone()),
                _ => None,
            })
            .unwrap_or_default()
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

    /// Every slice that names an address.
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
    fn namespace(&self, name: &str) -> Option<&Labels> {
        match self.objects.get(&Key::new(InputKind::Namespace, "", name)) {
            Some(Input::Namespace(labels)) => Some(labels),
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
        said.unwrap_or_else(|| self.mesh_config().l7)
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

    /// Denials that apply to a pod.
    pub(super) fn denials<'w>(&'w self, pod_key: &Key, pod: &PodInput) -> Vec<(&'w Key, &'w DenialInput)> {
        let kinds =
            [InputKind::PeerAuthentication, InputKind::AuthorizationPolicy, InputKind::RequestAuthentication];
        let mut found = Vec::new();
        for namespace in scopes(&pod_key.namespace) {
            for (key, input) in kinds.iter().flat_map(|kind| self.within(*kind, namespace)) {
                if let Input::Denial(denial) = input
                    && self.denies(key, denial, (pod_key, pod))
                {
                    found.push((key, denial));
                }
            }
        }
        found
    }

    fn denies(&self, key: &Key, denial: &DenialInput, (pod_key, pod): (&Key, &PodInput)) -> bool {
        match &denial.services {
            None => selector::selects(&denial.selector, &pod.labels),
            // A targetRef names a service of the policy's own namespace, also in a root namespace.
            Some(_) if key.namespace != pod_key.namespace => false,
            Some(names) => names.iter().any(|name| {
                self.service(&key.namespace, name).is_some_and(|service| {
                    !service.selector.is_empty() && selector::selects(&service.selector, &pod.labels)
                })
            }),
        }
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
        _ => Vec::new(),
    }
}
