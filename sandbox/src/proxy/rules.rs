//! The ruleset of a node, as text for nft.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use heddle_api::kind;
use heddle_api::object::Object;
use serde_json::Value;

use crate::fabric::address::{self, Pair};
use crate::store::Store;

/// One port of one of a Service's addresses, and where it leads.
struct Frontend {
    address: IpAddr,
    protocol: String,
    port: u16,
    sticky: bool,
    backends: BTreeSet<(IpAddr, u16)>,
}

/// Everything that the node's table is to hold. What no rule took and what has no endpoint is refused at once.
pub(super) fn of(store: &Store, node: Pair) -> String {
    let frontends = frontends(store);
    let mut dnat = String::new();
    let mut own: BTreeSet<IpAddr> = BTreeSet::new();
    for frontend in frontends.iter().filter(|frontend| !frontend.backends.is_empty()) {
        own.extend(frontend.backends.iter().map(|(ip, _)| *ip));
        // Formatting into a String cannot fail.
        let _ = writeln!(dnat, "    {}", rule(frontend));
    }
    let snat: String =
        [IpAddr::from(node.v4), node.v6.into()].iter().map(|node| hairpin(&own, *node)).collect();
    let [v4, v6] = address::SERVICE_CIDRS;
    let refuse = format!(
        "    ip daddr {v4} meta l4proto tcp reject with tcp reset\n    ip6 daddr {v6} meta l4proto tcp reject with tcp reset\n    \
         ip daddr {v4} reject with icmpx type port-unreachable\n    ip6 daddr {v6} reject with icmpx type port-unreachable\n"
    );
    format!(
        "table inet heddle-services\ndelete table inet heddle-services\ntable inet heddle-services {{\n\
         \x20 chain services {{\n{dnat}  }}\n\
         \x20 chain prerouting {{\n    type nat hook prerouting priority dstnat; policy accept;\n    jump services\n  }}\n\
         \x20 chain output {{\n    type nat hook output priority -100; policy accept;\n    jump services\n  }}\n\
         \x20 chain postrouting {{\n    type nat hook postrouting priority srcnat; policy accept;\n{snat}  }}\n\
         \x20 chain forwarded {{\n    type filter hook forward priority filter; policy accept;\n{refuse}  }}\n\
         \x20 chain own {{\n    type filter hook output priority filter; policy accept;\n    oifname \"lo\" accept\n{refuse}  }}\n}}\n"
    )
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ip" } else { "ip6" }
}

fn rule(frontend: &Frontend) -> String {
    let Frontend { address, protocol, port, sticky, backends } = frontend;
    let family = family(*address);
    let to = if backends.len() == 1 {
        backends.iter().map(|(ip, port)| std::net::SocketAddr::new(*ip, *port).to_string()).collect()
    } else {
        let choice = if *sticky { format!("jhash {family} saddr") } else { "numgen random".to_owned() };
        let list: Vec<_> =
            backends.iter().enumerate().map(|(n, (ip, port))| format!("{n} : {ip} . {port}")).collect();
        format!("{choice} mod {} map {{ {} }}", list.len(), list.join(", "))
    };
    format!("{family} daddr {address} {protocol} dport {port} dnat {family} to {to}")
}

/// A pod that reaches itself through its Service would drop a packet from its own address.
fn hairpin(backends: &BTreeSet<IpAddr>, node: IpAddr) -> String {
    let family = family(node);
    let pairs: Vec<_> = backends
        .iter()
        .filter(|ip| ip.is_ipv4() == node.is_ipv4())
        .map(|ip| format!("{ip} . {ip}"))
        .collect();
    if pairs.is_empty() {
        return String::new();
    }
    format!("    {family} saddr . {family} daddr {{ {} }} snat {family} to {node}\n", pairs.join(", "))
}

fn frontends(store: &Store) -> Vec<Frontend> {
    let list = |version, name| kind::find(version, name).map(|kind| store.list(kind)).unwrap_or_default();
    let slices = list("discovery.k8s.io/v1", "EndpointSlice");
    let mut frontends = Vec::new();
    for service in list("v1", "Service") {
        let of_service: Vec<_> = slices
            .iter()
            .filter(|slice| {
                slice.namespace == service.namespace
                    && slice.labels().get("kubernetes.io/service-name") == Some(&service.name)
            })
            .collect();
        let spec = &service.value["spec"];
        let listed = spec["clusterIPs"].as_array().into_iter().flatten();
        for address in listed.filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok()) {
            for port in spec["ports"].as_array().into_iter().flatten() {
                let Some(number) = number(&port["port"]) else { continue };
                frontends.push(Frontend {
                    address,
                    protocol: port["protocol"].as_str().unwrap_or("TCP").to_lowercase(),
                    port: number,
                    sticky: spec["sessionAffinity"] == "ClientIP",
                    backends: backends(&of_service, address.is_ipv4(), port),
                });
            }
        }
    }
    frontends
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64()?.try_into().ok()
}

/// The ready endpoints of one family for one port of the Service, told by the port's name.
fn backends(slices: &[&Arc<Object>], v4: bool, wanted: &Value) -> BTreeSet<(IpAddr, u16)> {
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    for slice in slices {
        let mut ports = slice.value["ports"].as_array().into_iter().flatten();
        let same = |port: &&Value| name(port) == name(wanted) && same_protocol(port, wanted);
        let Some(port) = ports.find(same).and_then(|port| number(&port["port"])) else { continue };
        let endpoints = slice.value["endpoints"].as_array().into_iter().flatten();
        for endpoint in endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false) {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok());
            found.extend(addresses.filter(|ip| ip.is_ipv4() == v4).map(|ip| (ip, port)));
        }
    }
    found
}

fn same_protocol(a: &Value, b: &Value) -> bool {
    a["protocol"].as_str().unwrap_or("TCP") == b["protocol"].as_str().unwrap_or("TCP")
}
