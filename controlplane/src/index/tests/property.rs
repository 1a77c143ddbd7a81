//! Whatever the order of changes, the index is what it would be if it were built from the objects that are left.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LABELS: [&str; 3] = ["app=a", "app=b", "app=a heddle.dev/mesh=disabled"];
const NAMESPACES: [&str; 3] = ["ns", "other", "istio-system"];
const ADDRESSES: [&str; 4] = ["10.244.1.1", "10.244.1.2", "fd00:10:244:1::1", "192.0.2.7"];
const MODES: [MtlsMode; 3] = [MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict];

fn key(kind: InputKind, at: usize, name: usize) -> Key {
    let namespace = if matches!(kind, InputKind::Namespace | InputKind::Node) { "" } else { NAMESPACES[at] };
    let name = if kind == InputKind::Namespace { NAMESPACES[at].to_owned() } else { format!("x{name}") };
    Key::new(kind, namespace, &name)
}

fn any_pod() -> impl Strategy<Value = PodInput> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    (0..3_usize, 0..4_usize, 0..3_usize, flags, 0..3_u8).prop_map(
        |(label, address, incarnation, (ready, terminating, terminal, host_network), created)| PodInput {
            uid: String::new(),
            node: ["", "x0", "x1"][incarnation].into(),
            ready,
            terminating,
            terminal,
            host_network,
            created: created.to_string(),
            ..pod_input("", LABELS[label], ADDRESSES[address])
        },
    )
}

fn any_put() -> impl Strategy<Value = Change> {
    let place = (0..3_usize, 0..3_usize);
    prop_oneof![
        (place.clone(), any_pod(), any::<bool>()).prop_map(|((at, name), mut pod, again)| {
            let key = key(InputKind::Pod, at, name);
            pod.uid = format!("{}-{}-{again}", key.namespace, key.name);
            Change::Put(key, Input::Pod(Box::new(pod)))
        }),
        (place.clone(), any::<bool>()).prop_map(|((at, _), on)| {
            let text = if on { MESH } else { "" };
            Change::Put(key(InputKind::Namespace, at, 0), Input::Namespace(labels(text).into()))
        }),
        place.clone().prop_map(|(at, name)| {
            let node = NodeInput { region: at.to_string(), ..NodeInput::default() };
            Change::Put(key(InputKind::Node, at, name), Input::Node(node))
        }),
        (place.clone(), 0..4_usize).prop_map(|((at, name), selector)| {
            let selector = ["", "app=a", "app=b", "app=c"][selector];
            let Change::Put(_, input) = service("s", selector, TargetPort::Name("http".into())) else {
                unreachable!()
            };
            Change::Put(key(InputKind::Service, at, name), input)
        }),
        (place.clone(), 0..3_usize, 0..4_usize).prop_map(|((at, name), service, address)| {
            let Change::Put(_, input) = slice(&format!("x{service}"), &[ADDRESSES[address]]) else {
                unreachable!()
            };
            Change::Put(key(InputKind::EndpointSlice, at, name), input)
        }),
        (place.clone(), 0..3_usize, any::<bool>()).prop_map(|((at, name), mode, selector)| {
            let selector = if selector { "app=a" } else { "" };
            let Change::Put(_, input) = mtls("ns", "p", selector, MODES[mode], Some((8080, MODES[name])))
            else {
                unreachable!()
            };
            Change::Put(key(InputKind::PeerAuthentication, at, name), input)
        }),
        (place.clone(), any::<bool>(), prop::option::of(0..3_usize), 0..3_u8).prop_map(
            |((at, name), selector, service, form)| {
                let selection = Selection {
                    selector: labels(if selector { "app=b" } else { "" }),
                    services: service.map(|service| vec![format!("x{service}")]),
                };
                let key = key(InputKind::AuthorizationPolicy, at, name);
                let input = match form {
                    0 => Input::Denial(selection),
                    form => traffic::policy(&key, selection, form == 1),
                };
                Change::Put(key, input)
            }
        ),
        any_traffic(place),
    ]
}

