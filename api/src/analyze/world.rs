//! What is there: hosts, pods, namespaces, grants, and who speaks for which host; tables that every check asks.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use heddle_core::object::{ExportTo, Labels};
use heddle_core::route::model::Attach;
use heddle_core::upstream::model::{DestinationRule, EntryPort};
use serde_json::Value;

use crate::enrolment;
use crate::mesh::{self, MeshConfig, ROOT_NAMESPACES};
use crate::normalised::Context;
use crate::object::Object;
use crate::route::{self, Grant};
use crate::upstream;

/// Hints of one analysis, and hosts that each looks at.
const MOST_HINTS: usize = 64;
const MOST_LOOKED_AT: usize = 1_000;

/// A host of the registry.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) namespace: String,
    pub(super) export_to: ExportTo,
    pub(super) ports: Vec<u16>,
    /// Labels of the pods behind it; `None`: it has none, or they cannot be told.
    pub(super) selector: Option<Labels>,
}

/// A pod, or the template of pods.
#[derive(Debug)]
struct Pod {
    labels: Labels,
    enrolled: bool,
}

/// A VirtualService of the mesh that speaks for a host.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) object: usize,
    pub(super) place: String,
    pub(super) export_to: ExportTo,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) context: Context,
    hosts: HashMap<String, Vec<Host>>,
    /// Every wildcard of whole labels that some host is within.
    within: HashSet<String>,
    /// How many more hints may be looked for: each is a walk over hosts.
    hints: Cell<usize>,
    pods: Vec<Pod>,
    /// Pods by namespace, key and value; and all of a namespace, under the empty key.
    by_label: HashMap<(String, String, String), Vec<usize>>,
    namespaces: HashMap<String, BTreeMap<String, String>>,
    secrets: HashSet<(String, String)>,
    grants: HashMap<String, Vec<Grant>>,
    pub(super) speakers: HashMap<String, Vec<Speaker>>,
    /// VirtualServices by place, and from where a delegate may be named; `None`: it has hosts of its own.
    pub(super) delegates: HashMap<String, Option<ExportTo>>,
    /// Places that something delegates to.
    pub(super) delegated: HashSet<String>,
    pub(super) rules: HashMap<String, Vec<DestinationRule>>,
    /// Hosts that a Gateway API route is attached to, with that route.
    pub(super) routed: HashMap<String, String>,
}

impl World {
    pub(super) fn of(objects: &[&Object]) -> Self {
        let mut world = Self { hints: Cell::new(MOST_HINTS), ..Self::default() };
        if let Some(config) = mesh::of(objects.iter().copied()) {
            let text = config.value.pointer(&format!("/data/{}", mesh::KEY)).and_then(Value::as_str);
            let read = text.and_then(|text| MeshConfig::parse(text).0);
            world.context = read.map(|config| config.context("cluster.local")).unwrap_or_default();
        }
        for object in objects.iter().filter(|object| object.kind.kind == "Namespace") {
            world.namespaces.insert(object.name.clone(), object.labels());
        }
        for (index, object) in objects.iter().enumerate() {
            world.take(object, index);
        }
        world
    }

    fn take(&mut self, object: &Object, index: usize) {
        let namespace = namespace(object).to_owned();
        match (object.kind.group, object.kind.kind) {
            ("", "Service") => self.service(object, namespace),
            ("", "Secret") => drop(self.secrets.insert((namespace, object.name.clone()))),
            ("", "Pod") => self.pod(&object.value, "/metadata/labels", "/spec/hostNetwork", &namespace),
            ("apps" | "batch", _) => {
                self.pod(
                    &object.value,
                    "/spec/template/metadata/labels",
                    "/spec/template/spec/hostNetwork",
                    &namespace,
                );
            }
            ("networking.istio.io", "ServiceEntry") => self.entry(object, &namespace),
            ("networking.istio.io", "WorkloadEntry") => {
                let labels = upstream::workload_entry(object).model.map(|entry| entry.labels);
                self.add_pod(labels.unwrap_or_default(), &namespace, false);
            }
            ("networking.istio.io", "VirtualService") => self.virtual_service(object, index),
            ("networking.istio.io", "DestinationRule") => {
                let read = upstream::destination_rule(object, &self.context, &|_| {
                    Some(upstream::Credential::default())
                });
                if let Some(rule) = read.model {
                    self.rules.entry(rule.host.clone()).or_default().push(rule);
                }
            }
            ("gateway.networking.k8s.io", "ReferenceGrant") => {
                self.grants.entry(namespace).or_default().extend(route::reference_grant(object).model);
            }
            ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => self.gateway_route(object),
            _ => {}
        }
    }

