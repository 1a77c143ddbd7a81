//! The discovery service: one task a stream, which carries a [`StreamState`] between the wire and the engine.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::Stream;
use heddle_proto::discovery::aggregated_discovery_service_server::AggregatedDiscoveryService;
use heddle_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::agents::{AgentEvent, Progress};
use super::kind::ResourceKind;
use super::stream::StreamState;
use crate::auth::{Caller, Callers, Presented};
use crate::metrics::Metrics;
use crate::published::Latest;

/// An agent that does not read for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// A token that is revoked ends its streams within this.
const RECHECK: Duration = Duration::from_secs(10);
/// Streams at once: far more than nodes, far fewer than what fills the memory.
const MOST_STREAMS: i64 = 10_000;

/// The service.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Who may call.
    pub callers: Arc<Callers>,
    /// What they get.
    pub published: Latest,
    /// Where their progress goes.
    pub events: mpsc::Sender<AgentEvent>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends all streams.
    pub stop: CancellationToken,
    /// Numbers of streams, growing.
    pub streams: Arc<AtomicU64>,
}

type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream = Responses;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let presented = Presented::of(&request);
        let authenticated = self.callers.authenticate(&presented).await;
        let caller = authenticated.inspect_err(|_| self.metrics.refused_streams.inc())?;
        if self.metrics.streams.get() >= MOST_STREAMS {
            return Err(Status::resource_exhausted("too many streams"));
        }
        let (sender, receiver) = mpsc::channel(4);
        let session = Session {
            id: self.streams.fetch_add(1, Ordering::Relaxed) + 1,
            state: StreamState::new(caller.node.clone()),
            caller,
            service: self.clone(),
            sender,
            told: None,
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct Session {
    id: u64,
    caller: Caller,
    state: StreamState,
    service: Discovery,
    sender: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    told: Option<[Progress; ResourceKind::ALL.len()]>,
}

impl Session {
    async fn run(mut self, mut requests: Streaming<DeltaDiscoveryRequest>) {
        let (node, stream) = (self.caller.node.clone(), self.id);
        self.service.metrics.streams.inc();
        tracing::info!(%node, stream, "agent connected");
        let end = self.serve(&mut requests).await;
        let why = end.as_ref().err().map(|status| status.message().to_owned()).unwrap_or_default();
        tracing::info!(%node, stream, why, "agent disconnected");
        if let Err(status) = end {
            let _ = self.sender.try_send(Err(status));
        }
        self.service.metrics.streams.dec();
        self.tell(AgentEvent::Disconnected { node, stream }).await;
    }

    async fn serve(&mut self, requests: &mut Streaming<DeltaDiscoveryRequest>) -> Result<(), Status> {
        let mut published = self.service.published.clone();
        let stop = self.service.stop.clone();
        let mut recheck = tokio::time::interval(RECHECK);
        let mut connected = false;
        loop {
            let retry = self.state.next_retry().filter(|_| published.borrow().is_some());
            tokio::select! {
                () = stop.cancelled() => return Err(Status::unavailable("the controller stops")),
                request = requests.message() => {
                    let Some(request) = request? else { return Ok(()) };
                    let version = version(&request);
                    self.state.request(request, Instant::now())?;
                    if !connected {
                        connected = true;
                        let (node, stream) = (self.caller.node.clone(), self.id);
                        self.tell(AgentEvent::Connected { node, stream, version }).await;
                    }
                }
                changed = published.changed() => {
                    changed.map_err(|_elapsed| Status::unavailable("the controller stops"))?;
                }
                () = until(retry) => {}
                _ = recheck.tick() => {
                    self.service.callers.still_good(&self.caller)?;
                }
            }
            self.answer(&mut published).await?;
        }
    }

    async fn answer(&mut self, published: &mut Latest) -> Result<(), Status> {
        let Some(latest) = published.borrow_and_update().clone() else { return Ok(()) };
        for response in self.state.responses(&latest, Instant::now()) {
            let count = response.resources.len() + response.removed_resources.len();
            self.service.metrics.pushed.inc_by(count as u64);
            tokio::time::timeout(SEND_TIMEOUT, self.sender.send(Ok(response)))
                .await
                .map_err(|_elapsed| Status::deadline_exceeded("the agent does not read"))?
                .map_err(|_elapsed| Status::cancelled("the agent hung up"))?;
        }
        let types = self.state.progress();
        if self.told.as_ref() != Some(&types) {
            let (node, stream) = (self.caller.node.clone(), self.id);
            self.tell(AgentEvent::Progress { node, stream, types: Box::new(types.clone()) }).await;
            self.told = Some(types);
        }
        Ok(())
    }

    async fn tell(&self, event: AgentEvent) {
        // Without an engine there is nobody to tell, and streams are about to end.
        let _ = self.service.events.send(event).await;
    }
}

fn version(request: &DeltaDiscoveryRequest) -> String {
    let metadata = request.node.as_ref().and_then(|node| node.metadata.as_ref());
    let field = metadata.and_then(|metadata| {
        ["VERSION", "version"].iter().find_map(|key| metadata.fields.get(*key)?.kind.clone())
    });
    match field {
        Some(prost_types::value::Kind::StringValue(version)) => version.chars().take(64).collect(),
        _ => String::new(),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
