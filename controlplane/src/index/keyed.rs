//! DestinationRules that name Secrets. Private keys go to the nodes that run pods of the rule's own namespace, as in Istio
//! a Secret is its namespace's; for everybody else those connections are refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use heddle_api::upstream;
use heddle_core::object::TrafficObject;
use heddle_core::upstream::model::{ClientTls, DestinationRule, TrafficPolicy};

use super::input::{Input, InputKind, Key, KeyedInput};
use super::policy;
use super::table::Resource;
use super::world::World;

/// The rule with what its Secrets hold; none where it is refused.
pub(super) fn resource(world: &World, key: &Key, input: &KeyedInput) -> Option<Resource> {
    let secret = |name: &str| match world.get(&Key::new(InputKind::Secret, &key.namespace, name)) {
        Some(Input::Secret(secret)) => Some(secret.0.clone()),
        _ => None,
    };
    let rule = upstream::destination_rule(&input.object, &input.context, &secret).model?;
    let mut public = rule.clone();
    let mut keys = false;
    each_tls(&mut public, &mut |tls| {
        if tls.private_key.take().is_some() {
            keys = true;
            tls.certificate = None;
            tls.broken = Some(format!("the certificate is for pods of namespace {}", key.namespace));
        }
    });
    let (_, full) = policy::traffic(&TrafficObject::DestinationRule(rule));
    if !keys {
        return Some(full);
    }
    let (_, public) = policy::traffic(&TrafficObject::DestinationRule(public));
    Some(full.for_some(nodes(world, key), public))
}

fn nodes(world: &World, key: &Key) -> BTreeSet<Arc<str>> {
    let pods = world.within(InputKind::Pod, &key.namespace).filter_map(|(key, input)| match input {
        Input::Pod(pod) if !pod.node.is_empty() && world.enrolled(key, pod) => Some(pod.node.as_str().into()),
        _ => None,
    });
    pods.collect()
}

fn each_tls(rule: &mut DestinationRule, visit: &mut impl FnMut(&mut ClientTls)) {
    let mut policies: Vec<&mut TrafficPolicy> = vec![&mut rule.policy];
    policies.extend(rule.ports.values_mut());
    for subset in &mut rule.subsets {
        policies.push(&mut subset.policy);
        policies.extend(subset.ports.values_mut());
    }
    policies.into_iter().filter_map(|policy| policy.tls.as_mut()).for_each(visit);
}
