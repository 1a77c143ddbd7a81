//! The status of one object, pure: Istio's shape for Istio's kinds, the Gateway API's for its routes.
//!
//! Sources: Istio API `meta/v1alpha1/status.proto`, `analysis/v1alpha1/message.proto`; Gateway API v1 `RouteStatus`.

use heddle_api::diagnostic::{Problem, Severity};
use serde_json::{Map, Value, json};

use super::Told;
use crate::index::input::Parent;
use crate::index::route::{Finding, ParentVerdict};
use crate::registry::{ObjectId, Verdict};

/// As `spec.controllerName` of a GatewayClass would have it.
pub(super) const CONTROLLER: &str = "heddle.dev/controller";

/// The status to write, given the one that was written before.
pub(super) fn of(id: &ObjectId, told: &Told, old: Option<&Value>, now: &str) -> Value {
    let judged = &told.judged;
    let mut body = Map::new();
    body.insert("resourceVersion".to_owned(), judged.resource_version.to_string().into());
    let parents = parents(told);
    if parents.is_empty() {
        let mut condition = accepted(&judged.verdict);
        settle(&mut condition, judged.generation, old.and_then(|old| old.get("conditions")), now);
        body.insert("conditions".to_owned(), json!([condition]));
    } else {
        let all = parents.iter().map(|verdict| parent(verdict, judged.generation, old, now));
        body.insert("parents".to_owned(), all.collect());
    }
    if id.directory.ends_with(".istio.io") {
        body.insert("observedGeneration".to_owned(), judged.generation.into());
        let messages = judged.findings.iter().chain(&told.analysis).map(message).collect::<Vec<_>>();
        if !messages.is_empty() {
            body.insert("validationMessages".to_owned(), messages.into());
        }
    }
    Value::Object(body)
}

fn accepted(verdict: &Verdict) -> Value {
    let (status, reason, message) = match verdict {
        Verdict::Accepted(message) => ("True", "Accepted", message),
        Verdict::Unsupported(message) => ("False", "Unsupported", message),
        Verdict::Invalid(message) => ("False", "Invalid", message),
    };
    json!({"type": "Accepted", "status": status, "reason": reason, "message": message})
}

/// What the parents say; of a route that is refused, that it is.
fn parents(told: &Told) -> Vec<ParentVerdict> {
    let Verdict::Invalid(message) = &told.judged.verdict else { return told.parents.clone() };
    let services = told.judged.parents.iter().filter(|written| Parent::read(written, "").is_service());
    let refused = |written: &Value| ParentVerdict {
        parent: written.clone(),
        accepted: Finding::fails("UnsupportedValue", message.clone()),
        resolved: Finding { holds: true, reason: "ResolvedRefs", message: String::new() },
        partial: None,
    };
    services.map(refused).collect()
}

fn parent(verdict: &ParentVerdict, generation: i64, old: Option<&Value>, now: &str) -> Value {
    let before = old.and_then(|old| old.get("parents")).and_then(Value::as_array).into_iter().flatten();
    let before = before.into_iter().find(|before| before["parentRef"] == verdict.parent);
    let before = before.and_then(|before| before.get("conditions"));
    let named = [("Accepted", Some(&verdict.accepted)), ("ResolvedRefs", Some(&verdict.resolved))];
    let named = named.into_iter().chain([("PartiallyInvalid", verdict.partial.as_ref())]);
    let conditions = named.filter_map(|(name, finding)| {
        let finding = finding?;
        let status = if finding.holds { "True" } else { "False" };
        let mut condition =
            json!({"type": name, "status": status, "reason": finding.reason, "message": finding.message});
        settle(&mut condition, generation, before, now);
        Some(condition)
    });
    json!({"parentRef": verdict.parent, "controllerName": CONTROLLER, "conditions": conditions.collect::<Vec<_>>()})
}

/// The time stays for as long as the condition's status does.
fn settle(condition: &mut Value, generation: i64, before: Option<&Value>, now: &str) {
    let before = before.and_then(Value::as_array).into_iter().flatten();
    let same = before
        .into_iter()
        .find(|old| old["type"] == condition["type"] && old["status"] == condition["status"]);
    let since = same.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(now);
    condition["observedGeneration"] = generation.into();
    condition["lastTransitionTime"] = since.into();
}

fn message(problem: &Problem) -> Value {
    let level = match problem.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    };
    let code = problem.code.text();
    let place = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
    let mut message = json!({
        "type": {"code": code, "name": name(code)},
        "level": level,
        "message": format!("{place}{}", problem.message),
    });
    if code.starts_with("IST") {
        let page = code.to_ascii_lowercase();
        message["documentationUrl"] =
            format!("https://istio.io/latest/docs/reference/config/analysis/{page}/").into();
    }
    message
}

