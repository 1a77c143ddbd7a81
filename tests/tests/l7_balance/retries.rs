//! When a request is sent again, where to, and when it is enough.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;

use super::{keyed, routes, rule, seen, service, status};

/// A word of `retryOn`, a failure that it names, and one that it does not.
const WORDS: &[(&str, &str, &str)] = &[
    ("5xx", "code=500", "code=409"),
    ("5xx", "how=abort", "code=503&ratelimited=1"),
    ("gateway-error", "code=502", "code=500"),
    ("gateway-error", "code=504", "code=501"),
    ("reset", "how=abort", "code=503"),
    ("retriable-4xx", "code=409", "code=404"),
    ("retriable-status-codes,418", "code=418", "code=503"),
    ("429", "code=429", "code=503"),
    ("envoy-ratelimited", "code=429&ratelimited=1", "code=429"),
    ("cancelled", "code=200&grpc=1", "code=200&grpc=2"),
    ("deadline-exceeded", "code=200&grpc=4", "code=200&grpc=14"),
    ("resource-exhausted", "code=200&grpc=8", "code=200&grpc=4"),
    ("internal", "code=200&grpc=13", "code=200&grpc=8"),
    ("unavailable", "code=200&grpc=14", "code=200&grpc=13"),
    ("reset-before-request,5xx", "code=500", "code=400"),
    ("http3-post-connect-failure,retriable-headers,connect-failure,503", "code=503", "code=500"),
];

pub(super) fn objects() -> String {
    let mut all = ["again", "slow"].map(|name| service(name, "solo", 8080)).concat();
    let mut http = String::new();
    for (at, (word, _, _)) in WORDS.iter().enumerate() {
        let retries = format!("retries: {{attempts: 1, retryOn: \"{word}\"}}");
        // Writing to a String cannot fail.
        let _ = write!(
            http,
            "{{match: [{{uri: {{prefix: /{at}/}}}}], {retries}, route: [{{destination: {{host: again}}}}]}}, "
        );
    }
    all += &routes("again", &http);
    let to = |host: &str, more: &str| format!("{{{more}, route: [{{destination: {{host: {host}}}}}]}}");
    let once = "retries: {attempts: 1, perTryTimeout: 2s, retryOn: reset}";
    let paused = "match: [{uri: {prefix: /paused}}], retries: {attempts: 1, retryOn: '503', backoff: 4s}";
    all += &routes("slow", &[to("slow", paused), to("slow", once)].join(", "));
    // All of them may wait at a time.
    all += &rule("slow", "connectionPool: {http: {maxRetries: 100}}");
    all += &service("refused", "plain", 9001);
    all += &rule("refused.outside.svc.cluster.local", "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}");
    let refused = "retries: {attempts: 1, retryOn: refused-stream}";
    let other = "match: [{uri: {prefix: /other}}], retries: {attempts: 1, retryOn: retriable-4xx}";
    let host = "refused.outside.svc.cluster.local";
    all += &routes(host, &[to(host, other), to(host, refused)].join(", "));
    all += &service("closed", "solo", 9);
    let connect = "retries: {attempts: 1, retryOn: connect-failure, backoff: 1ms}";
    all += &routes("closed", &[to("closed", other), to("closed", connect)].join(", "));
    for (host, retries, policy) in [
        ("elsewhere", "", "simple: RANDOM"),
        ("same", ", retryIgnorePreviousHosts: false", "consistentHash: {useSourceIp: true}"),
        ("hash-stays", "", "consistentHash: {useSourceIp: true}"),
        ("hash-moves", ", retryIgnorePreviousHosts: true", "consistentHash: {useSourceIp: true}"),
    ] {
        all += &service(host, "place", 8080);
        all += &rule(host, &format!("loadBalancer: {{{policy}, localityLbSetting: {{enabled: false}}}}"));
        let retries = format!("retries: {{attempts: 2, retryOn: '503', backoff: 1ms{retries}}}");
        all += &routes(host, &to(host, &retries));
    }
    // Nobody is set aside here, but priorities count.
    let outliers = "outlierDetection: {consecutive5xxErrors: 100000}";
    for (host, remote) in [("stays", ""), ("leaves", ", retryRemoteLocalities: true"), ("route", "")] {
        all += &service(host, "place", 8080);
        all += &rule(host, outliers);
        let retries = format!("retries: {{attempts: 3, retryOn: '503', backoff: 1ms{remote}}}");
        if host != "route" {
            all += &routes(host, &to(host, &retries));
        }
    }
    all += "\n---\n{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: route}, spec: {parentRefs: [{group: \
            '', kind: Service, name: route, port: 80}], rules: [{retry: {codes: [503], attempts: 3, backoff: 1ms}, backendRefs: \
            [{name: route, port: 80}]}]}}";
    all
}

pub(super) fn words(mesh: &Mesh) -> Result<()> {
    for (at, (word, named, other)) in WORDS.iter().enumerate() {
        let key = format!("word-{at}");
        let again = keyed(mesh, &format!("http://again/{at}/?fail=1&{named}"), &key)?;
        let attempt = again.json()?["headers"]["x-envoy-attempt-count"].clone();
        ensure!(again.status == 200 && attempt == "2", "{word} after {named}: {again:?}");
        ensure!(seen(mesh, ("default", "solo"), &key)? == 2, "{word} after {named}");
        let key = format!("not-word-{at}");
        let once = keyed(mesh, &format!("http://again/{at}/?fail=1&{other}"), &key)?;
        let count = seen(mesh, ("default", "solo"), &key)?;
        ensure!(count == 1, "{word} after {other}: sent {count} times, {once:?}");
    }
    Ok(())
}

