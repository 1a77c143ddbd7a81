//! A small mesh to ask: services, routing objects, and requests written as one line.

use std::sync::Arc;

use heddle_core::names::ServiceKey;
use heddle_core::object::{ExportTo, Labels, ObjectRef, TrafficObject};
use heddle_core::route::model::*;
use heddle_core::route::{CanonicalPath, Client, Decision, Matched, RequestHead, RouteTables};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::{MeshFacts, Store};
use heddle_core::upstream::model::Protocol;
use heddle_core::workload::{PortMapping, Service};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// What is configured.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
}

impl World {
    /// `reviews` and `ratings` in `default`, `reviews` in `other`; ports 80 and 9080.
    pub(crate) fn new() -> Self {
        let mut store = Store::default();
        store.set_mesh(MeshFacts { cluster_domain: "cluster.local".to_owned(), ..MeshFacts::default() });
        let mut world = Self { store };
        for (name, namespace) in [("reviews", "default"), ("ratings", "default"), ("reviews", "other")] {
            world.store.put_service(service(name, namespace, &[80, 9080]));
        }
        world
    }

    pub(crate) fn with(mut self, object: RouteObject) -> Self {
        self.store.put_traffic(TrafficObject::Route(object));
        self
    }

    pub(crate) fn publish(&mut self) -> Arc<Snapshot> {
        self.store.publish()
    }
}

pub(crate) fn service(name: &str, namespace: &str, ports: &[u16]) -> Service {
    let hostname = fqdn(name, namespace);
    let port = |port: &u16| PortMapping { service_port: *port, target_port: 0, protocol: Protocol::Http };
    Service {
        key: ServiceKey::new(format!("{namespace}/{hostname}")),
        name: name.into(),
        namespace: namespace.into(),
        hostname: hostname.into(),
        addresses: Box::default(),
        ports: ports.iter().map(port).collect(),
        l7: None,
        unready: false,
        routing: None,
        export_to: ExportTo::All,
    }
}

pub(crate) fn fqdn(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

/// A VirtualService of `default`; `created` is its age.
pub(crate) fn virtual_service(name: &str, created: i64, hosts: &[&str], http: Vec<HttpRule>) -> RouteObject {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    object("VirtualService", name, created, Attach::Hosts { hosts, export_to: ExportTo::All }, http)
}

/// A VirtualService without hosts.
pub(crate) fn delegate(name: &str, http: Vec<HttpRule>) -> RouteObject {
    object("VirtualService", name, 0, Attach::Delegate { export_to: ExportTo::All }, http)
}

/// An HTTPRoute of `default` on `reviews`.
pub(crate) fn http_route(name: &str, created: i64, http: Vec<HttpRule>) -> RouteObject {
    object("HTTPRoute", name, created, Attach::Services(vec![parent(None)]), http)
}

pub(crate) fn parent(port: Option<u16>) -> ServiceParent {
    ServiceParent {
        namespace: "default".to_owned(),
        hostname: fqdn("reviews", "default"),
        port,
        consumer: false,
    }
}

pub(crate) fn object(
    kind: &str,
    name: &str,
    created: i64,
    attach: Attach,
    http: Vec<HttpRule>,
) -> RouteObject {
    let source = ObjectRef { kind: kind.to_owned(), namespace: "default".to_owned(), name: name.to_owned() };
    RouteObject { source, created, attach, http, tls: Vec::new(), tcp: Vec::new() }
}

/// A rule of these matches.
pub(crate) fn rule(name: &str, matches: Vec<HttpMatch>) -> HttpRule {
    HttpRule {
        name: name.to_owned(),
        matches,
        action: HttpAction::Forward(vec![backend(name, 1)]),
        ..HttpRule::default()
    }
}

pub(crate) fn backend(host: &str, weight: u32) -> Backend {
    Backend {
        to: BackendRef::Host(HostRef { host: host.to_owned(), port: None, subset: None }),
        weight,
        headers: HeaderChanges::default(),
        rewrite: None,
        mirrors: Vec::new(),
        redirect: None,
    }
}

pub(crate) fn prefix(text: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Prefix(text.to_owned())), ..HttpMatch::default() }
}

pub(crate) fn exact(text: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Exact(text.to_owned())), ..HttpMatch::default() }
}

pub(crate) fn elements(text: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Elements(text.to_owned())), ..HttpMatch::default() }
}

pub(crate) fn path_regex(text: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Regex(text.to_owned())), ..HttpMatch::default() }
}

pub(crate) fn header(name: &str, value: TextMatch) -> HttpMatch {
    HttpMatch {
        headers: vec![HeaderMatch { name: name.to_owned(), value, not: false }],
        ..HttpMatch::default()
    }
}

pub(crate) fn is(text: &str) -> TextMatch {
    TextMatch::Exact(text.to_owned())
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A request to `reviews` in `default`, from there.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) method: Method,
    pub(crate) scheme: &'static str,
    pub(crate) authority: String,
    pub(crate) path: CanonicalPath,
    pub(crate) headers: HeaderMap,
    pub(crate) port: u16,
}

pub(crate) fn get(path: &str) -> Request {
    Request {
        namespace: "default".to_owned(),
        labels: Labels::new(),
        method: Method::GET,
        scheme: "http",
        authority: "reviews".to_owned(),
        path: CanonicalPath::parse(path, Default::default()).expect("a path"),
        headers: HeaderMap::new(),
        port: 80,
    }
}

impl Request {
    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }
    pub(crate) fn to(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }
    pub(crate) fn from(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }
    pub(crate) fn labelled(mut self, pairs: &[(&str, &str)]) -> Self {
        self.labels = labels(pairs);
        self
    }
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        self.headers.append(name, HeaderValue::from_str(value).expect("a value"));
        self
    }
    pub(crate) fn client(&self) -> Client<'_> {
        Client { namespace: &self.namespace, labels: &self.labels }
    }
    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            scheme: self.scheme,
            authority: &self.authority,
            path: &self.path,
            headers: &self.headers,
            port: self.port,
        }
    }

    /// `object/rule`, `404`, `default`, or `nobody` where no host was found.
    pub(crate) fn decide(&self, tables: &RouteTables) -> String {
        let Some(host) = tables.virtual_host(&self.client(), &self.authority, self.port, None) else {
            return "nobody".to_owned();
        };
        match host.decide(&self.client(), &self.head()) {
            Decision::Rule(Matched { rule, .. }) => format!("{}/{}", rule.source.name, rule.name),
            Decision::NotFound => "404".to_owned(),
            Decision::Default => "default".to_owned(),
        }
    }
}

/// What becomes of requests, in order.
pub(crate) fn decisions(world: &mut World, requests: &[Request]) -> Vec<String> {
    let snapshot = world.publish();
    requests.iter().map(|request| request.decide(snapshot.routes())).collect()
}
