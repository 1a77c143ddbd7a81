//! One agent's stream as a value: requests and publications in, responses out. No IO, no clock.
//!
//! Of each type one response is under way at a time, so that what changes meanwhile is sent once, as it is
//! in the end. A refused response is sent again in halves until the one resource that is refused stands
//! alone: it waits for a better version, or to be tried again, and the rest goes on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource};
use tonic::Status;

use super::agents::Progress;
use super::kind::ResourceKind;
use crate::index::table::{Table, Version};
use crate::published::Published;
use subscription::Subscription;

mod subscription;

/// A response is closed when its resources exceed this.
const RESPONSE_BYTES: usize = 1 << 20;
/// What was refused is tried again after this long, then after twice as long, up to a minute.
const RETRY: Duration = Duration::from_secs(2);

/// `google.rpc.Code.INTERNAL`: the agent holds the response, and its kernel is not where it says (yet).
const INTERNAL: i32 = 13;

/// A resource as of a response: its version, or gone.
type Item = (Arc<str>, Option<Version>);

#[derive(Debug)]
struct Outstanding {
    nonce: String,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Refused {
    version: Option<Version>,
    attempts: u32,
    retry_at: Instant,
}

#[derive(Debug, Default)]
struct TypeState {
    subscription: Subscription,
    held: HashMap<Arc<str>, Version>,
    outstanding: Option<Outstanding>,
    /// Halves of refused responses, to be sent one by one.
    pieces: VecDeque<Vec<Arc<str>>>,
    refused: HashMap<Arc<str>, Refused>,
    /// Nonce of a response that the agent holds and could not put into force; it tries on by itself, and
    /// acknowledges the same nonce once it has.
    failing: Option<String>,
    /// Had a response: the first is sent even if it is empty, so that the agent knows that it has all.
    greeted: bool,
    /// Count of changes of the table that was found to be held.
    compared: Option<u64>,
    settled: u64,
    sent: u64,
    acked: u64,
    error: String,
}

/// A table, and the node that looks at it.
type Seen<'a> = (&'a Table, &'a str);

/// One agent's stream.
#[derive(Debug)]
pub struct StreamState {
    node: Arc<str>,
    types: [TypeState; ResourceKind::ALL.len()],
    nonces: u64,
    introduced: bool,
}

impl StreamState {
    /// A stream of the agent of a node, as its token says.
    pub fn new(node: Arc<str>) -> Self {
        Self { node, types: Default::default(), nonces: 0, introduced: false }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// The agent says that it is another than its token says.
    pub fn request(&mut self, request: DeltaDiscoveryRequest, now: Instant) -> Result<(), Status> {
        match &request.node {
            Some(node) if *node.id != *self.node => {
                return Err(Status::permission_denied("Node.id is not the node of the token"));
            }
            None if !self.introduced => {
                return Err(Status::invalid_argument("the first request must name its node"));
            }
            _ => self.introduced = true,
        }
        // Types of a later version are not ours to answer.
        let Some(kind) = ResourceKind::by_url(&request.type_url) else { return Ok(()) };
        self.types[kind as usize].request(request, now);
        Ok(())
    }

    /// What is to be sent now, in the order in which it is to be applied.
    pub fn responses(&mut self, published: &Published, now: Instant) -> Vec<DeltaDiscoveryResponse> {
        let empty = Table::default();
        let mut responses = Vec::new();
        for kind in ResourceKind::ALL {
            let table = kind.table(&published.output, &self.node).unwrap_or(&empty);
            let state = &mut self.types[kind as usize];
            let Some(items) = state.next((table, &self.node), published.sequence, now) else { continue };
            self.nonces += 1;
            let nonce = self.nonces.to_string();
            responses.push(encode(kind, &items, (table, &self.node), &nonce, published.sequence));
            state.greeted = true;
            state.sent += 1;
            state.outstanding = Some(Outstanding { nonce, items });
        }
        responses
    }

    /// When something refused is to be tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        let idle = self.types.iter().filter(|state| state.outstanding.is_none());
        idle.flat_map(|state| state.refused.values()).map(|refused| refused.retry_at).min()
    }

    /// How far the agent is.
    pub fn progress(&self) -> [Progress; ResourceKind::ALL.len()] {
        ResourceKind::ALL.map(|kind| self.types[kind as usize].progress())
    }
}

impl TypeState {
    fn request(&mut self, request: DeltaDiscoveryRequest, now: Instant) {
        if self.subscription.is_none() {
            let held = request.initial_resource_versions.into_iter();
            self.held = held.map(|(name, version)| (name.into(), Version::parse(&version))).collect();
            self.subscription.begin(request.resource_names_subscribe);
        } else {
            for name in
                self.subscription.change(request.resource_names_subscribe, request.resource_names_unsubscribe)
            {
                self.held.remove(name.as_str());
                self.compared = None;
            }
        }
        let nonce = request.response_nonce;
        let answered = self.outstanding.take_if(|outstanding| outstanding.nonce == nonce);
        match (answered, request.error_detail) {
            (Some(Outstanding { items, .. }), None) => {
                self.failing = None;
                self.acked += 1;
                self.hold(items);
            }
            (Some(Outstanding { items, .. }), Some(status)) if status.code == INTERNAL => {
                self.failing = Some(nonce);
                self.hold(items);
                self.error = bounded(&status.message);
            }
            (Some(Outstanding { items, .. }), Some(status)) => self.refuse(items, &status.message, now),
            (None, answer) if self.failing.as_ref().is_some_and(|failing| *failing == nonce) => {
                match answer {
                    None => {
                        self.failing = None;
                        self.acked += 1;
                        self.hold(Vec::new());
                    }
                    Some(status) => self.error = bounded(&status.message),
                }
            }
            // An answer to nothing that is under way.
            (None, _) => {}
        }
    }

