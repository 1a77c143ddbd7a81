//! The echo servers of Gateway API's conformance tests: they say which pod answered what.
pub(super) mod advanced;
mod certificate;
mod described;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use self::described::described;
use super::serve::{self, Call, Port, Reply, Speaks};

/// `echo-basic`, which is told its ports by variables; TLS only where a certificate is named.
pub(super) fn main() -> io::Result<()> {
    let mut ports = vec![(port("HTTP_PORT", 3000), Speaks::Http), (port("H2C_PORT", 3001), Speaks::Http)];
    let file = |name: &str| std::env::var(name).unwrap_or_default();
    let (certificate, key) = (file("TLS_SERVER_CERT"), file("TLS_SERVER_PRIVKEY"));
    if !certificate.is_empty() && !key.is_empty() {
        let acceptor = certificate::acceptor(certificate.as_ref(), key.as_ref())?;
        ports.push((port("HTTPS_PORT", 8443), Speaks::Https(acceptor)));
    }
    run(ports)
}

fn run(ports: Vec<(u16, Speaks)>) -> io::Result<()> {
    let ports = ports.into_iter().map(|(port, speaks)| Port { address: serve::any(port), speaks });
    serve::run_ports(ports, answer)
}

fn port(name: &str, default: u16) -> u16 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn answer(call: Call) -> Reply {
    println!("{} {} {}", call.client, call.request.method(), call.request.uri());
    let query = call.request.uri().query().unwrap_or_default().to_owned();
    if let Some(delay) = query.split('&').find_map(|pair| pair.strip_prefix("delay=")) {
        match duration(delay) {
            Some(delay) => tokio::time::sleep(delay.min(Duration::from_secs(60))).await,
            None => return serve::reply(500, "application/json", "{\"message\":\"invalid delay\"}\n"),
        }
    }
    let text = format!("{:#}\n", described(&call));
    if call
        .request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    {
        return advanced::grpc(&text);
    }
    match call.request.uri().path().strip_prefix("/status/").map(str::parse) {
        Some(Ok(code @ 200..=599)) => serve::reply(code, "text/plain", ""),
        Some(_) => serve::reply(400, "text/plain", ""),
        None if call.request.uri().path() == "/health" => serve::reply(200, "text/plain", "OK"),
        None => serve::reply(200, "application/json", text),
    }
}

/// A Go duration of one unit: `500ms`, `1.5s`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let seconds = match &text[unit..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(text[..unit].parse::<f64>().ok()? * seconds).ok()
}
