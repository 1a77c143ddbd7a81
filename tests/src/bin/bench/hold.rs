//! Inside of a pod: connections that are open and idle.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Opens `count` connections, prints `held COUNT`, waits, and ends.
pub(crate) fn run(to: SocketAddr, count: usize, seconds: u64) -> ExitCode {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(10));
    let held: Vec<TcpStream> = (0..count).map_while(|_| connect().ok()).collect();
    println!("held {}", held.len());
    let _ = std::io::stdout().flush();
    std::thread::sleep(Duration::from_secs(seconds));
    if held.len() == count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
