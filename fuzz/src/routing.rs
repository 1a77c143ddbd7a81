//! Paths, headers and routes.

use heddle_core::names::ServiceKey;
use heddle_core::object::{ExportTo, Labels, ObjectRef, TrafficObject};
use heddle_core::route::model::*;
use heddle_core::route::{Action, CanonicalPath, Client, Decision, Normalization, RequestHead, VirtualHost};
use heddle_core::store::{MeshFacts, Store};
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{PortMapping, Service};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const ALL: [Normalization; 4] = [
    Normalization::None,
    Normalization::Base,
    Normalization::MergeSlashes,
    Normalization::DecodeAndMergeSlashes,
];

/// What is canonical stays as it is, under its own mode and every weaker one, and hides nothing that a server might undo.
pub fn path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    for (strength, how) in ALL.into_iter().enumerate() {
        let Ok(once) = CanonicalPath::parse(raw, how) else { continue };
        let text = once.path_and_query().as_str();
        for weaker in &ALL[..=strength] {
            assert_eq!(CanonicalPath::parse(text, *weaker).as_ref(), Ok(&once), "{raw:?} under {how:?}");
        }
        let path = once.path();
        assert!(path == "*" || path.starts_with('/'), "{path:?}");
        if how != Normalization::None && path != "*" {
            assert!(path.is_ascii() && !path.contains('\\'), "{path:?}");
            assert!(path.split('/').all(|part| part != "." && part != ".."), "{path:?}");
        }
        if how == Normalization::DecodeAndMergeSlashes {
            let lower = path.to_ascii_lowercase();
            for hidden in ["//", "%2f", "%5c", "%2e", "%00"] {
                assert!(!lower.contains(hidden), "{path:?} hides {hidden}");
            }
        }
    }
}

/// The index decides as asking every match in order does; where a rewrite or redirect leads can be sent. The first lines
/// are conditions (`e/exact`, `hname=value`, `-` begins the next rule), those behind a `?` the request.
pub fn route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (rules, request) = text.split_once("\n?").unwrap_or((text, "/"));
    let mut lines = request.lines();
    let Ok(path) = CanonicalPath::parse(lines.next().unwrap_or("/"), Normalization::default()) else {
        return;
    };
    let authority = lines.next().filter(|text| text.parse::<Authority>().is_ok()).unwrap_or("host");
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.append(name, value);
        }
    }
    let (scheme, method) = ("http", &Method::OPTIONS);
    let head = RequestHead { method, scheme, authority, path: &path, headers: &headers, port: 80 };
    let labels = Labels::new();
    let client = Client { namespace: "fuzz", labels: &labels };
    for kind in ["VirtualService", "HTTPRoute", "GRPCRoute"] {
        decide(kind, self::rules(rules), &client, &head);
    }
}

fn decide(kind: &str, http: Vec<HttpRule>, client: &Client<'_>, head: &RequestHead<'_>) {
    const HOST: &str = "a.fuzz.svc.cluster.local";
    let attach = if kind == "VirtualService" {
        Attach::Hosts { hosts: vec![HOST.to_owned()], export_to: ExportTo::All }
    } else {
        let namespace = "fuzz".to_owned();
        Attach::Services(vec![ServiceParent {
            namespace,
            hostname: HOST.to_owned(),
            port: None,
            consumer: false,
        }])
    };
    let source = ObjectRef::named(kind, "fuzz/route");
    let object = RouteObject { source, created: 0, attach, http, tls: Vec::new(), tcp: Vec::new() };
    let mut store = Store::default();
    store.set_mesh(MeshFacts { cluster_domain: "cluster.local".to_owned(), ..MeshFacts::default() });
    let service = service(HOST);
    store.put_service(service.clone());
    store.put_traffic(TrafficObject::Route(object));
    let snapshot = store.publish();
    let host = snapshot.routes().virtual_host(client, head.authority, head.port, Some(&service));
    check(host.expect("it was dialled"), client, head);
}

fn service(host: &str) -> Service {
    Service {
        key: ServiceKey::new(format!("fuzz/{host}")),
        name: "a".into(),
        namespace: "fuzz".into(),
        hostname: host.into(),
        addresses: Box::default(),
        ports: [PortMapping { service_port: 80, target_port: 0, protocol: Protocol::Http }].into(),
        l7: None,
        export_to: ExportTo::All,
        unready: false,
    }
}

