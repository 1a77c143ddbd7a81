//! Routing is what a slow model of it says, on random rules and requests.

use std::cmp::Reverse;
use std::collections::HashMap;

use heddle_core::object::TrafficObject;
use heddle_core::route::model::*;
use heddle_core::route::{CanonicalPath, Decision, Normalization};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use regex::Regex;

use crate::world::*;

/// Pairs of rules and requests, in all.
const PAIRS: usize = 1_000_000;
const REQUESTS: usize = 500;

/// Numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
    fn of<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const PATHS: [&str; 12] =
    ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/bc", "/A/b", "/a/b/c", "/b", "/ab/c", "/svc.A/Get"];
const REGEXES: [&str; 6] = ["/a/.*", ".*", "/a(/b)?", "/[ab]+", "/ab?/?.*", "(?i)/A/B"];
const VALUES: [&str; 5] = ["1", "2", "12", "a,b", ""];
const NAMES: [&str; 7] = ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f", "host"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

fn text(random: &mut Random, from: &[&str]) -> TextMatch {
    match random.below(8) {
        0 => TextMatch::Present,
        1 => TextMatch::Prefix(random.of(from).to_owned()),
        2 => TextMatch::Regex(random.of(&["1.*", "[12]", ".*", "*"]).to_owned()),
        _ => TextMatch::Exact(random.of(from).to_owned()),
    }
}

fn one_match(random: &mut Random, gateway: bool) -> HttpMatch {
    let path = random.of(&PATHS).to_owned();
    let path = match random.below(6) {
        0 => None,
        1 => Some(PathMatch::Exact(path)),
        2 => Some(PathMatch::Regex(random.of(&REGEXES).to_owned())),
        _ if gateway => Some(PathMatch::Elements(path)),
        _ => Some(PathMatch::Prefix(path)),
    };
    let mut each = HttpMatch { path, ..HttpMatch::default() };
    for _ in 0..random.below(3) {
        let not = !gateway && random.one_in(5);
        let name = random.of(&NAMES).to_owned();
        each.headers.push(HeaderMatch { name, value: text(random, &VALUES), not });
    }
    if random.one_in(4) {
        each.query.push(QueryMatch { name: random.of(&["q", "r"]).to_owned(), value: text(random, &VALUES) });
    }
    each.method = random.one_in(3).then(|| is(random.of(&METHODS)));
    if !gateway {
        each.ignore_case = random.one_in(6);
        each.port = random.one_in(8).then_some(9080);
        each.authority = random.one_in(8).then(|| text(random, &["reviews", "reviews.default"]));
        each.source_namespace = random.one_in(8).then(|| random.of(&["default", "other"]).to_owned());
        if random.one_in(8) {
            each.source_labels = labels(&[("app", random.of(&["web", "job"]))]);
        }
    }
    each
}

fn rules(random: &mut Random, most: usize, gateway: bool) -> Vec<HttpRule> {
    let count = 1 + random.below(most);
    let mut rules = Vec::new();
    for name in 0..count {
        let matches = (0..random.below(4)).map(|_| one_match(random, gateway)).collect::<Vec<_>>();
        // A rule for everything ends most objects early: only few have one.
        if !matches.is_empty() || random.one_in(30) {
            rules.push(rule(&name.to_string(), matches));
        }
    }
    rules
}

fn request(random: &mut Random) -> Request {
    let mut path = random.of(&PATHS).to_owned();
    if random.one_in(2) {
        path.push_str(random.of(&["?q=1", "?q=2&r=1", "?r=12&q=1&q=2", "?q", "?", "?q=&r=a,b"]));
    }
    let mut headers = HeaderMap::new();
    for _ in 0..random.below(4) {
        let name = HeaderName::from_static(random.of(&NAMES[..6]));
        headers.append(name, HeaderValue::from_static(random.of(&VALUES)));
    }
    Request {
        namespace: random.of(&["default", "other"]).to_owned(),
        labels: labels(&[("app", random.of(&["web", "job"]))]),
        method: random.of(&METHODS).parse().unwrap_or(Method::GET),
        scheme: "http",
        authority: random.of(&["reviews.default", "reviews.default.svc:80"]).to_owned(),
        path: CanonicalPath::parse(&path, Normalization::None).expect("a path"),
        headers,
        port: if random.one_in(4) { 9080 } else { 80 },
    }
}

/// The slow model: every condition straight from the object, in a list.
struct Reference<'a> {
    objects: &'a [RouteObject],
    regexes: HashMap<String, Regex>,
}

