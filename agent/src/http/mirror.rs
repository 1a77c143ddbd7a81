//! Copies of a request, whose answers nobody reads.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use heddle_core::upstream::PickContext;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::attempt::{Outgoing, Try};
use super::body::{Body, BoxError};
use super::exchange::Exchange;
use super::stage::Stage;
use super::upstream::Upstream;
use crate::traffic::network::PodNetwork;

/// Pieces of a body that a copy may be behind; one that falls further behind is given up, so that the request itself
/// never waits.
const BEHIND: usize = 32;
/// A copy of a request without a deadline does not live for ever.
const LONGEST: Duration = Duration::from_secs(300);

/// A piece of a body, for somebody else too.
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Sends a copy for each of `mirrors`; the body that the request itself is to be sent with from now on.
pub fn start<N: PodNetwork>(
    stage: &Rc<Stage<N>>,
    mirrors: &[Rc<Upstream>],
    outgoing: &Outgoing,
    body: Option<Body>,
    limit: Option<Duration>,
) -> Option<Body> {
    let mut copies = Vec::new();
    for upstream in mirrors {
        let copy = match &body {
            None => Body::empty(),
            Some(body) => {
                let (sender, receiver) = mpsc::channel(BEHIND);
                copies.push(sender);
                Body::other(Copy { receiver, size: body.size_hint(), done: false })
            }
        };
        let (stage, upstream, outgoing) = (stage.clone(), upstream.clone(), shadow(outgoing));
        let limit = limit.unwrap_or(LONGEST);
        stage.worker.tasks.clone().spawn_local(async move {
            drop(timeout(limit, Box::pin(send(&stage, &upstream, &outgoing, copy))).await);
        });
    }
    body.map(|body| if copies.is_empty() { body } else { Body::other(Tee { body, copies }) })
}

/// Envoy: the copy's authority says that it is one.
fn shadow(outgoing: &Outgoing) -> Outgoing {
    let text = outgoing.authority.to_str().unwrap_or_default();
    let shadow = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{host}-shadow:{port}")
        }
        _ => format!("{text}-shadow"),
    };
    Outgoing {
        method: outgoing.method.clone(),
        authority: HeaderValue::from_str(&shadow).unwrap_or_else(|_| outgoing.authority.clone()),
        path: outgoing.path.clone(),
        headers: outgoing.headers.clone(),
        upgrade: None,
        version: outgoing.version,
        grpc: outgoing.grpc,
        on_upgrade: None,
    }
}

async fn send<N: PodNetwork>(stage: &Rc<Stage<N>>, upstream: &Rc<Upstream>, outgoing: &Outgoing, body: Body) {
    let exchange = Exchange::untold(&stage.worker.telemetry, outgoing);
    let attempt = Try { stage, exchange: &exchange, upstream, number: 1 };
    let context = PickContext {
        hash: None,
        random: stage.worker.random(),
        now: Instant::now(),
        tried: &[],
        left: &[],
        dialled: None,
    };
    let Ok(picked) = attempt.pick(&context) else { return };
    let Ok(answered) = Box::pin(attempt.send(picked, outgoing, body)).await else { return };
    let mut body = answered.response.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    answered.lease.release();
}

/// The request's own body, as its copies get it too.
struct Tee {
    body: Body,
    copies: Vec<mpsc::Sender<Piece>>,
}

impl Tee {
    fn end(&mut self) {
        self.copies.drain(..).for_each(|copy| drop(copy.try_send(Piece::End)));
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => this.copies.retain(|copy| {
                let piece = match (frame.data_ref(), frame.trailers_ref()) {
                    (Some(data), _) => Piece::Data(data.clone()),
                    (_, Some(trailers)) => Piece::Trailers(trailers.clone()),
                    _ => return true,
                };
                copy.try_send(piece).is_ok()
            }),
            // An end that is no end must not look like one: the copies break off.
            Some(Err(_)) => this.copies.clear(),
            None => this.end(),
        }
        if this.body.is_end_stream() {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A copy's body.
struct Copy {
    receiver: mpsc::Receiver<Piece>,
    size: SizeHint,
    done: bool,
}

impl HttpBody for Copy {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.receiver.poll_recv(cx)) {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::Trailers(trailers)) => {
                self.done = true;
                Some(Ok(Frame::trailers(trailers)))
            }
            Some(Piece::End) => {
                self.done = true;
                None
            }
            None => Some(Err("the request broke off, or was too fast for its copy".into())),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
