//! From any object to what the index reads of it, and a verdict.

use heddle_api::diagnostic::{Problem, Severity};
use heddle_api::manifest;
use heddle_api::mesh::{self, L7, MeshConfig};
use heddle_api::normalised::Context;
use heddle_api::object::Object;
use heddle_api::security::PeerAuthentication;
use heddle_core::workload::L7Mode;
use serde_json::Value;

use super::{Verdict, kubernetes};
use crate::index::input::{
    GATEWAY_GROUP, Input, InputKind, Key, Labels, MeshConfigInput, PeerAuthenticationInput, Selection,
};
use crate::index::peer_authentication;

mod traffic;

/// An object, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What the index takes; `None`: nothing, or the object is wrong and the last good one stays.
    pub input: Option<(Key, Input)>,
    /// What takes its place where there never was a good one: a broken security object denies.
    pub fallback: Option<(Key, Input)>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Everything that was found in it.
    pub findings: Vec<Problem>,
    /// Of a route: its `parentRefs` as written.
    pub parents: Vec<Value>,
}

/// Reads an object. Kinds of the mesh are read strictly; those of Kubernetes its API server has judged.
pub fn decode(object: &mut Object, context: &Context) -> Decoded {
    let mesh_api = object.kind.group.contains('.') && !object.kind.group.ends_with("k8s.io")
        || object.kind.group == GATEWAY_GROUP;
    let mut findings = Vec::new();
    if mesh_api && object.kind.served {
        findings = manifest::check(object);
    }
    let object = &*object;
    let parents = parents(object).to_vec();
    let errors = sentences(&findings, Severity::Error);
    let told = if errors.is_empty() {
        read(object, context, &findings)
    } else {
        Told { fallback: traffic::in_place_of(object, context), ..Told::new(Verdict::Invalid(errors)) }
    };
    let keyed = |input: Option<Input>| Some((key(object)?, input?));
    let (input, fallback) = (keyed(told.input), keyed(told.fallback));
    Decoded { input, fallback, verdict: told.verdict, findings, parents }
}

/// The `parentRefs` of a route, as written.
fn parents(object: &Object) -> &[Value] {
    let parents = object.value.pointer("/spec/parentRefs").and_then(Value::as_array);
    parents.filter(|_| object.kind.group == GATEWAY_GROUP).map_or(&[], Vec::as_slice)
}

/// What is made of an object that can be read.
struct Told {
    input: Option<Input>,
    fallback: Option<Input>,
    verdict: Verdict,
}

impl Told {
    fn new(verdict: Verdict) -> Self {
        Self { input: None, fallback: None, verdict }
    }

    fn accepted(input: impl Into<Option<Input>>, note: String) -> Self {
        Self { input: input.into(), ..Self::new(Verdict::Accepted(note)) }
    }
}

fn read(object: &Object, context: &Context, findings: &[Problem]) -> Told {
    let warnings = || sentences(findings, Severity::Warning);
    if let Some(told) = traffic::read(object, context, warnings) {
        return told;
    }
    let read = match (object.kind.group, object.kind.kind) {
        ("", "ConfigMap") => mesh_config(object, context),
        ("", "Secret") => Ok(traffic::secret(object).map(|input| (input, String::new()))),
        ("security.istio.io", "PeerAuthentication") => peer_authentication(object),
        ("security.istio.io", _) => return denial(object),
        (group, kind) if group == GATEWAY_GROUP || group.ends_with(".istio.io") => {
            let message = format!("{kind} of {group} is not served yet: it has no effect");
            return Told::new(Verdict::Unsupported(message));
        }
        _ => kubernetes::read(object, context),
    };
    match read {
        Ok(Some((input, note))) => Told::accepted(input, note),
        Ok(None) => Told::accepted(None, String::new()),
        Err(message) => {
            Told { fallback: traffic::in_place_of(object, context), ..Told::new(Verdict::Invalid(message)) }
        }
    }
}

/// Findings of one severity, as one text.
fn sentences(findings: &[Problem], severity: Severity) -> String {
    /// A condition's message has room for 32 KiB; nobody reads that much.
    const SHOWN: usize = 10;
    let mut found = findings.iter().filter(|problem| problem.severity == severity).map(|problem| {
        if problem.path.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.path, problem.message)
        }
    });
    let mut texts: Vec<String> = found.by_ref().take(SHOWN).collect();
    match found.count() {
        0 => {}
        more => texts.push(format!("and {more} more")),
    }
    texts.join("; ")
}

