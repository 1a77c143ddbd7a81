//! What follows once a rule has matched.

use std::time::Duration;

use heddle_core::object::TrafficObject;
use heddle_core::route::model::*;
use heddle_core::route::{
    Action, Choice, CompiledRule, CorsDecision, DEFAULT_RETRY_ON, Decision, Dialled, RequestHead,
};
use heddle_core::store::MeshFacts;
use heddle_core::workload::Service;
use http::{HeaderMap, Method, StatusCode};

use crate::reference::Random;
use crate::world::*;

/// Asks one rule of a request; `gateway`: it stands in an HTTPRoute.
fn with_rule<T>(
    http: HttpRule,
    gateway: bool,
    request: &Request,
    ask: impl Fn(&CompiledRule, usize, &RequestHead<'_>) -> T,
) -> T {
    let object = match gateway {
        true => http_route("r", 0, vec![http]),
        false => virtual_service("r", 0, &[&fqdn("reviews", "default")], vec![http]),
    };
    let snapshot = World::new().with(object).publish();
    let (client, head) = (request.client(), request.head());
    let host = snapshot.routes().virtual_host(&client, "reviews", head.port, None).expect("a host");
    match host.decide(&client, &head) {
        Decision::Rule(matched) => ask(matched.rule, matched.by, &head),
        other => panic!("{other:?}"),
    }
}

fn rewritten(each: HttpMatch, path: PathRewrite, gateway: bool, request: &str) -> String {
    let rewrite = Some(Rewrite { path: Some(path), authority: None });
    let http = HttpRule { rewrite, ..rule("r", vec![each]) };
    with_rule(http, gateway, &get(request), |rule, by, head| {
        rule.rewrite_path(head, by, None).map_or_else(|| "unchanged".to_owned(), |path| path.to_string())
    })
}

#[test]
fn istio_replaces_what_matched() {
    let matched = |text: &str| PathRewrite::Matched(text.to_owned());
    for (each, to, request, wanted) in [
        (prefix("/api/"), "/", "/api/v1?q=1", "/v1?q=1"),
        (prefix("/api"), "/v2", "/api/v1", "/v2/v1"),
        (prefix("/api"), "/", "/api/v1", "//v1"),
        (prefix("/api"), "/v2", "/apix", "/v2x"),
        (exact("/api"), "/v2", "/api", "/v2"),
        (path_regex("/a.*"), "/v2", "/api/x?y", "/v2?y"),
        (HttpMatch::default(), "/v2/", "/api", "/v2/api"),
        (HttpMatch { ignore_case: true, ..prefix("/API") }, "/v2", "/api/x", "/v2/x"),
        (prefix("/api"), "", "/api", "unchanged"),
        (prefix("/api"), "v2", "/api", "/v2"),
        (prefix("/api"), "/a b#c", "/api", "/a%20b%23c"),
    ] {
        assert_eq!(rewritten(each, matched(to), false, request), wanted, "{to} {request}");
    }
    let regex =
        PathRewrite::Regex { pattern: "^/s/([^/]+)(/.*)$".to_owned(), substitution: r"\2/of/\1".to_owned() };
    assert_eq!(rewritten(prefix("/s"), regex, false, "/s/foo/v1?q"), "/v1/of/foo?q");
}

#[test]
fn the_gateway_api_replaces_whole_elements_as_its_table_says() {
    for (request, matched, to, wanted) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo", "/", "/xyz", "/xyz/foo"),
    ] {
        let to = PathRewrite::Elements(to.to_owned());
        assert_eq!(
            rewritten(elements(matched), to.clone(), true, request),
            wanted,
            "{request} {matched} {to:?}"
        );
    }
    let full = PathRewrite::Full("/one".to_owned());
    assert_eq!(rewritten(elements("/"), full, true, "/foo/bar?q=1"), "/one?q=1");
}

#[test]
fn a_rewrite_that_cannot_be_understood_breaks_its_rule() {
    for (pattern, substitution) in [("(", ""), ("a", r"\1")] {
        let path = PathRewrite::Regex { pattern: pattern.to_owned(), substitution: substitution.to_owned() };
        let http =
            HttpRule { rewrite: Some(Rewrite { path: Some(path), authority: None }), ..rule("r", vec![]) };
        let broken = with_rule(http, false, &get("/"), |rule, _, _| matches!(rule.action, Action::Broken(_)));
        assert!(broken, "{pattern}");
    }
}

