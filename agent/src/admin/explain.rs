//! `POST /explain`: what would become of a request of a local pod, step by step, by the functions that decide it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use heddle_core::names::OrigDst;
use heddle_core::resolve::{Destination, resolve};
use heddle_core::route::model::BackendRef;
use heddle_core::route::rule::Choice;
use heddle_core::route::{Action, CanonicalPath, Client, CompiledRule, RequestHead, VirtualHost};
use heddle_core::route::{Candidate, Miss, Trace};
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::{self, Balancer, Cluster, ClusterKey, ClusterStates, PickContext};
use heddle_core::workload::{LocalWorkload, Service, Workload};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::endpoints::{Learned, algorithm, cluster_view, protocol};
use super::listeners::Treatment;
use super::routes::{cluster_key, rule_view};
use crate::dns::Names;

/// Who asks for what.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    /// The client's pod.
    pub(super) pod_uid: String,
    /// A name as the client would dial it, or an address.
    host: String,
    /// `None`: the one that the service has, else 80.
    port: Option<u16>,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "slash")]
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

fn get() -> String {
    "GET".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

/// Where the question leads before anything is looked into.
struct Dialled<'a> {
    service: Option<&'a Arc<Service>>,
    address: Option<IpAddr>,
    port: u16,
}

/// The answer, or what is wrong with the question.
pub(super) fn explain(
    snapshot: &Snapshot,
    question: &Question,
    (states, names): (&ClusterStates, &Names),
) -> Result<Value, String> {
    let local = snapshot.locals().find(|local| local.pod_uid.as_str() == question.pod_uid);
    let local = local.ok_or("the pod is not one of this node, or the controller has not announced it")?;
    let workload =
        snapshot.workload(&local.workload_uid).ok_or("the controller has not announced the pod")?;
    let dialled = dialled(snapshot, local, question);
    let resolved = names.known(&local.pod_uid);
    let learned = Learned { states, resolved: &resolved };
    let mut answer = json!({
        "source": {
            "namespace": local.identity.namespace(), "name": &*local.name, "labels": local.labels,
            "identity": local.identity.to_string(), "enrolled": local.enrolled,
            "addresses": workload.addresses,
        },
        "capture": if local.enrolled {
            "connect() is rewritten to the agent's listener 15001 in the pod"
        } else {
            "the pod is not enrolled: its connections go out as it dials them, and nothing below applies"
        },
        "dialled": {
            "host": question.host, "port": dialled.port, "address": dialled.address,
            "service": dialled.service.map(|service| &*service.hostname),
        },
    });
    let resolved = dialled.address.map(|ip| resolve(snapshot, OrigDst(SocketAddr::new(ip, dialled.port)), 0));
    answer["resolved"] = json!(resolution(resolved.as_ref(), &dialled));
    let port = dialled
        .service
        .and_then(|service| service.ports.iter().find(|port| port.service_port == dialled.port));
    let treatment = match (dialled.service, port) {
        (Some(service), Some(port)) => Treatment::outbound(snapshot, local, service, port),
        _ => Treatment::Detect,
    };
    answer["treatment"] = json!({
        "protocol": port.map(|port| protocol(port.protocol)),
        "does": treatment.word(),
    });
    if treatment != Treatment::Opaque {
        answer["request"] = request(snapshot, (local, workload), question, &dialled, learned)?;
    }
    if let Some(Destination::Workload { workload, address, service: None, .. }) = resolved {
        answer["direct"] = json!({ "name": &*workload.name, "namespace": workload.identity.namespace(),
            "address": address, "node": workload.node.as_str() });
    }
    Ok(answer)
}

fn dialled<'a>(snapshot: &'a Snapshot, local: &LocalWorkload, question: &Question) -> Dialled<'a> {
    let address: Option<IpAddr> = question.host.parse().ok();
    let service = match address {
        Some(ip) => snapshot.service_at(ip),
        None => named(snapshot, &question.host, local.identity.namespace()),
    };
    let only = service.and_then(|service| {
        let http = service.ports.iter().find(|port| port.service_port == 80);
        http.or(service.ports.first()).map(|port| port.service_port)
    });
    let address = address.or_else(|| service?.addresses.first().copied());
    Dialled { service, address, port: question.port.or(only).unwrap_or(80) }
}