    fn service(&mut self, object: &Object, namespace: String) {
        let ports = object.value.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
        let ports = ports.filter_map(|port| u16::try_from(port.get("port")?.as_u64()?).ok()).collect();
        let selector = object.value.pointer("/spec/selector").and_then(Value::as_object).map(texts);
        let host = format!("{}.{namespace}.svc.{}", object.name, self.context.cluster_domain);
        let selector = selector.filter(|selector| !selector.is_empty());
        let host_entry = Host { namespace, export_to: ExportTo::All, ports, selector };
        self.add_host(host, host_entry);
    }

    fn entry(&mut self, object: &Object, namespace: &str) {
        let Some(read) = upstream::service_entry(object, &self.context).model else { return };
        let ports: Vec<u16> = read.entry.ports.iter().map(|port: &EntryPort| port.number).collect();
        for endpoint in &read.entry.endpoints {
            self.add_pod(endpoint.labels.clone(), namespace, false);
        }
        let written = !read.entry.endpoints.is_empty();
        for host in read.entry.hosts {
            let selector = read.workload_selector.clone().or_else(|| written.then(Labels::new));
            let entry = Host {
                namespace: namespace.to_owned(),
                export_to: read.entry.export_to.clone(),
                ports: ports.clone(),
                selector,
            };
            self.add_host(host, entry);
        }
    }

    fn add_host(&mut self, name: String, host: Host) {
        let mut rest = name.strip_prefix("*.").unwrap_or(&name);
        if name.starts_with("*.") {
            self.within.insert(name.clone());
        }
        while let Some((_, suffix)) = rest.split_once('.') {
            self.within.insert(format!("*.{suffix}"));
            rest = suffix;
        }
        self.hosts.entry(name).or_default().push(host);
    }

    fn virtual_service(&mut self, object: &Object, index: usize) {
        let place = format!("{}/{}", namespace(object), object.name);
        let Some(model) = route::virtual_service(object, &self.context).model else {
            self.delegates.insert(place, None);
            return;
        };
        for rule in &model.http {
            if let heddle_core::route::model::HttpAction::Delegate { namespace, name } = &rule.action {
                self.delegated.insert(format!("{namespace}/{name}"));
            }
        }
        match model.attach {
            Attach::Delegate { export_to } => drop(self.delegates.insert(place, Some(export_to))),
            Attach::Hosts { hosts, export_to } => {
                for host in hosts {
                    let speaker =
                        Speaker { object: index, place: place.clone(), export_to: export_to.clone() };
                    self.speakers.entry(host).or_default().push(speaker);
                }
                self.delegates.insert(place, None);
            }
            Attach::Services(_) => {}
        }
    }

    fn gateway_route(&mut self, object: &Object) {
        let read = if object.kind.kind == "HTTPRoute" { route::http_route } else { route::grpc_route };
        let Some(model) = read(object, &self.context).model else { return };
        let Attach::Services(parents) = model.route.attach else { return };
        // A route of another namespace counts for its own clients only: it does not replace the host's rules.
        for parent in parents.into_iter().filter(|parent| !parent.consumer) {
            self.routed.entry(parent.hostname).or_insert_with(|| model.route.source.to_string());
        }
    }

    fn pod(&mut self, value: &Value, labels: &str, host_network: &str, namespace: &str) {
        let labels = value.pointer(labels).and_then(Value::as_object).map(texts).unwrap_or_default();
        let host_network = value.pointer(host_network).and_then(Value::as_bool).unwrap_or(false);
        let none = BTreeMap::new();
        let of_namespace = self.namespaces.get(namespace).unwrap_or(&none);
        let enrolled = enrolment::pod_enrolled(of_namespace, &labels, host_network);
        self.add_pod(labels, namespace, enrolled);
    }

    fn add_pod(&mut self, labels: Labels, namespace: &str, enrolled: bool) {
        let index = self.pods.len();
        let key = |key: &str, value: &str| (namespace.to_owned(), key.to_owned(), value.to_owned());
        self.by_label.entry(key("", "")).or_default().push(index);
        for (name, value) in &labels {
            self.by_label.entry(key(name, value)).or_default().push(index);
        }
        self.pods.push(Pod { labels, enrolled });
    }