#[test]
fn redirects_name_the_place_that_each_family_means() {
    let base = Redirect { status: 302, ..Redirect::default() };
    let scheme = |scheme: &str| Redirect { scheme: Some(scheme.to_owned()), ..base.clone() };
    let port = |port| Redirect { port, ..base.clone() };
    let authority =
        |authority: &str, port| Redirect { authority: Some(authority.to_owned()), port, ..base.clone() };
    let path = |path| Redirect { path: Some(path), ..base.clone() };
    let (protocol, asked) = (RedirectPort::Protocol, RedirectPort::Request);
    for (gateway, redirect, host, wanted) in [
        (false, base.clone(), "reviews:9080", "http://reviews:9080/a/b?q"),
        (false, scheme("https"), "reviews:80", "https://reviews/a/b?q"),
        (false, scheme("https"), "reviews:9080", "https://reviews:9080/a/b?q"),
        (true, scheme("https"), "reviews:9080", "https://reviews/a/b?q"),
        (true, port(asked), "reviews", "http://reviews:9080/a/b?q"),
        (false, port(asked), "reviews:9080", "http://reviews:9080/a/b?q"),
        (true, port(RedirectPort::Number(80)), "reviews:9080", "http://reviews/a/b?q"),
        (true, port(RedirectPort::Number(8443)), "reviews", "http://reviews:8443/a/b?q"),
        (false, authority("new.example.com", protocol), "reviews:9080", "http://new.example.com/a/b?q"),
        (false, authority("new:81", protocol), "reviews:9080", "http://new:81/a/b?q"),
        (true, authority("new", asked), "reviews", "http://new:9080/a/b?q"),
        (false, path(PathRewrite::Full("/c".to_owned())), "reviews", "http://reviews/c?q"),
        (false, path(PathRewrite::Full("/c?d".to_owned())), "reviews", "http://reviews/c?d"),
        (true, path(PathRewrite::Elements("/c".to_owned())), "reviews", "http://reviews/c/b?q"),
        (false, base.clone(), "[::1]:9080", "http://[::1]:9080/a/b?q"),
    ] {
        let each = if gateway { elements("/a") } else { prefix("/a") };
        let http = HttpRule { action: HttpAction::Redirect(redirect.clone()), ..rule("r", vec![each]) };
        let request = Request { authority: host.to_owned(), ..get("/a/b?q").port(9080) };
        let location = with_rule(http, gateway, &request, |rule, by, head| match &rule.action {
            Action::Redirect(redirect) => (redirect.status(), rule.location(redirect, head, by)),
            other => panic!("{other:?}"),
        });
        assert_eq!(location, (StatusCode::FOUND, wanted.to_owned()), "{redirect:?} {host}");
    }
    let odd =
        HttpRule { action: HttpAction::Redirect(Redirect { status: 200, ..base }), ..rule("r", vec![]) };
    assert!(with_rule(
        odd,
        false,
        &get("/"),
        |rule, _, _| matches!(&rule.action, Action::Broken(why) if why.contains("200"))
    ));
}

#[test]
fn headers_are_removed_then_set_then_added() {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let change = HeaderChange {
        set: pairs(&[("x-set", "new"), ("Host", "other"), ("bad name", "x"), ("x-gone", "back")]),
        add: pairs(&[("x-add", "2"), ("x-set", "and"), ("x-bad", "\n")]),
        remove: vec!["x-gone".to_owned(), "host".to_owned()],
    };
    let second = HeaderChange {
        set: pairs(&[("x-set", "backend")]),
        add: Vec::new(),
        remove: vec!["x-add".to_owned()],
    };
    let backend =
        Backend { headers: HeaderChanges { request: second.clone(), response: second }, ..backend("b", 1) };
    let headers = HeaderChanges { request: change.clone(), response: change };
    let show = |headers: &HeaderMap| {
        let mut all: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text"))).collect();
        all.sort();
        all.join(" ")
    };
    let answer = |gateway, count: u32| {
        let backends = vec![backend.clone(); count as usize];
        let http =
            HttpRule { headers: headers.clone(), action: HttpAction::Forward(backends), ..rule("r", vec![]) };
        let request = get("/").header("x-set", "old").header("x-add", "1").header("x-gone", "x");
        with_rule(http, gateway, &request, |rule, _, head| {
            assert_eq!(rule.rewrite_authority(None), Some("other"));
            let Action::Forward(forward) = &rule.action else { panic!() };
            let (mut request, mut response) = (head.headers.clone(), head.headers.clone());
            rule.change_request(&mut request, Some(&forward.backends()[0]));
            rule.change_response(&mut response, Some(&forward.backends()[0]));
            (show(&request), show(&response))
        })
    };
    // Of an only destination Istio removes first and sets last; among several, and in responses of the Gateway API, the
    // backend's changes are made before the rule's.
    let only = "x-add=2 x-gone=back x-set=backend";
    let before = "x-add=2 x-gone=back x-set=and x-set=new";
    let after = "x-gone=back x-set=backend";
    assert_eq!(answer(false, 1), (only.to_owned(), only.to_owned()));
    assert_eq!(answer(false, 2), (before.to_owned(), before.to_owned()));
    assert_eq!(answer(true, 1), (after.to_owned(), before.to_owned()));
}

