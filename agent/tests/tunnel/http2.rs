//! HTTP/2 at the destination: gRPC, WebSockets, and what is judged of a request.

use std::net::SocketAddr;
use std::time::Duration;

use heddle_core::policy::RequestMatch;

use crate::bypass::no_admin;
use crate::http::{Web, deny, exact};

/// What an application behind HTTP/2 got: method, path and authority.
type Got = std::sync::Arc<std::sync::Mutex<Vec<(String, String, String)>>>;

/// An application that speaks HTTP/2 and answers as gRPC does.
fn http2_app(web: &Web) -> Got {
    let got = Got::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    web.world.network.route(web.world.server.plaintext, listener.local_addr().unwrap());
    let told = got.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let uri = request.uri();
                        let authority = uri.authority().map(|authority| authority.to_string());
                        let method = request.method().to_string();
                        told.lock().unwrap().push((method, uri.path().into(), authority.unwrap_or_default()));
                        let response = http::Response::builder().header("content-type", "application/grpc");
                        let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                        send.send_data("data".into(), false).unwrap();
                        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                        send.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
                    }
                });
            }
        });
    });
    got
}

/// Status, `grpc-status` of head or trailers, and body of requests on one connection; `None`: it was reset.
fn ask_http2(to: SocketAddr, requests: Vec<http::Request<()>>) -> Vec<Option<(u16, String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for request in requests {
            sender = sender.ready().await.unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            let Ok(response) = response.await else {
                answers.push(None);
                continue;
            };
            let (head, mut body) = response.into_parts();
            let mut text = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                text.extend_from_slice(&data);
            }
            let trailers = body.trailers().await.unwrap_or_default().unwrap_or_default();
            let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
            let status = status.map(|status| status.to_str().unwrap().to_owned()).unwrap_or_default();
            answers.push(Some((head.status.as_u16(), status, String::from_utf8(text).unwrap())));
        }
        answers
    })
}

#[test]
fn http2_is_judged_by_what_is_forwarded_and_grpc_is_told_in_its_own_words() {
    let web = Web::new();
    let got = http2_app(&web);
    web.policy(deny(no_admin()));
    let call = |uri: &str, host: Option<&str>| {
        let request = http::Request::builder().version(http::Version::HTTP_2).method("POST").uri(uri);
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        match host {
            Some(host) => request.header("host", host),
            None => request,
        }
        .body(())
        .unwrap()
    };
    let requests = vec![
        call("http://web/shop.Items/Get", None),
        call("http://web/admin", None),
        call("http://web/x/..%2fadmin/y", None),
        call("http://web//%61dmin", None),
        call("http://web/shop.Items/Get", Some("other")),
        call("http://web/shop.Items/List?x", Some("web")),
    ];
    let answers = ask_http2(web.world.server.plaintext, requests);
    let ok = Some((200, "0".to_owned(), "data".to_owned()));
    let denied = Some((200, "7".to_owned(), String::new()));
    assert_eq!(answers[..4], [ok.clone(), denied.clone(), denied.clone(), denied]);
    assert_ne!(answers[4], ok, "two authorities");
    assert_eq!(answers[5], ok);
    let got = got.lock().unwrap();
    let paths: Vec<&str> = got.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/shop.Items/Get", "/shop.Items/List"]);
    assert!(got.iter().all(|(method, _, authority)| method == "POST" && authority == "web"));
    let grpc = [("request_protocol", "grpc"), ("grpc_response_status", "7")];
    assert_eq!(web.metric("istio_requests_total", &grpc), 3.0);
    assert_eq!(web.world.network.clients.lock().unwrap().len(), 1, "one connection to the application");
}

#[test]
fn a_websocket_over_http2_is_judged_as_a_request_and_passes_as_bytes() {
    let web = Web::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    web.world.network.route(web.world.server.plaintext, listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut builder = h2::server::Builder::new();
            let mut connection =
                builder.enable_connect_protocol().handshake::<_, bytes::Bytes>(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut send = respond.send_response(http::Response::new(()), false).unwrap();
                    while let Some(Ok(data)) = body.data().await {
                        drop(body.flow_control().release_capacity(data.len()));
                        send.send_data(data, false).unwrap();
                    }
                    drop(send.send_data(bytes::Bytes::new(), true));
                });
            }
        });
    });
    web.policy(deny(no_admin()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(web.world.server.plaintext).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            sender = sender.ready().await.unwrap();
        }
        let connect = |path: &str| {
            let mut request = http::Request::new(());
            *request.method_mut() = http::Method::CONNECT;
            *request.uri_mut() = format!("http://web{path}").parse().unwrap();
            request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            request
        };
        let (denied, _) = sender.send_request(connect("/x/../admin"), false).unwrap();
        assert_eq!(denied.await.unwrap().status(), 403);
        sender = sender.ready().await.unwrap();
        let (response, mut send) = sender.send_request(connect("/chat"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        send.send_data("frame".into(), false).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "frame");
        web.policy(deny(RequestMatch { paths: exact(&["/chat"]), ..RequestMatch::default() }));
        assert!(body.data().await.is_none_or(|end| !end.is_ok_and(|data| !data.is_empty())), "it goes on");
    });
    crate::world::eventually("both are counted", || {
        let count = |code| web.metric("istio_requests_total", &[("response_code", code)]);
        count("403") == 1.0 && count("200") == 1.0
    });
}
