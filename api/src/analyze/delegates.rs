//! Delegation: what is delegated to must be there, have no hosts, and be seen from here.

use super::world::{World, namespace};
use crate::diagnostic::{Code, Severity};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::route::virtual_service::schema::VirtualServiceSpec;

pub(super) fn check(
    spec: &VirtualServiceSpec,
    object: &Object,
    world: &World,
    at: &At<'_>,
    notes: &mut Notes,
) {
    let own = format!("{}/{}", namespace(object), object.name);
    if spec.hosts.is_empty() && !world.delegated.contains(&own) {
        let message = "has no hosts, and no VirtualService delegates to it: it has no effect; write hosts, or `delegate` in another one";
        notes.put(Severity::Warning, Code::Delegate, &at.field("hosts"), message);
    }
    let at = at.field("http");
    for (index, rule) in spec.http.iter().enumerate() {
        let Some(delegate) = &rule.delegate else { continue };
        let at = at.index(index);
        let at = at.field("delegate");
        let of = delegate.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(namespace(object));
        let place = format!("{of}/{}", delegate.name.as_deref().unwrap_or_default());
        match world.delegates.get(&place) {
            None => {
                let message = format!(
                    "VirtualService {place} is not found: requests for this rule are answered 404; write the name of one without hosts"
                );
                notes.put(Severity::Error, Code::NotFound, &at, message);
            }
            Some(None) if place == own => {
                notes.put(
                    Severity::Error,
                    Code::Delegate,
                    &at,
                    "delegates to itself, a cycle: write the name of a VirtualService without hosts",
                );
            }
            Some(None) => {
                let message = format!(
                    "VirtualService {place} has hosts of its own, so that nothing can delegate to it: remove its hosts and gateways"
                );
                notes.put(Severity::Error, Code::Delegate, &at, message);
            }
            Some(Some(export_to)) if !export_to.reaches(namespace(object)) => {
                let message = format!(
                    "VirtualService {place} is not exported to namespace {}: add it to its exportTo",
                    namespace(object)
                );
                notes.put(Severity::Error, Code::Delegate, &at, message);
            }
            Some(Some(_)) => {}
        }
    }
}