#[test]
fn backends_get_their_shares() {
    let weighted = |weights: &[u32]| {
        weights.iter().enumerate().map(|(n, weight)| backend(&n.to_string(), *weight)).collect()
    };
    let shares = |weights: &[u32], gateway| {
        let http = HttpRule { action: HttpAction::Forward(weighted(weights)), ..rule("r", vec![]) };
        with_rule(http, gateway, &get("/"), |rule, _, _| {
            let Action::Forward(forward) = &rule.action else { panic!() };
            let mut random = Random::new(7);
            let mut shares = vec![0_u32; weights.len()];
            for _ in 0..100_000 {
                match forward.choose(random.next()) {
                    Choice::Backend(host, _) => shares[host.host.parse::<usize>().expect("a number")] += 1,
                    Choice::Refused(status, _) => return Err(status.as_u16()),
                    Choice::Redirect(..) => return Err(0),
                }
            }
            Ok(shares)
        })
    };
    for weights in
        [&[90, 10][..], &[1, 0, 3], &[100], &[1_000_000, 1_000_000], &[u32::MAX, u32::MAX, u32::MAX]]
    {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let got = shares(weights, false).expect("backends");
        for (got, weight) in got.iter().zip(weights) {
            let wanted = u64::from(*weight) * 100_000 / total;
            assert!(
                u64::from(*got).abs_diff(wanted) < 1_000 && (*weight > 0 || *got == 0),
                "{weights:?}: {got:?}"
            );
        }
    }
    assert_eq!(
        shares(&[0], false),
        Ok(vec![100_000]),
        "Istio does not ask for the weight of an only destination"
    );
    assert_eq!(shares(&[0], true), Err(500));
    assert_eq!((shares(&[0, 0], false), shares(&[0, 0], true)), (Err(503), Err(500)));
    assert_eq!((shares(&[], false), shares(&[], true)), (Err(503), Err(500)));
    let invalid = Backend { to: BackendRef::Invalid("no such service".to_owned()), ..backend("x", 1) };
    let http = HttpRule { action: HttpAction::Forward(vec![invalid]), ..rule("r", vec![]) };
    let refused = with_rule(http, true, &get("/"), |rule, _, _| match &rule.action {
        Action::Forward(forward) => {
            matches!(forward.choose(1), Choice::Refused(StatusCode::INTERNAL_SERVER_ERROR, "no such service"))
        }
        _ => false,
    });
    assert!(refused);
}

