//! The body of a request that is sent on: once, or as often as it is tried, and to its mirrors too.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::body::{Body as _, Incoming};

use super::attempt::Outgoing;
use super::body::Body;
use super::exchange::{Exchange, Sending};
use super::mirror;
use super::replay::Replay;
use super::routing::Route;
use super::stage::Stage;
use crate::traffic::network::PodNetwork;

/// What of a request's body may be kept for another try.
const KEPT: usize = 1024 * 1024;

/// The request's body, for one try or for several.
#[derive(Debug)]
pub enum Bodies {
    /// None.
    None,
    /// For one.
    Once(RefCell<Option<Body>>),
    /// For several.
    Again(Rc<Replay>),
}

impl Bodies {
    /// With the copies that mirrors get.
    pub fn new<N: PodNetwork>(
        stage: &Rc<Stage<N>>,
        exchange: &Rc<Exchange>,
        incoming: Incoming,
        route: &Route,
        outgoing: &Outgoing,
    ) -> Self {
        let body = (!incoming.is_end_stream())
            .then(|| Body::incoming(incoming).watched(Box::new(Sending(exchange.clone()))));
        let body = match &*route.mirrors {
            [] => body,
            mirrors => mirror::start(stage, mirrors, outgoing, body, route.timeout),
        };
        let Some(body) = body else {
            exchange.sent_all.set(true);
            return Self::None;
        };
        match route.retry.attempts {
            0 => Self::Once(RefCell::new(Some(body))),
            _ => Self::Again(Replay::new(body, KEPT)),
        }
    }

    /// For the next try.
    pub fn next(&self) -> Body {
        match self {
            Self::None => Body::empty(),
            Self::Once(body) => body.borrow_mut().take().unwrap_or_else(Body::empty),
            Self::Again(replay) => replay.reader(),
        }
    }

    /// Whether another try could send it.
    pub fn can_repeat(&self) -> bool {
        match self {
            Self::None => true,
            Self::Once(_) => false,
            Self::Again(replay) => replay.is_whole(),
        }
    }

    /// There will be no other try.
    pub fn settle(&self) {
        if let Self::Again(replay) = self {
            replay.settle();
        }
    }
}
