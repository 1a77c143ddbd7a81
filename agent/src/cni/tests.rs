//! What may start while nobody has said what a pod is.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use heddle_cni::protocol::{Attachment, Key};
use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{PodUid, WorkloadUid};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::{MeshFacts, Store};
use heddle_core::workload::LocalWorkload;

use super::verdict::{patience, without_word, word};

fn pod(namespace: &str, excluded: bool) -> Attachment {
    Attachment {
        key: Key { container_id: "c".into(), ifname: "eth0".into() },
        netns: "/run/netns/x".into(),
        namespace: namespace.into(),
        name: "web".into(),
        uid: "uid".into(),
        ips: Vec::new(),
        excluded,
    }
}

fn store(enrolled: &[&str]) -> Store {
    let mut store = Store::default();
    let enrolled_namespaces = enrolled.iter().map(|name| (*name).to_owned()).collect();
    store.set_mesh(MeshFacts { enrolled_namespaces, ..MeshFacts::default() });
    store
}

#[test]
fn without_a_word_a_pod_starts_where_nothing_is_enrolled_and_waits_only_as_long_as_it_helps() {
    let nothing = Arc::new(Snapshot::default());
    let snapshot = store(&["bank", "mesh", "shop"]).publish();
    // (snapshot, namespace, excluded, seconds with a controller, without, may start at the end)
    let cases = [
        (&nothing, "shop", false, 10, 2, false),
        (&nothing, "kube-system", true, 0, 0, true),
        (&snapshot, "shop", false, 10, 2, false),
        (&snapshot, "mesh", true, 10, 2, true),
        (&snapshot, "other", false, 5, 0, true),
        (&snapshot, "kube-system", true, 0, 0, true),
    ];
    for (snapshot, namespace, excluded, with, without, starts) in cases {
        let pod = pod(namespace, excluded);
        assert_eq!(patience(snapshot, true, &pod).as_secs(), with, "{namespace}, connected");
        assert_eq!(patience(snapshot, false, &pod).as_secs(), without, "{namespace}, disconnected");
        let verdict = without_word(snapshot, &pod);
        assert_eq!(verdict.is_ok(), starts, "{namespace}: {verdict:?}");
    }
}

#[test]
fn the_runtimes_names_and_the_controllers_must_agree() {
    let mut store = store(&[]);
    store.put_local(LocalWorkload {
        pod_uid: PodUid::new("uid"),
        workload_uid: WorkloadUid::new("Kubernetes//Pod/shop/web"),
        name: "web".into(),
        identity: Identity::new("cluster.local", "shop", "default").unwrap(),
        enrolled: true,
        mtls: MtlsPolicy::new(MtlsMode::Strict, []),
        policies: Box::default(),
        labels: Default::default(),
        l7: Default::default(),
    });
    let snapshot = store.publish();
    assert!(word(&snapshot, &pod("shop", false)).unwrap().is_some());
    let mut other = pod("shop", false);
    other.uid = "another".into();
    assert_eq!(word(&snapshot, &other).unwrap(), None);
    let mut renamed = pod("shop", false);
    renamed.name = "api".into();
    for wrong in [pod("bank", false), renamed] {
        let error = word(&snapshot, &wrong).unwrap_err();
        assert_eq!(error.code.0, 101);
        assert!(error.details.contains("the controller says shop/web"), "{error}");
    }
}
