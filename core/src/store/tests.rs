//! Whatever the order of operations, a store holds what its objects say.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::names::NodeName;
use crate::workload::{PortMapping, Tunnel};

#[derive(Clone, Debug)]
enum Operation {
    PutWorkload { uid: u8, addresses: Vec<u8>, services: Vec<u8>, host_network: bool },
    RemoveWorkload(u8),
    PutService { key: u8, addresses: Vec<u8> },
    RemoveService(u8),
    Publish,
}

fn operation() -> impl Strategy<Value = Operation> {
    let few = || prop::collection::vec(0..6_u8, 0..3);
    prop_oneof![
        4 => (0..8_u8, few(), few(), prop::bool::weighted(0.1)).prop_map(|(uid, addresses, services, host_network)| {
            Operation::PutWorkload { uid, addresses, services, host_network }
        }),
        2 => (0..8_u8).prop_map(Operation::RemoveWorkload),
        3 => (0..6_u8, few()).prop_map(|(key, addresses)| Operation::PutService { key, addresses }),
        1 => (0..6_u8).prop_map(Operation::RemoveService),
        1 => Just(Operation::Publish),
    ]
}

/// Every third address is written v4-mapped: it is the same address.
fn address(number: u8) -> IpAddr {
    let v4 = std::net::Ipv4Addr::new(10, 0, 0, number);
    if number.is_multiple_of(3) { v4.to_ipv6_mapped().into() } else { v4.into() }
}

fn uid(number: u8) -> WorkloadUid {
    WorkloadUid::new(format!("c//Pod/n/{number}"))
}

fn key(number: u8) -> ServiceKey {
    ServiceKey::new(format!("n/{number}"))
}

fn workload(number: u8, addresses: &[u8], services: &[u8], host_network: bool) -> Workload {
    let port = PortMapping { service_port: 80, target_port: 8080, protocol: Default::default() };
    Workload {
        uid: uid(number),
        name: "w".into(),
        identity: Identity::new("cluster.local", "n", "s").unwrap(),
        addresses: addresses.iter().copied().map(address).collect(),
        tunnel: Tunnel::Hbone,
        plaintext_ports: Box::new([]),
        node: NodeName::new("node-1"),
        canonical_name: "w".into(),
        canonical_revision: "latest".into(),
        workload_name: "w".into(),
        services: services
            .iter()
            .map(|service| (key(*service), Box::new([port]) as Box<[PortMapping]>))
            .collect(),
        policies: Box::new([]),
        healthy: true,
        host_network,
        labels: Default::default(),
        locality: Default::default(),
        weight: 1,
    }
}

fn service(number: u8, addresses: &[u8]) -> Service {
    Service {
        key: key(number),
        name: "s".into(),
        namespace: "n".into(),
        hostname: "s.n.svc.cluster.local".into(),
        addresses: addresses.iter().copied().map(address).collect(),
        ports: Box::new([]),
        l7: None,
        unready: false,
        routing: None,
        export_to: Default::default(),
    }
}

/// What there is, and in which order each address was claimed.
#[derive(Default)]
struct Model {
    workloads: BTreeMap<u8, (Vec<u8>, Vec<u8>)>,
    services: BTreeMap<u8, Vec<u8>>,
    claims: [BTreeMap<u8, Vec<u8>>; 2],
}

impl Model {
    fn claim(claims: &mut BTreeMap<u8, Vec<u8>>, who: u8, wanted: &[u8]) {
        for (address, claimants) in claims.iter_mut() {
            claimants.retain(|claimant| *claimant != who || wanted.contains(address));
        }
        for address in wanted {
            let claimants = claims.entry(*address).or_default();
            if !claimants.contains(&who) {
                claimants.push(who);
            }
        }
    }

    fn apply(&mut self, store: &mut Store, operation: Operation) {
        match operation {
            Operation::PutWorkload { uid, addresses, services, host_network } => {
                store.put_workload(workload(uid, &addresses, &services, host_network));
                Self::claim(&mut self.claims[0], uid, if host_network { &[] } else { &addresses });
                self.workloads.insert(uid, (addresses, services));
            }
            Operation::RemoveWorkload(number) => {
                store.remove_workload(&uid(number));
                Self::claim(&mut self.claims[0], number, &[]);
                self.workloads.remove(&number);
            }
            Operation::PutService { key, addresses } => {
                store.put_service(service(key, &addresses));
                Self::claim(&mut self.claims[1], key, &addresses);
                self.services.insert(key, addresses);
            }
            Operation::RemoveService(number) => {
                store.remove_service(&key(number));
                Self::claim(&mut self.claims[1], number, &[]);
                self.services.remove(&number);
            }
            Operation::Publish => drop(store.publish()),
        }
    }