pub(super) fn refused(mesh: &Mesh) -> Result<()> {
    let url = "http://refused.outside";
    let again = keyed(mesh, &format!("{url}/?fail=1&how=refuse"), "refused")?;
    ensure!(again.status == 200 && again.json()?["proto"] == "HTTP/2.0", "{again:?}");
    ensure!(seen(mesh, ("outside", "plain"), "refused")? == 2, "{again:?}");
    let once = keyed(mesh, &format!("{url}/other?fail=1&how=refuse"), "refused-once")?;
    ensure!(once.status == 503 && seen(mesh, ("outside", "plain"), "refused-once")? == 1, "{once:?}");
    Ok(())
}

pub(super) fn connect_failure(mesh: &Mesh) -> Result<()> {
    for (path, flags) in [("/again-closed", " 503 UF,URX "), ("/other-closed", " 503 UF ")] {
        let failed = mesh.call(&format!("http://closed{path}"), &[])?;
        ensure!(failed.status == 503, "{failed:?}");
        logged(mesh, path, flags)?;
    }
    Ok(())
}

pub(super) fn times(mesh: &Mesh) -> Result<()> {
    let again = keyed(mesh, "http://slow/?fail=1&how=hang", "hangs-once")?;
    ensure!(again.status == 200, "the second try answers: {again:?}");
    let late = keyed(mesh, "http://slow/late-twice?fail=2&how=hang", "hangs-twice")?;
    ensure!(late.status == 504 && late.seconds >= 4.0, "two tries of two seconds: {late:?}");
    logged(mesh, "/late-twice", " 504 UT,URX ")?;
    // A pause is anything below four seconds, by chance: of eight one is longer than the default ever is.
    let argv = ["requests", "http://slow/paused?fail=1", "--count", "8", "--connections", "8"];
    let paused = mesh.probe(&[&argv[..], &["--header", "x-key=paused-{}"]].concat())?;
    let longest =
        paused["milliseconds"].as_array().into_iter().flatten().filter_map(|each| each.as_u64()).max();
    ensure!(status(&paused, 200) == 8 && longest > Some(300), "{paused}");
    Ok(())
}

pub(super) fn previous_hosts(mesh: &Mesh) -> Result<()> {
    let each = |key: &str| -> Result<Vec<u64>> {
        ["near", "mid", "far"].into_iter().map(|pod| seen(mesh, ("default", pod), key)).collect()
    };
    let everywhere = keyed(mesh, "http://elsewhere/?fail=1", "elsewhere")?;
    ensure!(everywhere.status == 503 && each("elsewhere")? == [1, 1, 1], "each once: {everywhere:?}");
    for host in ["same", "hash-stays"] {
        let again = keyed(mesh, &format!("http://{host}/?fail=1"), host)?;
        let mut counts = each(host)?;
        counts.sort_unstable();
        ensure!(again.status == 200 && counts == [0, 0, 2], "{host}: {counts:?}, {again:?}");
    }
    let moves = keyed(mesh, "http://hash-moves/?fail=1", "hash-moves")?;
    ensure!(moves.status == 503 && each("hash-moves")? == [1, 1, 1], "{moves:?}");
    Ok(())
}

pub(super) fn remote(mesh: &Mesh) -> Result<()> {
    let stays = keyed(mesh, "http://stays/?fail=9&at=near", "stays")?;
    let count = seen(mesh, ("default", "near"), "stays")?;
    ensure!(stays.status == 503 && count == 4, "four tries, all of them near: {count}, {stays:?}");
    let leaves = keyed(mesh, "http://leaves/?fail=9&at=near", "leaves")?;
    let said = leaves.json()?;
    ensure!(leaves.status == 200 && said["version"] == "mid", "the next priority: {leaves:?}");
    ensure!(said["headers"]["x-envoy-attempt-count"] == "3", "after two tries: {leaves:?}");
    ensure!(seen(mesh, ("default", "near"), "leaves")? == 2, "{leaves:?}");
    Ok(())
}

pub(super) fn http_route(mesh: &Mesh) -> Result<()> {
    let again = keyed(mesh, "http://route/?fail=1", "route-again")?;
    ensure!(again.status == 200 && seen(mesh, ("default", "near"), "route-again")? == 2, "{again:?}");
    let once = keyed(mesh, "http://route/?fail=1&code=500", "route-once")?;
    ensure!(once.status == 500 && seen(mesh, ("default", "near"), "route-once")? == 1, "{once:?}");
    let stays = keyed(mesh, "http://route/?fail=9&at=near", "route-stays")?;
    ensure!(stays.status == 503 && seen(mesh, ("default", "near"), "route-stays")? == 4, "{stays:?}");
    Ok(())
}

/// The client's access log says this of a path.
pub(super) fn logged(mesh: &Mesh, path: &str, said: &str) -> Result<()> {
    let found = eventually(Duration::from_secs(10), || {
        Ok(mesh.access_log("node-1", path)?.iter().any(|line| line.contains(said)))
    });
    ensure!(found.is_ok(), "no {said:?} of {path}: {:?}", mesh.access_log("node-1", path)?);
    Ok(())
}
