//! WebSockets, by tungstenite: an echo server, and a client that says what came back.

use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tungstenite::Message;

/// Echoes on every address of the pod.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    println!("listening on {port}");
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = echo(connection) {
                println!("ended: {error:#}");
            }
        });
    }
    Ok(())
}

fn echo(connection: TcpStream) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut socket = tungstenite::accept(connection).map_err(|error| anyhow::anyhow!("{error}"))?;
    loop {
        match socket.read()? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message)?,
            Message::Close(_) => println!("closed by the client"),
            _ => {}
        }
    }
}

/// Says `count` texts and one of a mebibyte, closes, and prints what came back.
pub(crate) fn connect(url: &str, count: u32) -> Result<()> {
    let (address, _) =
        url.strip_prefix("ws://").context("want ws://HOST:PORT/PATH")?.split_once('/').context("path")?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut socket, answer) =
        tungstenite::client(url, stream).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut echoed = 0;
    for number in 0..count {
        socket.send(Message::text(format!("text {number}")))?;
        echoed += u32::from(socket.read()? == Message::text(format!("text {number}")));
    }
    let big = Message::binary(vec![7u8; 1 << 20]);
    socket.send(big.clone())?;
    let whole = socket.read()? == big;
    socket.close(None)?;
    while socket.read().is_ok() {}
    println!("{}", json!({ "status": answer.status().as_u16(), "echoed": echoed, "whole": whole }));
    Ok(())
}
