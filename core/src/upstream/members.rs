//! Gathers the endpoints of one cluster: workloads of the service, and what a ServiceEntry lists.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::object::Labels;
use crate::snapshot::Snapshot;
use crate::upstream::cluster::Resolved;
use crate::upstream::endpoint::{Client, Endpoint, Excluded, Exclusion};
use crate::upstream::locality::Place;
use crate::upstream::model::{EntryEndpoint, EntryPort, Resolution, ServiceEntry};
use crate::upstream::transport::Transports;
use crate::workload::{Service, Workload};

/// Endpoints while they are gathered.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    snapshot: &'a Snapshot,
    transports: &'a Transports,
    /// Of the service.
    port: u16,
    /// Labels of the subset; none: all.
    wanted: Option<&'a Labels>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) excluded: Vec<Excluded>,
    /// Names to be resolved.
    pub(crate) names: Vec<Box<str>>,
    taken: HashSet<SocketAddr>,
    /// Addresses that the entry lists.
    listed: HashSet<IpAddr>,
}

/// An endpoint before anything is decided about it.
struct Candidate<'a> {
    workload: Option<&'a Arc<Workload>>,
    address: SocketAddr,
    labels: &'a Labels,
    locality: Place,
    weight: u32,
    listed: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        transports: &'a Transports,
        port: u16,
        wanted: Option<&'a Labels>,
    ) -> Self {
        Self {
            snapshot,
            transports,
            port,
            wanted,
            endpoints: Vec::new(),
            excluded: Vec::new(),
            names: Vec::new(),
            taken: HashSet::new(),
            listed: HashSet::new(),
        }
    }

    /// Workloads of a service, less those that an entry lists: they stand there with the labels that it gives them.
    pub(crate) fn add_workloads(&mut self, service: &Service, client: &Client<'_>) {
        self.add_ready(service, client, true);
        if self.endpoints.is_empty() && service.unready {
            self.excluded.retain(|excluded| excluded.why != Exclusion::Unhealthy);
            self.add_ready(service, client, false);
        }
    }

    fn add_ready(&mut self, service: &Service, client: &Client<'_>, ready: bool) {
        let service = &service.key;
        for workload in self.snapshot.endpoints(service).filter(|workload| ready || !workload.healthy) {
            let ports = workload.services.iter().find(|(key, _)| key == service).map(|(_, ports)| ports);
            let port = ports.and_then(|ports| ports.iter().find(|port| port.service_port == self.port));
            let speaks = |ip: &&IpAddr| client.addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
            let shared = workload.addresses.iter().find(speaks);
            let Some(ip) = shared.or(workload.addresses.first()) else { continue };
            if workload.addresses.iter().any(|ip| self.listed.contains(ip)) {
                continue;
            }
            let Some(target) = port.map(|port| port.target_port).filter(|target| *target != 0) else {
                self.exclude(&workload.name, None, Exclusion::NoPort(self.port));
                continue;
            };
            let address = SocketAddr::new(*ip, target);
            if ready && !workload.healthy {
                self.exclude(&workload.name, Some(address), Exclusion::Unhealthy);
                continue;
            }
            self.add(&Candidate {
                workload: Some(workload),
                address,
                labels: &workload.labels,
                locality: workload.locality.clone(),
                weight: workload.weight,
                listed: false,
            });
        }
    }

    /// What a ServiceEntry lists; where it lists nothing, DNS names are its own hosts.
    pub(crate) fn add_entry(
        &mut self,
        entry: &'a ServiceEntry,
        host: &str,
        (client, resolved): (&Client<'_>, &Resolved),
    ) {
        let Some(port) = entry.ports.iter().find(|port| port.number == self.port) else { return };
        let dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if entry.resolution == Resolution::None {
            return;
        }
        if entry.endpoints.is_empty() && dns && !host.starts_with('*') {
            static NONE: Labels = Labels::new();
            let target = port.target.unwrap_or(port.number);
            let itself = self.resolve(host, target, (client, resolved));
            for address in counted(itself, entry.resolution) {
                self.add_listed(address, &NONE, Place::default(), 1);
            }
            return;
        }
        for listed in &entry.endpoints {
            self.add_endpoint(listed, port, entry.resolution, (client, resolved));
        }
    }

    fn add_endpoint(
        &mut self,
        listed: &'a EntryEndpoint,
        port: &EntryPort,
        resolution: Resolution,
        by: (&Client<'_>, &Resolved),
    ) {
        let target = listed.ports.get(&port.name).copied().or(port.target).unwrap_or(port.number);
        let locality = place(&listed.locality);
        let addresses = match listed.address.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, target)],
            Err(_) if resolution == Resolution::Static => {
                self.exclude(&listed.address, None, Exclusion::NotAnAddress);
                return;
            }
            Err(_) => self.resolve(&listed.address, target, by),
        };
        for address in counted(addresses, resolution) {
            self.add_listed(address, &listed.labels, locality.clone(), listed.weight);
        }
    }

    /// What a name stands for: what the registry says of a service of the cluster, else what was looked up.
    fn resolve(
        &mut self,
        name: &str,
        target: u16,
        (client, resolved): (&Client<'_>, &Resolved),
    ) -> Vec<SocketAddr> {
        if let Some(registered) = self.registered(name, target, client) {
            return registered;
        }
        if !self.names.iter().any(|known| **known == *name) {
            self.names.push(name.into());
        }
        let addresses = resolved.get(name).cloned().unwrap_or_default();
        if addresses.is_empty() {
            self.exclude(name, None, Exclusion::Unresolved);
        }
        addresses.iter().map(|ip| SocketAddr::new(*ip, target)).collect()
    }

    /// A service of the cluster, as its DNS would say it: its virtual address, or that of every pod where it has none. Inside
    /// the mesh the pods behind the virtual address, because the tunnel leads to a pod.
    fn registered(&self, name: &str, port: u16, client: &Client<'_>) -> Option<Vec<SocketAddr>> {
        let rest = name.strip_suffix(self.snapshot.mesh().cluster_domain.as_str())?.strip_suffix(".svc.")?;
        let (_, namespace) = rest.split_once('.')?;
        let service = self.snapshot.services_named(name).find(|service| *service.namespace == *namespace)?;
        let spoken = |ip: &IpAddr| {
            client.addresses.is_empty() || client.addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4())
        };
        if self.transports.is_external() && !service.addresses.is_empty() {
            let addresses = service.addresses.iter().filter(|ip| spoken(ip));
            return Some(addresses.map(|ip| SocketAddr::new(*ip, port)).collect());
        }
        let behind = self.snapshot.endpoints(&service.key).filter_map(|workload| {
            let ip = workload.addresses.iter().find(|ip| spoken(ip))?;
            if service.addresses.is_empty() {
                return Some(SocketAddr::new(*ip, port));
            }
            let (_, ports) = workload.services.iter().find(|(key, _)| *key == service.key)?;
            let mapping = ports.iter().find(|mapping| mapping.service_port == port)?;
            Some(SocketAddr::new(*ip, mapping.target_port))
        });
        let behind: Vec<_> = behind.filter(|address| address.port() != 0).collect();
        // An alias for another name has neither.
        (!behind.is_empty() || !service.addresses.is_empty()).then_some(behind)
    }

    fn add_listed(&mut self, address: SocketAddr, labels: &'a Labels, locality: Place, weight: u32) {
        self.listed.insert(address.ip());
        let workload = self.snapshot.workload_at(address.ip());
        if let Some(workload) = workload.filter(|workload| !workload.healthy) {
            self.exclude(&workload.name, Some(address), Exclusion::Unhealthy);
            return;
        }
        let unknown = locality.iter().all(|part| part.is_empty());
        let own = workload.filter(|_| unknown).map(|workload| workload.locality.clone());
        let locality = own.unwrap_or(locality);
        self.add(&Candidate { workload, address, labels, locality, weight, listed: true });
    }

    fn add(&mut self, candidate: &Candidate<'a>) {
        let Candidate { workload, address, labels, .. } = *candidate;
        let name = workload.map_or_else(|| address.to_string().into(), |workload| workload.name.clone());
        let differs = |(label, wanted): &(&String, &String)| labels.get(*label) != Some(*wanted);
        if let Some((label, wanted)) = self.wanted.into_iter().flatten().find(differs) {
            let found = labels.get(label).cloned();
            let why = Exclusion::Subset { label: label.clone(), wanted: wanted.clone(), found };
            self.exclude(&name, Some(address), why);
            return;
        }
        // What is listed twice is one endpoint.
        if !self.taken.insert(address) {
            return;
        }
        self.endpoints.push(Endpoint {
            workload: workload.cloned(),
            address,
            transport: self.transports.of(workload.map(|workload| &**workload), address.port()),
            weight: candidate.weight.max(1),
            priority: 0,
            locality: candidate.locality.clone(),
            listed: if candidate.listed { labels.clone() } else { Labels::new() },
        });
    }

    fn exclude(&mut self, name: &str, address: Option<SocketAddr>, why: Exclusion) {
        self.excluded.push(Excluded { name: name.into(), address, why });
    }
}

/// All addresses of a name, whatever their order; or the first, which each new connection takes as it is by then.
fn counted(mut addresses: Vec<SocketAddr>, resolution: Resolution) -> Vec<SocketAddr> {
    match resolution {
        Resolution::DnsRoundRobin => addresses.truncate(1),
        _ => addresses.sort_unstable(),
    }
    addresses
}

/// From `region/zone/subzone`.
pub(crate) fn place(text: &str) -> Place {
    let mut parts = text.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or("").into())
}
