//! `hashicorp/http-echo`: one text for every request.
use std::io;
use std::net::SocketAddr;

use super::serve::{self, Call};

struct Flags {
    text: String,
    listen: SocketAddr,
    status: u16,
}

pub(super) fn main(arguments: &[String]) -> io::Result<()> {
    let flags = flags(arguments).map_err(io::Error::other)?;
    let (text, status) = (format!("{}\n", flags.text), flags.status);
    serve::run(&[flags.listen], move |call: Call| {
        let (line, text) =
            (format!("{} {} {}", call.client, call.request.method(), call.request.uri()), text.clone());
        println!("{line}");
        async move {
            match call.request.uri().path() {
                "/health" => serve::reply(200, "application/json", "{\"status\":\"ok\"}\n"),
                _ => serve::reply(status, "text/plain; charset=utf-8", text),
            }
        }
    })
}

/// Go's flags: one dash or two, a value after `=` or as the next word.
fn flags(arguments: &[String]) -> Result<Flags, String> {
    let mut flags =
        Flags { text: std::env::var("ECHO_TEXT").unwrap_or_default(), listen: serve::any(5678), status: 200 };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (bare, words.next().cloned().ok_or_else(|| format!("flag needs an argument: {word}"))?),
        };
        match name {
            "text" => flags.text = value,
            "listen" => flags.listen = address(&value)?,
            "status-code" => {
                flags.status = value.parse().map_err(|error| format!("-status-code {value}: {error}"))?
            }
            _ => return Err(format!("flag provided but not defined: {word}")),
        }
    }
    if flags.text.is_empty() { Err("Missing -text option!".to_owned()) } else { Ok(flags) }
}

/// `:5678` or `IP:PORT`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = text.strip_prefix(':').map_or_else(|| text.to_owned(), |port| format!("[::]:{port}"));
    full.parse().map_err(|error| format!("-listen {text}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let read = flags(&words("-text=Hello from Backend v1|--listen|:8080")).unwrap();
        assert_eq!((read.text.as_str(), read.listen.port()), ("Hello from Backend v1", 8080));
        assert_eq!(flags(&words("-text=x")).unwrap().listen.port(), 5678);
        assert!(flags(&words("-listen=:1")).is_err());
        assert!(flags(&words("-txet=x")).is_err());
    }
}