    /// The agent holds these now.
    fn hold(&mut self, items: Vec<Item>) {
        for (name, version) in items {
            self.refused.remove(&name);
            match version {
                Some(version) => self.held.insert(name, version),
                None if self.subscription.names(&name) => self.held.insert(name, Version::ABSENT),
                None => self.held.remove(&name),
            };
        }
        if self.refused.is_empty() && self.failing.is_none() {
            self.error.clear();
        }
    }

    fn refuse(&mut self, mut items: Vec<Item>, error: &str, now: Instant) {
        self.error = bounded(error);
        if items.len() > 1 {
            let second = items.split_off(items.len() / 2);
            for half in [second, items] {
                self.pieces.push_front(half.into_iter().map(|(name, _)| name).collect());
            }
        } else if let Some((name, version)) = items.pop() {
            let attempts = self.refused.get(&name).map_or(0, |refused| refused.attempts) + 1;
            let wait = RETRY * 2_u32.pow(attempts.min(6) - 1);
            let retry_at = now + wait.min(Duration::from_secs(60));
            self.refused.insert(name, Refused { version, attempts, retry_at });
        }
    }

    /// The items of the next response, if there is one to send.
    fn next(&mut self, (table, node): Seen<'_>, sequence: u64, now: Instant) -> Option<Vec<Item>> {
        if self.subscription.is_none() || self.outstanding.is_some() {
            return None;
        }
        while let Some(names) = self.pieces.pop_front() {
            let items: Vec<Item> =
                names.into_iter().filter_map(|name| self.differs((table, node), name, now)).collect();
            if !items.is_empty() {
                return Some(items);
            }
        }
        let due = self.refused.values().any(|refused| refused.retry_at <= now);
        if due || self.compared != Some(table.changes()) {
            let items = self.difference((table, node), now);
            if !items.is_empty() {
                self.compared = None;
                return Some(items);
            }
            self.compared = Some(table.changes());
        }
        if !self.greeted {
            return Some(Vec::new());
        }
        self.settled = sequence;
        None
    }

    /// Everything that the agent should hold otherwise than it does, up to the size of a response.
    fn difference(&mut self, (table, node): Seen<'_>, now: Instant) -> Vec<Item> {
        // What is gone need not be tried again once the agent does not hold it.
        let held = &self.held;
        self.refused.retain(|name, _| table.get(name).is_some() || held.contains_key(name));
        let names: Vec<Arc<str>> = self.subscription.wanted(table).collect();
        let (mut items, mut bytes) = (Vec::new(), 0);
        for name in names {
            let size = table.seen_by(node, &name).map_or(0, |resource| resource.encoded.len());
            if let Some(item) = self.differs((table, node), name, now) {
                items.push(item);
                bytes += size;
                if bytes >= RESPONSE_BYTES {
                    return items;
                }
            }
        }
        let gone: Vec<Arc<str>> =
            self.held.keys().filter(|name| table.get(name).is_none()).cloned().collect();
        items.extend(gone.into_iter().filter_map(|name| self.differs((table, node), name, now)));
        items
    }

    fn differs(&self, (table, node): Seen<'_>, name: Arc<str>, now: Instant) -> Option<Item> {
        let now_version = table.seen_by(node, &name).map(|resource| resource.version);
        let held = self.held.get(&name).copied();
        let same = match (now_version, held) {
            (None, None) => !self.subscription.names(&name),
            (None, Some(held)) => held == Version::ABSENT,
            (now_version, held) => now_version == held,
        };
        let refused = self.refused.get(&name);
        let wait = refused.is_some_and(|refused| refused.version == now_version && refused.retry_at > now);
        (!same && !wait).then_some((name, now_version))
    }

    fn progress(&self) -> Progress {
        let mut refused: Vec<Arc<str>> = self.refused.keys().cloned().collect();
        refused.sort_unstable();
        Progress {
            subscribed: !self.subscription.is_none(),
            settled: self.settled,
            waiting: self.outstanding.is_some() || !self.pieces.is_empty(),
            sent: self.sent,
            acked: self.acked,
            refused,
            failing: self.failing.is_some(),
            error: self.error.clone(),
        }
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(1024).collect()
}

fn encode(
    kind: ResourceKind,
    items: &[Item],
    (table, node): Seen<'_>,
    nonce: &str,
    sequence: u64,
) -> DeltaDiscoveryResponse {
    let mut response = DeltaDiscoveryResponse {
        type_url: kind.url().to_owned(),
        nonce: nonce.to_owned(),
        system_version_info: sequence.to_string(),
        ..DeltaDiscoveryResponse::default()
    };
    for (name, _) in items {
        match table.seen_by(node, name) {
            Some(resource) => response.resources.push(WireResource {
                name: name.to_string(),
                version: resource.version.to_string(),
                resource: Some(prost_types::Any {
                    type_url: kind.url().to_owned(),
                    value: resource.encoded.to_vec(),
                }),
                ..WireResource::default()
            }),
            None => response.removed_resources.push(name.to_string()),
        }
    }
    response
}

#[cfg(test)]
mod tests;