#[test]
fn a_backend_of_a_route_may_answer_with_another_place() {
    let redirect =
        Redirect { authority: Some("there.example.com".into()), status: 307, ..Redirect::default() };
    let moved = Backend { redirect: Some(redirect), ..backend("a", 1) };
    let http = HttpRule { action: HttpAction::Forward(vec![moved]), ..rule("r", vec![]) };
    let said = with_rule(http, true, &get("/x?q"), |rule, by, head| match &rule.action {
        Action::Forward(forward) => match forward.choose(0) {
            Choice::Redirect(redirect, _) => {
                format!("{} {}", redirect.status().as_u16(), rule.location(redirect, head, by))
            }
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    });
    assert_eq!(said, "307 http://there.example.com/x?q");
}

#[test]
fn faults_hit_their_shares() {
    let fault = Fault {
        delay: Some((Share(500_000), Duration::from_secs(5))),
        abort: Some((Share(100_000), Abort::Http(500))),
    };
    let http = HttpRule { fault: Some(fault), ..rule("r", vec![]) };
    with_rule(http, false, &get("/"), |rule, _, _| {
        let mut random = Random::new(3);
        let delays = (0..100_000).filter(|_| rule.delay(random.next()).is_some()).count();
        let aborts = (0..100_000).filter(|_| rule.abort(random.next()) == Some(Abort::Http(500))).count();
        assert!(delays.abs_diff(50_000) < 1_000 && aborts.abs_diff(10_000) < 1_000, "{delays} {aborts}");
    });
}

#[test]
fn retries_are_those_of_the_rule_else_of_the_mesh_else_istios() {
    let asked = |own: Option<Retries>, mesh: Option<Retries>| {
        let mut facts = MeshFacts { cluster_domain: "cluster.local".to_owned(), ..MeshFacts::default() };
        facts.traffic.retries = mesh;
        let mut world = World::new();
        let http = HttpRule { retries: own, timeout: Some(Duration::ZERO), ..rule("r", vec![]) };
        world.store.put_traffic(TrafficObject::Route(virtual_service(
            "r",
            0,
            &[&fqdn("reviews", "default")],
            vec![http],
        )));
        // The second publication has to take what the mesh says now.
        world.publish();
        world.store.set_mesh(facts);
        let snapshot = world.publish();
        let request = get("/");
        let host = snapshot.routes().virtual_host(&request.client(), "reviews", 80, None).expect("a host");
        let rule = host.rules(80).next().expect("a rule");
        assert_eq!(rule.timeout, None);
        (rule.retries.attempts, rule.retries.retry_on.clone())
    };
    let some = |attempts, on: &str| Some(Retries { attempts, retry_on: on.to_owned(), ..Retries::default() });
    assert_eq!(asked(None, None), (2, DEFAULT_RETRY_ON.to_owned()));
    assert_eq!(asked(some(3, ""), None), (3, DEFAULT_RETRY_ON.to_owned()));
    assert_eq!(asked(some(0, "5xx"), some(4, "reset")), (0, "5xx".to_owned()));
    assert_eq!(asked(None, some(4, "reset")), (4, "reset".to_owned()));
    assert_eq!(asked(some(3, ""), some(4, "reset")), (3, "reset".to_owned()));
}

#[test]
fn preflights_are_answered_and_answers_decorated() {
    let cors = Cors {
        allow_origins: vec![is("https://a.example"), TextMatch::Regex(r"https://.*\.b\.example".to_owned())],
        allow_methods: vec!["GET".to_owned(), "PUT".to_owned()],
        allow_headers: vec!["*".to_owned()],
        expose_headers: vec!["x-a".to_owned(), "x-b".to_owned()],
        max_age: Some(Duration::from_secs(60)),
        allow_credentials: true,
        ignore_unmatched_preflights: false,
    };
    let decide = |cors: &Cors, request: Request| {
        let http = HttpRule { cors: Some(cors.clone()), ..rule("r", vec![]) };
        with_rule(http, false, &request, |rule, _, head| rule.cors.as_ref().expect("a policy").decide(head))
    };
    let preflight = |origin: &str| {
        let request = get("/").method(Method::OPTIONS).header("origin", origin);
        request.header("access-control-request-method", "PUT").header("access-control-request-headers", "x-y")
    };
    let CorsDecision::Answer(status, headers) = decide(&cors, preflight("https://x.b.example")) else {
        panic!()
    };
    assert_eq!(status, StatusCode::OK);
    for (name, value) in [
        ("origin", "https://x.b.example"),
        ("methods", "GET,PUT"),
        ("headers", "x-y"),
        ("credentials", "true"),
    ] {
        assert_eq!(headers[format!("access-control-allow-{name}")], value);
    }
    assert_eq!(headers["access-control-max-age"], "60");
    assert_eq!(headers.len(), 5);
    assert_eq!(decide(&cors, preflight("https://evil.example")), CorsDecision::Pass);
    assert_eq!(decide(&cors, get("/")), CorsDecision::Pass);
    let CorsDecision::Decorate(headers) = decide(&cors, get("/").header("origin", "https://a.example"))
    else {
        panic!()
    };
    assert_eq!(headers["access-control-expose-headers"], "x-a,x-b");
    assert_eq!(headers.len(), 3);
    assert_eq!(decide(&cors, get("/").header("origin", "https://b.example")), CorsDecision::Pass);
    // A plain OPTIONS is no preflight.
    let options = get("/").method(Method::OPTIONS).header("origin", "https://a.example");
    assert!(matches!(decide(&cors, options), CorsDecision::Decorate(_)));
    let evil = || preflight("https://evil.example");
    let nothing = CorsDecision::Answer(StatusCode::OK, HeaderMap::new());
    let strict = Cors { ignore_unmatched_preflights: true, ..cors.clone() };
    assert_eq!(decide(&strict, evil()), nothing);
    let route = HttpRule { cors: Some(cors.clone()), ..rule("r", vec![]) };
    let answered = with_rule(route, true, &evil(), |rule, _, head| rule.cors.as_ref().unwrap().decide(head));
    assert_eq!(answered, nothing, "the Gateway API has every preflight answered");
    for nobody in [TextMatch::Regex("*".to_owned()), TextMatch::Regex("(".to_owned()), TextMatch::Present] {
        let cors = Cors { allow_origins: vec![nobody], ..cors.clone() };
        assert_eq!(decide(&cors, get("/").header("origin", "https://a.example")), CorsDecision::Pass);
    }
}

#[test]
fn connections_are_routed_by_server_name_port_and_network() {
    let when = |sni: &[&str], port, subnets: &[&str]| ConnectionMatch {
        sni_hosts: sni.iter().map(|host| (*host).to_owned()).collect(),
        destination_subnets: subnets.iter().map(|subnet| (*subnet).to_owned()).collect(),
        port,
        ..ConnectionMatch::default()
    };
    let mut object = virtual_service("vs", 0, &[&fqdn("reviews", "default"), "*.example.com"], Vec::new());
    object.tls = vec![
        TlsRule { matches: vec![when(&["a.example.com"], None, &[])], backends: vec![backend("tls-a", 1)] },
        TlsRule { matches: vec![when(&["*.example.com"], None, &[])], backends: vec![backend("tls-any", 1)] },
    ];
    object.tcp = vec![
        TcpRule { matches: vec![when(&[], Some(80), &["10.0.0.0/8"])], backends: vec![backend("tcp-80", 1)] },
        TcpRule { matches: vec![when(&[], None, &["ten"])], backends: vec![backend("broken", 1)] },
        TcpRule { matches: vec![], backends: vec![backend("tcp", 1)] },
    ];
    let snapshot = World::new().with(object).publish();
    let (request, reviews) = (get("/"), service("reviews", "default", &[80, 9080]));
    let ask = |sni, address: &str, port, service: Option<&Service>| {
        let host = service.map(|service| &*service.hostname);
        let dialled = Dialled { host, address: address.parse().expect("an address"), port, sni };
        let rule = snapshot.routes().connection(&request.client(), &dialled)?;
        match rule.forward.choose(0) {
            Choice::Backend(host, _) => Some(host.host.clone()),
            Choice::Refused(..) | Choice::Redirect(..) => None,
        }
    };
    for (sni, address, port, service, wanted) in [
        (Some("A.example.com"), "10.1.1.1", 80, Some(&reviews), Some("tls-a")),
        (Some("b.example.com"), "10.1.1.1", 80, Some(&reviews), Some("tls-any")),
        (Some("b.example.com"), "1.1.1.1", 443, None, Some("tls-any")),
        (Some("example.com"), "10.1.1.1", 80, Some(&reviews), Some("tcp-80")),
        (None, "::ffff:10.1.1.1", 80, Some(&reviews), Some("tcp-80")),
        (None, "11.1.1.1", 80, Some(&reviews), Some("tcp")),
        (None, "1.1.1.1", 443, None, None),
        (Some("other.org"), "1.1.1.1", 443, None, None),
    ] {
        assert_eq!(ask(sni, address, port, service).as_deref(), wanted, "{sni:?} {address}:{port}");
    }
    assert!(snapshot.routes().problems()[0].message.contains("no network"));
}

#[test]
fn a_rule_is_named_as_istio_names_it() {
    let each = HttpMatch { name: "m".to_owned(), ..prefix("/m") };
    let name = |request: &str| {
        with_rule(rule("r", vec![each.clone(), prefix("/")]), false, &get(request), |rule, by, _| {
            rule.route_name(by).to_string()
        })
    };
    assert_eq!((name("/m"), name("/x")), ("r.m".to_owned(), "r".to_owned()));
}