/// The service that a client's resolver would find by a name.
fn named<'a>(snapshot: &'a Snapshot, name: &str, namespace: &str) -> Option<&'a Arc<Service>> {
    let (name, domain) = (name.trim_end_matches('.'), &snapshot.mesh().cluster_domain);
    let whole = [
        name.to_owned(),
        format!("{name}.{namespace}.svc.{domain}"),
        format!("{name}.svc.{domain}"),
        format!("{name}.{domain}"),
    ];
    whole.iter().find_map(|host| snapshot.service_named(host, namespace))
}

fn resolution(destination: Option<&Destination>, dialled: &Dialled<'_>) -> String {
    match destination {
        None if dialled.service.is_some() => {
            "a service without virtual addresses: as its pods are dialled".to_owned()
        }
        None => {
            "no service of that name: whatever the client's resolver says, and outside the mesh".to_owned()
        }
        Some(Destination::Workload { service: Some(service), .. }) => format!("service {}", service.hostname),
        Some(Destination::Workload { workload, .. }) => {
            format!("pod {}/{}", workload.identity.namespace(), workload.name)
        }
        Some(Destination::Passthrough(address)) => format!("outside the mesh: {address} as it was dialled"),
        Some(Destination::Unknown) => {
            "inside the cluster's ranges and announced by nobody: held for a moment, then refused".to_owned()
        }
        Some(Destination::Refused(why)) => format!("refused: {why}"),
    }
}

fn request(
    snapshot: &Snapshot,
    (local, workload): (&LocalWorkload, &Workload),
    question: &Question,
    dialled: &Dialled<'_>,
    learned: Learned<'_>,
) -> Result<Value, String> {
    let method =
        Method::from_bytes(question.method.as_bytes()).map_err(|error| format!("method: {error}"))?;
    let normalization = snapshot.routes().normalization();
    let path = CanonicalPath::parse(&question.path, normalization)
        .map_err(|error| format!("path: {error}: the request is answered 400"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let name: HeaderName = name.parse().map_err(|error| format!("header {name}: {error}"))?;
        let value = HeaderValue::from_str(value).map_err(|error| format!("header {name}: {error}"))?;
        headers.append(name, value);
    }
    let told = headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
    let authority = told.unwrap_or_else(|| match dialled.port {
        80 => question.host.clone(),
        port => format!("{}:{port}", question.host),
    });
    let client = Client { namespace: local.identity.namespace(), labels: &local.labels };
    let head = RequestHead {
        method: &method,
        scheme: "http",
        authority: &authority,
        path: &path,
        headers: &headers,
        port: dialled.port,
    };
    let service = dialled.service.map(|service| &**service);
    let host = snapshot.routes().virtual_host(&client, &authority, dialled.port, service);
    let mut view = json!({
        "authority": authority, "path": path.path_and_query().as_str(), "method": method.as_str(),
        "virtualHost": host.map(|host| &**host.name()),
    });
    let ask = Asked { snapshot, workload, learned, dialled };
    match host.filter(|host| host.has_rules(dialled.port)) {
        Some(host) => routed(&mut view, &ask, host, &client, &head),
        None => {
            let entry = || host.filter(|host| host.is_registered()).map(|host| host.name().clone());
            let name = host.and_then(|host| host.service()).map(|service| service.hostname.clone());
            let name = name.or_else(entry).or_else(|| service.map(|service| service.hostname.clone()));
            let name = name.or_else(|| {
                let listed =
                    snapshot.destinations().listed(client.namespace, dialled.address?, dialled.port)?;
                Some(listed.host.clone())
            });
            let key = name.map(|name| ClusterKey::new(name, dialled.port));
            view["outcome"] = json!(match &key {
                Some(_) => "no rule speaks for the host: to the service itself",
                None => "no rule speaks for the host: as it was dialled",
            });
            view["backends"] = key.iter().map(|key| ask.cluster(key, 1, 1)).collect();
        }
    }
    Ok(view)
}

/// What clusters are asked with.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    workload: &'a Workload,
    learned: Learned<'a>,
    dialled: &'a Dialled<'a>,
}

