//! One discovery stream, from subscription to its end.
//!
//! A response is acknowledged when it is applied; one about this node's pods, when the kernel is where it says.

use std::collections::VecDeque;
use std::time::Duration;

use heddle_core::names::Generation;
use heddle_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use heddle_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status};
use prost_types::{Struct, Value, value};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::connect::causes;
use super::{Control, Kind};
use crate::datapath::Applied;

/// Until the stream is open.
const OPEN: Duration = Duration::from_secs(10);
/// From a change to its write: a burst is written once.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// Largest response: about 200,000 workloads.
const MAX_RESPONSE: usize = 64 << 20;
/// Answers that may wait to be sent, and responses that may wait for the mesh's facts.
const QUEUE: usize = 64;
/// `google.rpc.Code.INVALID_ARGUMENT`, and `INTERNAL` where the fault is the node's.
const INVALID_ARGUMENT: i32 = 3;
const INTERNAL: i32 = 13;

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: String,
    /// Whether the controller said anything: then it is there, and the next attempt may come soon.
    pub(super) received: bool,
}

struct Session<'a> {
    control: &'a mut Control,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    applied: watch::Receiver<Applied>,
    /// Responses that cannot be read before the mesh's facts are known.
    early: Vec<(Kind, DeltaDiscoveryResponse)>,
    /// Responses about pods that the kernel has not reached yet.
    pending: VecDeque<(Generation, String)>,
    /// The last one that the kernel failed at, and the reason given.
    failed: Option<(String, String)>,
    received: bool,
}

/// Runs one session. Safe to cancel: what was applied stays applied.
pub(super) async fn run(control: &mut Control, applied: watch::Receiver<Applied>) -> Ended {
    let (requests, outgoing) = mpsc::channel(QUEUE);
    let mut session = Session {
        control,
        requests,
        applied,
        early: Vec::new(),
        pending: VecDeque::new(),
        failed: None,
        received: false,
    };
    let result = session.run(ReceiverStream::new(outgoing)).await;
    let error = result.err().unwrap_or_else(|| "the controller ended the stream".to_owned());
    Ended { error, received: session.received }
}