/// As `istioctl analyze` calls them; ours are called by their codes.
fn name(code: &str) -> &str {
    match code {
        "IST0101" => "ReferencedResourceNotFound",
        "IST0106" => "SchemaValidationError",
        "IST0109" => "ConflictingMeshGatewayVirtualServiceHosts",
        "IST0112" => "VirtualServiceDestinationPortSelectorRequired",
        "IST0122" => "InvalidRegexp",
        "IST0127" => "NoMatchingWorkloadsFound",
        "IST0128" => "NoServerCertificateVerificationDestinationLevel",
        "IST0129" => "NoServerCertificateVerificationPortLevel",
        "IST0130" => "VirtualServiceUnreachableRule",
        "IST0131" => "VirtualServiceIneffectiveMatch",
        "IST0133" => "SchemaWarning",
        "IST0134" => "ServiceEntryAddressesRequired",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use heddle_api::diagnostic::Code;

    use super::*;
    use crate::registry::Judged;

    fn judged(verdict: Verdict, parents: Vec<Value>) -> Judged {
        let findings = vec![Problem::warning(Code::NotServed, "spec.x", "is not served yet")];
        Judged { resource_version: 7, generation: 3, verdict, findings, parents }
    }

    fn id(directory: &str) -> ObjectId {
        ObjectId { directory: directory.into(), namespace: "ns".into(), name: "r".into() }
    }

    #[test]
    fn an_object_of_istio_has_conditions_and_messages() {
        let across = vec![Problem::warning(Code::NotFound, "spec.hosts", "no such host")];
        let told = Told {
            judged: judged(Verdict::Accepted(String::new()), vec![]),
            parents: vec![],
            analysis: across,
        };
        let id = id("virtualservices.networking.istio.io");
        let first = of(&id, &told, None, "then");
        assert_eq!(
            (&first["observedGeneration"], &first["conditions"][0]["status"]),
            (&json!(3), &json!("True"))
        );
        let message = &first["validationMessages"][0];
        assert_eq!((&message["type"]["code"], &message["level"]), (&json!("HDL0003"), &json!("WARNING")));
        assert_eq!(first["validationMessages"][1]["type"]["name"], "ReferencedResourceNotFound");
        let again = of(&id, &told, Some(&first), "now");
        assert_eq!(again, first, "the same status is not written again");
        let wrong =
            Told { judged: judged(Verdict::Invalid("x".into()), vec![]), parents: vec![], analysis: vec![] };
        assert_eq!(of(&id, &wrong, Some(&first), "now")["conditions"][0]["lastTransitionTime"], "now");
    }

    #[test]
    fn a_route_has_what_each_parent_says_and_a_refused_one_that_it_is() {
        let service = json!({"group": "", "kind": "Service", "name": "s", "port": 80});
        let gateway = json!({"name": "g"});
        let parents = vec![service.clone(), gateway];
        let said = ParentVerdict {
            parent: service.clone(),
            accepted: Finding { holds: true, reason: "Accepted", message: String::new() },
            resolved: Finding::fails("BackendNotFound", "no".into()),
            partial: None,
        };
        let id = id("httproutes.gateway.networking.k8s.io");
        let told = Told {
            judged: judged(Verdict::Accepted(String::new()), parents.clone()),
            parents: vec![said],
            analysis: vec![],
        };
        let first = of(&id, &told, None, "then");
        assert!(first.get("conditions").is_none() && first.get("validationMessages").is_none());
        let parent = &first["parents"][0];
        assert_eq!((&parent["parentRef"], &parent["controllerName"]), (&service, &json!(CONTROLLER)));
        assert_eq!(parent["conditions"][1]["reason"], "BackendNotFound");
        assert_eq!(parent["conditions"][1]["observedGeneration"], 3);
        let wrong = Told {
            judged: judged(Verdict::Invalid("x".into()), parents),
            parents: told.parents,
            analysis: vec![],
        };
        let second = of(&id, &wrong, Some(&first), "now");
        assert_eq!(second["parents"].as_array().unwrap().len(), 1, "a Gateway is not ours to speak for");
        let conditions = &second["parents"][0]["conditions"];
        assert_eq!(
            (&conditions[0]["reason"], &conditions[0]["lastTransitionTime"]),
            (&json!("UnsupportedValue"), &json!("now"))
        );
    }
}
