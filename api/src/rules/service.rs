//! Services and EndpointSlices.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::labels;
use super::look::Look;
use crate::diagnostic::Problem;

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

pub(super) fn check(spec: &Look<'_>, problems: &mut Vec<Problem>) {
    if !spec.is_there() {
        problems.push(spec.wrong("is required"));
        return;
    }
    let kind = spec.get("type");
    kind.one_of(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"], problems);
    spec.get("sessionAffinity").one_of(&["None", "ClientIP"], problems);
    spec.get("ipFamilyPolicy").one_of(&["SingleStack", "PreferDualStack", "RequireDualStack"], problems);
    labels(&spec.get("selector"), problems);
    let address = spec.get("clusterIP");
    if let Some(text) =
        address.text().filter(|text| !matches!(*text, "" | "None") && text.parse::<IpAddr>().is_err())
    {
        problems
            .push(address.wrong(format!("{text:?} is no address: write an IP address, None, or nothing")));
    }
    let external = kind.text() == Some("ExternalName");
    if external {
        spec.get("externalName").required(problems);
    }
    let list = spec.get("ports");
    if list.is_empty() && !external && address.text() != Some("None") {
        problems.push(list.wrong("is required: a Service has at least one port"));
    }
    ports(&list, problems);
}

fn ports(list: &Look<'_>, problems: &mut Vec<Problem>) {
    let several = list.items().count() > 1;
    let (mut numbers, mut seen) = (HashSet::new(), HashSet::new());
    for port in list.items() {
        let (number, name) = (port.get("port"), port.get("name"));
        number.required(problems);
        number.within(1, 65535, problems);
        port.get("nodePort").within(0, 65535, problems);
        port.get("protocol").one_of(PROTOCOLS, problems);
        port.get("targetPort").port_or_name(problems);
        if several && name.is_empty() {
            problems.push(name.wrong("is required where a Service has several ports"));
        }
        if let Some(text) = name.text().filter(|text| !crate::names::is_dns_label(text)) {
            problems.push(name.wrong(format!("{text:?} is not a name: {}", crate::names::DNS_LABEL)));
        }
        if let Some(text) = name.text().filter(|text| !seen.insert(*text)) {
            problems.push(name.wrong(format!("another port of the Service is named {text:?}")));
        }
        let protocol = port.get("protocol").text().unwrap_or("TCP");
        if let Some(twice) = number.integer().filter(|number| !numbers.insert((*number, protocol))) {
            problems.push(number.wrong(format!("{twice}/{protocol} is given twice")));
        }
    }
}

pub(super) fn check_slice(root: &Look<'_>, problems: &mut Vec<Problem>) {
    let family = root.get("addressType");
    family.required(problems);
    family.one_of(&["IPv4", "IPv6", "FQDN"], problems);
    for port in root.get("ports").items() {
        port.get("port").within(1, 65535, problems);
        port.get("protocol").one_of(PROTOCOLS, problems);
    }
    for endpoint in root.get("endpoints").items() {
        let addresses = endpoint.get("addresses");
        addresses.required(problems);
        for address in addresses.items() {
            let Some(text) = address.text() else { continue };
            let right = match family.text() {
                Some("IPv4") => text.parse::<Ipv4Addr>().is_ok(),
                Some("IPv6") => text.parse::<Ipv6Addr>().is_ok(),
                _ => true,
            };
            if !right {
                let family = family.text().unwrap_or_default();
                problems.push(address.wrong(format!("{text:?} is no {family} address")));
            }
        }
    }
}
