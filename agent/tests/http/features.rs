//! What rules do to requests: shares, rewrites, answers without an upstream, deadlines, faults, copies, bounds.

use std::time::{Duration, Instant};

use heddle_core::object::{ExportTo, ObjectRef, TrafficObject};
use heddle_core::route::model::{
    Abort, Attach, Backend, BackendRef, DirectResponse, Fault, HeaderChange, HeaderChanges, HostRef,
    HttpAction, HttpMatch, HttpRule, Mirror, PathMatch, PathRewrite, Redirect, RedirectPort, Retries,
    Rewrite, RouteObject, Share,
};
use heddle_core::upstream::model::{ConnectionPool, DestinationRule, TrafficPolicy};

use crate::world::{World, eventually};
use crate::{Heads, app, ask, bare_service, header, ok, web};

const HOST: &str = "web.shop.svc.cluster.local";

fn to_web() -> Backend {
    Backend {
        to: BackendRef::Host(HostRef { host: HOST.into(), port: Some(80), subset: None }),
        weight: 100,
        headers: HeaderChanges::default(),
        rewrite: None,
        mirrors: Vec::new(),
        redirect: None,
    }
}

fn prefix(path: &str) -> Vec<HttpMatch> {
    vec![HttpMatch { path: Some(PathMatch::Prefix(path.into())), ..HttpMatch::default() }]
}

fn forward() -> HttpRule {
    HttpRule { action: HttpAction::Forward(vec![to_web()]), ..HttpRule::default() }
}

/// A VirtualService of the host with these rules.
fn route(world: &World, http: Vec<HttpRule>) {
    let source = ObjectRef::named("VirtualService", "shop/web");
    let attach = Attach::Hosts { hosts: vec![HOST.into()], export_to: ExportTo::All };
    let object = RouteObject { source, created: 0, attach, http, tls: Vec::new(), tcp: Vec::new() };
    world.change(|store| store.put_traffic(TrafficObject::Route(object)));
}

fn bounds(world: &World, connection_pool: ConnectionPool) {
    let rule = DestinationRule {
        source: ObjectRef::named("DestinationRule", "shop/web"),
        created: 0,
        host: HOST.into(),
        export_to: ExportTo::All,
        workload_selector: None,
        policy: TrafficPolicy { connection_pool: Some(connection_pool), ..TrafficPolicy::default() },
        ports: Default::default(),
        subsets: Vec::new(),
    };
    world.change(|store| store.put_traffic(TrafficObject::DestinationRule(rule)));
}

fn get(world: &World, path: &str) -> (String, String) {
    ask(&mut world.connect(web()), &format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n"))
}

#[track_caller]
fn expect(answer: &(String, String), status: u16) {
    assert!(answer.0.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
}

#[test]
fn rules_answer_redirect_rewrite_and_change_headers() {
    let world = World::new();
    bare_service(&world);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |head, _| Some(ok(head.split(' ').nth(1).unwrap()))));
    let respond = HttpAction::Respond(DirectResponse { status: 418, body: b"teapot".to_vec() });
    let redirect = HttpAction::Redirect(Redirect {
        scheme: None,
        authority: Some("elsewhere".into()),
        port: RedirectPort::Protocol,
        path: None,
        status: 302,
    });
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = HeaderChanges {
        request: HeaderChange {
            set: vec![pair("x-set", "1")],
            remove: vec!["x-gone".into()],
            ..Default::default()
        },
        response: HeaderChange { add: vec![pair("x-added", "2")], ..Default::default() },
    };
    let rewrite =
        Rewrite { path: Some(PathRewrite::Matched("/new/".into())), authority: Some("other".into()) };
    route(
        &world,
        vec![
            HttpRule { matches: prefix("/respond"), action: respond, ..HttpRule::default() },
            HttpRule { matches: prefix("/redirect"), action: redirect, ..HttpRule::default() },
            HttpRule { matches: prefix("/old/"), rewrite: Some(rewrite), headers, ..forward() },
        ],
    );
    let teapot = get(&world, "/respond");
    expect(&teapot, 418);
    assert_eq!(teapot.1, "teapot");
    let moved = get(&world, "/redirect/x");
    expect(&moved, 302);
    assert_eq!(header(&moved.0, "location"), Some("http://elsewhere/redirect/x"));
    expect(&get(&world, "/nowhere"), 404);
    let rewritten = ask(&mut world.connect(web()), "GET /old/a?b HTTP/1.1\r\nHost: web\r\nX-Gone: 1\r\n\r\n");
    assert_eq!(rewritten.1, "/new/a?b");
    assert_eq!(header(&rewritten.0, "x-added"), Some("2"));
    let seen = heads.lock().unwrap().remove(0);
    assert_eq!(header(&seen, "host"), Some("other"));
    assert_eq!((header(&seen, "x-set"), header(&seen, "x-gone")), (Some("1"), None));
}

