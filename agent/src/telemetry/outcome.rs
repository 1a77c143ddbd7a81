//! The one outcome of a connection: concluded once, into metrics and the access log; dropped, it is Abandoned.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use super::WorkerTelemetry;
use super::format::Entry;
use super::reason::{Failure, Reason};
use super::tcp::{TcpCounters, TcpLabels};

/// Bytes of one connection, as they pass, and the counters that they belong to.
#[derive(Debug, Default)]
pub struct Meter {
    /// From the client.
    pub received: Cell<u64>,
    /// To the client.
    pub sent: Cell<u64>,
    reported: Cell<(u64, u64)>,
    counters: RefCell<Option<Rc<TcpCounters>>>,
}

impl Meter {
    /// Brings the counters up to date: at the end, and now and then for connections that live long.
    pub fn report(&self) {
        let counters = self.counters.borrow();
        let Some(counters) = counters.as_ref() else { return };
        let (received, sent) = (self.received.get(), self.sent.get());
        let (received_before, sent_before) = self.reported.replace((received, sent));
        counters.received.inc_by(received - received_before);
        counters.sent.inc_by(sent - sent_before);
    }

    /// Everything that has passed, both ways: changes whenever there is progress.
    pub fn total(&self) -> u64 {
        self.received.get().wrapping_add(self.sent.get())
    }
}

/// Which way a connection goes, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The pod is the client.
    Outbound,
    /// The pod is the server, through the tunnel.
    Inbound,
    /// The pod is the server, in clear.
    Plaintext,
}

impl Direction {
    /// Its name in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Plaintext => "plaintext",
        }
    }
}

/// A connection under observation.
#[derive(Debug)]
pub struct Outcome {
    telemetry: Rc<WorkerTelemetry>,
    direction: Direction,
    started: (SystemTime, Instant),
    meter: Rc<Meter>,
    /// The client.
    pub client: Option<SocketAddr>,
    /// What the client had dialled.
    pub dialled: Option<SocketAddr>,
    /// The endpoint.
    pub upstream: Option<SocketAddr>,
    /// Envoy's name of the upstream cluster.
    pub cluster: Option<Box<str>>,
    carries_requests: bool,
    concluded: bool,
}

impl Outcome {
    /// Begins to observe.
    pub fn begin(telemetry: &Rc<WorkerTelemetry>, direction: Direction, client: Option<SocketAddr>) -> Self {
        Self {
            telemetry: telemetry.clone(),
            direction,
            started: (SystemTime::now(), Instant::now()),
            meter: Rc::default(),
            client,
            dialled: None,
            upstream: None,
            cluster: None,
            carries_requests: false,
            concluded: false,
        }
    }

    /// Its bytes.
    pub fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Who is at its ends is known now: it counts as opened.
    pub fn classify(&mut self, labels: TcpLabels) {
        let counters = self.telemetry.tcp.counters(labels);
        counters.opened.inc();
        *self.meter.counters.borrow_mut() = Some(counters);
    }

    /// Its requests are counted and logged, each by its own [`super::Exchange`]; the connection itself is not.
    pub fn carries_requests(&mut self) {
        self.carries_requests = true;
    }

    /// Its end, well or not.
    pub fn conclude(mut self, result: &Result<(), Failure>) {
        self.end(result.as_ref().copied());
    }

    fn end(&mut self, result: Result<(), &Failure>) {
        self.concluded = true;
        if let Err(failure) = result {
            self.telemetry.count(self.direction, failure.reason);
            tracing::debug!(
                direction = self.direction.name(),
                client = ?self.client,
                dialled = ?self.dialled,
                failure = %failure,
                "connection ended"
            );
        }
        let flags = result.err().map_or("-", |failure| failure.reason.response_flag());
        self.meter.report();
        if let Some(counters) = self.meter.counters.borrow_mut().take() {
            counters.close(flags);
        }
        if !self.carries_requests && self.telemetry.logs() {
            self.log(flags, result.err());
        }
    }

    fn log(&self, flags: &'static str, failure: Option<&Failure>) {
        let words = failure.map(|failure| failure.detail.as_deref().unwrap_or(failure.reason.name()));
        let upstream_failed = flags == "UF";
        let name = failure.map(|failure| failure.reason.name());
        let entry = Entry {
            started: self.started.0,
            flags: flags.into(),
            // A denial names its policy here; what an upstream said has a field of its own.
            termination: if flags == "DENY" { words } else { name },
            transport_failure: words.filter(|_| upstream_failed),
            received: self.meter.received.get(),
            sent: self.meter.sent.get(),
            duration: self.started.1.elapsed(),
            upstream: self.upstream,
            cluster: self.cluster.as_deref(),
            downstream_local: self.dialled,
            downstream_remote: self.client,
            ..Entry::default()
        };
        self.telemetry.access_log.write(&self.telemetry.format(), &entry);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if !self.concluded {
            self.end(Err(&Reason::Abandoned.into()));
        }
    }
}
