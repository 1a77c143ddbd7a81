//! From all objects to the tables in force. What did not change is not compiled again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::host::{Tables, VirtualHost};
use super::model::{Attach, Retries, ServiceParent};
use super::object::{CompiledObject, route};
use super::order::{as_written, by_specificity};
use super::path::Normalization;
use super::table::RuleTable;
use super::tables::{HostEntry, Problem, RouteTables};
use crate::object::{ExportTo, TrafficObject};
use crate::store::{MeshFacts, Services};
use crate::upstream::model::{Protocol, ServiceEntry};
use crate::workload::Service;

/// What was compiled before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compiler {
    retries: Option<Retries>,
    objects: HashMap<Box<str>, Arc<CompiledObject>>,
    tables: HashMap<TableKey, Option<Arc<RuleTable>>>,
}

/// The addresses of the objects that a table is made of, which it keeps alive.
type TableKey = Box<[usize]>;

/// What tables are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) mesh: &'a MeshFacts,
    pub(crate) services: &'a Services,
    pub(crate) traffic: &'a HashMap<Box<str>, Arc<TrafficObject>>,
}

impl Compiler {
    /// Makes the tables.
    pub(crate) fn build(&mut self, inputs: &Inputs<'_>) -> RouteTables {
        let mesh = &inputs.mesh.traffic;
        if self.retries != mesh.retries {
            self.objects.clear();
            self.tables.clear();
            self.retries.clone_from(&mesh.retries);
        }
        let objects = self.compile(inputs.traffic);
        let mut problems: Vec<Problem> =
            objects.iter().flat_map(|object| object.problems.iter().cloned()).collect();
        let registry = Registry::new(inputs, &objects);
        let mut build = Build {
            registry,
            old: std::mem::take(&mut self.tables),
            new: HashMap::new(),
            shadowed: HashSet::new(),
            problems: &mut problems,
        };
        let (exact, wildcard) = build.hosts();
        self.tables = build.new;
        let mut suffixes: Vec<usize> = wildcard.keys().map(|suffix| suffix.len()).collect();
        suffixes.sort_unstable_by(|a, b| b.cmp(a));
        suffixes.dedup();
        let by_name = objects.iter().any(|object| !object.tls.is_empty());
        RouteTables {
            names_servers: by_name || inputs.traffic.values().any(|object| has_tls_port(object)),
            normalization: Normalization::from_config(mesh.path_normalization.as_deref()),
            services_domain: format!("svc.{}", inputs.mesh.cluster_domain).into(),
            exact,
            wildcard,
            suffixes: suffixes.into(),
            problems,
        }
    }

    /// All routing objects, compiled, the oldest first.
    fn compile(&mut self, traffic: &HashMap<Box<str>, Arc<TrafficObject>>) -> Vec<Arc<CompiledObject>> {
        let find = |name: &str| traffic.get(name).cloned();
        let mut objects = HashMap::with_capacity(self.objects.len());
        for (name, object) in traffic {
            let Some(from) = route(object) else { continue };
            let compiled = match self.objects.remove(name).filter(|old| old.is_current(object, find)) {
                Some(old) => old,
                None => Arc::new(CompiledObject::new(object, from, find, self.retries.as_ref())),
            };
            objects.insert(name.clone(), compiled);
        }
        let mut sorted: Vec<_> = objects.values().cloned().collect();
        sorted.sort_by(|a, b| age(a).cmp(&age(b)));
        self.objects = objects;
        sorted
    }
}

/// The older first, then by namespace and name.
fn age(object: &CompiledObject) -> Option<(i64, &str, &str, &str)> {
    let route = route(&object.object)?;
    let source = &route.source;
    Some((route.created, &source.namespace, &source.name, &source.kind))
}

