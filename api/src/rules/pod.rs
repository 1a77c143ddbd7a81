//! The spec of a pod, by itself or in a template.

use std::collections::HashSet;

use super::look::Look;
use crate::diagnostic::Problem;
use crate::names;

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

pub(super) fn check(spec: &Look<'_>, problems: &mut Vec<Problem>) {
    if !spec.is_there() {
        problems.push(spec.wrong("is required"));
        return;
    }
    let containers = spec.get("containers");
    if containers.is_empty() {
        problems.push(containers.wrong("is required: a pod has at least one container"));
    }
    spec.get("restartPolicy").one_of(&["Always", "OnFailure", "Never"], problems);
    spec.get("dnsPolicy").one_of(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], problems);
    spec.get("terminationGracePeriodSeconds").within(0, i64::MAX, problems);
    let volumes = volumes(&spec.get("volumes"), problems);
    let mut seen = HashSet::new();
    let init = spec.get("initContainers");
    for container in init.items().chain(containers.items()) {
        self::container(&container, &mut seen, &volumes, problems);
    }
}

fn volumes<'a>(volumes: &Look<'a>, problems: &mut Vec<Problem>) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    for volume in volumes.items() {
        label_name(&volume.get("name"), &mut seen, problems);
    }
    seen
}

fn container<'a>(
    container: &Look<'a>,
    seen: &mut HashSet<&'a str>,
    volumes: &HashSet<&str>,
    problems: &mut Vec<Problem>,
) {
    label_name(&container.get("name"), seen, problems);
    container.get("image").required(problems);
    container.get("imagePullPolicy").one_of(&["Always", "IfNotPresent", "Never"], problems);
    ports(&container.get("ports"), problems);
    for variable in container.get("env").items() {
        variable.get("name").required(problems);
        if !variable.get("value").is_empty() && variable.get("valueFrom").is_there() {
            problems.push(variable.get("valueFrom").wrong("cannot stand beside value: remove one of them"));
        }
    }
    for mount in container.get("volumeMounts").items() {
        mount.get("mountPath").required(problems);
        let name = mount.get("name");
        match name.text() {
            None | Some("") => name.required(problems),
            Some(text) if !volumes.contains(text) => {
                problems.push(name.wrong(format!("there is no volume {text:?} in spec.volumes")));
            }
            Some(_) => {}
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe(&container.get(kind), problems);
    }
}

fn ports(ports: &Look<'_>, problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    for port in ports.items() {
        let number = port.get("containerPort");
        number.required(problems);
        number.within(1, 65535, problems);
        port.get("hostPort").within(0, 65535, problems);
        port.get("protocol").one_of(PROTOCOLS, problems);
        let name = port.get("name");
        name.port_or_name(problems);
        if let Some(text) = name.text().filter(|text| !seen.insert(*text)) {
            problems.push(name.wrong(format!("another port of the container is named {text:?}")));
        }
    }
}

fn probe(probe: &Look<'_>, problems: &mut Vec<Problem>) {
    if !probe.is_there() {
        return;
    }
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"].map(|kind| probe.get(kind));
    let given = handlers.iter().filter(|handler| handler.is_there()).count();
    if given != 1 {
        problems
            .push(probe.wrong(format!("has {given} of exec, httpGet, tcpSocket and grpc: give exactly one")));
    }
    for handler in &handlers[1..] {
        if handler.is_there() {
            let port = handler.get("port");
            port.required(problems);
            port.port_or_name(problems);
        }
    }
    for (field, least) in
        [("periodSeconds", 1), ("timeoutSeconds", 1), ("failureThreshold", 1), ("initialDelaySeconds", 0)]
    {
        probe.get(field).within(least, i64::from(i32::MAX), problems);
    }
}

/// A required DNS label that nothing else of its list has.
fn label_name<'a>(name: &Look<'a>, seen: &mut HashSet<&'a str>, problems: &mut Vec<Problem>) {
    match name.text() {
        None | Some("") => name.required(problems),
        Some(text) if !names::is_dns_label(text) => {
            problems.push(name.wrong(format!("{text:?} is not a name: {}", names::DNS_LABEL)));
        }
        Some(text) if !seen.insert(text) => problems.push(name.wrong(format!("{text:?} is used twice"))),
        Some(_) => {}
    }
}
