//! ClusterIPs: one IPv4 and one IPv6 a Service, unless it asks for others or for none.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heddle_api::object::Object;
use serde_json::{Value, json};

use super::StoreError;

const V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0);
/// The first 256 are for those who ask by name, as in Kubernetes' lower band.
const FIRST_DYNAMIC: u32 = 256;
const LAST: u32 = 65_534;

/// Who holds which Service address.
#[derive(Debug, Default)]
pub(super) struct ServiceAddresses {
    taken: BTreeMap<IpAddr, String>,
    next: u32,
}

impl ServiceAddresses {
    /// Fills `clusterIP`, `clusterIPs` and `ipFamilies` of a Service; other kinds pass.
    pub(super) fn assign(&mut self, object: &mut Object) -> Result<(), StoreError> {
        if object.kind.kind != "Service" || object.value["spec"]["type"] == "ExternalName" {
            return Ok(());
        }
        if object.value["spec"]["clusterIP"] == "None" {
            object.value["spec"]["clusterIPs"] = json!(["None"]);
            families(&mut object.value["spec"], &[true, false]);
            return Ok(());
        }
        let owner = format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), object.name);
        let asked = requested(object)?;
        for address in &asked {
            self.check(object, *address, &owner)?;
        }
        let spec = &mut object.value["spec"];
        let single = spec["ipFamilyPolicy"] == "SingleStack";
        let first_is_v4 = match (asked.first(), spec["ipFamilies"][0].as_str()) {
            (Some(address), _) => address.is_ipv4(),
            (None, family) => family != Some("IPv6"),
        };
        let wanted: &[bool] = if single { &[first_is_v4] } else { &[first_is_v4, !first_is_v4] };
        let mut addresses = Vec::new();
        for v4 in wanted {
            let address = asked.iter().find(|address| address.is_ipv4() == *v4).copied();
            let address = address.unwrap_or_else(|| self.free(*v4));
            self.taken.insert(address, owner.clone());
            addresses.push(address);
        }
        spec["clusterIP"] = json!(addresses.first());
        spec["clusterIPs"] = json!(addresses);
        families(spec, wanted);
        Ok(())
    }

    pub(super) fn release(&mut self, object: &Object) {
        if object.kind.kind == "Service" {
            let owner = format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), object.name);
            self.taken.retain(|_, holder| *holder != owner);
        }
    }

    fn check(&self, object: &Object, address: IpAddr, owner: &str) -> Result<(), StoreError> {
        let inside = match address {
            IpAddr::V4(v4) => v4.octets()[..2] == V4.octets()[..2],
            IpAddr::V6(v6) => v6.segments()[..7] == V6.segments()[..7],
        };
        let problem = if !inside {
            "the provided IP is not in the valid range; valid ranges are 10.96.0.0/16 and fd00:10:96::/112"
        } else if self.taken.get(&address).is_some_and(|holder| holder != owner) {
            "provided IP is already allocated"
        } else {
            return Ok(());
        };
        let message = format!("Invalid value: [\"{address}\"]: failed to allocate IP {address}: {problem}");
        Err(StoreError::invalid(object, "spec.clusterIPs", message))
    }

    fn free(&mut self, v4: bool) -> IpAddr {
        loop {
            let host = FIRST_DYNAMIC + self.next % (LAST - FIRST_DYNAMIC);
            self.next += 1;
            let address = if v4 {
                IpAddr::V4(Ipv4Addr::from(u32::from(V4) + host))
            } else {
                IpAddr::V6(Ipv6Addr::from(u128::from(V6) + u128::from(host)))
            };
            if !self.taken.contains_key(&address) {
                return address;
            }
        }
    }
}

fn families(spec: &mut Value, wanted: &[bool]) {
    let names: Vec<&str> = wanted.iter().map(|v4| if *v4 { "IPv4" } else { "IPv6" }).collect();
    let policy = if names.len() == 1 { "SingleStack" } else { "PreferDualStack" };
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = json!(policy);
    }
    spec["ipFamilies"] = json!(names);
}

fn requested(object: &Object) -> Result<Vec<IpAddr>, StoreError> {
    let spec = &object.value["spec"];
    let listed = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut texts: Vec<&str> = spec["clusterIP"].as_str().into_iter().chain(listed).collect();
    texts.retain(|text| !text.is_empty());
    texts.dedup();
    let parse = |text: &&str| {
        text.parse::<IpAddr>().map_err(|_error| {
            let message = format!("Invalid value: \"{text}\": must be a valid IP address");
            StoreError::invalid(object, "spec.clusterIPs", message)
        })
    };
    texts.iter().map(parse).collect()
}