fn any_traffic(
    place: impl Strategy<Value = (usize, usize)> + Clone + 'static,
) -> impl Strategy<Value = Change> {
    let names = (0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize);
    prop_oneof![
        place.clone().prop_map(|(at, name)| {
            let key = key(InputKind::VirtualService, at, name);
            let input = traffic::virtual_service(&key, at);
            Change::Put(key, input)
        }),
        (place.clone(), names, any::<bool>()).prop_map(
            |((at, name), (parent, there, backend, port), grpc)| {
                let kind = if grpc { InputKind::GrpcRoute } else { InputKind::HttpRoute };
                let key = key(kind, at, name);
                let backend = (NAMESPACES[there].to_owned(), format!("x{backend}"), [80, 80, 81][port]);
                let input = traffic::route(&key, (NAMESPACES[there], &format!("x{parent}")), &[backend]);
                Change::Put(key, input)
            }
        ),
        (place.clone(), 0..3_usize, any::<bool>()).prop_map(|((at, name), from, one)| {
            let grant = GrantInput {
                from: vec![(GATEWAY_GROUP.into(), "HTTPRoute".into(), NAMESPACES[from].into())],
                to: vec![(String::new(), "Service".into(), one.then(|| "x0".to_owned()))],
            };
            Change::Put(key(InputKind::ReferenceGrant, at, name), Input::Grant(grant))
        }),
        (place.clone(), 0..4_usize, 0..4_usize, any::<bool>()).prop_map(
            |((at, name), selector, address, fixed)| {
                let key = key(InputKind::ServiceEntry, at, name);
                // Two of them share a host, and one is called as a Service.
                let host = ["a.example.com", "a.example.com", "x0.ns.svc.cluster.local"][name];
                let selector = ["", "app=a", "app=b", "app=a"][selector];
                let input = traffic::entry(&key, host, selector, &[ADDRESSES[address]], fixed);
                Change::Put(key, input)
            }
        ),
        (place.clone(), 0..3_usize, any::<bool>()).prop_map(|((at, name), secret, rule)| match rule {
            true => {
                let key = key(InputKind::DestinationRule, at, name);
                Change::Put(key.clone(), traffic::keyed(&key, &format!("x{secret}")))
            }
            false => Change::Put(key(InputKind::Secret, at, name), traffic::secret(&secret.to_string())),
        }),
        (place, 0..4_usize, any::<bool>()).prop_map(|((at, name), address, label)| {
            let entry = WorkloadEntryInput {
                address: ADDRESSES[address].into(),
                labels: labels(if label { "app=a" } else { "app=b" }),
                ..WorkloadEntryInput::default()
            };
            Change::Put(key(InputKind::WorkloadEntry, at, name), Input::WorkloadEntry(Arc::new(entry)))
        }),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    (any_put(), prop::bool::weighted(0.3)).prop_map(|(put, remove)| match put {
        Change::Put(key, _) if remove => Change::Remove(key),
        put => put,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_gives_what_a_fresh_index_gives(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 1..4), 1..25)
    ) {
        let mut index = Index::new(settings());
        let mut left: BTreeMap<Key, Input> = BTreeMap::new();
        for batch in batches {
            for change in &batch {
                match change {
                    Change::Put(key, input) => drop(left.insert(key.clone(), input.clone())),
                    Change::Remove(key) => drop(left.remove(key)),
                }
            }
            // Holding and letting go leaves no trace.
            for transition in index.apply(batch) {
                index.hold(&transition.uid, true);
                index.hold(&transition.uid, false);
            }
        }
        let fresh = built(left.into_iter().map(|(key, input)| Change::Put(key, input)));
        prop_assert!(index.output().same_content(fresh.output()), "\n{:#?}\n{:#?}", index.output(), fresh.output());
        prop_assert_eq!(&index.verdicts, &fresh.verdicts);
    }
}