#[test]
fn a_timeout_is_504_and_a_try_has_its_own() {
    let world = World::new();
    bare_service(&world);
    let heads = Heads::default();
    world.serve(
        8080,
        app(&heads, |_, _| {
            std::thread::sleep(Duration::from_secs(2));
            Some(ok("late"))
        }),
    );
    let slow = HttpRule { matches: prefix("/once"), timeout: Some(Duration::from_millis(300)), ..forward() };
    let retries = Retries {
        attempts: 2,
        per_try_timeout: Some(Duration::from_millis(200)),
        retry_on: "5xx".into(),
        ..Retries::default()
    };
    route(&world, vec![slow, HttpRule { retries: Some(retries), ..forward() }]);
    let begun = Instant::now();
    let late = get(&world, "/once");
    expect(&late, 504);
    assert_eq!(late.1, "upstream request timeout");
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(header(&heads.lock().unwrap().clone().join(""), "x-envoy-expected-rq-timeout-ms"), None);
    expect(&get(&world, "/thrice"), 504);
    eventually("all tries arrived", || heads.lock().unwrap().len() == 4);
}

#[test]
fn faults_delay_and_abort() {
    let world = World::new();
    bare_service(&world);
    world.serve(8080, app(&Heads::default(), |_, _| Some(ok("x"))));
    let abort = Fault { delay: None, abort: Some((Share::ALL, Abort::Http(555))) };
    let delay = Fault { delay: Some((Share::ALL, Duration::from_millis(400))), abort: None };
    route(
        &world,
        vec![
            HttpRule { matches: prefix("/abort"), fault: Some(abort), ..forward() },
            HttpRule { fault: Some(delay), ..forward() },
        ],
    );
    let aborted = get(&world, "/abort");
    expect(&aborted, 555);
    assert_eq!(aborted.1, "fault filter abort");
    let begun = Instant::now();
    expect(&get(&world, "/"), 200);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_copy_goes_to_the_mirror_and_nobody_waits_for_it() {
    let world = World::new();
    bare_service(&world);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, body| Some(ok(std::str::from_utf8(body).unwrap()))));
    let mirror = Mirror { to: to_web().to, share: Share::ALL };
    route(&world, vec![HttpRule { mirrors: vec![mirror], ..forward() }]);
    let mut stream = world.connect(web());
    let answer = ask(&mut stream, "POST /m HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(answer.1, "body");
    eventually("the copy arrived", || heads.lock().unwrap().len() == 2);
    let heads = heads.lock().unwrap();
    let mut hosts: Vec<_> = heads.iter().map(|head| header(head, "host").unwrap()).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["web", "web-shadow"]);
    assert!(heads.iter().all(|head| header(head, "content-length") == Some("4")), "{heads:?}");
}

#[test]
fn more_than_the_circuit_breaker_lets_through_is_503() {
    let world = World::new();
    let heads = Heads::default();
    bare_service(&world);
    world.serve(
        8080,
        app(&heads, |_, _| {
            std::thread::sleep(Duration::from_millis(300));
            Some(ok("x"))
        }),
    );
    bounds(
        &world,
        ConnectionPool {
            max_connections: Some(1),
            max_pending_requests: Some(1),
            max_requests_per_connection: Some(1),
            ..ConnectionPool::default()
        },
    );
    let answers: Vec<_> = std::thread::scope(|scope| {
        let mut asking = vec![scope.spawn(|| get(&world, "/"))];
        // While the one connection opens, its request is the one that may wait.
        eventually("the first is there", || heads.lock().unwrap().len() == 1);
        asking.extend((0..5).map(|_| scope.spawn(|| get(&world, "/"))));
        asking.into_iter().map(|each| each.join().unwrap()).collect()
    });
    let over: Vec<_> = answers.iter().filter(|answer| answer.0.starts_with("HTTP/1.1 503")).collect();
    assert!((3..=4).contains(&over.len()), "{answers:?}");
    assert!(over.iter().all(|answer| header(&answer.0, "x-envoy-overloaded") == Some("true")), "{over:?}");
    assert!(over.iter().all(|answer| answer.1.ends_with("reset reason: overflow")), "{over:?}");
}