fn check(host: &VirtualHost, client: &Client<'_>, head: &RequestHead<'_>) {
    let trace = host.explain(client, head);
    let chosen = trace.chosen.map(|chosen| &trace.candidates[chosen]);
    let Decision::Rule(matched) = host.decide(client, head) else {
        return assert!(chosen.is_none(), "{chosen:?} should have decided");
    };
    let chosen = chosen.expect("what decides matches");
    assert_eq!((chosen.rule.index, chosen.by), (matched.rule.index, matched.by));
    if let Some(path) = matched.rule.rewrite_path(head, matched.by, None) {
        assert!(path.as_str().starts_with('/'), "{path}");
    }
    if let Action::Redirect(redirect) = &matched.rule.action {
        let location = matched.rule.location(redirect, head, matched.by);
        assert!(HeaderValue::from_str(&location).is_ok(), "{location:?}");
    }
    if let Some(cors) = &matched.rule.cors {
        let _ = cors.decide(head);
    }
    let mut headers = head.headers.clone();
    matched.rule.change_request(&mut headers, None);
    matched.rule.change_response(&mut headers, None);
}

fn rules(text: &str) -> Vec<HttpRule> {
    let mut rules = vec![HttpRule::default()];
    for line in text.lines().take(200) {
        let Some(kind) = line.chars().next() else { continue };
        let rest = line[kind.len_utf8()..].to_owned();
        let Some(rule) = rules.last_mut() else { return rules };
        match kind {
            '-' => rules.push(HttpRule::default()),
            '+' => rule.matches.push(HttpMatch::default()),
            'w' => rule.rewrite = Some(Rewrite { path: Some(PathRewrite::Matched(rest)), authority: None }),
            's' => {
                let (pattern, substitution) = rest.split_once(' ').unwrap_or((&rest, ""));
                let (pattern, substitution) = (pattern.to_owned(), substitution.to_owned());
                let path = Some(PathRewrite::Regex { pattern, substitution });
                rule.rewrite = Some(Rewrite { path, authority: None });
            }
            'l' => {
                let path = Some(PathRewrite::Elements(rest));
                rule.action = HttpAction::Redirect(Redirect { path, status: 302, ..Redirect::default() });
            }
            'o' => rule.cors = Some(Cors { allow_origins: vec![TextMatch::Regex(rest)], ..Cors::default() }),
            'c' => {
                let (name, value) = rest.split_once('=').unwrap_or((&rest, ""));
                let pair = vec![(name.to_owned(), value.to_owned())];
                let change = HeaderChange { set: pair.clone(), add: pair, remove: vec![name.to_owned()] };
                rule.headers = HeaderChanges { request: change.clone(), response: change };
            }
            kind => {
                if rule.matches.is_empty() {
                    rule.matches.push(HttpMatch::default());
                }
                if let Some(each) = rule.matches.last_mut() {
                    condition(each, kind, &rest);
                }
            }
        }
    }
    rules
}

fn condition(each: &mut HttpMatch, kind: char, rest: &str) {
    let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
    let (name, value, rest) = (name.to_owned(), value.to_owned(), rest.to_owned());
    let mut header = |value, not| each.headers.push(HeaderMatch { name: name.clone(), value, not });
    match kind {
        'h' => header(TextMatch::Exact(value), false),
        'n' => header(TextMatch::Exact(value), true),
        'f' => header(TextMatch::Prefix(value), false),
        'g' => header(TextMatch::Regex(value), false),
        't' => header(TextMatch::Present, false),
        'q' => each.query.push(QueryMatch { name, value: TextMatch::Exact(value) }),
        'a' => each.authority = Some(TextMatch::Exact(rest)),
        'm' => each.method = Some(TextMatch::Exact(rest)),
        'i' => each.ignore_case = true,
        'e' => each.path = Some(PathMatch::Exact(rest)),
        'p' => each.path = Some(PathMatch::Prefix(rest)),
        'E' => each.path = Some(PathMatch::Elements(rest)),
        'r' => each.path = Some(PathMatch::Regex(rest)),
        _ => (),
    }
}
