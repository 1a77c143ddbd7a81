//! WebSockets, by tungstenite: an echo server, and a client that says what came back.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(10);

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
    let stream = TcpStream::connect(address(url)?.0)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (socket, answer) = tungstenite::client(url, stream).map_err(|error| anyhow::anyhow!("{error}"))?;
    say(socket, answer.status().as_u16(), count)
}

/// The same on a stream of HTTP/2, which another thread moves.
pub(crate) fn connect_http2(url: &str, count: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (status, upgraded) = runtime.block_on(extended_connect(url))?;
    let bridge = Bridge { upgraded: TokioIo::new(upgraded), runtime: runtime.handle().clone() };
    let said = say(WebSocket::from_raw_socket(bridge, Role::Client, None), status, count);
    runtime.shutdown_background();
    said
}

fn address(url: &str) -> Result<(&str, &str)> {
    url.strip_prefix("ws://").context("want ws://HOST:PORT/PATH")?.split_once('/').context("path")
}

async fn extended_connect(url: &str) -> Result<(u16, Upgraded)> {
    let (address, path) = address(url)?;
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::connect(format!("http://{address}/{path}"))
        .header("sec-websocket-version", "13")
        .body(Empty::<Bytes>::new())?;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    // The server's settings come first: they offer it.
    sender.ready().await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    anyhow::ensure!(answer.status().is_success(), "answered {status}");
    Ok((status, hyper::upgrade::on(&mut answer).await?))
}

/// A stream of another thread's, read and written as a socket.
struct Bridge {
    upgraded: TokioIo<Upgraded>,
    runtime: tokio::runtime::Handle,
}

impl Read for Bridge {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = async { tokio::time::timeout(PATIENCE, self.upgraded.read(into)).await };
        self.runtime.block_on(read)?
    }
}

impl Write for Bridge {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.runtime.block_on(self.upgraded.write(from))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.runtime.block_on(self.upgraded.flush())
    }
}

fn say(mut socket: WebSocket<impl Read + Write>, status: u16, count: u32) -> Result<()> {
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
    println!("{}", json!({ "status": status, "echoed": echoed, "whole": whole }));
    Ok(())
}