impl Session<'_> {
    async fn run(&mut self, outgoing: ReceiverStream<DeltaDiscoveryRequest>) -> Result<(), String> {
        self.subscribe()?;
        let mut responses = self.open(outgoing).await?;
        self.control.status.send_modify(|status| {
            status.connected = true;
            status.error.clear();
            Kind::ALL.into_iter().for_each(|kind| status.of(kind).pending = 0);
        });
        tracing::info!(controller = %self.control.options.controller.address, "connected to the controller");
        let mut save_at = None;
        loop {
            if save_at.is_none() && self.control.dirty() {
                save_at = Some(Instant::now() + SAVE_AFTER);
            }
            tokio::select! {
                response = responses.message() => match response.map_err(|status| refusal(&status))? {
                    Some(response) => self.take(response)?,
                    None => return Ok(()),
                },
                changed = self.applied.changed() => {
                    changed.map_err(|_closed| "the datapath ended".to_owned())?;
                    self.settle()?;
                }
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    self.control.save();
                    save_at = None;
                }
            }
        }
    }

    async fn open(
        &mut self,
        outgoing: ReceiverStream<DeltaDiscoveryRequest>,
    ) -> Result<Streaming<DeltaDiscoveryResponse>, String> {
        let controller = &self.control.options.controller;
        let channel = controller.connect().await.map_err(|error| error.to_string())?;
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        let mut request = tonic::Request::new(outgoing);
        let bearer = controller.bearer().map_err(|error| error.to_string())?;
        request.metadata_mut().insert("authorization", bearer);
        match timeout(OPEN, client.delta_aggregated_resources(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(refusal(&status)),
            Err(_elapsed) => Err(format!("the controller did not open the stream within {OPEN:?}")),
        }
    }

    /// Says what is held, so that the controller sends changes and removals only.
    fn subscribe(&mut self) -> Result<(), String> {
        let applied = self.applied.borrow_and_update();
        let reached = applied.generation >= self.control.generation && applied.failed.is_empty();
        drop(applied);
        for kind in Kind::ALL {
            let mut versions = self.control.tables.versions(kind);
            if kind == Kind::LocalWorkload && !reached {
                // Held, but not in force: sent again, so that its acknowledgement can mean that it is.
                versions.values_mut().for_each(String::clear);
            }
            self.send(DeltaDiscoveryRequest {
                node: Some(node(&self.control.options.node)),
                type_url: kind.url().to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                initial_resource_versions: versions.into_iter().collect(),
                ..Default::default()
            })?;
        }
        Ok(())
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) -> Result<(), String> {
        self.received = true;
        let Some(kind) = Kind::from_url(&response.type_url) else {
            return self.send(nack(
                &response.type_url,
                response.nonce,
                INVALID_ARGUMENT,
                "this type is not served",
            ));
        };
        self.control.status.send_modify(|status| status.of(kind).received += 1);
        if kind != Kind::Mesh && !self.control.tables.has_mesh() {
            if self.early.len() == QUEUE {
                return Err("the controller sends everything but the mesh's facts".to_owned());
            }
            self.early.push((kind, response));
            return Ok(());
        }
        self.apply(kind, response)?;
        if self.control.tables.has_mesh() {
            let mut early = std::mem::take(&mut self.early);
            early.sort_by_key(|(kind, _)| *kind); // stable: responses of one type keep their order
            for (kind, response) in early {
                self.apply(kind, response)?;
            }
        }
        self.settle()
    }

    fn apply(&mut self, kind: Kind, response: DeltaDiscoveryResponse) -> Result<(), String> {
        let nonce = response.nonce.clone();
        let (changed, removed) = (response.resources.len(), response.removed_resources.len());
        if let Err(refused) = self.control.apply(kind, response) {
            return self.refuse(kind, nonce, INVALID_ARGUMENT, &refused.to_string());
        }
        tracing::debug!(
            kind = kind.label(),
            changed,
            removed,
            generation = self.control.generation.0,
            "applied"
        );
        if kind != Kind::LocalWorkload {
            return self.accept(kind, nonce);
        }
        self.pending.push_back((self.control.current(), nonce));
        self.control.status.send_modify(|status| status.of(kind).pending = self.pending.len());
        Ok(())
    }

    /// Answers what waited for the kernel.
    fn settle(&mut self) -> Result<(), String> {
        let applied = self.applied.borrow_and_update().clone();
        let reason = self.reason(&applied);
        let kind = Kind::LocalWorkload;
        while self.pending.front().is_some_and(|(generation, _)| *generation <= applied.generation) {
            let Some((_, nonce)) = self.pending.pop_front() else { break };
            self.control.status.send_modify(|status| status.of(kind).pending = self.pending.len());
            self.failed = None;
            if reason.is_empty() {
                self.accept(kind, nonce)?;
            } else {
                self.refuse(kind, nonce.clone(), INTERNAL, &reason)?;
                self.failed = Some((nonce, reason.clone()));
            }
        }
        // The datapath tries again on its own: its later success, or another failure, is news under the same nonce.
        match self.failed.take() {
            Some((nonce, said)) if self.pending.is_empty() && said != reason => {
                if reason.is_empty() {
                    return self.accept(kind, nonce);
                }
                self.failed = Some((nonce.clone(), reason.clone()));
                self.refuse(kind, nonce, INTERNAL, &reason)
            }
            unchanged => {
                self.failed = unchanged;
                Ok(())
            }
        }
    }

    /// Which pods the kernel failed at; empty: none.
    fn reason(&self, applied: &Applied) -> String {
        let snapshot = self.control.snapshot();
        let each = applied.failed.iter().map(|(uid, reason)| match snapshot.local(uid) {
            Some(local) => format!("pod {}/{}: {reason}", local.identity.namespace(), local.name),
            None => format!("pod {uid}: {reason}"),
        });
        each.collect::<Vec<_>>().join("; ")
    }

    fn accept(&mut self, kind: Kind, nonce: String) -> Result<(), String> {
        self.control.status.send_modify(|status| {
            let of = status.of(kind);
            of.acked += 1;
            of.error.clear();
        });
        self.send(DeltaDiscoveryRequest {
            type_url: kind.url().to_owned(),
            response_nonce: nonce,
            ..Default::default()
        })
    }

    fn refuse(&mut self, kind: Kind, nonce: String, code: i32, reason: &str) -> Result<(), String> {
        tracing::warn!(kind = kind.label(), reason, "refused an update; the last good one stays in force");
        self.control.status.send_modify(|status| reason.clone_into(&mut status.of(kind).error));
        self.send(nack(kind.url(), nonce, code, reason))
    }

    /// Never waits: a controller that does not read its answers loses its stream.
    fn send(&mut self, request: DeltaDiscoveryRequest) -> Result<(), String> {
        self.requests.try_send(request).map_err(|_full| "the controller does not take answers".to_owned())
    }
}

/// Who asks, and which version of the agent it is.
fn node(name: &str) -> Node {
    let version = value::Kind::StringValue(env!("CARGO_PKG_VERSION").to_owned());
    let fields = [("VERSION".to_owned(), Value { kind: Some(version) })].into();
    Node { id: name.to_owned(), metadata: Some(Struct { fields }), ..Default::default() }
}

fn nack(url: &str, nonce: String, code: i32, reason: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        response_nonce: nonce,
        error_detail: Some(Status { code, message: reason.to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

fn refusal(status: &tonic::Status) -> String {
    match status.code() {
        tonic::Code::Unauthenticated => {
            format!("the controller does not know this node's token: {}", status.message())
        }
        tonic::Code::PermissionDenied => format!("the controller refuses this node: {}", status.message()),
        _ => causes(status),
    }
}
