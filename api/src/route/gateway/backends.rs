//! `backendRefs` and the backends of mirrors: Services by name, everything else by what is wrong with it.

use heddle_core::route::model::{Backend, BackendRef, HostRef};

use super::filters::{self, Filtered};
use super::schema::{HttpBackendRef, ObjectReference};
use super::{Found, Scope};
use crate::names;
use crate::report::{At, Notes};

const MOST_WEIGHT: i64 = 1_000_000;

pub(super) fn read(
    written: &[HttpBackendRef],
    one_prefix: bool,
    scope: &Scope<'_>,
    found: &mut Found,
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<Backend> {
    super::at_most(written.len(), 16, at, notes);
    let mut backends = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let HttpBackendRef { group, kind, name, namespace, port, weight, filters } = each;
        let reference = ObjectReference {
            group: group.clone(),
            kind: kind.clone(),
            name: name.clone(),
            namespace: namespace.clone(),
            port: *port,
        };
        let mut to = self::reference(&reference, scope, found, &at, notes);
        let weight = weight.unwrap_or(1);
        if !(0..=MOST_WEIGHT).contains(&weight) {
            notes.error(&at.field("weight"), format!("is {weight}, expected 0 to {MOST_WEIGHT}"));
        }
        let filters_at = at.field("filters");
        let Filtered { headers, rewrite, redirect, mirrors, cors, broken } =
            filters::read(filters, one_prefix, scope, found, &filters_at, notes);
        if cors.is_some() {
            let message =
                "CORS is not served on a backend: its share is answered 500; move it to the rule's filters";
            notes.unserved(&filters_at, message);
        }
        let broken = broken.or_else(|| cors.map(|_| "filter CORS is not served on a backend".to_owned()));
        if let Some(reason) = broken {
            found.dropped.push(format!("{at}: {reason}"));
            to = BackendRef::Invalid(reason);
        }
        let weight = u32::try_from(weight).unwrap_or(0);
        backends.push(Backend { to, weight, headers, rewrite, mirrors, redirect });
    }
    backends
}

/// A backend that the mesh knows of, or why it does not.
pub(super) fn reference(
    written: &ObjectReference,
    scope: &Scope<'_>,
    found: &mut Found,
    at: &At<'_>,
    notes: &mut Notes,
) -> BackendRef {
    let group = written.group.as_deref().unwrap_or_default();
    let kind = written.kind.as_deref().unwrap_or("Service");
    let name = written.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        notes.error(&at.field("name"), "is required: write the name of the Service");
    }
    let namespace = written.namespace.as_deref().unwrap_or(scope.namespace);
    if !names::is_dns_label(namespace) {
        notes
            .error(&at.field("namespace"), format!("{namespace:?} is not a namespace: {}", names::DNS_LABEL));
    }
    let port_at = at.field("port");
    let port = written.port.and_then(|port| u16::try_from(port).ok().filter(|port| *port != 0));
    if let (Some(number), None) = (written.port, port) {
        notes.error(&port_at, format!("port {number} does not exist: write a port from 1 to 65535"));
    }
    let host = match (group, kind) {
        ("", "Service") => format!("{name}.{namespace}.svc.{}", scope.context.cluster_domain),
        // Istio's own kind: a host of the registry, a ServiceEntry's say.
        ("networking.istio.io", "Hostname") => name.to_ascii_lowercase(),
        _ => {
            let message = format!(
                "a {kind} of group {group:?} is no backend that is known: its share is answered 500; write `kind: Service`"
            );
            notes.unserved(&at.field("kind"), message);
            let reason = format!("{kind} {name} is not a Service");
            found.invalid_kinds.push(reason.clone());
            return BackendRef::Invalid(reason);
        }
    };
    if written.port.is_none() {
        notes.error(&port_at, "is required for a Service: write the port of the Service");
    }
    BackendRef::Host(HostRef { host, port, subset: None })
}
