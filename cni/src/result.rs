//! The result of the plugins before this one: passed through, and read for the pod's addresses.

use std::net::IpAddr;

use serde_json::Value;

use crate::error::{CniError, Code};

/// The result to print: the one that came in, in the version of the configuration.
pub fn passed_through(mut previous: Value, version: &str) -> Value {
    previous["cniVersion"] = Value::from(version);
    previous
}

/// Addresses inside the pod: those of no interface, or of one that is in a sandbox. What a plugin lists for the node's
/// side is not the pod's.
///
/// # Errors
/// Names the field that cannot be read.
pub fn addresses(previous: &Value) -> Result<Vec<IpAddr>, CniError> {
    let wrong = |field: String, what: &str| {
        CniError::new(Code::CONFIG, "prevResult cannot be read", format!("{field} {what}"))
    };
    let list = |key: &str| match &previous[key] {
        Value::Null => Ok(&[][..]),
        Value::Array(list) => Ok(&list[..]),
        _ => Err(wrong(format!("prevResult.{key}"), "is not a list")),
    };
    let interfaces = list("interfaces")?;
    let mut found = Vec::new();
    for (number, ip) in list("ips")?.iter().enumerate() {
        let field = |name: &str| format!("prevResult.ips[{number}].{name}");
        if let Some(index) = ip.get("interface").filter(|index| !index.is_null()) {
            let at = index.as_u64().and_then(|index| interfaces.get(usize::try_from(index).ok()?));
            let interface =
                at.ok_or_else(|| wrong(field("interface"), "is not an index of prevResult.interfaces"))?;
            if interface["sandbox"].as_str().unwrap_or_default().is_empty() {
                continue;
            }
        }
        let text = ip["address"].as_str().ok_or_else(|| wrong(field("address"), "is not a text"))?;
        let address = text.split_once('/').map_or(text, |(address, _)| address).parse();
        found.push(address.map_err(|_none| wrong(field("address"), &format!("'{text}' is not an address")))?);
    }
    Ok(found)
}
