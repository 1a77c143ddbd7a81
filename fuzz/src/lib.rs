//! What each fuzz target asserts beside "it does not panic"; the seeds run through them in `cargo test` too.
#![forbid(unsafe_code)]

mod routing;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heddle_agent::control::{Kind, decode, saved};
use heddle_agent::traffic::tunnel::connect;
use heddle_core::identity::Identity;
use heddle_proto::discovery::DeltaDiscoveryResponse;
use http::{HeaderMap, HeaderValue, Method, Uri};
use prost::Message;

pub use routing::{path, route};

/// A text that is taken as an identity is shown as that very text: no two texts are one identity.
pub fn spiffe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(identity) = Identity::parse(text) {
        assert_eq!(identity.to_string(), text, "an identity has one text");
        assert_eq!(format!("spiffe://{}", identity.principal()), text);
        assert!(text.len() <= 2048 && text.is_ascii());
    }
}

/// Every object that is taken is taken again from its own JSON; and all of them together are analyzed.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = heddle_api::manifest::parse("fuzz", text);
    for diagnostic in &parsed.diagnostics {
        assert!(!diagnostic.message.is_empty());
    }
    for (_, object) in &parsed.objects {
        let json = object.value.to_string();
        let again = heddle_api::manifest::parse("again", &json);
        assert!(!again.has_errors(), "{json}: {:?}", again.diagnostics);
        assert_eq!(again.objects.first().map(|(_, object)| &object.name), Some(&object.name));
    }
    let objects: Vec<_> = parsed.objects.iter().map(|(_, object)| object).collect();
    for finding in heddle_api::analyze::analyze(&objects) {
        assert!(finding.object < objects.len() && !finding.problem.message.is_empty());
    }
}

/// A CONNECT that is taken leads to the pod itself, to none of the agent's ports, in its one canonical form.
pub fn connect(data: &[u8]) {
    let pod = [
        IpAddr::V4(Ipv4Addr::new(10, 244, 1, 2)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 2)),
    ];
    let (authority, forwarded) =
        data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    if let Ok(uri) = Uri::try_from(authority)
        && let Ok(address) = connect::check(&Method::CONNECT, &uri, &pod)
    {
        assert!(pod.contains(&address.ip()), "{address} is not the pod's");
        assert!(!matches!(address.port(), 0 | 15001 | 15006 | 15008), "{address} is the agent's own");
        assert_eq!(address.to_string().as_bytes(), authority);
    }
    if let Ok(value) = HeaderValue::from_bytes(forwarded.strip_prefix(b"\n").unwrap_or_default()) {
        let headers: HeaderMap = [(http::header::FORWARDED, value)].into_iter().collect();
        let _ = connect::forwarded(&headers);
    }
}

/// A response is decoded whole or refused with a reason; a resource that is taken has the name that it claims.
pub fn discovery(data: &[u8]) {
    let Ok(response) = DeltaDiscoveryResponse::decode(data) else { return };
    for kind in Kind::ALL {
        for resource in &response.resources {
            if let Err(reason) = decode::resource(kind, resource, "cluster.local") {
                assert!(!reason.is_empty());
            }
        }
    }
}

/// A saved configuration is read whole or refused; what is read is written again as it was read. The bytes are a file, and
/// the body of one whose header is right: no fuzzer finds a checksum.
pub fn saved(data: &[u8]) {
    const HEADER: usize = 52;
    let node = "node-1";
    let whole = saved::encode(node, &[]);
    let owner = &whole[HEADER..];
    let framed = saved::frame(&[owner, data].concat());
    for file in [data, framed.as_slice()] {
        if let Ok(responses) = saved::decode(node, file) {
            let again = saved::decode(node, &saved::encode(node, &responses));
            assert_eq!(again.expect("what we write we read"), responses);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn seeds(target: &str, run: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        let mut count = 0;
        for entry in directory.read_dir().expect("the seeds are in the repository") {
            let seed = std::fs::read(entry.expect("readable").path()).expect("readable");
            // Whole, cut at every place, and with each byte flipped: small changes find the edges.
            for at in 0..=seed.len().min(512) {
                run(&seed[..at]);
            }
            for at in 0..seed.len().min(512) {
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    let mut changed = seed.clone();
                    changed[at] ^= flip;
                    run(&changed);
                }
            }
            count += 1;
        }
        assert!(count > 0, "{target} has no seed");
    }

    #[test]
    fn spiffe_takes_its_seeds() {
        seeds("spiffe", super::spiffe);
    }

    #[test]
    fn manifest_takes_its_seeds() {
        seeds("manifest", super::manifest);
    }

    #[test]
    fn connect_takes_its_seeds() {
        seeds("connect", super::connect);
    }

    #[test]
    fn discovery_takes_its_seeds() {
        seeds("discovery", super::discovery);
    }

    #[test]
    fn path_takes_its_seeds() {
        seeds("path", super::path);
    }

    #[test]
    fn route_takes_its_seeds() {
        seeds("route", super::route);
    }

    #[test]
    fn saved_takes_its_seeds() {
        seeds("saved", super::saved);
    }
}
