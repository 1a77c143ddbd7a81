//! ServiceEntry, made into a service of the mesh.
//!
//! Sources: Istio API `networking/v1/service_entry.proto`; Istio `pkg/config/validation`.

use std::collections::HashSet;
use std::net::IpAddr;

use heddle_core::object::Labels;
use heddle_core::policy::Cidr;
use heddle_core::upstream::model::{EntryPort, Protocol, Resolution, ServiceEntry};
use serde_json::Value;

use crate::diagnostic::Problem;
use crate::names;
use crate::normalised::{Context, Normalised, Resource, export_to};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::route::hosts;
use crate::strict::did_you_mean;

use schema::{Location, ServiceEntrySpec, ServicePort};

pub(crate) mod endpoints;
mod schema;

#[cfg(test)]
mod tests;

const PROTOCOLS: &[&str] =
    &["HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP"];

/// A ServiceEntry, and the workloads that it selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// With the endpoints that are written in it.
    pub entry: ServiceEntry,
    /// `workloadSelector`: WorkloadEntries and pods of its namespace; no label: all of them.
    pub workload_selector: Option<Labels>,
}

/// Reads a ServiceEntry.
pub fn service_entry(object: &Object, context: &Context) -> Normalised<Entry> {
    read(&object.value, context)
}

/// Schema and rules.
pub(crate) fn check(value: &Value) -> Vec<Problem> {
    read(value, &Context::default()).problems
}

fn read(value: &Value, context: &Context) -> Normalised<Entry> {
    let mut notes = Notes::default();
    let Some(resource) = Resource::<ServiceEntrySpec>::read(value, &mut notes) else {
        return Normalised::new(None, notes);
    };
    let (spec, at) = (&resource.spec, At::root("spec"));
    hosts::check_export_to(&spec.export_to, &at.field("exportTo"), &mut notes);
    let resolution = resolution(spec, &at, &mut notes);
    let ports = ports(&spec.ports, &at.field("ports"), &mut notes);
    let entry = ServiceEntry {
        source: resource.source("ServiceEntry"),
        created: resource.created(),
        hosts: own_hosts(spec, resolution, &at.field("hosts"), &mut notes),
        addresses: addresses(spec, resolution, &at.field("addresses"), &mut notes),
        external: spec.location != Some(Location::MeshInternal),
        resolution,
        export_to: export_to(&spec.export_to, &context.service_export_to, resource.namespace()),
        endpoints: endpoints::written(
            &spec.endpoints,
            resolution,
            &ports,
            &at.field("endpoints"),
            &mut notes,
        ),
        ports,
        subject_alt_names: spec.subject_alt_names.clone(),
    };
    let workload_selector = selector(spec, resolution, &at, &mut notes);
    Normalised::new(Some(Entry { entry, workload_selector }), notes)
}

fn resolution(spec: &ServiceEntrySpec, at: &At<'_>, notes: &mut Notes) -> Resolution {
    let endpoints_at = at.field("endpoints");
    let none = spec.endpoints.is_empty();
    match spec.resolution.unwrap_or(schema::Resolution::None) {
        schema::Resolution::None => {
            if !none {
                notes.error(&endpoints_at, "cannot stand beside `resolution: NONE`, which goes where the client dialled: write STATIC for addresses, DNS for names");
            }
            Resolution::None
        }
        schema::Resolution::Static => {
            if none && spec.workload_selector.is_none() {
                notes.warning(
                    &endpoints_at,
                    "is empty: nothing answers for the hosts; write endpoints, or a workloadSelector",
                );
            }
            Resolution::Static
        }
        schema::Resolution::Dns => Resolution::Dns,
        schema::Resolution::DnsRoundRobin => {
            if spec.endpoints.len() > 1 {
                notes.error(
                    &endpoints_at,
                    "has several items: DNS_ROUND_ROBIN takes one name; write `resolution: DNS` for several",
                );
            }
            Resolution::DnsRoundRobin
        }
        schema::Resolution::DynamicDns => {
            notes.unserved(
                &at.field("resolution"),
                "DYNAMIC_DNS is not served: connections go where the client dialled, as with NONE",
            );
            Resolution::None
        }
    }
}