impl Reference<'_> {
    fn regex(&mut self, pattern: &str, text: &str) -> bool {
        if !self.regexes.contains_key(pattern) {
            let whole = Regex::new(&format!("^(?:{pattern})$")).expect("valid");
            self.regexes.insert(pattern.to_owned(), whole);
        }
        self.regexes[pattern].is_match(text)
    }

    fn text(&mut self, want: &TextMatch, text: &str) -> bool {
        match want {
            TextMatch::Exact(want) => want == text,
            TextMatch::Prefix(want) => text.starts_with(want),
            TextMatch::Regex(pattern) if pattern == "*" => true,
            TextMatch::Regex(pattern) => self.regex(pattern, text),
            TextMatch::Present => true,
        }
    }

    fn path(&mut self, want: &PathMatch, path: &str, ignore_case: bool) -> bool {
        let same = |a: &str, b: &str| if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
        match want {
            PathMatch::Exact(want) => same(want, path),
            PathMatch::Prefix(want) => path.len() >= want.len() && same(&path[..want.len()], want),
            PathMatch::Elements(want) => {
                let rest = path.strip_prefix(want.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            PathMatch::Regex(pattern) => self.regex(pattern, path),
        }
    }

    /// What the client is and where it dials; rules that ask for others are not there for it.
    fn concerns(each: &HttpMatch, request: &Request) -> bool {
        each.port.is_none_or(|port| port == request.port)
            && each.source_namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && each.source_labels.iter().all(|(key, value)| request.labels.get(key) == Some(value))
    }

    fn holds(&mut self, each: &HttpMatch, request: &Request) -> bool {
        let path = request.path.path();
        let mut query = Vec::new();
        if !each.query.is_empty() {
            let pairs = request.path.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
            query.extend(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))));
        }
        Self::concerns(each, request)
            && each.path.as_ref().is_none_or(|want| self.path(want, path, each.ignore_case))
            && each.method.as_ref().is_none_or(|want| self.text(want, request.method.as_str()))
            && each.authority.as_ref().is_none_or(|want| self.text(want, &request.authority))
            && each.query.iter().all(|want| {
                let first = query.iter().find(|(name, _)| *name == want.name);
                first.is_some_and(|(_, got)| self.text(&want.value, got))
            })
            && each.headers.iter().all(|want| self.header(want, request))
    }

    fn header(&mut self, want: &HeaderMatch, request: &Request) -> bool {
        let got = if want.name == "host" {
            Some(request.authority.clone())
        } else {
            let all: Vec<_> = request
                .headers
                .get_all(&want.name)
                .iter()
                .map(|value| value.to_str().expect("text"))
                .collect();
            (!all.is_empty()).then(|| all.join(","))
        };
        let present =
            matches!(&want.value, TextMatch::Present) || want.value == TextMatch::Regex("*".to_owned());
        match (got, want.not) {
            (Some(got), not) => self.text(&want.value, &got) != not,
            (None, false) => false,
            (None, true) => present || !self.text(&want.value, ""),
        }
    }

    /// Every match that holds, as (object, rule, match).
    fn held(&mut self, request: &Request) -> Vec<(usize, usize, Option<usize>)> {
        let mut held = Vec::new();
        for (o, object) in self.objects.iter().enumerate() {
            for (r, rule) in object.http.iter().enumerate() {
                if rule.matches.is_empty() {
                    held.push((o, r, None));
                }
                for (m, each) in rule.matches.iter().enumerate() {
                    if self.holds(each, request) {
                        held.push((o, r, Some(m)));
                    }
                }
            }
        }
        held
    }

    fn decide(&mut self, request: &Request, gateway: bool) -> String {
        let held = self.held(request);
        let found = match gateway {
            true => held.iter().max_by_key(|place| (self.specificity(place), Reverse(**place))),
            false => self.as_written(&held),
        };
        let all: Vec<_> = self.objects.iter().flat_map(|object| &object.http).collect();
        match found {
            Some((o, r, _)) => format!("{}/{}", self.objects[*o].source.name, self.objects[*o].http[*r].name),
            None if all.iter().any(|rule| rule.matches.iter().any(|each| Self::concerns(each, request))) => {
                "404".to_owned()
            }
            None => "default".to_owned(),
        }
    }

    /// The first; what matches everything waits for the other objects, and ends its own.
    fn as_written<'h>(
        &self,
        held: &'h [(usize, usize, Option<usize>)],
    ) -> Option<&'h (usize, usize, Option<usize>)> {
        let ends: Vec<_> = self.objects.iter().map(first_catch_all).collect();
        let before = |(o, r, m): &&(usize, usize, Option<usize>)| {
            ends[*o].is_none_or(|end| (*r, m.unwrap_or(0)) < end)
        };
        let is_end = |(o, r, m): &&(usize, usize, Option<usize>)| ends[*o] == Some((*r, m.unwrap_or(0)));
        held.iter().find(before).or_else(|| held.iter().find(is_end))
    }

    fn specificity(&self, (o, r, m): &(usize, usize, Option<usize>)) -> [usize; 5] {
        let Some(each) = m.map(|m| &self.objects[*o].http[*r].matches[m]) else { return [0; 5] };
        let (class, length) = match &each.path {
            Some(PathMatch::Exact(path)) => (3, path.len()),
            Some(PathMatch::Elements(path)) if path != "/" => (2, path.trim_end_matches('/').len()),
            Some(PathMatch::Regex(path)) => (1, path.len()),
            _ => (0, 0),
        };
        [class, length, usize::from(each.method.is_some()), each.headers.len(), each.query.len()]
    }
}

