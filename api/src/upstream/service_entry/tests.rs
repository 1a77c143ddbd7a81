//! ServiceEntries and WorkloadEntries, right and wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use heddle_core::object::ExportTo;
use serde_json::{Value, json};

use super::endpoints::workload_entry;
use super::*;
use crate::diagnostic::Severity;

fn object(kind: &str, spec: &str) -> Object {
    let spec = crate::manifest::value(spec).unwrap().unwrap_or(Value::Null);
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
    Object::from_value(value).unwrap()
}

fn entry(spec: &str) -> Normalised<Entry> {
    service_entry(&object("ServiceEntry", spec), &Context::default())
}

#[test]
fn entries_of_each_resolution_are_read() {
    let read = entry(
        "hosts: [Api.example.com]\naddresses: [240.0.0.1]\nports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: http, targetPort: 8080}]\nlocation: MESH_INTERNAL\nresolution: STATIC\nexportTo: ['.']\nendpoints: [{address: 2.2.2.2, ports: {http: 81}, labels: {a: b}, locality: us/a, weight: 3}]\nsubjectAltNames: [x]\n",
    );
    assert_eq!(read.problems, []);
    let Entry { entry: model, workload_selector } = read.model.unwrap();
    assert_eq!((model.hosts.as_slice(), model.external), (["api.example.com".to_owned()].as_slice(), false));
    assert_eq!(model.export_to, ExportTo::Namespaces(["prod".to_owned()].into()));
    assert_eq!(
        (model.ports[0].protocol, model.ports[1].protocol, model.ports[1].target),
        (Protocol::Tls, Protocol::Http, Some(8080))
    );
    assert_eq!((model.endpoints[0].weight, model.endpoints[0].ports.get("http")), (3, Some(&81)));
    assert_eq!(workload_selector, None);
    for (spec, resolution) in [
        ("hosts: ['*.example.com']\nports: [{number: 443, name: tls, protocol: TLS}]", Resolution::None),
        ("hosts: [a.com]\nresolution: DNS\nports: [{number: 80, name: http}]", Resolution::Dns),
        (
            "hosts: [a.com]\nresolution: DNS\nendpoints: [{address: b.com}, {address: 1.1.1.1}]",
            Resolution::Dns,
        ),
        (
            "hosts: [a.com]\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: b.com}]",
            Resolution::DnsRoundRobin,
        ),
        ("hosts: [a.com]\nresolution: STATIC\nworkloadSelector: {labels: {app: x}}", Resolution::Static),
    ] {
        let read = entry(spec);
        assert_eq!(read.problems, [], "{spec}");
        assert_eq!(read.model.unwrap().entry.resolution, resolution, "{spec}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_path_and_the_way_out() {
    let rows = [
        ("{}", "spec.hosts", "is required"),
        ("hosts: ['*']", "spec.hosts[0]", "every host"),
        ("hosts: [a.com]\naddresses: [1.2.3.4/99]", "spec.addresses[0]", "no address"),
        ("hosts: [a.com]\naddresses: [1.2.3.4/16]\nresolution: DNS", "spec.addresses[0]", "NONE and STATIC"),
        ("hosts: ['*.a.com']\nresolution: DNS", "spec.hosts[0]", "cannot be resolved"),
        (
            "hosts: [a.com]\nports: [{number: 1, name: a}, {number: 12, name: a}]",
            "spec.ports[1].name",
            "another port",
        ),
        (
            "hosts: [a.com]\nports: [{number: 1, name: a}, {number: 1, name: b}]",
            "spec.ports[1].number",
            "twice",
        ),
        ("hosts: [a.com]\nports: [{number: 99999, name: a}]", "spec.ports[0].number", "65535"),
        (
            "hosts: [a.com]\nports: [{number: 1, name: a, targetPort: 99999}]",
            "spec.ports[0].targetPort",
            "65535",
        ),
        ("hosts: [a.com]\nports: [{number: 1, name: a, protocol: HTTPP}]", "spec.ports[0].protocol", "HTTP"),
        ("hosts: [a.com]\nports: [{number: 1}]", "spec.ports[0].name", "is required"),
        ("hosts: [a.com]\nendpoints: [{address: 1.2.3.4}]", "spec.endpoints", "resolution: NONE"),
        (
            "hosts: [a.com]\nresolution: STATIC\nendpoints: [{address: b.com}]",
            "spec.endpoints[0].address",
            "resolution: DNS",
        ),
        (
            "hosts: [a.com]\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: b.com}, {address: c.com}]",
            "spec.endpoints",
            "one name",
        ),
        (
            "hosts: [a.com]\nresolution: STATIC\nports: [{number: 1, name: a}]\nendpoints: [{address: 1.1.1.1, ports: {b: 1}}]",
            "spec.endpoints[0].ports.b",
            "no port of the entry",
        ),
        (
            "hosts: [a.com]\nresolution: STATIC\nworkloadSelector: {}\nendpoints: [{address: 1.1.1.1}]",
            "spec.workloadSelector",
            "beside endpoints",
        ),
        (
            "hosts: [a.com]\nresolution: STATIC\nworkloadSelector: {labels: {val: '*'}}",
            "spec.workloadSelector.labels.val",
            "wildcard",
        ),
        ("hosts: [a.com]\nresolution: STATC", "spec.resolution", "STATIC"),
    ];
    for (spec, path, word) in rows {
        let read = entry(spec);
        let found: Vec<_> = read.problems.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(found.len(), 1, "{spec}: {:?}", read.problems);
        assert_eq!(found[0].path, path, "{spec}: {found:?}");
        assert!(found[0].message.contains(word), "{spec}: {found:?}");
    }
}

#[test]
fn workload_entries_are_read_and_checked() {
    let read = workload_entry(&object(
        "WorkloadEntry",
        "address: 2.2.2.2\nports: {http: 81}\nlabels: {app: a}\nserviceAccount: sa\nweight: 2\nlocality: r/z\n",
    ));
    assert_eq!(read.problems, []);
    let model = read.model.unwrap();
    assert_eq!((model.address.as_str(), model.weight, model.service_account.as_str()), ("2.2.2.2", 2, "sa"));
    let rows = [
        ("{}", "spec.address", "is required"),
        ("address: unix:///x", "spec.address", "not reached"),
        ("address: a b", "spec.address", "is no host"),
        ("address: 1.1.1.1\nports: {http: 0}", "spec.ports.http", "65535"),
        ("address: 1.1.1.1\nweight: -1", "spec.weight", "is -1"),
        ("address: 1.1.1.1\nserviceaccount: a", "spec.serviceaccount", "serviceAccount"),
    ];
    for (spec, path, word) in rows {
        let read = workload_entry(&object("WorkloadEntry", spec));
        assert_eq!(read.problems.len(), 1, "{spec}: {:?}", read.problems);
        assert_eq!(read.problems[0].path, path, "{spec}");
        assert!(read.problems[0].message.contains(word), "{spec}: {:?}", read.problems);
    }
}
