//! The names of the cluster: what Services, their endpoints and pods are called (Kubernetes DNS specification).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heddle_api::kind;
use heddle_api::object::Object;
use serde_json::Value;

use crate::store::Store;

const DOMAIN: &str = "cluster.local";

/// One record's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Alias(String),
    Service { port: u16, target: String },
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No such name (NXDOMAIN).
    Nothing,
    /// The name is there, with or without records (no record of a kind is NODATA).
    Name(Vec<Data>),
}

/// All names, in lower case, without the last dot.
#[derive(Debug, Default)]
pub(super) struct Zone {
    names: BTreeMap<String, Vec<Data>>,
}

/// An endpoint of a headless Service.
struct Endpoint {
    address: IpAddr,
    hostname: String,
    ports: Vec<(String, String, u16)>,
}

impl Zone {
    pub(super) fn of(store: &Store) -> Self {
        let list = |version, name| kind::find(version, name).map(|kind| store.list(kind)).unwrap_or_default();
        let slices = list("discovery.k8s.io/v1", "EndpointSlice");
        let mut zone = Self::default();
        for service in list("v1", "Service") {
            let of_service = slices.iter().filter(|slice| {
                slice.namespace == service.namespace
                    && slice.labels().get("kubernetes.io/service-name") == Some(&service.name)
            });
            zone.add_service(&service, of_service.flat_map(|slice| endpoints(slice)).collect());
        }
        for namespace in list("v1", "Namespace") {
            zone.add(format!("{}.svc.{DOMAIN}", namespace.name), None);
            zone.add(format!("{}.pod.{DOMAIN}", namespace.name), None);
        }
        zone
    }

    fn add_service(&mut self, service: &Object, endpoints: Vec<Endpoint>) {
        let Some(namespace) = &service.namespace else { return };
        let name = format!("{}.{namespace}.svc.{DOMAIN}", service.name);
        let spec = &service.value["spec"];
        if spec["type"] == "ExternalName" {
            let target = spec["externalName"].as_str().unwrap_or_default();
            return self.add(name, Some(Data::Alias(format!("{}.", target.trim_end_matches('.')))));
        }
        self.add(name.clone(), None);
        if spec["clusterIP"] == "None" {
            return self.add_headless(&name, endpoints);
        }
        let listed = spec["clusterIPs"].as_array().into_iter().flatten();
        for ip in listed.filter_map(|ip| ip.as_str()?.parse().ok()) {
            self.add(name.clone(), Some(Data::Address(ip)));
        }
        for port in spec["ports"].as_array().into_iter().flatten() {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let number = port["port"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or_default();
            self.add_port(&name, port["name"].as_str().unwrap_or_default(), protocol, number, &name);
        }
    }

    fn add_headless(&mut self, name: &str, endpoints: Vec<Endpoint>) {
        for Endpoint { address, hostname, ports } in endpoints {
            let own = format!("{hostname}.{name}");
            self.add(name.to_owned(), Some(Data::Address(address)));
            self.add(own.clone(), Some(Data::Address(address)));
            for (port, protocol, number) in ports {
                self.add_port(name, &port, &protocol, number, &own);
            }
        }
    }

    fn add_port(&mut self, service: &str, port: &str, protocol: &str, number: u16, target: &str) {
        if !port.is_empty() {
            let name = format!("_{port}._{}.{service}", protocol.to_lowercase());
            self.add(name, Some(Data::Service { port: number, target: format!("{target}.") }));
        }
    }

    /// Adds a record and, without one, the name alone, together with all names above it.
    fn add(&mut self, name: String, data: Option<Data>) {
        let mut above = name.as_str();
        while let Some((_, parent)) = above.split_once('.') {
            self.names.entry(parent.to_owned()).or_default();
            above = parent;
        }
        let records = self.names.entry(name).or_default();
        records.extend(data.filter(|data| !records.contains(data)));
    }

    pub(super) fn find(&self, name: &str) -> Found {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(records) = self.names.get(&name) {
            return Found::Name(records.clone());
        }
        self.pod(&name).map_or(Found::Nothing, |ip| Found::Name(vec![Data::Address(ip)]))
    }

    /// `10-244-1-2.NAMESPACE.pod`: the name says the address.
    fn pod(&self, name: &str) -> Option<IpAddr> {
        let (dashed, namespace) = name.split_once('.')?;
        namespace.strip_suffix(DOMAIN)?.strip_suffix(".pod.")?;
        self.names.get(namespace)?;
        let v4 = dashed.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::from);
        v4.or_else(|_| dashed.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::from)).ok()
    }
}

fn endpoints(slice: &Object) -> Vec<Endpoint> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = slice.value["ports"].as_array().into_iter().flatten();
    let ports: Vec<_> = listed
        .filter_map(|port| {
            let number = port["port"].as_u64()?.try_into().ok()?;
            Some((text(&port["name"]), port["protocol"].as_str().unwrap_or("TCP").to_owned(), number))
        })
        .collect();
    let listed = slice.value["endpoints"].as_array().into_iter().flatten();
    listed
        .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        .filter_map(|endpoint| {
            let address: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
            let dashed = || address.to_string().replace(['.', ':'], "-");
            let hostname = endpoint["hostname"].as_str().map_or_else(dashed, str::to_owned);
            Some(Endpoint { address, hostname, ports: ports.clone() })
        })
        .collect()
}
