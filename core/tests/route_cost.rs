//! What a decision costs: nothing on the heap, and hardly more with 10,000 rules than with one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use heddle_core::names::ServiceKey;
use heddle_core::object::{ExportTo, Labels, ObjectRef, TrafficObject};
use heddle_core::route::model::*;
use heddle_core::route::{CanonicalPath, Client, Decision, Normalization, RequestHead, RouteTables};
use heddle_core::store::{MeshFacts, Store};
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{PortMapping, Service};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HOST: &str = "reviews.default.svc.cluster.local";

fn store() -> Store {
    let mut store = Store::default();
    store.set_mesh(MeshFacts { cluster_domain: "cluster.local".to_owned(), ..MeshFacts::default() });
    store.put_service(Service {
        key: ServiceKey::new(format!("default/{HOST}")),
        name: "reviews".into(),
        namespace: "default".into(),
        hostname: HOST.into(),
        addresses: Box::default(),
        ports: [PortMapping { service_port: 80, target_port: 0, protocol: Protocol::Http }].into(),
        l7: None,
        unready: false,
        routing: None,
        export_to: ExportTo::All,
    });
    store
}

fn object(name: &str, host: &str, http: Vec<HttpRule>) -> TrafficObject {
    TrafficObject::Route(RouteObject {
        source: ObjectRef::named("VirtualService", &format!("default/{name}")),
        created: 0,
        attach: Attach::Hosts { hosts: vec![host.to_owned()], export_to: ExportTo::All },
        http,
        tls: Vec::new(),
        tcp: Vec::new(),
    })
}

/// How the n-th of many rules may look.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Exact,
    Prefix,
    Header,
    HeaderNames,
    Query,
    Authority,
    Regex,
    IgnoreCase,
}

const SHAPES: [Shape; 8] = [
    Shape::Exact,
    Shape::Prefix,
    Shape::Header,
    Shape::HeaderNames,
    Shape::Query,
    Shape::Authority,
    Shape::Regex,
    Shape::IgnoreCase,
];

impl Shape {
    fn rule(self, n: usize) -> HttpRule {
        let mut each = HttpMatch::default();
        let exact = TextMatch::Exact(n.to_string());
        let header = |name: String, value| vec![HeaderMatch { name, value, not: false }];
        match self {
            Self::Exact => each.path = Some(PathMatch::Exact(format!("/api/v1/items/{n}"))),
            Self::Prefix => each.path = Some(PathMatch::Prefix(format!("/api/v1/items/{n}/"))),
            Self::Header => each.headers = header("x-user".to_owned(), exact),
            Self::HeaderNames => each.headers = header(format!("x-{n}"), TextMatch::Exact("1".to_owned())),
            Self::Query => each.query = vec![QueryMatch { name: "user".to_owned(), value: exact }],
            Self::Authority => each.authority = Some(TextMatch::Exact(format!("host-{n}"))),
            Self::Regex => each.path = Some(PathMatch::Regex(format!("/api/v1/items/{n}/[0-9]+"))),
            Self::IgnoreCase => {
                each.path = Some(PathMatch::Prefix(format!("/API/v1/items/{n}/")));
                each.ignore_case = true;
            }
        }
        HttpRule { name: n.to_string(), matches: vec![each], ..HttpRule::default() }
    }

