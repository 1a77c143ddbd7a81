//! Rules as text, for a store in memory.
#![allow(clippy::unwrap_used)]

use heddle_api::object::Object;
use serde_json::json;

use super::rules;
use crate::fabric::address;
use crate::store::Store;

#[test]
fn ready_endpoints_of_each_family_and_port_take_the_services_traffic() {
    let store = Store::in_memory().unwrap();
    let slice = |name: &str, family: &str, ips: [&str; 2]| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [ips[0]], "conditions": {"ready": true}},
                          {"addresses": [ips[1]], "conditions": {"ready": name == "web-4"}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50", "fd00:10:96::50"],
                 "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"],
                 "ports": [{"name": "http", "port": 80}, {"name": "other", "port": 81}]}});
    let v4 = slice("web-4", "IPv4", ["10.244.1.2", "10.244.2.2"]);
    let v6 = slice("web-6", "IPv6", ["fd00:10:244:1::2", "fd00:10:244:2::2"]);
    for value in [service, v4, v6] {
        store.create(Object::from_value(value).unwrap()).unwrap();
    }
    let text = rules::of(&store, address::node(1));
    let random = "dnat ip to numgen random mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.2.2 . 8080 }";
    assert!(text.contains(&format!("ip daddr 10.96.0.50 tcp dport 80 {random}")), "{text}");
    assert!(
        text.contains("ip6 daddr fd00:10:96::50 tcp dport 80 dnat ip6 to [fd00:10:244:1::2]:8080"),
        "{text}"
    );
    assert!(!text.contains("dport 81"), "{text}");
    assert!(
        text.contains("10.244.1.2 . 10.244.1.2, 10.244.2.2 . 10.244.2.2 } snat ip to 172.30.0.11"),
        "{text}"
    );
}
