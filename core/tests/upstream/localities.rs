//! Which endpoints come first by their place, and how much goes where.

use std::collections::BTreeMap;

use heddle_core::upstream::model::*;
use heddle_core::upstream::{Cluster, ClusterKey};
use heddle_core::workload::Workload;

use crate::world::*;

fn placed(pods: impl IntoIterator<Item = Workload>, locality: Locality, outliers: bool) -> Cluster {
    let balancer = LoadBalancer { algorithm: Algorithm::RoundRobin, locality: Some(locality), warmup: None };
    let policy = TrafficPolicy {
        load_balancer: Some(balancer),
        outlier_detection: outliers.then(OutlierDetection::default),
        ..TrafficPolicy::default()
    };
    let snapshot = world(pods, vec![rule("n/r", WEB, policy)]);
    cluster_for(&snapshot, "c", "eu/a/1", &[("team", "x"), ("net", "1")], &ClusterKey::new(WEB, 80))
}

fn everywhere() -> Vec<Workload> {
    let places = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "ap/a/1"];
    places.iter().zip(1..).map(|(place, number)| at(place, pod(number, ""))).collect()
}

#[test]
fn nearer_places_come_first_where_endpoints_can_be_found_wanting() {
    let wanted = ["web-1", "web-2@1", "web-3@2", "web-4@3", "web-5@3"];
    assert_eq!(names(&placed(everywhere(), Locality::default(), true)), wanted);
    assert!(placed(everywhere(), Locality::default(), true).shares.is_empty());
    let flat = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    assert_eq!(names(&placed(everywhere(), Locality::default(), false)), flat, "no outlier detection");
    let off = Locality { disabled: true, ..Locality::default() };
    assert_eq!(names(&placed(everywhere(), off, true)), flat, "switched off");
}

#[test]
fn a_region_fails_over_to_the_one_that_is_named_and_priorities_have_no_gaps() {
    let failover = vec![("eu".to_owned(), "ap".to_owned())];
    let to_ap = Locality { failover, ..Locality::default() };
    let wanted = ["web-1", "web-2@1", "web-3@2", "web-4@4", "web-5@3"];
    assert_eq!(names(&placed(everywhere(), to_ap.clone(), true)), wanted);
    assert_eq!(names(&placed(everywhere().split_off(3), to_ap, true)), ["web-4@1", "web-5"]);
}

#[test]
fn the_more_labels_are_shared_in_order_the_better() {
    let pods = [pod(1, "team=x,net=1"), pod(2, "team=x,net=2"), pod(3, "team=y,net=1"), pod(4, "")];
    let by = |labels: &[&str]| Locality {
        failover_priority: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..Locality::default()
    };
    let found = |labels: &[&str]| names(&placed(pods.clone(), by(labels), true));
    assert_eq!(found(&["team", "net"]), ["web-1", "web-2@1", "web-3@2", "web-4@2"]);
    assert_eq!(found(&["team=y"]), ["web-1@1", "web-2@1", "web-3", "web-4@1"]);
    let near =
        placed(everywhere(), by(&["topology.kubernetes.io/region", "topology.kubernetes.io/zone"]), true);
    assert_eq!(names(&near), ["web-1", "web-2", "web-3@1", "web-4@2", "web-5@2"]);
    assert_eq!(near.shares.len(), 5, "weighed by what is there: {:?}", near.shares);
}

#[test]
fn shares_go_where_they_are_written_and_nowhere_else() {
    let to = |pairs: &[(&str, u32)]| -> BTreeMap<String, u32> {
        pairs.iter().map(|(place, percent)| ((*place).to_owned(), *percent)).collect()
    };
    let distribute = vec![
        ("us/*".to_owned(), to(&[("us/*", 100)])),
        ("eu/a/*".to_owned(), to(&[("eu/a/*", 60), ("eu/*", 30), ("us/*", 10)])),
    ];
    let cluster = placed(everywhere(), Locality { distribute, ..Locality::default() }, false);
    assert_eq!(names(&cluster), ["web-1", "web-2", "web-3", "web-4"]);
    let shares: Vec<String> =
        cluster.shares.iter().map(|share| format!("{}={}", share.locality.join("/"), share.weight)).collect();
    assert_eq!(shares, ["eu/a/1=30", "eu/a/2=30", "eu/b/1=30", "us/a/1=10"]);
    assert_eq!(cluster.excluded[0].name.as_ref(), "web-5");
}

#[test]
fn a_service_prefers_places_where_no_rule_says_otherwise() {
    use heddle_core::workload::{Routing, Scope, Service};
    let near = [Scope::Network, Scope::Region, Scope::Zone];
    let asked = |scopes: &[Scope], strict, own: Option<Locality>, mesh: Option<Locality>| {
        let mut store = heddle_core::store::Store::default();
        let routing = Some(Routing { scopes: scopes.into(), strict });
        store.put_service(Service { routing, ..service("n", WEB, Some("10.96.0.1")) });
        everywhere().into_iter().for_each(|pod| store.put_workload(pod));
        let traffic = heddle_core::store::MeshTraffic { locality: mesh, ..Default::default() };
        store.set_mesh(heddle_core::store::MeshFacts { traffic, ..Default::default() });
        if let Some(own) = own {
            let balancer =
                LoadBalancer { algorithm: Algorithm::RoundRobin, locality: Some(own), warmup: None };
            let policy = TrafficPolicy { load_balancer: Some(balancer), ..TrafficPolicy::default() };
            store.put_traffic(heddle_core::object::TrafficObject::DestinationRule(rule("n/r", WEB, policy)));
        }
        cluster_for(&store.publish(), "c", "eu/a/1", &[], &ClusterKey::new(WEB, 80))
    };
    let off = || Some(Locality { disabled: true, ..Locality::default() });
    let wanted = ["web-1", "web-2", "web-3@1", "web-4@2", "web-5@2"];
    assert_eq!(names(&asked(&near, false, None, None)), wanted, "without outlier detection");
    assert_eq!(names(&asked(&near, false, None, off())), wanted, "before what the mesh says");
    let flat = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    assert_eq!(names(&asked(&near, false, off(), None)), flat, "after what a rule says");
    let local = asked(&[Scope::Region, Scope::Subzone], true, None, None);
    assert_eq!((names(&local), local.excluded.len()), (vec!["web-1".to_owned(), "web-3".to_owned()], 3));
}