    /// Runs with a request that the n-th rule matches.
    fn ask<T>(self, n: usize, run: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let mut headers: HeaderMap = [("accept", "*/*"), ("user-agent", "curl/8"), ("x-request-id", "1")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        let (mut path, mut authority) = (format!("/api/v1/items/{n}/5"), HOST.to_owned());
        match self {
            Self::Exact => path = format!("/api/v1/items/{n}"),
            Self::Header => drop(headers.insert("x-user", n.to_string().parse().expect("a value"))),
            Self::HeaderNames => {
                let name = HeaderName::from_bytes(format!("x-{n}").as_bytes()).expect("a name");
                headers.insert(name, HeaderValue::from_static("1"));
            }
            Self::Query => path = format!("/api?user={n}"),
            Self::Authority => authority = format!("host-{n}"),
            Self::Prefix | Self::Regex | Self::IgnoreCase => (),
        }
        run(&RequestHead {
            method: &Method::GET,
            scheme: "http",
            authority: &authority,
            path: &CanonicalPath::parse(&path, Normalization::default()).expect("a path"),
            headers: &headers,
            port: 80,
        })
    }
}

/// The name of the rule that decided.
fn decide<'t>(tables: &'t RouteTables, labels: &Labels, head: &RequestHead<'_>) -> &'t str {
    let client = Client { namespace: "default", labels };
    // What an authority does not name was dialled.
    let host = tables.virtual_host(&client, head.authority, head.port, None);
    let host = host.or_else(|| tables.virtual_host(&client, HOST, head.port, None));
    match host.map(|host| host.decide(&client, head)) {
        Some(Decision::Rule(matched)) => &matched.rule.name,
        Some(Decision::NotFound) => "404",
        Some(Decision::Default) | None => "default",
    }
}

/// The least time of many batches: what others run on the machine only adds to it.
fn fastest(tables: &RouteTables, shape: Shape, n: usize) -> Duration {
    let labels = Labels::new();
    shape.ask(n, |head| {
        let batch = || {
            let start = Instant::now();
            for _ in 0..20 {
                black_box(decide(tables, &labels, black_box(head)));
            }
            start.elapsed() / 20
        };
        (0..200).map(|_| batch()).min().unwrap_or_default()
    })
}

#[test]
fn with_ten_thousand_rules_a_decision_costs_about_as_much_as_with_one() {
    for shape in SHAPES {
        let tables = |count: usize| {
            let mut store = store();
            store.put_traffic(object("vs", HOST, (0..count).map(|n| shape.rule(n)).collect()));
            let start = Instant::now();
            let snapshot = store.publish();
            (snapshot, start.elapsed())
        };
        let ((few, _), (many, compiled)) = (tables(1), tables(10_000));
        let labels = Labels::new();
        for n in [0, 1, 17, 5_000, 9_999] {
            assert_eq!(
                shape.ask(n, |head| decide(many.routes(), &labels, head).to_owned()),
                n.to_string(),
                "{shape:?}"
            );
        }
        assert_eq!(
            shape.ask(10_000, |head| decide(many.routes(), &labels, head).to_owned()),
            "404",
            "{shape:?}"
        );
        let (one, last) = (fastest(few.routes(), shape, 0), fastest(many.routes(), shape, 9_999));
        println!("{shape:?}: 1 rule {one:?}, 10,000 rules {last:?}, compiled in {compiled:?}");
        assert!(last < one * 8, "{shape:?}: {one:?} with one rule, {last:?} with 10,000");
        assert!(compiled < Duration::from_secs(20), "{shape:?}: {compiled:?}");
    }
}

#[test]
fn a_decision_allocates_nothing() {
    let mut store = store();
    let rules = SHAPES.iter().flat_map(|shape| (0..50).map(|n| shape.rule(n))).collect();
    store.put_traffic(object("vs", HOST, rules));
    let snapshot = store.publish();
    let labels = Labels::new();
    for shape in SHAPES {
        shape.ask(49, |head| {
            // The first one may fill the caches of regular expressions.
            let wanted = decide(snapshot.routes(), &labels, head);
            let before = ALLOCATIONS.with(Cell::get);
            for _ in 0..100 {
                assert_eq!(decide(snapshot.routes(), &labels, head), wanted);
            }
            assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{shape:?}");
        });
    }
}

#[test]
fn of_ten_thousand_objects_only_the_one_that_changed_is_compiled_again() {
    let mut store = store();
    // Expressions make compiling dear, so that it shows.
    let virtual_service =
        |n: usize| object(&format!("vs-{n}"), &format!("host-{n}.example.com"), vec![Shape::Regex.rule(n)]);
    for n in 0..10_000 {
        store.put_traffic(virtual_service(n));
    }
    let timed = |store: &mut Store| {
        let start = Instant::now();
        (store.publish(), start.elapsed())
    };
    let (before, whole) = timed(&mut store);
    store.put_traffic(virtual_service(5_000));
    let (after, again) = timed(&mut store);
    println!("10,000 objects {whole:?}, one of them again {again:?}");
    let labels = Labels::new();
    let client = Client { namespace: "default", labels: &labels };
    let rule = |tables: &RouteTables, n: usize| {
        let host = tables
            .virtual_host(&client, &format!("host-{n}.example.com"), 80, None)
            .cloned()
            .expect("a host");
        let rule = host.rules(80).next().cloned();
        std::sync::Arc::as_ptr(&rule.expect("a rule"))
    };
    assert_eq!(rule(before.routes(), 7), rule(after.routes(), 7));
    assert_ne!(rule(before.routes(), 5_000), rule(after.routes(), 5_000));
    assert!(again < whole, "{again:?} of {whole:?}");
}
