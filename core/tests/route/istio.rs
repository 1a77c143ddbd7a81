//! VirtualServices.

use heddle_core::object::ExportTo;
use heddle_core::route::model::*;

use crate::world::*;

const REVIEWS: &str = "reviews.default.svc.cluster.local";

fn reviews(http: Vec<HttpRule>) -> World {
    World::new().with(virtual_service("vs", 1, &[REVIEWS], http))
}

#[test]
fn the_first_rule_that_matches_in_the_order_of_the_object_decides() {
    let mut world = reviews(vec![
        rule("a", vec![prefix("/api")]),
        rule("b", vec![exact("/api/b")]),
        rule("c", vec![exact("/c"), header("x-user", is("jason"))]),
    ]);
    let requests = [
        get("/api/b"),
        get("/apix"),
        get("/c"),
        get("/c/d"),
        get("/d").header("x-user", "jason"),
        get("/d").header("x-user", "jason2"),
    ];
    assert_eq!(decisions(&mut world, &requests), ["vs/a", "vs/a", "vs/c", "404", "vs/c", "404"]);
}

#[test]
fn each_kind_of_condition_holds_where_istio_says_it_does() {
    let method = HttpMatch { method: Some(is("POST")), ..HttpMatch::default() };
    let authority =
        HttpMatch { authority: Some(TextMatch::Prefix("reviews.".to_owned())), ..HttpMatch::default() };
    let scheme = HttpMatch { scheme: Some(is("https")), ..HttpMatch::default() };
    let query =
        |value| HttpMatch { query: vec![QueryMatch { name: "q".to_owned(), value }], ..HttpMatch::default() };
    let folded = HttpMatch { ignore_case: true, ..prefix("/API") };
    let without = |value| HttpMatch {
        headers: vec![HeaderMatch { name: "x-canary".to_owned(), value, not: true }],
        ..prefix("/without")
    };
    let mut world = reviews(vec![
        rule("method", vec![method]),
        rule("authority", vec![authority]),
        rule("scheme", vec![scheme]),
        rule("query", vec![query(is("1")), query(TextMatch::Regex("a+".to_owned()))]),
        rule("case", vec![folded]),
        rule("regex", vec![path_regex("/v[0-9]+/.*")]),
        rule("joined", vec![header("x-many", is("a,b"))]),
        rule("present", vec![header("x-there", TextMatch::Regex("*".to_owned()))]),
        rule("pseudo", vec![header(":method", is("PUT"))]),
        rule("without", vec![without(TextMatch::Present)]),
        rule("other", vec![without(is("yes"))]),
    ]);
    let mut https = get("/");
    https.scheme = "https";
    let cases = [
        (get("/").method(http::Method::POST), "vs/method"),
        (get("/").to("reviews.default"), "vs/authority"),
        (https, "vs/scheme"),
        (get("/?q=1&q=2"), "vs/query"),
        (get("/?q=2&q=1"), "404"),
        (get("/?x=&q=aaa"), "vs/query"),
        (get("/?q=aab"), "404"),
        (get("/Api/x"), "vs/case"),
        (get("/v12/x"), "vs/regex"),
        (get("/x/v12/x"), "404"),
        (get("/").header("x-many", "a").header("x-many", "b"), "vs/joined"),
        (get("/").header("x-many", "a"), "404"),
        (get("/").header("x-there", ""), "vs/present"),
        (get("/").method(http::Method::PUT), "vs/pseudo"),
        (get("/without"), "vs/without"),
        (get("/without").header("x-canary", "no"), "vs/other"),
        (get("/without").header("x-canary", "yes"), "404"),
    ];
    let (requests, wanted): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(decisions(&mut world, &requests), wanted);
}

#[test]
fn rules_for_other_clients_or_ports_leave_a_host_as_if_it_had_none() {
    let gated = HttpMatch {
        source_labels: labels(&[("app", "web")]),
        source_namespace: Some("default".to_owned()),
        port: Some(80),
        ..exact("/a")
    };
    let mut world = reviews(vec![rule("web", vec![gated])]);
    let web = [("app", "web"), ("x", "y")];
    let requests = [
        get("/a").labelled(&web),
        get("/b").labelled(&web),
        get("/a"),
        get("/a").labelled(&web).port(9080),
        get("/a").labelled(&web).from("other").to("reviews.default"),
    ];
    assert_eq!(decisions(&mut world, &requests), ["vs/web", "404", "default", "default", "default"]);
}

