//! Which routes name which Service: a change of the Service, or of the grants around it, touches these alone.

use std::collections::{BTreeMap, BTreeSet};

use heddle_core::route::model::{Backend, BackendRef, HttpAction, HttpRule, RouteObject};

use super::input::{Input, Key, RouteInput};

/// Namespace and name.
type Place = (String, String);

/// Routes by the Services that they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Mentions {
    routes: BTreeMap<Place, BTreeSet<Key>>,
}

impl Mentions {
    /// A route was this and is now that.
    pub(super) fn replace(&mut self, key: &Key, old: Option<&Input>, new: Option<&Input>) {
        for place in places(old) {
            if let Some(keys) = self.routes.get_mut(&place) {
                keys.remove(key);
                if keys.is_empty() {
                    self.routes.remove(&place);
                }
            }
        }
        for place in places(new) {
            self.routes.entry(place).or_default().insert(key.clone());
        }
    }

    /// Routes that name a Service.
    pub(super) fn of(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Key> {
        self.routes.get(&(namespace.to_owned(), name.to_owned())).into_iter().flatten()
    }

    /// Routes that name any Service of a namespace.
    pub(super) fn within(&self, namespace: &str) -> impl Iterator<Item = &Key> {
        let from = (namespace.to_owned(), String::new());
        let here = self.routes.range(from..).take_while(move |((place, _), _)| place == namespace);
        here.flat_map(|(_, keys)| keys)
    }
}

fn places(input: Option<&Input>) -> BTreeSet<Place> {
    let Some(Input::Route(input)) = input else { return BTreeSet::new() };
    let RouteInput { route, parents, .. } = &**input;
    let parents = parents.iter().filter(|parent| parent.is_service());
    let mut places: BTreeSet<Place> =
        parents.map(|parent| (parent.namespace.clone(), parent.name.clone())).collect();
    let mut note = |to: &BackendRef| places.extend(place(to));
    each_backend(route, &mut note);
    places
}

/// Namespace and name of a Service, by its host.
pub(super) fn place(to: &BackendRef) -> Option<Place> {
    let BackendRef::Host(host) = to else { return None };
    let mut labels = host.host.splitn(3, '.');
    let (name, namespace) = (labels.next()?, labels.next()?);
    labels.next().filter(|rest| rest.starts_with("svc."))?;
    Some((namespace.to_owned(), name.to_owned()))
}

fn each_backend(route: &RouteObject, visit: &mut impl FnMut(&BackendRef)) {
    for rule in &route.http {
        if let HttpAction::Forward(backends) = &rule.action {
            for backend in backends {
                visit(&backend.to);
                backend.mirrors.iter().for_each(|mirror| visit(&mirror.to));
            }
        }
        rule.mirrors.iter().for_each(|mirror| visit(&mirror.to));
    }
    let streams =
        route.tls.iter().map(|rule| &rule.backends).chain(route.tcp.iter().map(|rule| &rule.backends));
    streams.flatten().for_each(|backend| visit(&backend.to));
}

/// Every place that a route sends anything to, to be changed.
pub(super) fn each_backend_mut(route: &mut RouteObject, visit: &mut impl FnMut(&mut BackendRef)) {
    let of_backends = |backends: &mut Vec<Backend>, visit: &mut dyn FnMut(&mut BackendRef)| {
        for backend in backends {
            visit(&mut backend.to);
            backend.mirrors.iter_mut().for_each(|mirror| visit(&mut mirror.to));
        }
    };
    for HttpRule { action, mirrors, .. } in &mut route.http {
        if let HttpAction::Forward(backends) = action {
            of_backends(backends, visit);
        }
        mirrors.iter_mut().for_each(|mirror| visit(&mut mirror.to));
    }
    route.tls.iter_mut().for_each(|rule| of_backends(&mut rule.backends, visit));
    route.tcp.iter_mut().for_each(|rule| of_backends(&mut rule.backends, visit));
}
