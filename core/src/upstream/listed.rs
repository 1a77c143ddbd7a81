//! ServiceEntries by what is dialled, for addresses that no service has: those of their networks, and any on a port that an entry
//! without addresses takes.
//!
//! As Istio's listeners have it (`service_entry.proto`, `addresses`): with addresses they are matched, without any the port alone
//! says to whom an opaque connection goes, and the server name where the port is TLS (that is [`crate::route`]'s business).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::Cidr;
use crate::upstream::model::{EntryPort, Protocol, ServiceEntry};

/// By port.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListedPorts(HashMap<u16, Vec<ListedPort>>);

/// A port of an entry.
#[derive(Clone, Debug)]
struct ListedPort {
    entry: Arc<ServiceEntry>,
    at: usize,
    host: Arc<str>,
    /// None: any address.
    networks: Box<[Cidr]>,
}

/// What an entry says of an address that was dialled.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// Its host; the first, where the port alone has led here.
    pub host: &'a Arc<str>,
    /// Its port.
    pub port: &'a EntryPort,
}

impl ListedPorts {
    /// The older entries first.
    pub(crate) fn new(mut entries: Vec<&ServiceEntry>) -> Self {
        entries.sort_by_key(|entry| (entry.created, &entry.source));
        let mut ports: HashMap<u16, Vec<ListedPort>> = HashMap::new();
        for entry in entries {
            let Some(host) = entry.hosts.first() else { continue };
            let networks: Box<[Cidr]> = entry.addresses.iter().filter_map(|text| Cidr::parse(text)).collect();
            // Addresses that cannot be read must not become any address.
            if networks.is_empty() && !entry.addresses.is_empty() {
                continue;
            }
            let (shared, host) = (Arc::new(entry.clone()), Arc::from(host.as_str()));
            for (at, port) in entry.ports.iter().enumerate() {
                // Requests say by their authority whom they mean, and TLS by the server name.
                if networks.is_empty() && !matches!(port.protocol, Protocol::Tcp | Protocol::Unknown) {
                    continue;
                }
                let networks = networks.clone();
                let listed = ListedPort { entry: Arc::clone(&shared), at, host: Arc::clone(&host), networks };
                ports.entry(port.number).or_default().push(listed);
            }
        }
        Self(ports)
    }

    /// Of those that a namespace sees: the narrowest network before any address, then its own, then the oldest.
    pub(crate) fn find(&self, namespace: &str, address: IpAddr, port: u16) -> Option<Listed<'_>> {
        let address = address.to_canonical();
        let seen = self.0.get(&port)?.iter().filter(|listed| listed.entry.export_to.reaches(namespace));
        let ranked = seen.enumerate().filter_map(|(age, listed)| {
            let own = listed.entry.source.namespace == namespace;
            Some(((listed.rank(address)?, own, Reverse(age)), listed))
        });
        let (_, best) = ranked.max_by_key(|(rank, _)| *rank)?;
        Some(Listed { host: &best.host, port: best.entry.ports.get(best.at)? })
    }
}

impl ListedPort {
    /// How narrowly it means the address; 0: by the port alone.
    fn rank(&self, address: IpAddr) -> Option<u16> {
        if self.networks.is_empty() {
            return Some(0);
        }
        let containing = self.networks.iter().filter(|network| network.contains(address));
        containing.map(|network| u16::from(network.length()) + 1).max()
    }
}
