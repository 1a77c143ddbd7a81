//! From any object to what the index reads of it, and a verdict.

use heddle_api::diagnostic::Severity;
use heddle_api::manifest;
use heddle_api::mesh::{self, L7, MeshConfig};
use heddle_api::object::Object;
use heddle_api::security::PeerAuthentication;
use heddle_core::store::MeshTraffic;
use heddle_core::workload::L7Mode;
use serde_json::Value;

use super::{Verdict, kubernetes};
use crate::index::input::{
    Input, InputKind, Key, Labels, MeshConfigInput, PeerAuthenticationInput, Selection,
};
use crate::index::peer_authentication;

/// An object, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What the index takes; `None`: nothing, or the object is wrong and the last good one stays.
    pub input: Option<(Key, Input)>,
    /// What takes its place where there never was a good one: a broken security object denies.
    pub fallback: Option<(Key, Input)>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Reads an object. Kinds of the mesh are read strictly; those of Kubernetes its API server has judged.
pub fn decode(mut object: Object) -> Decoded {
    let mesh_api = object.kind.group.contains('.') && !object.kind.group.ends_with("k8s.io")
        || object.kind.group == "gateway.networking.k8s.io";
    if mesh_api && object.kind.served {
        let errors: Vec<String> = manifest::check(&mut object)
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect();
        if !errors.is_empty() {
            return invalid(&object, errors.join("; "));
        }
    }
    let read = match (object.kind.group, object.kind.kind) {
        ("", "ConfigMap") => mesh_config(&object),
        ("security.istio.io", "PeerAuthentication") => peer_authentication(&object),
        ("security.istio.io", "AuthorizationPolicy" | "RequestAuthentication") => return denial(&object),
        _ if mesh_api => return accepted_not(&object),
        _ => kubernetes::read(&object),
    };
    match read {
        Ok(Some((input, note))) => Decoded {
            input: key(&object).map(|key| (key, input)),
            fallback: None,
            verdict: Verdict::Accepted(note),
        },
        Ok(None) => Decoded { input: None, fallback: None, verdict: Verdict::Accepted(String::new()) },
        Err(message) => invalid(&object, message),
    }
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
        ("discovery.k8s.io", "EndpointSlice") => InputKind::EndpointSlice,
        ("security.istio.io", "PeerAuthentication") => InputKind::PeerAuthentication,
        ("security.istio.io", "AuthorizationPolicy") => InputKind::AuthorizationPolicy,
        ("security.istio.io", "RequestAuthentication") => InputKind::RequestAuthentication,
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

fn mesh_config(object: &Object) -> Read {
    if !mesh::is_mesh_config(object) {
        return Ok(None);
    }
    let text = object.value.pointer("/data/mesh").and_then(Value::as_str).unwrap_or_default();
    let (config, problems) = MeshConfig::parse(text);
    let texts = |severity| {
        let found = problems.iter().filter(move |problem| problem.severity == severity);
        let texts = found.map(|problem| format!("data.mesh: {}: {}", problem.path, problem.message));
        texts.collect::<Vec<_>>().join("; ")
    };
    let Some(config) = config else { return Err(texts(Severity::Error)) };
    let l7 = match config.l7.unwrap_or_default() {
        L7::Auto => L7Mode::Auto,
        L7::Rules => L7Mode::Rules,
        L7::Never => L7Mode::Never,
    };
    let input =
        MeshConfigInput { registry_only: config.registry_only(), l7, traffic: MeshTraffic::default() };
    Ok(Some((Input::MeshConfig(input), texts(Severity::Warning))))
}

/// A security object that is not served denies what it selects, unless it asks only to be tried.
fn denial(object: &Object) -> Decoded {
    let kind = object.kind.kind;
    let dry_run = object.annotations().get("istio.io/dry-run").is_some_and(|value| value == "true");
    let (input, message) = if dry_run {
        (None, format!("{kind} is not served yet; it is a dry run, so nothing is denied"))
    } else {
        let input = Input::Denial(selection(object));
        (key(object).map(|key| (key, input)), format!("{kind} is not served yet: what it selects is denied"))
    };
    Decoded { input, fallback: None, verdict: Verdict::Unsupported(message) }
}

fn accepted_not(object: &Object) -> Decoded {
    let message =
        format!("{} of {} is not served yet: it has no effect", object.kind.kind, object.kind.group);
    Decoded { input: None, fallback: None, verdict: Verdict::Unsupported(message) }
}

fn invalid(object: &Object, message: String) -> Decoded {
    let fallback = (object.kind.group == "security.istio.io")
        .then(|| key(object).map(|key| (key, Input::Denial(selection(object)))))
        .flatten();
    Decoded { input: None, fallback, verdict: Verdict::Invalid(message) }
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
