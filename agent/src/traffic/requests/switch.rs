//! An answer that switches protocols (WebSocket, CONNECT): what is needed to go on with bytes.

use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::http::Wire;
use crate::http::exchange::Exchange;

/// The other end of a connection that switches.
pub(super) struct Switch {
    /// The application's, as soon as hyper gives it back, and what it has said already.
    pub(super) back: oneshot::Receiver<(Wire, Bytes)>,
    /// The request that asked for it.
    pub(super) exchange: Rc<Exchange>,
}
