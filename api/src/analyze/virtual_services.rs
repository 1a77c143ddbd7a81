//! VirtualServices: where they send to, and who else speaks for their hosts.

use super::world::{Absent, Speaker, World, namespace};
use super::{delegates, rules};
use crate::diagnostic::{Code, Severity};
use crate::object::Object;
use crate::report::{At, Notes};
use crate::route::qualified;
use crate::route::virtual_service::schema::{Destination, VirtualServiceSpec};
use crate::route::virtual_service::written;

/// More others than these are counted.
const MOST_NAMED: usize = 3;

pub(super) fn check(object: &Object, index: usize, world: &World, notes: &mut Notes) {
    let Some(spec) = written(object) else { return };
    let at = At::root("spec");
    destinations(&spec, namespace(object), world, &at, notes);
    rules::check(&spec, &at, notes);
    delegates::check(&spec, object, world, &at, notes);
    hosts(&spec, object, index, world, &at, notes);
}

fn destinations(spec: &VirtualServiceSpec, from: &str, world: &World, at: &At<'_>, notes: &mut Notes) {
    let mut one = |to: &Option<Destination>, at: &At<'_>| {
        if let Some(to) = to {
            destination(to, from, world, &at.field("destination"), notes);
        }
    };
    let http_at = at.field("http");
    for (index, rule) in spec.http.iter().enumerate() {
        let at = http_at.index(index);
        let route_at = at.field("route");
        for (index, to) in rule.route.iter().enumerate() {
            one(&to.destination, &route_at.index(index));
        }
        let mirrors_at = at.field("mirrors");
        for (index, to) in rule.mirrors.iter().enumerate() {
            one(&to.destination, &mirrors_at.index(index));
        }
    }
    let tls = spec.tls.iter().map(|rule| &rule.route).enumerate().map(|found| ("tls", found));
    let tcp = spec.tcp.iter().map(|rule| &rule.route).enumerate().map(|found| ("tcp", found));
    for (field, (index, route)) in tls.chain(tcp) {
        let at = at.field(field);
        let at = at.index(index);
        let at = at.field("route");
        for (index, to) in route.iter().enumerate() {
            one(&to.destination, &at.index(index));
        }
    }
    for (index, rule) in spec.http.iter().enumerate() {
        if let Some(to) = &rule.mirror {
            destination(to, from, world, &http_at.index(index).field("mirror"), notes);
        }
    }
}

fn destination(to: &Destination, from: &str, world: &World, at: &At<'_>, notes: &mut Notes) {
    let written = to.host.as_deref().unwrap_or_default();
    let name = qualified(written, from, &world.context.cluster_domain);
    let host_at = at.field("host");
    let host = match world.host(&name, from) {
        Ok(host) => host,
        Err(why) => {
            notes.put(Severity::Error, Code::NotFound, &host_at, absent(written, &name, why, from, world));
            return;
        }
    };
    let number = to.port.as_ref().and_then(|port| port.number);
    let listed = || host.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    match number {
        None if host.ports.len() > 1 => {
            let message = format!("{name} has several ports ({}): write `port: {{number: …}}`", listed());
            notes.put(Severity::Error, Code::PortRequired, at, message);
        }
        Some(number)
            if !host.ports.iter().any(|port| i64::from(*port) == number) && !host.ports.is_empty() =>
        {
            let message = format!("{name} has no port {number}: write one of {}", listed());
            let at = at.field("port");
            notes.put(Severity::Error, Code::NotFound, &at.field("number"), message);
        }
        _ => {}
    }
    if let Some(subset) = to.subset.as_deref().filter(|subset| !subset.is_empty())
        && !world.has_subset(&name, subset, from)
    {
        let message = format!(
            "no DestinationRule of {name} has the subset {subset:?}: requests for it are answered 503; add it to `subsets`"
        );
        notes.put(Severity::Error, Code::NotFound, &at.field("subset"), message);
    }
}

/// Words for a host that is not found.
pub(super) fn absent(written: &str, name: &str, why: Absent, from: &str, world: &World) -> String {
    if why == Absent::Hidden {
        return format!(
            "{name} is not exported to namespace {from}: add it to the exportTo of the ServiceEntry"
        );
    }
    let short = written.split('.').count() == 2 && !written.contains('*');
    let longer = format!("{written}.svc.{}", world.context.cluster_domain);
    if short && world.host(&longer, from).is_ok() {
        return format!(
            "host {written:?} is not found: write {longer:?}; a name with a dot is taken as written"
        );
    }
    match world.nearly(name) {
        Some(near) => format!("host {name:?} is not found: did you mean {near:?}?"),
        None => {
            format!("host {name:?} is not found: there is neither a Service nor a ServiceEntry of that name")
        }
    }
}

/// Others that speak for the same hosts.
fn hosts(
    spec: &VirtualServiceSpec,
    object: &Object,
    index: usize,
    world: &World,
    at: &At<'_>,
    notes: &mut Notes,
) {
    let at = at.field("hosts");
    for (place, host) in spec.hosts.iter().enumerate() {
        let at = at.index(place);
        let name = qualified(host, namespace(object), &world.context.cluster_domain);
        let Some(speakers) = world.speakers.get(&name) else { continue };
        // What names gateways only does not speak for the mesh.
        let Ok(own) = speakers.binary_search_by_key(&index, |speaker| speaker.object) else { continue };
        let own = &speakers[own];
        conflict(own, speakers, &name, &at, notes);
        if let Some(route) = world.routed.get(&name) {
            let message = format!(
                "{route} is attached to {name}, and a route of the Gateway API goes before a VirtualService: this host has no effect here; keep one of them"
            );
            notes.put(Severity::Warning, Code::Shadowed, &at, message);
        }
    }
}

fn conflict(own: &Speaker, speakers: &[Speaker], name: &str, at: &At<'_>, notes: &mut Notes) {
    let meets = |other: &&Speaker| other.object != own.object && own.export_to.meets(&other.export_to);
    let named: Vec<&str> =
        speakers.iter().filter(meets).take(MOST_NAMED).map(|other| other.place.as_str()).collect();
    if !named.is_empty() {
        let message = format!(
            "VirtualService {} has the host {name} too: their rules are merged, those of the older object first; put them into one object",
            named.join(", ")
        );
        // Istio's mesh takes the oldest alone, and so calls this an error; here nothing of it is lost.
        notes.put(Severity::Warning, Code::ConflictingHosts, at, message);
    }
}
