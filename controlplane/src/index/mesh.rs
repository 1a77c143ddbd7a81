//! Mesh-wide facts: networks, roots, the mesh's configuration, and which namespaces have pods in the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heddle_api::enrolment;
use heddle_core::store::MeshTraffic;
use heddle_proto::heddle::v1::Mesh;

use super::Index;
use super::input::{Input, InputKind, Key};
use super::table::Resource;
use super::world::World;

/// Pods that are in the mesh though their namespace is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Alone {
    by_namespace: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    changed: bool,
}

impl Alone {
    pub(super) fn set(&mut self, pod: &Key, alone: bool) {
        if alone {
            let pods = self.by_namespace.entry(pod.namespace.clone()).or_default();
            self.changed |= pods.is_empty();
            pods.insert(pod.name.clone());
        } else if let Some(pods) = self.by_namespace.get_mut(&pod.namespace) {
            pods.remove(&pod.name);
            if pods.is_empty() {
                self.by_namespace.remove(&pod.namespace);
                self.changed = true;
            }
        }
    }

    /// Whether the namespaces are others than when this was asked last.
    pub(super) fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

impl Index {
    pub(super) fn compute_mesh(&mut self) {
        let settings = self.settings.clone();
        let config = self.world.mesh_config().cloned().unwrap_or_default();
        let traffic = Some(&config.traffic).filter(|traffic| **traffic != MeshTraffic::default());
        // What a flag says is not asked of objects.
        let or = |said: Vec<String>, found: BTreeSet<String>| {
            if said.is_empty() { found.into_iter().collect() } else { said }
        };
        let labelled = self.world.of_kind(InputKind::Namespace).map(|(key, _)| &key.name);
        let labelled = labelled.filter(|name| self.world.namespace_enrolled(name));
        let enrolled: BTreeSet<&Arc<str>> = labelled.chain(self.alone.by_namespace.keys()).collect();
        let mesh = Mesh {
            trust_domain: settings.trust_domain,
            cluster_domain: settings.cluster_domain,
            pod_cidrs: or(settings.pod_cidrs, self.world.pod_cidrs()),
            service_cidrs: or(settings.service_cidrs, self.world.service_cidrs()),
            trust_bundle: settings.trust_bundle,
            registry_only: config.registry_only,
            traffic: traffic.map(json).unwrap_or_default(),
            enrolled_namespaces: enrolled.into_iter().map(ToString::to_string).collect(),
        };
        self.output.put_mesh(Resource::of(&mesh));
    }
}

impl World {
    /// Whether the labels of a namespace want its pods in the mesh.
    pub(super) fn namespace_enrolled(&self, name: &str) -> bool {
        self.namespace(name).is_some_and(enrolment::namespace_enrolled)
    }

    fn pod_cidrs(&self) -> BTreeSet<String> {
        let nodes = self.of_kind(InputKind::Node).map(|(_, input)| input);
        nodes
            .flat_map(|input| if let Input::Node(node) = input { &node.pod_cidrs[..] } else { &[] })
            .cloned()
            .collect()
    }

    fn service_cidrs(&self) -> BTreeSet<String> {
        let objects = self.of_kind(InputKind::ServiceCidr).map(|(_, input)| input);
        objects
            .flat_map(|input| if let Input::ServiceCidr(cidrs) = input { &cidrs[..] } else { &[] })
            .cloned()
            .collect()
    }
}

pub(super) fn json(model: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(model).expect("the keys of every map of the model are texts or numbers")
}
