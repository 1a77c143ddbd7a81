//! What a pod's status says: every container's state, and the conditions that follow from them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Container;
use serde_json::{Map, Value, json};

use crate::container::Exit;
use crate::fabric::address::Pair;
use crate::pod::PodContext;
use crate::store;

use super::Shared;

/// Whether a container prepares the pod, runs beside the others, or is what the pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Sidecar,
    Main,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Waiting { reason: String, message: String },
    Running { since: String },
    Ended(Ended),
}

/// A run of a container that is over.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub exit: Exit,
    pub reason: &'static str,
    pub started: String,
    pub finished: String,
}

/// One container's line on the board.
#[derive(Clone, Debug)]
pub(super) struct Line {
    name: String,
    image: String,
    role: Role,
    pub state: State,
    pub last: Option<Ended>,
    pub restarts: u32,
    pub ready: bool,
    pub started: bool,
}

/// The status of one pod; every change is written to the store at once.
pub(super) struct Board {
    shared: Shared,
    namespace: String,
    name: String,
    uid: String,
    host: Pair,
    content: Mutex<Content>,
}

struct Content {
    since: String,
    lines: Vec<Line>,
    address: Option<Pair>,
    gates: Vec<String>,
    phase: Option<&'static str>,
    failure: Option<(&'static str, String)>,
}

impl Board {
    pub(super) fn new(shared: Shared, pod: &PodContext) -> Self {
        let line = |role| {
            move |container: &Container| {
                let role = match role {
                    Role::Init if container.restart_policy.as_deref() == Some("Always") => Role::Sidecar,
                    role => role,
                };
                Line {
                    name: container.name.clone(),
                    image: container.image.clone().unwrap_or_default(),
                    role,
                    state: State::waiting("ContainerCreating", ""),
                    last: None,
                    restarts: 0,
                    ready: false,
                    started: false,
                }
            }
        };
        let mut lines: Vec<Line> = pod.spec.init_containers.iter().flatten().map(line(Role::Init)).collect();
        if !lines.is_empty() {
            lines.iter_mut().for_each(|line| line.state = State::waiting("PodInitializing", ""));
        }
        lines.extend(pod.spec.containers.iter().map(line(Role::Main)));
        let gates = pod.spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone());
        let content = Content {
            since: store::now(),
            lines,
            address: None,
            gates: gates.collect(),
            phase: None,
            failure: None,
        };
        Self {
            shared,
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            host: pod.host,
            content: Mutex::new(content),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a container's line.
    pub(super) fn update<T>(&self, container: &str, change: impl FnOnce(&mut Line) -> T) -> Option<T> {
        let result = self.content().lines.iter_mut().find(|line| line.name == container).map(change);
        self.publish();
        result
    }

    /// The pod has its network.
    pub(super) fn connected(&self, address: Pair) {
        self.content().address = Some(address);
        self.publish();
    }

    /// No container of the pod waits for anything but this.
    pub(super) fn waiting(&self, reason: &str, message: &str) {
        for line in &mut self.content().lines {
            if matches!(line.state, State::Waiting { .. }) {
                line.state = State::waiting(reason, message);
            }
        }
        self.publish();
    }

    /// The pod has come to its end by itself.
    pub(super) fn finished(&self) {
        let mut content = self.content();
        let ended_well = |line: &Line| match &line.state {
            State::Ended(ended) => ended.exit.code == 0,
            _ => false,
        };
        let well = content.lines.iter().filter(|line| line.role != Role::Sidecar).all(ended_well);
        content.phase = Some(if well { "Succeeded" } else { "Failed" });
        drop(content);
        self.publish();
    }

    pub(super) fn failed(&self, reason: &'static str, message: &str) {
        let mut content = self.content();
        content.phase = Some("Failed");
        content.failure = Some((reason, message.to_owned()));
        drop(content);
        self.publish();
    }

    /// Writes the status anew; the pod may be gone from the store, which needs no status then.
    pub(super) fn publish(&self) {
        let content = self.content();
        let object = self.shared.store.get(self.shared.pods, Some(&self.namespace), &self.name);
        if object.as_ref().and_then(|object| object.uid()) != Some(self.uid.as_str()) {
            return;
        }
        let write = |status: &mut Value| content.write(status, self.host);
        let written =
            self.shared.store.patch_status(self.shared.pods, Some(&self.namespace), &self.name, write);
        if let Err(error) = written {
            tracing::debug!(pod = self.name, %error, "status not written");
        }
    }
}

impl Content {
    fn write(&self, status: &mut Value, host: Pair) {
        status["phase"] = self.phase().into();
        status["hostIP"] = json!(host.v4);
        status["hostIPs"] = json!([{"ip": host.v4}, {"ip": host.v6}]);
        if let Some(address) = self.address {
            status["podIP"] = json!(address.v4);
            status["podIPs"] = json!([{"ip": address.v4}, {"ip": address.v6}]);
        }
        status["startTime"] = json!(self.since);
        status["qosClass"] = json!("BestEffort");
        if let Some((reason, message)) = &self.failure {
            status["reason"] = json!(reason);
            status["message"] = json!(message);
        }
        self.conditions(status);
        let of = |wanted: fn(&Line) -> bool| {
            self.lines.iter().filter(|line| wanted(line)).map(Line::value).collect::<Vec<_>>()
        };
        let init = of(|line| line.role != Role::Main);
        if !init.is_empty() {
            status["initContainerStatuses"] = init.into();
        }
        status["containerStatuses"] = of(|line| line.role == Role::Main).into();
    }