    /// A host by its name, else by the longest wildcard that has it.
    pub(super) fn host(&self, name: &str, from: &str) -> Result<&Host, Absent> {
        let mut hidden = false;
        let mut rest = Some(name);
        let mut wanted = name.to_owned();
        loop {
            let all = self.hosts.get(&wanted).into_iter().flatten();
            if let Some(host) = all.clone().find(|host| host.export_to.reaches(from)) {
                return Ok(host);
            }
            hidden |= all.count() > 0;
            rest = rest.and_then(|rest| rest.split_once('.')).map(|(_, rest)| rest);
            match rest {
                Some(rest) => wanted = format!("*.{rest}"),
                None => return Err(if hidden { Absent::Hidden } else { Absent::Unknown }),
            }
        }
    }

    /// Whether any host is within a wildcard.
    pub(super) fn any_host_within(&self, wildcard: &str) -> bool {
        wildcard == "*" && !self.hosts.is_empty() || self.within.contains(wildcard)
    }

    /// Whether pods of the namespace have the labels.
    pub(super) fn has_pods(&self, namespace: &str, labels: &Labels) -> bool {
        self.find(namespace, labels).next().is_some()
    }

    /// Whether pods of any namespace have the labels.
    pub(super) fn has_pods_anywhere(&self, labels: &Labels) -> bool {
        let has = |pod: &Pod| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        self.pods.iter().any(has)
    }

    /// Whether any of the pods with these labels is in the mesh.
    pub(super) fn has_enrolled(&self, namespace: &str, labels: &Labels) -> bool {
        self.find(namespace, labels).any(|pod| pod.enrolled)
    }

    /// By the rarest of the labels.
    fn find<'a>(&'a self, namespace: &str, labels: &'a Labels) -> impl Iterator<Item = &'a Pod> {
        let of = |key: &str, value: &str| {
            let key = (namespace.to_owned(), key.to_owned(), value.to_owned());
            self.by_label.get(&key).map_or(&[][..], Vec::as_slice)
        };
        let rarest = labels.iter().map(|(key, value)| of(key, value)).min_by_key(|pods| pods.len());
        let pods = rarest.unwrap_or_else(|| of("", "")).iter().filter_map(|index| self.pods.get(*index));
        pods.filter(move |pod| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value)))
    }

    pub(super) fn has_secret(&self, namespace: &str, name: &str) -> bool {
        self.secrets.contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether a namespace is known: by its object, or because it is always there.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        let always = ["default", "kube-system"].contains(&name) || ROOT_NAMESPACES.contains(&name);
        always
            || self.namespaces.contains_key(name)
            || self.by_label.contains_key(&(name.to_owned(), String::new(), String::new()))
    }

    /// Whether a route of one namespace may name a Service of another.
    pub(super) fn granted(&self, kind: &str, from: &str, to: &str, service: &str) -> bool {
        from == to
            || self
                .grants
                .get(to)
                .is_some_and(|grants| grants.iter().any(|grant| grant.allows(kind, from, service)))
    }

    /// Whether a DestinationRule that clients of this namespace see has the subset.
    pub(super) fn has_subset(&self, host: &str, subset: &str, from: &str) -> bool {
        let mut rest = Some(host);
        let mut wanted = host.to_owned();
        loop {
            let rules = self.rules.get(&wanted).into_iter().flatten();
            let mut seen = rules.filter(|rule| rule.export_to.reaches(from));
            if seen.any(|rule| rule.subsets.iter().any(|each| each.name == subset)) {
                return true;
            }
            rest = rest.and_then(|rest| rest.split_once('.')).map(|(_, rest)| rest);
            match rest {
                Some(rest) => wanted = format!("*.{rest}"),
                None => return false,
            }
        }
    }

    /// Hosts that are nearly named so, for a hint.
    pub(super) fn nearly(&self, name: &str) -> Option<&str> {
        self.hints.set(self.hints.get().checked_sub(1)?);
        crate::strict::nearest(name, self.hosts.keys().map(String::as_str).take(MOST_LOOKED_AT))
    }
}

/// Why a host is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Nobody has it.
    Unknown,
    /// It is not exported to the namespace.
    Hidden,
}

/// The namespace of an object; `default` where it was not given yet.
pub(super) fn namespace(object: &Object) -> &str {
    object.namespace.as_deref().unwrap_or("default")
}

pub(super) fn texts(fields: &serde_json::Map<String, Value>) -> Labels {
    fields.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
