//! EndpointSlices of Services with a selector.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::{kind_named, note, ownership, pods};
use crate::store::{Store, selector};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const SERVICE: &str = "kubernetes.io/service-name";

pub(super) fn reconcile(store: &Store) {
    let pods = store.list(kind_named("Pod"));
    let mut wanted = BTreeMap::new();
    for service in store.list(kind_named("Service")) {
        let spec = &service.value["spec"];
        if spec["selector"].as_object().is_some_and(|map| !map.is_empty()) && spec["type"] != "ExternalName" {
            for slice in slices(&service, &pods) {
                wanted.insert((slice.namespace.clone(), slice.name.clone()), slice);
            }
        }
    }
    for old in store.list(kind_named("EndpointSlice")) {
        let ours = pods::label(&old, MANAGED_BY) == MANAGER;
        if ours && !wanted.contains_key(&(old.namespace.clone(), old.name.clone())) {
            note("slice", &old.name, store.delete(old.kind, old.namespace.as_deref(), &old.name));
        }
    }
    for slice in wanted.into_values() {
        write(store, slice);
    }
}

fn write(store: &Store, slice: Object) {
    let old = store.get(slice.kind, slice.namespace.as_deref(), &slice.name);
    let same = old.is_some_and(|old| {
        ["endpoints", "ports"].iter().all(|field| old.value[*field] == slice.value[*field])
    });
    if !same {
        let name = slice.name.clone();
        note("slice", &name, store.put(slice));
    }
}

/// One slice for each family and each set of ports: a named targetPort may differ from pod to pod.
fn slices(service: &Object, pods: &[Arc<Object>]) -> Vec<Object> {
    let spec = &service.value["spec"];
    let families: BTreeSet<bool> = spec["ipFamilies"]
        .as_array()
        .map_or_else(|| BTreeSet::from([true]), |list| list.iter().map(|family| family == "IPv4").collect());
    let mut groups: BTreeMap<(bool, String), (Value, Vec<Value>)> = BTreeMap::new();
    for pod in pods {
        let selected = pod.namespace == service.namespace
            && selector::matches_map(&spec["selector"], &pod.value["metadata"]["labels"]);
        if !selected || pods::is_finished(pod) {
            continue;
        }
        let ports = ports(spec, pod);
        for address in addresses(pod).filter(|address| families.contains(&address.is_ipv4())) {
            let group = groups.entry((address.is_ipv4(), ports.to_string()));
            let group = group.or_insert_with(|| (ports.clone(), Vec::new()));
            group.1.push(endpoint(service, pod, address));
        }
    }
    groups.into_iter().map(|((v4, _), (ports, endpoints))| slice(service, v4, &ports, &endpoints)).collect()
}

fn slice(service: &Object, v4: bool, ports: &Value, endpoints: &[Value]) -> Object {
    let family = if v4 { "IPv4" } else { "IPv6" };
    let hash = &pods::hash(&json!([service.uid(), family, ports]))[..5];
    let name = format!("{}-{hash}", service.name);
    let mut labels = service.value["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    labels[SERVICE] = json!(service.name);
    labels[MANAGED_BY] = json!(MANAGER);
    if service.value["spec"]["clusterIP"] == "None" {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": service.namespace, "labels": labels,
            "ownerReferences": ownership::reference(service)
        },
        "addressType": family, "endpoints": endpoints, "ports": ports
    });
    Object { kind: kind_named("EndpointSlice"), namespace: service.namespace.clone(), name, value }
}

fn endpoint(service: &Object, pod: &Object, address: IpAddr) -> Value {
    let (ready, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let unready_too = service.value["spec"]["publishNotReadyAddresses"] == true;
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {
            "ready": unready_too || (ready && !terminating), "serving": ready || unready_too,
            "terminating": terminating
        },
        "nodeName": pod.value["spec"]["nodeName"],
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid()}
    });
    let spec = &pod.value["spec"];
    if spec["subdomain"] == service.name.as_str() && spec["hostname"].is_string() {
        endpoint["hostname"] = spec["hostname"].clone();
    }
    endpoint
}

fn addresses(pod: &Object) -> impl Iterator<Item = IpAddr> {
    let listed = pod.value["status"]["podIPs"].as_array().into_iter().flatten();
    listed.filter_map(|each| each["ip"].as_str()?.parse().ok())
}

/// The Service's ports as this pod serves them; one that the pod does not name is left out.
fn ports(spec: &Value, pod: &Object) -> Value {
    let ports = spec["ports"].as_array().into_iter().flatten().filter_map(|port| {
        let number = match &port["targetPort"] {
            Value::String(name) => named_port(pod, name, &port["protocol"])?,
            number => number.clone(),
        };
        let mut entry = json!({
            "name": port["name"].as_str().unwrap_or(""), "port": number, "protocol": port["protocol"]
        });
        if !port["appProtocol"].is_null() {
            entry["appProtocol"] = port["appProtocol"].clone();
        }
        Some(entry)
    });
    Value::Array(ports.collect())
}

fn named_port(pod: &Object, name: &str, protocol: &Value) -> Option<Value> {
    let lists = ["containers", "initContainers"].into_iter();
    let containers = lists.flat_map(|list| pod.value["spec"][list].as_array().into_iter().flatten());
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports
        .find(|port| port["name"] == name && port["protocol"] == *protocol)
        .map(|port| port["containerPort"].clone())
}