/// Who is there, and what speaks for whom.
struct Registry<'a> {
    services: HashMap<Box<str>, Vec<&'a Arc<Service>>>,
    entries: HashMap<Box<str>, Vec<&'a ServiceEntry>>,
    /// VirtualServices by host, lower case, as written.
    hosts: HashMap<Box<str>, Vec<Arc<CompiledObject>>>,
    /// Lengths of those hosts that are wildcards, the most specific first.
    wildcards: Vec<usize>,
    /// Routes of the Gateway API by hostname of the service.
    gateway: HashMap<Box<str>, Vec<Arc<CompiledObject>>>,
}

impl<'a> Registry<'a> {
    fn new(inputs: &Inputs<'a>, objects: &[Arc<CompiledObject>]) -> Self {
        let mut services: HashMap<_, Vec<_>> = HashMap::new();
        for service in inputs.services.by_key.values() {
            services.entry(lower(&service.hostname)).or_default().push(service);
        }
        services.values_mut().for_each(|same| same.sort_by(|a, b| a.key.cmp(&b.key)));
        let mut entries: HashMap<_, Vec<_>> = HashMap::new();
        for object in inputs.traffic.values() {
            let TrafficObject::ServiceEntry(entry) = &**object else { continue };
            for host in &entry.hosts {
                entries.entry(lower(host)).or_default().push(entry);
            }
        }
        entries.values_mut().for_each(|same| same.sort_by_key(|entry| (entry.created, &entry.source)));
        let mut hosts: HashMap<Box<str>, Vec<_>> = HashMap::new();
        let mut gateway: HashMap<Box<str>, Vec<_>> = HashMap::new();
        for object in objects {
            match route(&object.object).map(|route| &route.attach) {
                Some(Attach::Hosts { hosts: names, .. }) => {
                    for name in names.iter().map(|name| lower(name)).collect::<BTreeSet<_>>() {
                        hosts.entry(name).or_default().push(Arc::clone(object));
                    }
                }
                Some(Attach::Services(parents)) => {
                    for name in parents.iter().map(|parent| lower(&parent.hostname)).collect::<BTreeSet<_>>()
                    {
                        gateway.entry(name).or_default().push(Arc::clone(object));
                    }
                }
                Some(Attach::Delegate { .. }) | None => (),
            }
        }
        let wildcards = hosts.keys().filter(|host| host.starts_with('*'));
        let wildcards: BTreeSet<usize> = wildcards.map(|host| host.len()).collect();
        let wildcards = wildcards.into_iter().rev().collect();
        Self { services, entries, hosts, wildcards, gateway }
    }

    /// Every name that somebody can ask for.
    fn names(&self) -> BTreeSet<Box<str>> {
        let names = self.services.keys().chain(self.entries.keys()).chain(self.hosts.keys());
        names.cloned().collect()
    }

    /// Lists of VirtualServices that may speak for a name: its own, then those of wildcards, the most specific first.
    fn speakers(&self, name: &str) -> impl Iterator<Item = &[Arc<CompiledObject>]> {
        let shorter = self.wildcards.iter().filter(move |length| **length <= name.len());
        let wider = shorter.filter_map(move |length| {
            let wildcard = format!("*{}", name.get(name.len() + 1 - length..)?);
            if wildcard == name { None } else { self.hosts.get(wildcard.as_str()) }
        });
        self.hosts.get(name).into_iter().chain(wider).map(Vec::as_slice)
    }

    /// Namespaces that may see a name otherwise than the others.
    fn special(&self, name: &str) -> BTreeSet<Box<str>> {
        let mut special = BTreeSet::new();
        let mut exported = |export: &ExportTo, own: Option<&str>| {
            if let ExportTo::Namespaces(names) = export {
                special.extend(names.iter().map(|name| Box::from(name.as_str())));
            }
            special.extend(own.map(Box::from));
        };
        let (services, entries) = (self.services.get(name), self.entries.get(name));
        let several = services.map_or(0, Vec::len) + entries.map_or(0, Vec::len) > 1;
        for service in services.into_iter().flatten() {
            exported(&service.export_to, several.then_some(&*service.namespace));
        }
        for entry in entries.into_iter().flatten() {
            exported(&entry.export_to, several.then_some(&*entry.source.namespace));
        }
        for object in self.speakers(name).flatten() {
            exported(export_to(object).unwrap_or(&ExportTo::All), None);
        }
        for object in self.gateway.get(name).into_iter().flatten() {
            if parents(object, name).any(|parent| parent.consumer) {
                exported(&ExportTo::All, route(&object.object).map(|route| route.source.namespace.as_str()));
            }
        }
        special
    }
}

