//! STRICT as policies: which are named, and what they say.

use super::*;

#[test]
fn strict_is_named_to_receivers_that_know_policies_only() {
    use MtlsMode::{Disable, Permissive, Strict};
    let base = [namespace("ns", MESH), pod("a", "app=a", "10.244.1.2")];
    let fixed = "istio-system/istio_converted_static_strict";
    let own = "ns/converted_peer_authentication_p";
    let mesh = || mtls("istio-system", "m", "", Strict, None);
    let inheriting = |port| {
        let Change::Put(key, Input::PeerAuthentication(policy)) =
            mtls("ns", "p", "app=a", Strict, Some(port))
        else {
            unreachable!()
        };
        Change::Put(key, Input::PeerAuthentication(PeerAuthenticationInput { mode: None, ..policy }))
    };
    // Ports in the policy, and ports that are not.
    let rows = [
        (vec![mesh()], Some((fixed, vec![], vec![]))),
        (vec![mtls("ns", "p", "", Permissive, None), mesh()], None),
        (vec![mtls("ns", "p", "app=a", Strict, Some((8080, Permissive)))], Some((own, vec![], vec![8080]))),
        (vec![mtls("ns", "p", "app=a", Permissive, Some((8080, Strict)))], Some((own, vec![8080], vec![]))),
        (vec![mtls("ns", "p", "app=a", Permissive, Some((8080, Disable)))], None),
        (vec![mtls("ns", "p", "app=a", Strict, Some((8080, Strict)))], Some((fixed, vec![], vec![]))),
        (vec![inheriting((8080, Permissive)), mesh()], Some((own, vec![], vec![8080]))),
        (vec![inheriting((8080, Strict))], Some((own, vec![8080], vec![]))),
    ];
    for (changes, want) in rows {
        let mut index = built(base.iter().cloned());
        changes.iter().for_each(|change| drop(index.apply([change.clone()])));
        let named = workload(&index, "a").unwrap().authorization_policies;
        assert_eq!(named, want.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), "{changes:?}");
        // Our own agents are told the modes.
        assert!(local(&index, "a").unwrap().authorization_policies.is_empty());
        let Some((name, ports, others)) = want else { continue };
        let resource = index.output().authorizations().get(name).unwrap();
        let policy = Authorization::decode(resource.encoded.clone()).unwrap();
        assert_eq!(
            (policy.action, format!("{}/{}", policy.namespace, policy.name).as_str()),
            (Action::Deny as i32, name)
        );
        let only = &policy.rules[0].clauses[0].matches[0];
        assert_eq!((&only.destination_ports, &only.not_destination_ports), (&ports, &others), "{changes:?}");
        assert_eq!(only.not_principals.len(), 1);
    }
    let none = built(base.iter().cloned());
    assert_eq!(none.output().authorizations().len(), 0, "nothing is published without a PeerAuthentication");
}
