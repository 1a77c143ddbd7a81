//! A small httpbin: it says what it received, and answers as asked.
use std::io;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Map, Value, json};

use super::serve::{self, Call, Reply};

pub(super) fn main(default_port: u16, arguments: &[String]) -> io::Result<()> {
    let flag = arguments.iter().position(|word| word.trim_start_matches('-') == "port");
    let flag = flag.and_then(|at| arguments.get(at + 1)).cloned();
    let port = flag
        .or_else(|| std::env::var("PORT").ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(default_port);
    serve::run(&[serve::any(port)], answer)
}

async fn answer(call: Call) -> Reply {
    let path = call.request.uri().path().to_owned();
    println!("{} {} {path}", call.client, call.request.method());
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["" | "get" | "post" | "put" | "patch" | "delete" | "anything", ..] => json(&described(call).await),
        ["headers"] => json(&json!({"headers": headers(&call)})),
        ["ip"] => json(&json!({"origin": call.client.ip()})),
        ["user-agent"] => json(&json!({"user-agent": headers(&call).get("User-Agent")})),
        ["hostname"] => json(&json!({"hostname": std::env::var("HOSTNAME").unwrap_or_default()})),
        ["status", code] => match code.parse() {
            Ok(code @ 200..=599) => serve::reply(code, "text/plain; charset=utf-8", ""),
            _ => serve::reply(400, "text/plain; charset=utf-8", "Invalid status code\n"),
        },
        ["delay", seconds] => {
            let seconds: f64 = seconds.parse().unwrap_or(0.0);
            // httpbin's own bound.
            tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 10.0))).await;
            json(&described(call).await)
        }
        ["bytes", count] => {
            let count = count.parse::<usize>().unwrap_or(0).min(100 << 10);
            serve::reply(200, "application/octet-stream", vec![b'*'; count])
        }
        _ => serve::reply(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

fn json(value: &Value) -> Reply {
    serve::reply(200, "application/json", format!("{value:#}\n"))
}

fn headers(call: &Call) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, value) in call.request.headers() {
        all.insert(canonical(name.as_str()), json!(String::from_utf8_lossy(value.as_bytes())));
    }
    all
}

/// `user-agent` → `User-Agent`
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

async fn described(call: Call) -> Value {
    let headers = headers(&call);
    let (method, uri) = (call.request.method().to_string(), call.request.uri().clone());
    let host = headers.get("Host").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut arguments = Map::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        arguments.insert(key.to_owned(), json!(value));
    }
    let body = call.request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    json!({
        "args": arguments, "headers": headers, "method": method, "origin": call.client.ip(),
        "url": format!("http://{host}{uri}"), "data": String::from_utf8_lossy(&body)
    })
}