#[test]
fn several_on_one_host_follow_each_other_by_age_and_catch_alls_come_last() {
    let mut world = World::new()
        .with(virtual_service(
            "young",
            9,
            &[REVIEWS],
            vec![rule("b", vec![prefix("/b")]), rule("all", vec![])],
        ))
        .with(virtual_service(
            "old",
            1,
            &[REVIEWS],
            vec![
                rule("a", vec![prefix("/b/a")]),
                rule("rest", vec![prefix("/")]),
                rule("never", vec![exact("/n")]),
            ],
        ));
    let requests = [get("/b/a"), get("/b/c"), get("/c"), get("/n")];
    assert_eq!(decisions(&mut world, &requests), ["old/a", "young/b", "old/rest", "old/rest"]);
}

#[test]
fn a_delegate_matches_where_root_and_delegate_match() {
    let to = |name: &str| HttpAction::Delegate { namespace: "default".to_owned(), name: name.to_owned() };
    let root = |name: &str, matches| HttpRule {
        name: "root".to_owned(),
        matches,
        action: to(name),
        ..HttpRule::default()
    };
    let mut world = reviews(vec![
        root("team", vec![prefix("/team")]),
        root("absent", vec![prefix("/absent")]),
        root("vs", vec![prefix("/self")]),
        rule("rest", vec![prefix("/r")]),
    ])
    .with(delegate(
        "team",
        vec![
            rule("in", vec![prefix("/team/in")]),
            rule("out", vec![prefix("/out")]),
            root("team", vec![]),
            rule("", vec![header("x-a", is("1"))]),
            rule("all", vec![]),
        ],
    ));
    let requests = [
        get("/team/in"),
        get("/out"),
        get("/team/x").header("x-a", "1"),
        get("/x").header("x-a", "1"),
        get("/team"),
        get("/absent"),
        get("/r"),
    ];
    let wanted = ["team/root-in", "404", "team/root", "404", "team/root-all", "404", "vs/rest"];
    assert_eq!(decisions(&mut world, &requests), wanted);
    let snapshot = world.publish();
    let problems: Vec<_> =
        snapshot.routes().problems().iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    for (part, count) in
        [("no part of any match", 1), ("does not exist", 1), ("itself", 1), ("delegates on", 1)]
    {
        assert_eq!(problems.iter().filter(|message| message.contains(part)).count(), count, "{part}");
    }
}

#[test]
fn a_changed_delegate_is_compiled_into_its_root_again() {
    let action = HttpAction::Delegate { namespace: "default".to_owned(), name: "team".to_owned() };
    let mut world = reviews(vec![HttpRule { action, ..HttpRule::default() }]);
    assert_eq!(decisions(&mut world, &[get("/")]), ["default"]);
    let mut world = world.with(delegate("team", vec![rule("one", vec![])]));
    assert_eq!(decisions(&mut world, &[get("/")]), ["team/one"]);
    let mut world = world.with(delegate("team", vec![rule("two", vec![])]));
    assert_eq!(decisions(&mut world, &[get("/")]), ["team/two"]);
    world.store.remove_traffic("VirtualService/default/team");
    assert_eq!(decisions(&mut world, &[get("/")]), ["default"]);
}

#[test]
fn an_unparsable_expression_breaks_its_match_and_nothing_else() {
    let mut world = reviews(vec![
        rule("broken", vec![path_regex("/a(b"), exact("/c")]),
        rule("large", vec![path_regex("(a{1000}){1000}")]),
        rule("slow", vec![path_regex("(a+)+b")]),
        rule("rest", vec![]),
    ]);
    let long = format!("/{}", "a".repeat(5000));
    let requests = [get("/a(b"), get("/c"), get(&long), get("/x")];
    assert_eq!(decisions(&mut world, &requests), ["vs/rest", "vs/broken", "vs/rest", "vs/rest"]);
    let snapshot = world.publish();
    let problems = snapshot.routes().problems();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(
        problems[0].message.contains(r#"regular expression "/a(b" is not valid: unclosed group"#),
        "{problems:#?}"
    );
    assert!(problems[1].message.contains("too large"), "{problems:#?}");
}

#[test]
fn who_does_not_see_an_object_is_routed_without_it() {
    let mut private = virtual_service("private", 1, &[REVIEWS], vec![rule("p", vec![])]);
    private.attach = Attach::Hosts {
        hosts: vec![REVIEWS.to_owned()],
        export_to: ExportTo::Namespaces(["default".to_owned()].into()),
    };
    let mut world = World::new().with(private).with(virtual_service(
        "public",
        2,
        &["*.svc.cluster.local"],
        vec![rule("w", vec![])],
    ));
    let requests = [get("/"), get("/").from("other").to("reviews.default"), get("/").to("ratings")];
    assert_eq!(decisions(&mut world, &requests), ["private/p", "public/w", "public/w"]);
}