fn first_catch_all(object: &RouteObject) -> Option<(usize, usize)> {
    let everything = |each: &HttpMatch| {
        let path = match &each.path {
            None => true,
            Some(PathMatch::Prefix(path)) => path == "/",
            Some(PathMatch::Regex(path)) => path == ".*",
            Some(_) => false,
        };
        path && HttpMatch { path: None, ignore_case: false, ..each.clone() } == HttpMatch::default()
    };
    object.http.iter().enumerate().find_map(|(r, rule)| match rule.matches.iter().position(everything) {
        Some(m) => Some((r, m)),
        None => rule.matches.is_empty().then_some((r, 0)),
    })
}

fn agree(seeds: std::ops::Range<usize>) {
    let mut tally: HashMap<&str, usize> = HashMap::new();
    let mut regexes = HashMap::new();
    for seed in seeds {
        let mut random = Random::new(seed as u64 + 1);
        let gateway = random.one_in(2);
        let most = if random.one_in(4) { 60 } else { 8 };
        let mut world = World::new();
        let mut objects: Vec<_> = (0..1 + random.below(3))
            .map(|age| {
                let (name, http) = (format!("o{age}"), rules(&mut random, most, gateway));
                match gateway {
                    true => http_route(&name, age as i64, http),
                    false => virtual_service(&name, age as i64, &[&fqdn("reviews", "default")], http),
                }
            })
            .collect();
        for object in &objects {
            world.store.put_traffic(TrafficObject::Route(object.clone()));
        }
        objects.sort_by_key(|object| object.created);
        let snapshot = world.publish();
        let mut reference = Reference { objects: &objects, regexes };
        for _ in 0..REQUESTS {
            let request = request(&mut random);
            let (got, wanted) = (request.decide(snapshot.routes()), reference.decide(&request, gateway));
            assert_eq!(got, wanted, "seed {seed}: {request:#?}\n{objects:#?}");
            *tally
                .entry(if got.contains('/') {
                    "rule"
                } else if got == "404" {
                    "404"
                } else {
                    "default"
                })
                .or_default() += 1;
        }
        regexes = reference.regexes;
    }
    // A test that never meets a rule, or always does, shows nothing.
    assert!(tally["rule"] > 10 * tally["404"] / 100 && tally["404"] > 0, "{tally:?}");
}

#[test]
fn a_million_random_decisions_are_those_of_the_model() {
    let (threads, worlds) = (4, PAIRS / REQUESTS);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || agree(worlds * thread / threads..worlds * (thread + 1) / threads));
        }
    });
}

#[test]
fn the_trace_agrees_with_the_decision() {
    for seed in 0..20 {
        let mut random = Random::new(seed + 77_777);
        let mut world = World::new().with(virtual_service(
            "vs",
            0,
            &[&fqdn("reviews", "default")],
            rules(&mut random, 30, false),
        ));
        let snapshot = world.publish();
        for _ in 0..100 {
            let request = request(&mut random);
            let (client, head) = (request.client(), request.head());
            let host =
                snapshot.routes().virtual_host(&client, head.authority, head.port, None).expect("a host");
            let trace = host.explain(&client, &head);
            let chosen = trace.chosen.map(|chosen| &trace.candidates[chosen]);
            match host.decide(&client, &head) {
                Decision::Rule(matched) => {
                    assert!(chosen.is_some_and(
                        |chosen| chosen.rule.index == matched.rule.index && chosen.by == matched.by
                    ));
                }
                Decision::NotFound | Decision::Default => assert!(chosen.is_none()),
            }
            assert!(trace.nearest.is_none_or(|nearest| !trace.candidates[nearest].misses.is_empty()));
        }
    }
}
