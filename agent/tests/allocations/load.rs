//! Clients and applications that use as little as they can, so that what is counted is the agents'.

#![allow(unreachable_pub)]

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;

use crate::world::{SERVER, World, address};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: test\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

/// An application that answers HTTP/1.1 on port 80.
pub fn http1_app(world: &World) {
    world.serve(80, |mut connection: TcpStream| {
        let (mut buffer, mut read) = ([0; 4096], 0);
        while let Ok(more) = connection.read(&mut buffer[read..]) {
            read += more;
            if more == 0 {
                return;
            }
            if buffer[..read].ends_with(b"\r\n\r\n") {
                connection.write_all(ANSWER).unwrap();
                read = 0;
            }
        }
    });
}

/// Connections that send a request each, and then read an answer each.
pub struct Http1(Vec<TcpStream>);

impl Http1 {
    pub fn new(world: &World, connections: usize) -> Self {
        Self((0..connections).map(|_| world.connect(address(SERVER, 80))).collect())
    }

    pub fn round(&mut self) {
        for stream in &mut self.0 {
            stream.write_all(b"GET /a/b?c HTTP/1.1\r\nHost: 10.244.2.2\r\nUser-Agent: test\r\n\r\n").unwrap();
        }
        for stream in &mut self.0 {
            let (mut buffer, mut read) = ([0; 4096], 0);
            while !buffer[..read].ends_with(b"\r\n\r\nok") {
                read += stream.read(&mut buffer[read..]).unwrap();
            }
        }
    }
}

/// An application that answers gRPC over HTTP/2 on port 80.
pub fn grpc_app(world: &World) {
    world.serve(80, |connection: TcpStream| {
        connection.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(connection).unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                send.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
                let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                send.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
            }
        });
    });
}

/// One connection, many calls at once.
pub struct Grpc {
    runtime: tokio::runtime::Runtime,
    sender: h2::client::SendRequest<Bytes>,
    streams: usize,
}

impl Grpc {
    pub fn new(world: &World, streams: usize) -> Self {
        let stream = world.connect(address(SERVER, 80));
        stream.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender, streams }
    }

    pub fn round(&mut self) {
        let Self { runtime, sender, streams } = self;
        runtime.block_on(async {
            let mut under_way = Vec::new();
            for _ in 0..*streams {
                let request = http::Request::post("http://10.244.2.2/test.Echo/Call")
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(());
                *sender = sender.clone().ready().await.unwrap();
                let (response, mut send) = sender.send_request(request.unwrap(), false).unwrap();
                send.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
                under_way.push(response);
            }
            for response in under_way {
                let mut body = response.await.unwrap().into_body();
                while let Some(data) = body.data().await {
                    body.flow_control().release_capacity(data.unwrap().len()).unwrap();
                }
                assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
            }
        });
    }
}
