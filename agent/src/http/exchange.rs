//! One request from its head to the last byte of its answer; telemetry is told once, whatever happens.

use std::cell::{Cell, RefCell, RefMut};
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Uri};
use tokio::sync::oneshot;

use super::attempt::Outgoing;
use super::body::{BoxError, Watch};
use super::io::Wire;
use super::record::{Flags, RequestRecord};
use crate::telemetry::{Direction, WorkerTelemetry};

/// What is known of a request; shared by those who watch its two bodies.
#[derive(Debug)]
pub struct Exchange {
    telemetry: Rc<WorkerTelemetry>,
    record: RefCell<RequestRecord>,
    /// Bytes of the request's body so far.
    pub received: Cell<u64>,
    /// The request's body has ended, or there is none.
    pub sent_all: Cell<bool>,
    switch: RefCell<Option<Raw>>,
    concluded: Cell<bool>,
}

type Raw = oneshot::Receiver<(Wire, Bytes)>;

impl Exchange {
    /// The answer may switch protocols: the upstream's wire comes here then.
    pub fn switch(&self, wire: Raw) {
        *self.switch.borrow_mut() = Some(wire);
    }

    /// It did.
    pub fn take_switch(&self) -> Option<Raw> {
        self.switch.borrow_mut().take()
    }

    /// Begins to observe.
    pub fn new(telemetry: &Rc<WorkerTelemetry>, record: RequestRecord) -> Rc<Self> {
        Rc::new(Self {
            telemetry: telemetry.clone(),
            record: RefCell::new(record),
            received: Cell::new(0),
            sent_all: Cell::new(false),
            switch: RefCell::default(),
            concluded: Cell::new(false),
        })
    }

    /// For a copy of a request: nothing is told of it.
    pub fn untold(telemetry: &Rc<WorkerTelemetry>, outgoing: &Outgoing) -> Rc<Self> {
        let uri = Uri::from(outgoing.path.clone());
        let (method, headers) = (&outgoing.method, &outgoing.headers);
        let record = RequestRecord::begin(Direction::Outbound, method, &uri, outgoing.version, headers);
        let exchange = Self::new(telemetry, record);
        exchange.concluded.set(true);
        exchange
    }

    /// The record, to be filled.
    pub fn record(&self) -> RefMut<'_, RequestRecord> {
        self.record.borrow_mut()
    }

    /// Adds what went wrong.
    pub fn flag(&self, flags: Flags) {
        self.record().flags.add(flags);
    }

    /// Its end; what comes after counts no more.
    pub fn conclude(&self) {
        if self.concluded.replace(true) {
            return;
        }
        let mut record = self.record.borrow_mut();
        record.received = self.received.get();
        self.telemetry.request(&record);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.concluded.get() {
            // Nobody waits for the answer any more.
            let record = self.record.get_mut();
            if record.code == 0 {
                record.flags.add(Flags::DC);
                record.details = "downstream_remote_disconnect";
            }
            self.conclude();
        }
    }
}

/// Watches the request's body.
#[derive(Debug)]
pub struct Sending(pub Rc<Exchange>);

impl Watch for Sending {
    fn data(&mut self, length: usize) {
        self.0.received.set(self.0.received.get() + length as u64);
    }

    fn end(&mut self, result: Result<(), &BoxError>) {
        self.0.sent_all.set(result.is_ok());
    }
}

/// Watches the response's body to the end of the exchange; `K` is what is kept until then.
pub struct Receiving<K> {
    exchange: Rc<Exchange>,
    kept: Option<K>,
    sent: u64,
    deadline: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

/// Something kept while a response passes.
pub trait Keep {
    /// The response has ended well, or not.
    fn end(self, complete: bool);
}

impl<K: Keep> Receiving<K> {
    /// From here on.
    pub fn new(
        exchange: Rc<Exchange>,
        kept: K,
        deadline: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    ) -> Self {
        Self { exchange, kept: Some(kept), sent: 0, deadline }
    }
}

impl<K: Keep> Watch for Receiving<K> {
    fn data(&mut self, length: usize) {
        self.sent += length as u64;
    }

    fn trailers(&mut self, trailers: &mut HeaderMap) {
        if let Some(status) = super::head::grpc_status(trailers) {
            self.exchange.record().grpc_status = Some(status);
        }
        self.exchange.telemetry.capture_trailers(&mut self.exchange.record(), trailers);
    }

    fn end(&mut self, result: Result<(), &BoxError>) {
        if let Some(kept) = self.kept.take() {
            kept.end(result.is_ok());
        }
        let mut record = self.exchange.record();
        record.sent = self.sent;
        if result.is_err() && !record.flags.has(Flags::UT) {
            record.flags.add(Flags::UC);
            record.details = "upstream_reset_after_response_started{connection_termination}";
        }
        drop(record);
        self.exchange.conclude();
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        std::task::ready!(deadline.as_mut().poll(cx));
        self.exchange.flag(Flags::UT);
        self.exchange.record().details = "upstream_response_timeout";
        Poll::Ready("the response was not complete in time".into())
    }
}

impl<K> Drop for Receiving<K> {
    fn drop(&mut self) {
        if self.kept.take().is_some() {
            let mut record = self.exchange.record();
            record.sent = self.sent;
            record.flags.add(Flags::DC);
            record.details = "downstream_remote_disconnect";
            drop(record);
            self.exchange.conclude();
        }
    }
}

impl<K> std::fmt::Debug for Receiving<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving").field("sent", &self.sent).finish_non_exhaustive()
    }
}
