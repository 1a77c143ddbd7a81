//! What the demo and the tests run inside pods: a server that says who called, a client that says whom it reached, a load, and raw SYNs.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;

mod grpc;
mod hostile;
mod http;
mod load;
mod peer;
mod raw;
mod stream;
mod websocket;
mod wire;

/// Network probes for Heddle's demo and tests.
#[derive(Debug, Parser)]
#[command(name = "heddle-probe")]
enum Probe {
    /// Answers every connection with the address that getpeername shows, and prints it.
    PeerServer {
        /// Port, on every address of the pod.
        #[arg(long, default_value_t = 7000)]
        port: u16,
    },
    /// Connects once and prints both ends' view as JSON.
    PeerClient {
        /// HOST:PORT.
        to: String,
    },
    /// Reads each connection to its end and says how it ended.
    StreamServer {
        /// Port, on every address of the pod.
        #[arg(long, default_value_t = 7001)]
        port: u16,
    },
    /// Sends bytes, ends the stream in the way asked for, and prints what came back as JSON.
    StreamClient(stream::Client),
    /// Sends HTTP requests at a steady rate and prints what came back as JSON.
    Load(load::Load),
    /// Answers HTTP requests as their query asks, and says what arrived.
    HttpServer(http::server::Server),
    /// Sends HTTP requests, many at a time, and prints what came back as JSON.
    Requests(http::client::Requests),
    /// Answers gRPC calls of every kind.
    GrpcServer {
        /// Port, on every address of the pod.
        #[arg(long, default_value_t = 7070)]
        port: u16,
        /// What it calls itself.
        #[arg(long, default_value = "v1")]
        version: String,
    },
    /// Makes gRPC calls and prints what came back as JSON.
    GrpcClient(grpc::Client),
    /// Echoes WebSocket messages.
    WebsocketServer {
        /// Port, on every address of the pod.
        #[arg(long, default_value_t = 7002)]
        port: u16,
    },
    /// Opens a WebSocket and prints what came back as JSON.
    WebsocketClient {
        /// `ws://HOST:PORT/PATH`.
        to: String,
        /// Texts to send.
        #[arg(long, default_value_t = 3)]
        count: u32,
        /// On a stream of HTTP/2 (RFC 8441).
        #[arg(long)]
        http2: bool,
    },
    /// Sends bytes as written and prints what came back as JSON.
    Wire(wire::Wire),
    /// Does what a peer must not, and prints how it ended as JSON.
    Hostile(hostile::Hostile),
    /// Sends SYNs with a source address of one's choice.
    RawSyn {
        /// Claimed source.
        #[arg(long)]
        source: IpAddr,
        /// Where to.
        #[arg(long)]
        destination: IpAddr,
        /// Destination port.
        #[arg(long)]
        port: u16,
        /// How many.
        #[arg(long, default_value_t = 10)]
        count: u16,
    },
}

fn main() -> ExitCode {
    let result = match Probe::parse() {
        Probe::PeerServer { port } => peer::serve(port),
        Probe::PeerClient { to } => peer::connect(&to),
        Probe::StreamServer { port } => stream::serve(port),
        Probe::StreamClient(client) => client.run(),
        Probe::Load(load) => load.run(),
        Probe::HttpServer(server) => server.run(),
        Probe::Requests(requests) => requests.run(),
        Probe::GrpcServer { port, version } => grpc::serve(port, version),
        Probe::GrpcClient(client) => client.run(),
        Probe::WebsocketServer { port } => websocket::serve(port),
        Probe::WebsocketClient { to, count, http2: false } => websocket::connect(&to, count),
        Probe::WebsocketClient { to, count, http2: true } => websocket::connect_http2(&to, count),
        Probe::Wire(wire) => wire.run(),
        Probe::Hostile(hostile) => hostile.run(),
        Probe::RawSyn { source, destination, port, count } => raw::send(source, destination, port, count),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-probe: {error:#}");
            ExitCode::FAILURE
        }
    }
}