    fn check(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.workloads().len(), self.workloads.len());
        assert_eq!(snapshot.services().len(), self.services.len());
        for number in 0..8 {
            let last = |table: usize| {
                self.claims[table].get(&number).and_then(|claimants| claimants.last().copied())
            };
            let found = snapshot.workload_at(address(number)).map(|found| found.uid.clone());
            assert_eq!(found, last(0).map(uid), "workload at address {number}");
            let found = snapshot.service_at(address(number)).map(|found| found.key.clone());
            assert_eq!(found, last(1).map(key), "service at address {number}");
            let endpoints: Vec<_> = snapshot.endpoints(&key(number)).map(|found| found.uid.clone()).collect();
            let wanted = self.workloads.iter().filter(|(_, (_, services))| services.contains(&number));
            assert_eq!(
                endpoints,
                wanted.map(|(who, _)| uid(*who)).collect::<Vec<_>>(),
                "endpoints of {number}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_after_any_operations_equals_what_its_objects_say(operations in prop::collection::vec(operation(), 0..60)) {
        let (mut store, mut model) = (Store::default(), Model::default());
        for operation in operations {
            model.apply(&mut store, operation);
        }
        model.check(&store.publish());
    }

    #[test]
    fn a_published_snapshot_never_changes(before in prop::collection::vec(operation(), 0..30), after in prop::collection::vec(operation(), 0..30)) {
        let (mut store, mut model) = (Store::default(), Model::default());
        for operation in before {
            model.apply(&mut store, operation);
        }
        let (published, mut later) = (store.publish(), Model::default());
        for operation in after {
            later.apply(&mut store, operation);
        }
        model.check(&published);
        prop_assert!(store.publish().generation() > published.generation());
    }
}

#[test]
fn an_address_that_two_claim_goes_back_when_the_later_leaves() {
    let mut store = Store::default();
    store.put_workload(workload(1, &[1], &[], false));
    store.put_workload(workload(2, &[1], &[], false));
    store.put_workload(workload(1, &[1], &[], false));
    assert_eq!(
        store.publish().workload_at(address(1)).unwrap().uid,
        uid(2),
        "an update takes nothing from others"
    );
    store.remove_workload(&uid(2));
    assert_eq!(store.publish().workload_at(address(1)).unwrap().uid, uid(1));
    store.remove_workload(&uid(1));
    assert!(store.publish().workload_at(address(1)).is_none());
}

#[test]
fn the_address_of_a_node_belongs_to_no_workload() {
    let mut store = Store::default();
    store.put_workload(workload(1, &[1], &[2], true));
    let snapshot = store.publish();
    assert!(snapshot.workload_at(address(1)).is_none());
    assert_eq!(snapshot.endpoints(&key(2)).count(), 1);
}

#[test]
fn a_removed_policy_and_pod_are_gone() {
    let mut store = Store::default();
    let name = PolicyName::new("n/p");
    store.put_policy(Policy::new(name.clone(), crate::policy::Action::Deny, Box::new([])));
    assert!(store.publish().policy(&name).is_some());
    store.remove_policy(&name);
    assert!(store.publish().policy(&name).is_none());
    assert_eq!(store.publish().locals().len(), 0);
}

#[test]
fn a_policy_in_full_counts_whichever_form_of_it_comes_or_goes_first() {
    use crate::policy::{Action, Match, Policy, RequestMatch, Rule, StringMatch};
    let name = PolicyName::new("n/p");
    let with = |request| {
        let clause = crate::policy::Clause { matches: [Match { request, ..Match::default() }].into() };
        Policy::new(name.clone(), Action::Deny, [Rule { clauses: [clause].into() }].into())
    };
    let (connections, full) = (
        with(RequestMatch::default()),
        with(RequestMatch { methods: [StringMatch::Exact("GET".into())].into(), ..RequestMatch::default() }),
    );
    for full_first in [true, false] {
        let mut store = Store::default();
        if full_first {
            store.put_traffic(TrafficObject::Policy(full.clone()));
            store.put_policy(connections.clone());
        } else {
            store.put_policy(connections.clone());
            store.put_traffic(TrafficObject::Policy(full.clone()));
        }
        assert_eq!(**store.publish().policy(&name).unwrap(), full);
        let (mut without_full, mut without_connections) = (store.clone(), store);
        without_full.remove_traffic("AuthorizationPolicy/n/p");
        assert_eq!(**without_full.publish().policy(&name).unwrap(), connections);
        without_connections.remove_policy(&name);
        assert_eq!(**without_connections.publish().policy(&name).unwrap(), full);
        without_connections.remove_traffic("AuthorizationPolicy/n/p");
        assert!(without_connections.publish().policy(&name).is_none());
    }
}
