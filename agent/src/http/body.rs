//! Bodies on their way: what hyper received, or what we answer ourselves, watched from the first byte to the end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

/// What breaks a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Looks at a body that passes, and is told of its end once; dropped before, the body was abandoned.
pub trait Watch {
    /// So many bytes have passed.
    fn data(&mut self, length: usize);

    /// Trailers pass; they may be changed.
    fn trailers(&mut self, trailers: &mut HeaderMap) {
        let _ = trailers;
    }

    /// The last frame has passed, or there will be none because of this.
    fn end(&mut self, result: Result<(), &BoxError>);

    /// Why the body must not go on, if so; polled whenever the body is.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        let _ = cx;
        Poll::Pending
    }
}

/// Where the frames come from.
enum Source {
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Other(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError>>>),
}

/// A request's or a response's body.
pub struct Body {
    source: Source,
    watch: Option<Box<dyn Watch>>,
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self { source: Source::Empty, watch: None }
    }

    /// In one piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let source = if bytes.is_empty() { Source::Empty } else { Source::Full(bytes) };
        Self { source, watch: None }
    }

    /// As it comes.
    pub fn incoming(incoming: Incoming) -> Self {
        let source = if incoming.is_end_stream() { Source::Empty } else { Source::Incoming(incoming) };
        Self { source, watch: None }
    }

    /// From a body of another kind.
    pub fn other(body: impl HttpBody<Data = Bytes, Error = BoxError> + 'static) -> Self {
        Self { source: Source::Other(Box::pin(body)), watch: None }
    }

    /// Watched from here on; a body that has no frames ends at once.
    #[must_use]
    pub fn watched(mut self, mut watch: Box<dyn Watch>) -> Self {
        if self.source.is_end() {
            watch.end(Ok(()));
        } else {
            self.watch = Some(watch);
        }
        self
    }

    fn ended(&mut self, result: Result<(), &BoxError>) {
        if let Some(mut watch) = self.watch.take() {
            watch.end(result);
        }
    }

    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended(Err(&error));
        self.source = Source::Empty;
        Poll::Ready(Some(Err(error)))
    }
}

impl Source {
    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Other(other) => other.is_end_stream(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Other(other) => other.as_mut().poll_frame(cx),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(watch) = &mut this.watch
            && let Poll::Ready(error) = watch.poll_cut(cx)
        {
            return this.fail(error);
        }
        let mut frame = match ready!(this.source.poll(cx)) {
            None => {
                this.ended(Ok(()));
                return Poll::Ready(None);
            }
            Some(Err(error)) => return this.fail(error),
            Some(Ok(frame)) => frame,
        };
        if let Some(watch) = &mut this.watch {
            if let Some(data) = frame.data_ref() {
                watch.data(data.len());
            } else if let Some(trailers) = frame.trailers_mut() {
                watch.trailers(trailers);
            }
        }
        // Nobody asks a body again that has said that it ends.
        if this.source.is_end() {
            this.ended(Ok(()));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Other(other) => other.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}
