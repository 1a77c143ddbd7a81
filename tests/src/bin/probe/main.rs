//! What the demo and the tests run inside pods: a server that says who called, a client that says whom it reached, a load, and raw SYNs.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;

mod load;
mod peer;
mod raw;
mod stream;

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
