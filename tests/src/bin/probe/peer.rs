//! Both ends of one connection, as each sees the other.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    println!("listening on {port}");
    for connection in listener.incoming() {
        // One bad connection is not the server's end.
        if let Err(error) = connection.map_err(Into::into).and_then(answer) {
            println!("error: {error:#}");
        }
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (peer, local) = (connection.peer_addr()?, connection.local_addr()?);
    println!("accepted {} -> {}", peer.ip().to_canonical(), local.ip().to_canonical());
    writeln!(connection, "{} {}", peer.ip().to_canonical(), peer.port())?;
    Ok(())
}

pub(crate) fn connect(to: &str) -> Result<()> {
    let connection = TcpStream::connect(to)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (peer, local) = (connection.peer_addr()?, connection.local_addr()?);
    let mut line = String::new();
    BufReader::new(&connection).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let seen = json!({
        "peer": {"ip": peer.ip().to_canonical(), "port": peer.port()},
        "local": {"ip": local.ip().to_canonical(), "port": local.port()},
        "server_saw": {"ip": words.next(), "port": words.next().and_then(|port| port.parse::<u16>().ok())},
    });
    println!("{seen}");
    Ok(())
}