    fn phase(&self) -> &'static str {
        let began = |line: &Line| line.role == Role::Main && (line.last.is_some() || !line.is_waiting());
        self.phase.unwrap_or(if self.lines.iter().any(began) { "Running" } else { "Pending" })
    }

    fn conditions(&self, status: &mut Value) {
        let initialized = self.lines.iter().all(|line| match line.role {
            Role::Init => matches!(&line.state, State::Ended(ended) if ended.exit.code == 0),
            Role::Sidecar => line.started,
            Role::Main => true,
        });
        let unready: Vec<_> = self
            .lines
            .iter()
            .filter(|line| line.role != Role::Init && !line.ready)
            .map(|line| line.name.as_str())
            .collect();
        let why = match self.phase {
            Some("Succeeded") => Some(("PodCompleted", String::new())),
            Some(_) => Some(("PodFailed", String::new())),
            None if unready.is_empty() => None,
            None => Some((
                "ContainersNotReady",
                format!("containers with unready status: [{}]", unready.join(" ")),
            )),
        };
        let closed = self.gates.iter().find(|gate| !is_true(status, gate));
        let gate = closed.map(|gate| {
            ("ReadinessGatesNotReady", format!("corresponding condition of pod readiness gate {gate:?} does not exist or is not \"True\"."))
        });
        let network = self.address.is_none().then(|| ("NetworkNotReady", String::new()));
        let preparing = (!initialized).then(|| ("ContainersNotInitialized", String::new()));
        condition(status, "PodReadyToStartContainers", network);
        condition(status, "Initialized", preparing);
        condition(status, "Ready", why.clone().or(gate));
        condition(status, "ContainersReady", why);
        condition(status, "PodScheduled", None);
    }
}

fn is_true(status: &Value, kind: &str) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// True without a reason against it. The time of the last transition stays while the condition stays.
fn condition(status: &mut Value, kind: &str, against: Option<(&str, String)>) {
    let truth = if against.is_none() { "True" } else { "False" };
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let old = conditions.iter().position(|condition| condition["type"] == kind);
    let since = old.map(|at| &conditions[at]).filter(|old| old["status"] == truth);
    let since = since.and_then(|old| old.get("lastTransitionTime").cloned());
    let mut new = Map::new();
    new.insert("type".into(), kind.into());
    new.insert("status".into(), truth.into());
    new.insert("lastProbeTime".into(), Value::Null);
    new.insert("lastTransitionTime".into(), since.unwrap_or_else(|| store::now().into()));
    if let Some((reason, message)) = against {
        new.insert("reason".into(), reason.into());
        if !message.is_empty() {
            new.insert("message".into(), message.into());
        }
    }
    match old {
        Some(at) => conditions[at] = new.into(),
        None => conditions.push(new.into()),
    }
}

impl State {
    pub(super) fn waiting(reason: &str, message: &str) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: message.to_owned() }
    }

    fn value(&self) -> Value {
        match self {
            Self::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
            Self::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            Self::Running { since } => json!({"running": {"startedAt": since}}),
            Self::Ended(ended) => ended.value(),
        }
    }
}

impl Ended {
    fn value(&self) -> Value {
        let mut value = json!({"exitCode": self.exit.code, "reason": self.reason,
                               "startedAt": self.started, "finishedAt": self.finished});
        if let Some(signal) = self.exit.signal {
            value["signal"] = signal.into();
        }
        json!({"terminated": value})
    }
}

impl Line {
    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    fn value(&self) -> Value {
        json!({
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "state": self.state.value(),
            "lastState": self.last.as_ref().map_or_else(|| json!({}), Ended::value),
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        })
    }
}
