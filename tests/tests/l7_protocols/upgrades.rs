//! Requests that ask for another protocol, and answers that come before the answer.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;

use crate::text;

/// Answers `103 Early Hints` first, to whatever comes; closes after each answer.
const HINTS: &str = r#"
import socket
listener = socket.create_server(("::", 7074), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    peer, _ = listener.accept()
    if b"\r\n\r\n" in peer.recv(65536):
        peer.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
    peer.close()
"#;

pub(crate) const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: hints}, spec: {selector: {app: caller}, \
    ports: [{name: http, port: 7074}]}}";

/// As Envoy does: the wish is not heard, the answer is HTTP/1.1, and nothing of the wish goes on.
pub(crate) fn h2c(mesh: &Mesh) -> Result<()> {
    for (port, arguments) in [(80, &["--http2"][..]), (9080, &["--http2"]), (80, &["--http2", "-d", "body"])]
    {
        let said = mesh.call(&format!("http://web:{port}/"), arguments)?;
        let server = said.json()?;
        ensure!(said.status == 200 && server["proto"] == "HTTP/1.1", "{port} {arguments:?}: {said:?}");
        let headers = &server["headers"];
        ensure!(headers["upgrade"].is_null() && headers["http2-settings"].is_null(), "{headers}");
    }
    // A client that goes on in HTTP/1.1 on the same connection is served there.
    let asks = r"GET /first HTTP/1.1\r\nhost: web\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let next = r"GET /next HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    let said = mesh.probe(&["wire", "web:80", asks, next])?;
    ensure!(text(&said).matches("HTTP/1.1 200").count() == 2 && text(&said).contains("/next"), "{said}");
    Ok(())
}

/// RFC 8441: a WebSocket on a stream of HTTP/2, to servers of HTTP/1.1.
pub(crate) fn websockets_over_http2(mesh: &Mesh) -> Result<()> {
    for port in [7002, 7075] {
        let url = format!("ws://web-sockets:{port}/chat");
        let said = mesh.probe(&["websocket-client", &url, "--count", "20", "--http2"])?;
        ensure!(said["status"] == 200 && said["echoed"] == 20 && said["whole"] == true, "{port}: {said}");
    }
    Ok(())
}

pub(crate) const SOCKETS: &str = "{apiVersion: v1, kind: Service, metadata: {name: web-sockets}, spec: {selector: {app: echo}, \
    ports: [{name: ws, port: 7002, appProtocol: kubernetes.io/ws}, {name: any, port: 7075, targetPort: 7002}]}}";

/// A tunnel by way of the authority that was asked for: to the application, as it came.
pub(crate) fn connect(mesh: &Mesh) -> Result<()> {
    let said = mesh.probe(&["wire", "web:80", r"CONNECT web:80 HTTP/1.1\r\nhost: web:80\r\n\r\n"])?;
    let status = text(&said).split_whitespace().nth(1).unwrap_or_default().to_owned();
    ensure!(["200", "400", "404", "405", "501"].contains(&&*status), "{said}");
    let body = r"CONNECT web:80 HTTP/1.1\r\nhost: web:80\r\ncontent-length: 3\r\n\r\nabc";
    let said = mesh.probe(&["wire", "web:80", body])?;
    ensure!(text(&said).starts_with("HTTP/1.1 400"), "a CONNECT has no body: {said}");
    Ok(())
}

/// The interim answers stay behind, the final one comes, and nothing is mistaken for it.
pub(crate) fn early_hints(mesh: &Mesh) -> Result<()> {
    let argv = ["/usr/bin/python3", "-c", HINTS];
    let mut command = mesh.sandbox.exec_command("trusted", "caller", &argv)?;
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let seen = eventually(Duration::from_secs(15), || {
        Ok(mesh.call("http://hints.trusted:7074/", &[])?.status == 200)
    });
    let many: Vec<_> = (0..5).map(|_| mesh.call("http://hints.trusted:7074/", &[])).collect();
    server.kill()?;
    server.wait()?;
    seen?;
    for said in many {
        let said = said?;
        ensure!(said.status == 200 && said.body == "hello" && said.header("link").is_none(), "{said:?}");
    }
    Ok(())
}
