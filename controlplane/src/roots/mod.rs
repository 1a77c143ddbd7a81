//! The root certificate in every namespace: a ConfigMap named as Istio names it, which agents and ztunnels mount.
//!
//! Of all ConfigMaps of the cluster only those of this name are asked for. Each is applied where it differs, at a bounded pace.

mod plan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_api::object::Object;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ca::trust::{self, LatestTrust};
use crate::readiness::Readiness;
use crate::registry::ObjectId;
use crate::registry::cluster::{Cluster, News, watched};
use crate::rights;
use plan::{HOME, Held, Plan};

/// Name of the ConfigMap.
pub const NAME: &str = "istio-ca-root-cert";
/// Its key.
pub const KEY: &str = "root-cert.pem";

/// As `managedFields` tell our part from others'.
const MANAGER: &str = "heddle-controller";
/// Between two writes: fifty a second.
const PACE: Duration = Duration::from_millis(20);
/// Writes under way.
const AT_ONCE: usize = 8;
/// For one write.
const PATIENCE: Duration = Duration::from_secs(15);
/// After a write that failed.
const REST: Duration = Duration::from_secs(5);
/// What istiod writes on its own.
const ISTIO_LABEL: &str = "/metadata/labels/istio.io~1config";
/// Key of what readiness is told.
const NOTE: &str = "root certificates";
const LISTS: [&str; 2] = ["namespaces.core", "configmaps.core"];

/// What came of a write.
enum Written {
    Held(Held),
    /// The namespace is gone, or on its way.
    Ended,
    /// Somebody else was faster; the watch says who.
    Taken,
    Failed(String),
}

/// The task's own.
struct Writer {
    client: Client,
    plan: Plan,
    writes: JoinSet<(Arc<str>, Written)>,
    readiness: Readiness,
    /// The last failure, until something is written again.
    failure: Option<String>,
    established: bool,
}

/// Writes until it is stopped.
pub async fn run(
    (client, cluster): (Client, Cluster),
    mut latest: LatestTrust,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let (sender, mut heard) = mpsc::channel(256);
    for (number, watched) in watched::roots().into_iter().enumerate() {
        cluster.follow(&client, (number, watched), sender.clone());
    }
    drop(sender);
    let plan = Plan::new(Instant::now());
    let mut writer =
        Writer { client, plan, writes: JoinSet::new(), readiness, failure: None, established: false };
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    latest.mark_changed();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = trust::changed(&mut latest) => {
                let bundle = latest.borrow().as_ref().map(|trust| trust.bundle());
                bundle.into_iter().for_each(|bundle| writer.plan.trust(&bundle, Instant::now()));
            }
            news = heard.recv() => match news {
                Some(news) => writer.hear(news),
                None => return,
            },
            Some(done) = writer.writes.join_next() => match done {
                Ok((namespace, written)) => writer.took(&namespace, written),
                Err(error) => tracing::error!(%error, "the writer of a ConfigMap failed"),
            },
            _ = tick.tick(), if writer.plan.waits() && writer.writes.len() < AT_ONCE => writer.begin(),
        }
        writer.report();
    }
}

impl Writer {
    fn hear(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Listed { source, puts, gone, .. } => {
                puts.iter().for_each(|(id, object)| self.see(id, Some(object), now));
                gone.iter().for_each(|id| self.see(id, None, now));
                if !std::mem::replace(&mut self.plan.listed[source % LISTS.len()], true) {
                    self.plan.all(now);
                }
            }
            News::Put(id, object) => self.see(&id, Some(&object), now),
            News::Gone(id, _) => self.see(&id, None, now),
            News::Trouble(_, message) => self.failure = Some(message),
            News::Fine(_) => self.failure = None,
            // Both kinds are Kubernetes' own, and the registry speaks of the rest.
            News::Absent(..) | News::Discovery(_) | News::Unreadable(..) => {}
        }
    }

    fn see(&mut self, id: &ObjectId, object: Option<&Object>, now: Instant) {
        if *id.directory == *LISTS[0] {
            let ends = |object: &Object| {
                object.value.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
            };
            self.plan.namespace(&id.name, object.is_some_and(|object| !ends(object)), now);
        } else {
            self.plan.found(&id.namespace, object.map(|object| held(&object.value)), now);
        }
    }

    fn begin(&mut self) {
        let Some((namespace, bundle, over)) = self.plan.next(Instant::now()) else { return };
        let client = self.client.clone();
        self.writes.spawn(async move {
            let writing = tokio::time::timeout(PATIENCE, write(&client, &namespace, (&bundle, over))).await;
            (namespace, writing.unwrap_or_else(|_elapsed| Written::Failed("no answer".to_owned())))
        });
    }

    fn took(&mut self, namespace: &Arc<str>, written: Written) {
        let now = Instant::now();
        match written {
            Written::Held(held) => {
                self.failure = None;
                self.plan.found(namespace, Some(held), now);
            }
            Written::Ended => tracing::debug!(%namespace, "ends, and gets no root certificate"),
            Written::Taken => self.plan.again(namespace, now + REST),
            Written::Failed(message) => {
                self.plan.again(namespace, now + REST);
                if self.failure.as_ref() != Some(&message) {
                    tracing::warn!(%namespace, message, "the root certificate is not written");
                }
                self.failure = Some(message);
            }
        }
    }

    /// Without it no agent starts, so until it was there once nobody is ready.
    fn report(&mut self) {
        self.established |= self.plan.is_home();
        let mut remarks = self.plan.remarks();
        remarks.extend(self.failure.clone());
        if !self.established {
            let what = format!("ConfigMap {HOME}/{NAME} is not written yet");
            if remarks.is_empty() {
                self.readiness.wait(NOTE, &what);
            } else {
                self.readiness.block(NOTE, &format!("{what}: {}", remarks.join("; ")));
            }
        } else if remarks.is_empty() {
            self.readiness.clear(NOTE);
        } else {
            self.readiness.note(NOTE, &format!("ConfigMaps {NAME}: {}", remarks.join("; ")));
        }
    }
}

async fn write(client: &Client, namespace: &str, (bundle, over): (&str, bool)) -> Written {
    let labels = json!({"app.kubernetes.io/managed-by": "heddle", "app.kubernetes.io/part-of": "heddle"});
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": labels}, "data": {KEY: bundle}});
    let requests = Request::new(format!("/api/v1/namespaces/{namespace}/configmaps"));
    let params = PatchParams { force: over, ..PatchParams::apply(MANAGER) };
    let patch = requests.patch(NAME, &params, &Patch::Apply(&applied));
    let request = match patch {
        Ok(request) => request,
        Err(error) => return Written::Failed(error.to_string()),
    };
    match client.request::<Value>(request).await {
        Ok(object) => Written::Held(held(&object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Written::Ended,
        Err(kube::Error::Api(status)) if status.code == 409 => Written::Taken,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            // Whether a namespace ends, or nobody has granted it, only the words tell (apiserver, namespace lifecycle).
            if status.message.contains("being terminated") {
                return Written::Ended;
            }
            Written::Failed(rights::lacking(&status.message))
        }
        Err(error) => Written::Failed(error.to_string()),
    }
}

fn held(object: &Value) -> Held {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    Held {
        version: text("/metadata/resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0),
        roots: object["data"][KEY].as_str().map(str::to_owned),
        istio: text(ISTIO_LABEL) == Some("true"),
    }
}