/// The key under which the index knows an object; none for kinds that it does not read.
pub fn key(object: &Object) -> Option<Key> {
    let kind = match (object.kind.group, object.kind.kind) {
        ("", "Namespace") => InputKind::Namespace,
        ("", "Node") => InputKind::Node,
        ("", "Pod") => InputKind::Pod,
        ("", "Service") => InputKind::Service,
        ("", "ServiceAccount") => InputKind::ServiceAccount,
        ("", "ConfigMap") => InputKind::MeshConfig,
        ("", "Secret") => InputKind::Secret,
        ("discovery.k8s.io", "EndpointSlice") => InputKind::EndpointSlice,
        ("networking.k8s.io", "ServiceCIDR") => InputKind::ServiceCidr,
        ("security.istio.io", "PeerAuthentication") => InputKind::PeerAuthentication,
        ("security.istio.io", "AuthorizationPolicy") => InputKind::AuthorizationPolicy,
        ("security.istio.io", "RequestAuthentication") => InputKind::RequestAuthentication,
        ("networking.istio.io", "VirtualService") => InputKind::VirtualService,
        ("networking.istio.io", "DestinationRule") => InputKind::DestinationRule,
        ("networking.istio.io", "ServiceEntry") => InputKind::ServiceEntry,
        ("networking.istio.io", "WorkloadEntry") => InputKind::WorkloadEntry,
        (GATEWAY_GROUP, "HTTPRoute") => InputKind::HttpRoute,
        (GATEWAY_GROUP, "GRPCRoute") => InputKind::GrpcRoute,
        (GATEWAY_GROUP, "ReferenceGrant") => InputKind::ReferenceGrant,
        _ => return None,
    };
    Some(Key::new(kind, object.namespace.as_deref().unwrap_or_default(), &object.name))
}

type Read = Result<Option<(Input, String)>, String>;

fn peer_authentication(object: &Object) -> Read {
    let policy: PeerAuthentication = object.typed().map_err(|error| error.to_string())?;
    let spec = policy.spec.unwrap_or_default();
    let input = PeerAuthenticationInput {
        selector: spec.match_labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        mode: spec.mode(),
        ports: spec.port_modes().collect(),
        created: kubernetes::created(object),
    };
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let note = peer_authentication::without_effect(namespace, &input);
    Ok(Some((Input::PeerAuthentication(input), note.map(|note| note.to_string()).unwrap_or_default())))
}

fn mesh_config(object: &Object, context: &Context) -> Read {
    if !mesh::is_mesh_config(object) {
        return Ok(None);
    }
    let text = object.value.pointer("/data/mesh").and_then(Value::as_str).unwrap_or_default();
    let (config, problems) = MeshConfig::parse(text);
    let texts = |severity| {
        let text = sentences(&problems, severity);
        if text.is_empty() { text } else { format!("data.mesh: {text}") }
    };
    let Some(config) = config else { return Err(texts(Severity::Error)) };
    let l7 = match config.l7.unwrap_or_default() {
        L7::Auto => L7Mode::Auto,
        L7::Rules => L7Mode::Rules,
        L7::Never => L7Mode::Never,
    };
    let defaults = config.context(&context.cluster_domain);
    let input =
        MeshConfigInput { registry_only: config.registry_only(), l7, traffic: config.traffic(), defaults };
    Ok(Some((Input::MeshConfig(Box::new(input)), texts(Severity::Warning))))
}

/// A security object that is not served denies what it selects.
fn denial(object: &Object) -> Told {
    let message = format!("{} is not served yet: what it selects is denied", object.kind.kind);
    Told { input: Some(Input::Denial(selection(object))), ..Told::new(Verdict::Unsupported(message)) }
}

/// What a security object selects; where that cannot be read it selects everything in its reach.
fn selection(object: &Object) -> Selection {
    let spec = object.value.get("spec");
    let labels = spec.and_then(|spec| spec.pointer("/selector/matchLabels")).and_then(Value::as_object);
    let all_texts = labels.is_some_and(|labels| labels.values().all(Value::is_string));
    let selector: Labels = labels
        .filter(|_| all_texts)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let mut targets: Vec<&Value> = Vec::new();
    targets.extend(spec.and_then(|spec| spec.get("targetRef")));
    targets
        .extend(spec.and_then(|spec| spec.get("targetRefs")).and_then(Value::as_array).into_iter().flatten());
    let services = (!targets.is_empty()).then(|| {
        let services = targets
            .into_iter()
            .filter(|target| target.get("kind").and_then(Value::as_str) == Some("Service"));
        services.filter_map(|target| Some(target.get("name")?.as_str()?.to_owned())).collect()
    });
    Selection { selector, services }
}