fn has_tls_port(object: &TrafficObject) -> bool {
    let TrafficObject::ServiceEntry(entry) = object else { return false };
    entry.ports.iter().any(|port| port.protocol == Protocol::Tls)
}

fn lower(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

fn export_to(object: &CompiledObject) -> Option<&ExportTo> {
    match &route(&object.object)?.attach {
        Attach::Hosts { export_to, .. } => Some(export_to),
        Attach::Delegate { .. } | Attach::Services(_) => None,
    }
}

fn parents<'o>(object: &'o CompiledObject, name: &'o str) -> impl Iterator<Item = &'o ServiceParent> {
    let parents = match route(&object.object).map(|route| &route.attach) {
        Some(Attach::Services(parents)) => parents.as_slice(),
        _ => &[],
    };
    parents.iter().filter(move |parent| parent.hostname.eq_ignore_ascii_case(name))
}

/// A build under way.
struct Build<'a, 'p> {
    registry: Registry<'a>,
    old: HashMap<TableKey, Option<Arc<RuleTable>>>,
    new: HashMap<TableKey, Option<Arc<RuleTable>>>,
    /// VirtualServices that were told already that they are not asked.
    shadowed: HashSet<usize>,
    problems: &'p mut Vec<Problem>,
}

type Hosts = HashMap<Box<str>, HostEntry>;

impl Build<'_, '_> {
    fn hosts(&mut self) -> (Hosts, Hosts) {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for name in self.registry.names() {
            let special = self.registry.special(&name);
            let others = self.host(&name, None);
            let by_namespace = special.into_iter().map(|namespace| {
                let seen = self.host(&name, Some(&namespace));
                (namespace, seen)
            });
            let entry = HostEntry { by_namespace: by_namespace.collect(), others };
            match name.strip_prefix('*') {
                Some(suffix) => wildcard.insert(suffix.into(), entry),
                None => exact.insert(name, entry),
            };
        }
        (exact, wildcard)
    }

    /// A host as a namespace sees it; `None` stands for one that nobody names.
    fn host(&mut self, name: &str, namespace: Option<&str>) -> Option<Arc<VirtualHost>> {
        let sees = |export: &ExportTo| match namespace {
            Some(namespace) => export.reaches(namespace),
            None => *export == ExportTo::All,
        };
        let own = |of: &str| namespace == Some(of);
        let services = self.registry.services.get(name).into_iter().flatten();
        let services: Vec<_> = services.filter(|service| sees(&service.export_to)).collect();
        let service = services.iter().find(|service| own(&service.namespace)).or(services.first());
        let entries = self.registry.entries.get(name).into_iter().flatten();
        let entries: Vec<_> = entries.filter(|entry| sees(&entry.export_to)).collect();
        let ports =
            service.map(|service| service.ports.iter().map(|port| port.service_port).collect::<Vec<_>>());
        let entry_ports = entries.iter().flat_map(|entry| entry.ports.iter().map(|port| port.number));
        let ports = match ports {
            Some(mut ports) => {
                ports.extend(entry_ports);
                Some(ports.into())
            }
            None => (!entries.is_empty()).then(|| entry_ports.collect()),
        };
        let speakers = self.registry.speakers(name);
        let seen = speakers.map(|objects| -> Vec<_> {
            objects.iter().filter(|object| export_to(object).is_some_and(sees)).cloned().collect()
        });
        let written: Vec<_> = seen.into_iter().find(|objects| !objects.is_empty()).unwrap_or_default();
        // What is not registered is there by a VirtualService of its own; that of a wider host finds it by its wildcard.
        let named = self.registry.hosts.get(name).into_iter().flatten();
        if ports.is_none() && !named.into_iter().any(|object| export_to(object).is_some_and(sees)) {
            return None;
        }
        let service = service.map(|service| Arc::clone(service));
        let tables = self.tables(name, namespace, &written);
        let has = |object: &Arc<CompiledObject>| !object.tls.is_empty() || !object.tcp.is_empty();
        let connections = written.into_iter().filter(has).collect();
        Some(Arc::new(VirtualHost { name: name.into(), service, ports, tables, connections }))
    }

    fn tables(&mut self, name: &str, namespace: Option<&str>, written: &[Arc<CompiledObject>]) -> Tables {
        let routes = self.gateway_routes(name, namespace);
        let ports = routes.iter().flat_map(|object| parents(object, name).filter_map(|parent| parent.port));
        let ports: BTreeSet<u16> = ports.collect();
        let by_port: Vec<_> =
            ports.into_iter().map(|port| (port, self.table(name, &routes, Some(port), written))).collect();
        Tables { by_port: by_port.into(), others: self.table(name, &routes, None, written) }
    }

    /// Routes of the Gateway API for a service: those of the client's namespace where it has any, else the service's own.
    fn gateway_routes(&self, name: &str, namespace: Option<&str>) -> Vec<Arc<CompiledObject>> {
        let all = self.registry.gateway.get(name).map(Vec::as_slice).unwrap_or_default();
        let of = |consumer: bool| -> Vec<_> {
            let counts = |object: &&Arc<CompiledObject>| {
                let own = route(&object.object).map(|route| route.source.namespace.as_str());
                parents(object, name).any(|parent| parent.consumer == consumer)
                    && (!consumer || own == namespace)
            };
            all.iter().filter(counts).cloned().collect()
        };
        let consumers = if namespace.is_some() { of(true) } else { Vec::new() };
        if consumers.is_empty() { of(false) } else { consumers }
    }

    /// The rules of a port (`None`: of those that nobody names): of routes where there are any, else of VirtualServices.
    fn table(
        &mut self,
        name: &str,
        routes: &[Arc<CompiledObject>],
        port: Option<u16>,
        written: &[Arc<CompiledObject>],
    ) -> Option<Arc<RuleTable>> {
        let here = |parent: &ServiceParent| parent.port.is_none() || parent.port == port;
        let mut routes: Vec<_> =
            routes.iter().filter(|object| parents(object, name).any(here)).cloned().collect();
        let grpc = |object: &CompiledObject| object.object.source().kind == "GRPCRoute";
        if routes.iter().any(|object| grpc(object)) {
            // GEP-1294: of several types on one port the first of GRPCRoute, HTTPRoute counts.
            routes.retain(|object| grpc(object));
        }
        let Some(first) = routes.first() else { return self.shared(written, as_written) };
        for object in written.iter().filter(|object| !object.rules.is_empty()) {
            if self.shadowed.insert(Arc::as_ptr(object) as usize) {
                self.problems.push(Problem {
                    source: object.object.source().clone(),
                    rule: None,
                    message: format!("{} speaks for {name} too, and is asked instead", first.object.source()),
                });
            }
        }
        self.shared(&routes, by_specificity)
    }

    /// The table of these objects, made anew only where it was not there.
    fn shared(
        &mut self,
        objects: &[Arc<CompiledObject>],
        order: fn(&[Arc<CompiledObject>]) -> Vec<super::order::Entry>,
    ) -> Option<Arc<RuleTable>> {
        let key: TableKey = objects.iter().map(|object| Arc::as_ptr(object) as usize).collect();
        if let Some(table) = self.new.get(&key) {
            return table.clone();
        }
        let table = match self.old.remove(&key) {
            Some(table @ Some(_)) => table,
            _ => RuleTable::build(order(objects), objects).map(Arc::new),
        };
        self.new.insert(key, table.clone());
        table
    }
}
