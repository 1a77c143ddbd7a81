//! `echo-advanced`, the mesh tests' echo server: flags name its ports and what is spoken there.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::certificate;
use super::described::pod;
use crate::images::app::serve::{Reply, Speaks, reply};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// HTTP, gRPC too.
    pub(super) http: Vec<u16>,
    pub(super) tcp: Vec<u16>,
    /// Those of the others that speak TLS.
    pub(super) tls: Vec<u16>,
    certificate: String,
    key: String,
}

pub(crate) fn main(arguments: &[String]) -> io::Result<()> {
    let flags = flags(arguments).map_err(io::Error::other)?;
    let mut ports = BTreeMap::new();
    for port in &flags.tcp {
        let greeting = serde_json::json!({"tcpport": port.to_string(), "pod": pod()});
        ports.insert(*port, Speaks::Tcp(format!("{greeting}\n").into()));
    }
    ports.extend(flags.http.iter().map(|port| (*port, Speaks::Http)));
    for port in &flags.tls {
        let (certificate, key) = (Path::new(&flags.certificate), Path::new(&flags.key));
        // The image brings both files; a machine does not.
        let acceptor = match certificate.exists() {
            true => certificate::acceptor(certificate, key)?,
            false => certificate::self_made(vec![pod(), "localhost".to_owned()])?,
        };
        ports.insert(*port, Speaks::Https(acceptor));
    }
    super::run(ports.into_iter().collect())
}

/// `--port 8080`, `--grpc=7070`, `--tcp=9090`, each any number of times and with lists; what is absent has its default.
pub(super) fn flags(arguments: &[String]) -> Result<Flags, String> {
    let mut given: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let bare = word.strip_prefix("--").ok_or_else(|| format!("unexpected argument: {word}"))?;
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (bare, words.next().cloned().ok_or_else(|| format!("flag needs an argument: {word}"))?),
        };
        given.entry(name).or_default().extend(value.split(',').map(str::to_owned));
    }
    const KNOWN: [&str; 10] =
        ["port", "grpc", "tcp", "tls", "crt", "key", "version", "cluster", "istio-version", "bind-ip"];
    if let Some(unknown) = given.keys().find(|name| !KNOWN.contains(name)) {
        return Err(format!("unknown flag: --{unknown}"));
    }
    let ports = |name: &str, default: &[u16]| match given.get(name) {
        None => Ok(default.to_vec()),
        Some(values) => {
            let read = values.iter().map(|value| value.parse::<u16>());
            read.collect::<Result<Vec<_>, _>>().map_err(|error| format!("--{name}: {error}"))
        }
    };
    let mut http = ports("port", &[8080])?;
    http.extend(ports("grpc", &[7070])?);
    let text = |name: &str| given.get(name).map(|values| values.join(",")).unwrap_or_default();
    let (tcp, tls) = (ports("tcp", &[9090])?, ports("tls", &[])?);
    Ok(Flags { http, tcp, tls, certificate: text("crt"), key: text("key") })
}

/// One gRPC message whose first field is this text, and a status of 0.
pub(super) fn grpc(text: &str) -> Reply {
    let mut message = vec![0x0a];
    let mut length = text.len();
    while length >= 0x80 {
        message.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    message.push(u8::try_from(length).unwrap_or_default());
    message.extend_from_slice(text.as_bytes());
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    framed.extend_from_slice(&message);
    let status = HeaderName::from_static("grpc-status");
    let trailers = HeaderMap::from_iter([(status, HeaderValue::from_static("0"))]);
    let body =
        Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
    let mut answer = reply(200, "application/grpc", "");
    *answer.body_mut() = body.boxed_unsync();
    answer
}