fn own_hosts(spec: &ServiceEntrySpec, resolution: Resolution, at: &At<'_>, notes: &mut Notes) -> Vec<String> {
    if spec.hosts.is_empty() {
        notes.error(at, "is required: write at least one host, for example \"api.example.com\"");
    }
    let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin)
        && spec.endpoints.is_empty()
        && spec.workload_selector.is_none();
    let mut own = Vec::with_capacity(spec.hosts.len());
    for (index, host) in spec.hosts.iter().enumerate() {
        let at = at.index(index);
        if host == "*" {
            notes.error(&at, "\"*\" is every host: write a domain, for example \"*.example.com\"");
        } else if by_name && (host.contains('*') || host.parse::<IpAddr>().is_ok()) {
            notes.error(&at, format!("{host:?} cannot be resolved: write a name, or endpoints that can be"));
        } else if hosts::check(host, &at, notes) {
            if !host.contains('.') && host.parse::<IpAddr>().is_err() {
                notes.warning(&at, format!("{host:?} is taken as written, not as a name of the namespace: write it with its domain"));
            }
            own.push(host.to_ascii_lowercase());
        }
    }
    own
}

fn addresses(spec: &ServiceEntrySpec, resolution: Resolution, at: &At<'_>, notes: &mut Notes) -> Vec<String> {
    let networks = matches!(resolution, Resolution::None | Resolution::Static);
    for (index, text) in spec.addresses.iter().enumerate() {
        let at = at.index(index);
        if Cidr::parse(text).is_none() {
            notes.error(&at, format!("{text:?} is no address: write one, or a network such as 10.0.0.0/8"));
        } else if text.contains('/') && !networks {
            notes.error(
                &at,
                format!("{text:?} is a network, which only NONE and STATIC take: write single addresses"),
            );
        }
    }
    spec.addresses.clone()
}

fn ports(written: &[ServicePort], at: &At<'_>, notes: &mut Notes) -> Vec<EntryPort> {
    let (mut names_seen, mut numbers_seen) = (HashSet::new(), HashSet::new());
    let mut ports = Vec::with_capacity(written.len());
    for (index, port) in written.iter().enumerate() {
        let at = at.index(index);
        let name = port.name.clone().unwrap_or_default();
        let name_at = at.field("name");
        if name.is_empty() {
            notes.error(&name_at, "is required: write for example `name: http`");
        } else if !names::is_dns_label(&name) {
            notes.error(&name_at, format!("{name:?} is not a name: {}", names::DNS_LABEL));
        } else if !names_seen.insert(name.clone()) {
            notes.error(&name_at, format!("another port is named {name:?}"));
        }
        let number_at = at.field("number");
        let number = number(port.number, &number_at, notes);
        if number.is_some_and(|number| !numbers_seen.insert(number)) {
            notes.error(&number_at, format!("port {} stands twice in the list", number.unwrap_or(0)));
        }
        let target =
            port.target_port.and_then(|target| self::number(Some(target), &at.field("targetPort"), notes));
        let protocol = protocol(port.protocol.as_deref().unwrap_or_default(), &at.field("protocol"), notes);
        ports.extend(number.map(|number| EntryPort { name, number, protocol, target }));
    }
    ports
}

fn number(written: Option<i64>, at: &At<'_>, notes: &mut Notes) -> Option<u16> {
    let Some(number) = written else {
        notes.error(at, "is required: write a port from 1 to 65535");
        return None;
    };
    let read = u16::try_from(number).ok().filter(|port| *port != 0);
    if read.is_none() {
        notes.error(at, format!("port {number} does not exist: write a port from 1 to 65535"));
    }
    read
}

fn protocol(text: &str, at: &At<'_>, notes: &mut Notes) -> Protocol {
    match text.to_ascii_uppercase().as_str() {
        "" => Protocol::Unknown,
        "HTTP" => Protocol::Http,
        "HTTP2" => Protocol::Http2,
        "GRPC" | "GRPC-WEB" => Protocol::Grpc,
        "HTTPS" | "TLS" => Protocol::Tls,
        "TCP" | "MONGO" | "MYSQL" | "REDIS" => Protocol::Tcp,
        "UDP" => {
            notes.unserved(at, "UDP is not carried by the mesh: this port has no effect");
            Protocol::Tcp
        }
        _ => {
            notes.error(at, format!("{text:?} is no protocol: {}", did_you_mean(text, PROTOCOLS)));
            Protocol::Unknown
        }
    }
}

fn selector(
    spec: &ServiceEntrySpec,
    resolution: Resolution,
    at: &At<'_>,
    notes: &mut Notes,
) -> Option<Labels> {
    let selector = spec.workload_selector.as_ref()?;
    let at = at.field("workloadSelector");
    if !spec.endpoints.is_empty() {
        notes.error(&at, "cannot stand beside endpoints: remove one of them");
    }
    if resolution == Resolution::None {
        notes.warning(
            &at,
            "has no effect beside `resolution: NONE`, which goes where the client dialled: write STATIC",
        );
    }
    let mut problems = Vec::new();
    for (key, value) in &selector.labels {
        names::check_selector_label("spec.workloadSelector.labels", key, Some(value), &mut problems);
    }
    notes.extend(problems);
    Some(selector.labels.clone())
}
