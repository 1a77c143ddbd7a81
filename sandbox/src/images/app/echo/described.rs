//! What an echo server says about a request.
use serde_json::{Map, Value, json};

use crate::images::app::serve::Call;

/// The request as it arrived, and the pod that it arrived at.
pub(super) fn described(call: &Call) -> Value {
    let mut headers = Map::new();
    // As Go has it: the host is a field of its own.
    for (name, value) in call.request.headers().iter().filter(|(name, _)| *name != "host") {
        let entry = headers.entry(canonical(name.as_str())).or_insert_with(|| json!([]));
        if let Some(values) = entry.as_array_mut() {
            values.push(json!(String::from_utf8_lossy(value.as_bytes())));
        }
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let uri = call.request.uri();
    let host =
        call.request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let mut value = json!({
        "path": uri.path_and_query().map_or("/", |path| path.as_str()),
        "host": host.or_else(|| uri.authority().map(ToString::to_string)).unwrap_or_default(),
        "method": call.request.method().as_str(),
        "proto": match call.request.version() {
            hyper::Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        },
        "headers": headers,
        "httpPort": call.local.port().to_string(),
        "namespace": variable("NAMESPACE"),
        "ingress": variable("INGRESS_NAME"),
        "service": variable("SERVICE_NAME"),
        "pod": pod()
    });
    if let Some(tls) = &call.tls {
        value["tls"] = json!({
            "version": tls.version,
            "serverName": tls.server_name,
            "negotiatedProtocol": tls.protocol,
            "cipherSuite": tls.cipher
        });
    }
    value
}

/// The pod's name: `POD_NAME`, else the host name, which is the same where nobody says otherwise.
pub(super) fn pod() -> String {
    let host = || nix::unistd::gethostname().ok().map(|name| name.to_string_lossy().into_owned());
    std::env::var("POD_NAME").ok().filter(|name| !name.is_empty()).or_else(host).unwrap_or_default()
}

fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
