//! HTTP/2: requests at once, trailers, gRPC's answers, streams that are reset, WebSockets.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use h2::client::SendRequest;
use heddle_core::upstream::model::Protocol;
use http::{HeaderMap, Request};

use crate::world::World;
use crate::{Heads, app, header, ok, read_request, service, web};

/// What the application answers: three bytes, and trailers.
async fn serve(connection: TcpStream) {
    connection.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(connection).unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut size = 0;
            while let Some(Ok(data)) = body.data().await {
                size += data.len();
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            let trailers = body.trailers().await.unwrap();
            let response = http::Response::builder().header("x-size", size).body(()).unwrap();
            let mut send = respond.send_response(response, false).unwrap();
            send.send_data(Bytes::from_static(b"abc"), false).unwrap();
            let mut answer = HeaderMap::new();
            answer.insert("grpc-status", "0".parse().unwrap());
            if let Some(value) = trailers.and_then(|trailers| trailers.get("x-end").cloned()) {
                answer.insert("x-end", value);
            }
            send.send_trailers(answer).unwrap();
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn app2(connection: TcpStream) {
    runtime().block_on(serve(connection));
}

async fn connect(world: &World) -> SendRequest<Bytes> {
    let stream = world.connect(web());
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender.ready().await.unwrap()
}

fn post() -> Request<()> {
    let request = Request::post("http://web/echo.Echo/Say").header("content-type", "application/grpc");
    request.header("te", "trailers").body(()).unwrap()
}

#[test]
fn a_hundred_streams_at_once_carry_bodies_and_trailers_both_ways() {
    let world = World::new();
    service(&world, Protocol::Grpc);
    world.serve(8080, app2);
    runtime().block_on(async {
        let sender = connect(&world).await;
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..100 {
            let mut sender = sender.clone();
            waiting.spawn(async move {
                let (response, mut send) = sender.send_request(post(), false).unwrap();
                send.send_data(Bytes::from(vec![7; 100 * number]), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-end", number.into());
                send.send_trailers(trailers).unwrap();
                let mut response = response.await.unwrap();
                assert_eq!(response.headers()["x-size"], (100 * number).to_string());
                let body = response.body_mut();
                assert_eq!(body.data().await.unwrap().unwrap(), "abc");
                assert!(body.data().await.is_none());
                let trailers = body.trailers().await.unwrap().unwrap();
                assert_eq!(trailers["grpc-status"], "0");
                assert_eq!(trailers["x-end"], number.to_string());
            });
        }
        while let Some(done) = waiting.join_next().await {
            done.unwrap();
        }
    });
    assert_eq!(world.client.telemetry.tunnels("client"), 1);
}

#[test]
fn a_grpc_request_that_nobody_takes_is_answered_as_grpc_wants_it() {
    let world = World::new();
    service(&world, Protocol::Grpc);
    runtime().block_on(async {
        let mut sender = connect(&world).await;
        let (response, _) = sender.send_request(post(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(response.headers().contains_key("grpc-message"));
    });
}

#[test]
fn an_http2_client_reaches_a_server_that_speaks_http1() {
    let world = World::new();
    service(&world, Protocol::Http);
    let heads = Heads::default();
    world.serve(8080, app(&heads, |_, _| Some(ok("one"))));
    runtime().block_on(async {
        let mut sender = connect(&world).await;
        for _ in 0..3 {
            let request = Request::get("http://web/x").body(()).unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            let mut response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "one");
        }
    });
    assert!(heads.lock().unwrap()[0].starts_with("GET /x HTTP/1.1\r\n"));
}

#[test]
fn a_stream_that_is_reset_leaves_the_others_alone() {
    let world = World::new();
    service(&world, Protocol::Grpc);
    world.serve(8080, app2);
    runtime().block_on(async {
        let mut sender = connect(&world).await;
        let (_, mut cut) = sender.send_request(post(), false).unwrap();
        let (response, mut send) = sender.send_request(post(), false).unwrap();
        send.send_data(Bytes::from_static(b"1234"), true).unwrap();
        cut.send_reset(h2::Reason::CANCEL);
        assert_eq!(response.await.unwrap().headers()["x-size"], "4");
        // Two authorities: that stream only.
        let bad = Request::get("http://web/").header("host", "other").body(()).unwrap();
        let (response, _) = sender.send_request(bad, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 400);
        let (response, _) = sender.send_request(post(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn a_websocket_of_http2_reaches_a_server_that_knows_only_http1() {
    let world = World::new();
    service(&world, Protocol::Http);
    world.serve(8080, |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        let mut reader = BufReader::new(connection);
        let (head, _) = read_request(&mut reader).unwrap();
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        assert!(header(&head, "sec-websocket-key").is_some());
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        writer.write_all(answer.as_bytes()).unwrap();
        let mut byte = [0];
        while reader.read(&mut byte).unwrap_or(0) == 1 {
            writer.write_all(&[byte[0] + 1]).unwrap();
        }
    });
    runtime().block_on(async {
        let mut sender = connect(&world).await;
        // The client learns from the server's settings that it may ask.
        for _ in 0..100 {
            if sender.is_extended_connect_protocol_enabled() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let mut request = Request::builder().method("CONNECT").uri("http://web/chat").body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut send) = sender.send_request(request, false).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        send.send_data(Bytes::from_static(b"a"), false).unwrap();
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "b");
        send.send_data(Bytes::new(), true).unwrap();
        let rest = response.body_mut().data().await;
        assert!(rest.is_none_or(|rest| rest.unwrap().is_empty()));
    });
}
