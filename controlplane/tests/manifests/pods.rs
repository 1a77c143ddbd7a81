//! What the pods ask of a node: nothing that is not written here.

use std::collections::BTreeSet;

use clap::Parser;
use heddle_controlplane::options::{Options, Registry};
use serde_json::Value;

use super::files::{self, Document};

/// Container, capability.
const CAPABILITIES: &[(&str, &str)] = &[
    ("agent", "DAC_OVERRIDE"),
    ("agent", "NET_ADMIN"),
    ("agent", "SYS_ADMIN"),
    ("agent", "SYS_CHROOT"),
    ("agent", "SYS_PTRACE"),
    ("cni", "CHOWN"),
    ("cni", "DAC_OVERRIDE"),
    ("cni", "FOWNER"),
];
/// Container, path of the node's.
const HOST_PATHS: &[(&str, &str)] =
    &[("agent", "/run/heddle"), ("cni", "/etc/cni/net.d"), ("cni", "/opt/cni/bin"), ("cni", "/run/heddle")];

fn pods() -> Vec<(Document, Value)> {
    let documents = files::applied().into_iter();
    documents
        .filter(|document| ["Deployment", "DaemonSet"].contains(&document.kind()))
        .map(|document| {
            let pod = document.object["spec"]["template"]["spec"].clone();
            (document, pod)
        })
        .collect()
}

fn containers() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (document, pod) in pods() {
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in pod[list].as_array().into_iter().flatten() {
                all.push((
                    format!("{}/{}", document.name(), container["name"].as_str().unwrap()),
                    container.clone(),
                ));
            }
        }
    }
    assert_eq!(all.len(), 3, "controller, agent, cni");
    all
}

fn owned(list: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    list.iter().map(|(container, what)| ((*container).to_owned(), (*what).to_owned())).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn images_have_the_version_of_the_workspace_and_are_not_pulled_again() {
    for (name, container) in containers() {
        let program = name.split('/').next_back().unwrap();
        let image = format!("heddle.dev/heddle-{program}:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(text(&container["image"]), image, "{name}");
        assert_eq!(text(&container["imagePullPolicy"]), "IfNotPresent", "{name}");
    }
}

#[test]
fn containers_may_do_what_is_listed_and_nothing_else() {
    let mut added = BTreeSet::new();
    for (name, container) in containers() {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert!(security["privileged"].is_null(), "{name}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
        for capability in security["capabilities"]["add"].as_array().into_iter().flatten() {
            added.insert((text(&container["name"]).to_owned(), text(capability).to_owned()));
        }
    }
    assert_eq!(added, owned(CAPABILITIES));
}

#[test]
fn every_capability_says_why() {
    let file = files::text("base/agent.yaml");
    for (_, capability) in CAPABILITIES {
        let mut lines = file.lines().filter(|line| line.trim().starts_with(&format!("- {capability} ")));
        let line = lines.next().unwrap_or_else(|| panic!("{capability} has no reason beside it"));
        assert!(line.split_once('#').is_some_and(|(_, why)| why.len() > 10), "{line}");
    }
}

#[test]
fn nothing_of_the_node_is_mounted_but_what_is_listed() {
    let mut mounted = BTreeSet::new();
    for (_, pod) in pods() {
        let volumes: Vec<&Value> = pod["volumes"].as_array().into_iter().flatten().collect();
        for container in pod["containers"].as_array().unwrap() {
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
                if let Some(path) = volume["hostPath"]["path"].as_str() {
                    assert_eq!(mount["mountPath"], path, "what a log names is where the node has it");
                    // Only privileged containers may mount for the node.
                    assert!(mount["mountPropagation"].is_null());
                    mounted.insert((text(&container["name"]).to_owned(), path.to_owned()));
                }
            }
        }
    }
    assert_eq!(mounted, owned(HOST_PATHS));
}

#[test]
fn only_the_agent_is_in_the_nodes_namespaces_and_it_has_no_way_to_the_api_server() {
    for (document, pod) in pods() {
        let agent = document.name() == "heddle-agent";
        for field in ["hostNetwork", "hostPID"] {
            assert_eq!(pod[field].as_bool().unwrap_or_default(), agent, "{} {field}", document.name());
        }
        assert!(pod["hostIPC"].is_null());
        assert_eq!(pod["automountServiceAccountToken"], !agent);
        assert_eq!(pod["enableServiceLinks"], false);
        assert_eq!(text(&pod["securityContext"]["seccompProfile"]["type"]), "RuntimeDefault");
        assert_eq!(pod["securityContext"]["runAsUser"], if agent { 0 } else { 65532 });
        assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool().unwrap_or_default(), !agent);
        assert!(text(&pod["priorityClassName"]).starts_with("system-"), "{}", document.name());
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let source = &volume["projected"]["sources"][0]["serviceAccountToken"];
            assert!(source.is_null() || source["audience"] == "heddle-ca");
        }
    }
}

#[test]
fn resources_are_asked_for_and_the_processor_is_not_limited() {
    for (name, container) in containers() {
        for resource in ["cpu", "memory"] {
            assert!(container["resources"]["requests"][resource].is_string(), "{name} {resource}");
        }
        assert!(container["resources"]["limits"]["cpu"].is_null(), "{name}");
    }
}

#[test]
fn the_controller_knows_the_flags_that_it_is_given() {
    let containers = containers();
    let (_, container) = containers.iter().find(|(name, _)| name == "heddle-controller/controller").unwrap();
    let flags = container["args"].as_array().unwrap().iter().map(text);
    let options = Options::try_parse_from(std::iter::once("heddle-controller").chain(flags)).unwrap();
    assert_eq!(options.registry, Registry::Kubernetes);
}

#[test]
fn selectors_find_their_pods() {
    let applied = files::applied();
    for document in applied.iter().filter(|document| ["Deployment", "DaemonSet"].contains(&document.kind())) {
        let labels = &document.object["spec"]["template"]["metadata"]["labels"];
        for (key, value) in document.object["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(labels[key], *value, "{}", document.name());
        }
    }
    for service in applied.iter().filter(|document| document.kind() == "Service") {
        let app = &service.object["spec"]["selector"]["app"];
        let (_, pod) = pods()
            .into_iter()
            .find(|(document, _)| document.object["spec"]["template"]["metadata"]["labels"]["app"] == *app)
            .unwrap();
        for port in service.object["spec"]["ports"].as_array().unwrap() {
            let ports = pod["containers"][0]["ports"].as_array().unwrap();
            let target = ports.iter().find(|target| target["name"] == port["targetPort"]).unwrap();
            assert_eq!(target["containerPort"], port["port"]);
        }
    }
}
