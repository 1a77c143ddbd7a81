//! HTTP/1.1 and HTTP/2: a server that answers as it is asked, and a client that counts what came back.

pub(crate) mod answer;
pub(crate) mod client;
mod meter;
pub(crate) mod server;
