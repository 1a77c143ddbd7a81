//! A request's body that may be sent more than once: kept as it passes, up to a bound.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::body::{Body, BoxError};

/// The body, and what has come of it.
#[derive(Debug)]
pub struct Replay {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Body,
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    size: usize,
    most: usize,
    /// Something was not kept, or need not be.
    released: bool,
    ended: bool,
    /// The reader that may go on; those before it were given up.
    reader: u32,
}

impl Replay {
    /// Keeps at most so much.
    pub fn new(source: Body, most: usize) -> Rc<Self> {
        let inner = Inner {
            source,
            kept: Vec::new(),
            trailers: None,
            size: 0,
            most,
            released: false,
            ended: false,
            reader: 0,
        };
        Rc::new(Self { inner: RefCell::new(inner) })
    }

    /// From the beginning; readers before this one get nothing more.
    pub fn reader(self: &Rc<Self>) -> Body {
        let mut inner = self.inner.borrow_mut();
        inner.reader += 1;
        let reader = inner.reader;
        drop(inner);
        Body::other(Reader { replay: self.clone(), reader, at: 0, done: false })
    }

    /// Whether another reader would get everything.
    pub fn is_whole(&self) -> bool {
        !self.inner.borrow().released
    }

    /// There will be no other reader: what passes from now on is not kept.
    pub fn settle(&self) {
        self.inner.borrow_mut().released = true;
    }
}

struct Reader {
    replay: Rc<Replay>,
    reader: u32,
    at: usize,
    done: bool,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut inner = this.replay.inner.borrow_mut();
        if inner.reader != this.reader {
            return Poll::Ready(Some(Err("the request is sent elsewhere".into())));
        }
        if let Some(bytes) = inner.kept.get_mut(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if inner.ended {
            let trailers = if this.done { None } else { inner.trailers.clone() };
            this.done = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Some(frame) = ready!(Pin::new(&mut inner.source).poll_frame(cx)) else {
            inner.ended = true;
            this.done = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            inner.size += data.len();
            if inner.size > inner.most || inner.released {
                inner.released = true;
                inner.kept.clear();
                this.at = 0;
            } else {
                let data = data.clone();
                inner.kept.push(data);
                this.at += 1;
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            inner.trailers = Some(trailers.clone());
            inner.ended = true;
            this.done = true;
        }
        if inner.source.is_end_stream() {
            inner.ended = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.replay.inner.borrow();
        inner.ended && self.at >= inner.kept.len() && (self.done || inner.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.replay.inner.borrow();
        let ahead: usize = inner.kept.iter().skip(self.at).map(Bytes::len).sum();
        match inner.source.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead as u64),
            None if inner.ended => SizeHint::with_exact(ahead as u64),
            None => SizeHint::default(),
        }
    }
}