fn routed(
    view: &mut Value,
    ask: &Asked<'_>,
    host: &VirtualHost,
    client: &Client<'_>,
    head: &RequestHead<'_>,
) {
    let trace: Trace = host.explain(client, head);
    view["candidates"] = trace.candidates.iter().map(|each| candidate(each, head.port)).collect();
    (view["chosen"], view["nearest"]) = (json!(trace.chosen), json!(trace.nearest));
    let Some(chosen) = trace.chosen.map(|index| &trace.candidates[index]) else {
        view["outcome"] = json!("no rule matches: 404, flag NR");
        return;
    };
    let (rule, by): (&CompiledRule, usize) = (&chosen.rule, chosen.by);
    match &rule.action {
        Action::Forward(forward) => {
            let total: u64 = forward.backends().iter().map(|backend| u64::from(backend.weight)).sum();
            if let Choice::Refused(status, why) = forward.choose(0)
                && forward.backends().is_empty()
            {
                view["outcome"] = json!(format!("answered {}: {why}", status.as_u16()));
            }
            let backends = forward.backends().iter().map(|backend| match (&backend.to, &backend.redirect) {
                (BackendRef::Host(_), Some(redirect)) => json!({
                    "cluster": format!("answered {}", redirect.status().as_u16()),
                    "location": rule.location(redirect, head, by),
                    "weight": backend.weight,
                }),
                (BackendRef::Host(to), None) => {
                    let mut view = ask.cluster(&cluster_key(to, head.port), backend.weight, total);
                    view["path"] =
                        json!(rule.rewrite_path(head, by, Some(backend)).map(|path| path.to_string()));
                    view["authority"] = json!(rule.rewrite_authority(Some(backend)));
                    view["headers"] = changed(rule, backend, head.headers);
                    view
                }
                (BackendRef::Invalid(why), _) => {
                    json!({ "cluster": format!("nowhere: {why}"), "weight": backend.weight })
                }
            });
            view["backends"] = backends.collect();
        }
        Action::Redirect(redirect) => {
            view["outcome"] = json!(format!(
                "answered {} location: {}",
                redirect.status().as_u16(),
                rule.location(redirect, head, by)
            ));
        }
        Action::Respond { status, .. } => view["outcome"] = json!(format!("answered {}", status.as_u16())),
        Action::Broken(why) => view["outcome"] = json!(format!("answered 500: {why}")),
    }
}

/// Headers that differ from those of the request, `null` for what is taken away.
fn changed(rule: &CompiledRule, backend: &heddle_core::route::CompiledBackend, before: &HeaderMap) -> Value {
    let mut after = before.clone();
    rule.change_request(&mut after, Some(backend));
    let text = |headers: &HeaderMap, name: &HeaderName| {
        let values =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let names = after.keys().chain(before.keys());
    let differing = names.filter(|name| text(&after, name) != text(before, name));
    Value::Object(differing.map(|name| (name.to_string(), json!(text(&after, name)))).collect())
}

fn candidate(candidate: &Candidate, port: u16) -> Value {
    let miss = |miss: &Miss| json!({ "field": miss.field, "wanted": miss.wanted, "got": miss.got });
    json!({
        "rule": rule_view(&candidate.rule, port),
        "match": candidate.rule.matches.get(candidate.by).map_or_else(|| "anything".to_owned(), ToString::to_string),
        "misses": candidate.misses.iter().map(miss).collect::<Vec<_>>(),
    })
}

impl Asked<'_> {
    /// A cluster and the endpoint that it would choose now.
    fn cluster(&self, key: &ClusterKey, weight: u32, total: u64) -> Value {
        let client = upstream::Client::of(self.workload);
        let cluster = Arc::new(Cluster::build(self.snapshot, &client, key, self.learned.resolved));
        let mut view = cluster_view(&cluster, &self.workload.identity, self.learned.states);
        view["weight"] = json!(weight);
        view["percent"] = json!(f64::from(weight) * 100.0 / (total.max(1) as f64));
        let state = self.learned.states.peek(&self.workload.identity, key).unwrap_or_default();
        // Its own balancer: asking must not move the turns of those that carry traffic.
        let balancer = Balancer::new(Arc::clone(&cluster), state, Instant::now());
        let dialled = self.dialled.address.map(|ip| SocketAddr::new(ip, self.dialled.port));
        let context =
            PickContext { hash: None, random: 0, now: Instant::now(), tried: &[], left: &[], dialled };
        view["pick"] = match balancer.pick(&context) {
            Ok(picked) => json!({
                "name": &*picked.endpoint.name(),
                "address": picked.endpoint.address,
                "node": picked.endpoint.workload.as_ref().map(|workload| workload.node.as_str()),
                "namespace": picked.endpoint.workload.as_ref().map(|workload| workload.identity.namespace()),
                "why": format!("{} of {} endpoints", algorithm(&cluster.algorithm()), cluster.endpoints.len()),
            }),
            Err(none) => json!({ "answered": format!("503, flag {none}") }),
        };
        view
    }
}
