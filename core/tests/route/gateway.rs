//! HTTPRoute and GRPCRoute on Services (GAMMA).

use http::Method;

use heddle_core::route::model::*;

use crate::world::*;

fn method(name: &str) -> HttpMatch {
    HttpMatch { method: Some(is(name)), ..HttpMatch::default() }
}

#[test]
fn of_all_routes_on_a_service_the_most_specific_match_decides() {
    let many = |count: usize, with: HttpMatch| HttpMatch {
        headers: (0..count)
            .map(|n| HeaderMatch { name: format!("x-{n}"), value: is("1"), not: false })
            .collect(),
        ..with
    };
    let query =
        HttpMatch { query: vec![QueryMatch { name: "q".to_owned(), value: is("1") }], ..elements("/a") };
    let mut world = World::new()
        .with(http_route(
            "one",
            5,
            vec![
                rule("root", vec![elements("/")]),
                rule("a", vec![elements("/a/")]),
                rule("headers", vec![many(2, elements("/a"))]),
                rule("regex", vec![path_regex("/r/.*")]),
            ],
        ))
        .with(http_route(
            "two",
            6,
            vec![
                rule("exact", vec![exact("/a/b")]),
                rule("long", vec![elements("/a/b")]),
                rule("get", vec![HttpMatch { path: elements("/a").path, ..method("GET") }]),
                rule("header", vec![many(1, elements("/a"))]),
                rule("query", vec![query]),
            ],
        ));
    let cases = [
        (get("/a/b"), "two/exact"),
        (get("/a/b/"), "two/long"),
        (get("/a/bc"), "two/get"),
        (get("/ab"), "one/root"),
        (get("/a").method(Method::POST), "one/a"),
        (get("/a/").method(Method::PUT), "one/a"),
        (get("/a").method(Method::PUT).header("x-0", "1"), "two/header"),
        (get("/a").method(Method::PUT).header("x-0", "1").header("x-1", "1"), "one/headers"),
        (get("/a?q=1").method(Method::PUT), "two/query"),
        (get("/a?q=1").method(Method::PUT).header("x-0", "1"), "two/header"),
        (get("/r/x"), "one/regex"),
    ];
    let (requests, wanted): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(decisions(&mut world, &requests), wanted);
}

#[test]
fn of_equals_the_oldest_route_then_the_first_name_then_the_first_rule_decides() {
    let mut world = World::new()
        .with(http_route("b", 2, vec![rule("1", vec![elements("/x")])]))
        .with(http_route("a", 2, vec![rule("1", vec![elements("/x")]), rule("2", vec![elements("/x")])]))
        .with(http_route("old", 1, vec![rule("y", vec![elements("/y")])]));
    assert_eq!(decisions(&mut world, &[get("/x"), get("/y")]), ["a/1", "old/y"]);
    let mut world = world.with(http_route("z", 1, vec![rule("1", vec![elements("/x")])]));
    assert_eq!(decisions(&mut world, &[get("/x")]), ["z/1"]);
}

#[test]
fn routes_of_the_clients_namespace_replace_those_of_the_service() {
    let mut consumer = http_route("consumer", 1, vec![rule("c", vec![exact("/c")])]);
    consumer.source.namespace = "other".to_owned();
    consumer.attach = Attach::Services(vec![ServiceParent { consumer: true, ..parent(None) }]);
    let mut world = World::new().with(http_route("producer", 2, vec![rule("p", vec![])])).with(consumer);
    let reviews = "reviews.default";
    let requests = [
        get("/c"),
        get("/c").to(reviews).from("third"),
        get("/c").to(reviews).from("other"),
        get("/x").to(reviews).from("other"),
        get("/c").from("other"),
    ];
    let wanted = ["producer/p", "producer/p", "consumer/c", "404", "default"];
    assert_eq!(decisions(&mut world, &requests), wanted);
}

#[test]
fn a_route_on_one_port_leaves_the_others_as_they_are() {
    let mut route = http_route("route", 1, vec![rule("r", vec![exact("/r")])]);
    route.attach = Attach::Services(vec![parent(Some(9080))]);
    let hosts = [fqdn("reviews", "default")];
    let mut world = World::new().with(route);
    assert_eq!(
        decisions(&mut world, &[get("/x").port(9080), get("/x"), get("/r").port(9080)]),
        ["404", "default", "route/r"]
    );
    let mut world = world.with(virtual_service("vs", 0, &[&hosts[0]], vec![rule("v", vec![])]));
    assert_eq!(decisions(&mut world, &[get("/x").port(9080), get("/x")]), ["404", "vs/v"]);
    let snapshot = world.publish();
    let problems = snapshot.routes().problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].message.contains("HTTPRoute default/route speaks for"), "{problems:#?}");
}

#[test]
fn of_grpc_and_http_routes_on_one_port_those_of_grpc_count_the_most_specific_first() {
    let grpc = |name: &str, http| object("GRPCRoute", name, 3, Attach::Services(vec![parent(None)]), http);
    let mut world = World::new().with(http_route("http", 1, vec![rule("h", vec![])])).with(grpc(
        "g",
        vec![
            rule("any", vec![]),
            rule("method", vec![path_regex("/[^/]+/Get")]),
            rule("service", vec![prefix("/pkg.Things/")]),
            rule("both", vec![exact("/pkg.Things/Get")]),
            rule(
                "header",
                vec![HttpMatch { headers: header("x", is("1")).headers, ..prefix("/pkg.Things/") }],
            ),
        ],
    ));
    let cases = [
        (get("/pkg.Things/Get"), "g/both"),
        (get("/pkg.Things/Put"), "g/service"),
        (get("/pkg.Things/Put").header("x", "1"), "g/header"),
        (get("/pkg.Other/Get"), "g/method"),
        (get("/pkg.Other/Put"), "g/any"),
    ];
    let (requests, wanted): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(decisions(&mut world, &requests), wanted);
}
