//! A front of the API server's double that also has `pods/exec` and `pods/log`: what pods say is scripted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use heddle_apiserver::Double;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// What pods say: `POD COMMAND…` to what it prints, or to why it fails; `POD log` to its log.
pub(crate) type Script = HashMap<String, Result<String, String>>;

#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) double: Double,
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Front {
    pub(crate) async fn start(double: Double, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Self { double, address, asked: Arc::default() };
        let (serving, script) = (front.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (front, script) = (serving.clone(), Arc::clone(&script));
                tokio::spawn(async move { front.serve(stream, &script).await });
            }
        });
        front
    }

    pub(crate) fn kubeconfig(&self, token: &str) -> String {
        let text = self.double.kubeconfig(token);
        text.replace(&self.double.url(), &format!("http://{}", self.address))
    }

    /// Commands that ran in pods.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn serve(&self, mut stream: TcpStream, script: &Script) {
        let mut head = vec![0; 16 << 10];
        let end = loop {
            let seen = stream.peek(&mut head).await.unwrap_or(0);
            if seen == 0 {
                return;
            }
            if let Some(end) = head[..seen].windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            tokio::task::yield_now().await;
        };
        let text = String::from_utf8_lossy(&head[..end]).into_owned();
        let target = text.split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let pod = path.rsplit('/').nth(1).unwrap().to_owned();
        if path.ends_with("/exec") {
            return exec(stream, &self.asked, &pod, query, script).await;
        }
        stream.read_exact(&mut head[..end]).await.unwrap();
        if path.ends_with("/log") {
            let log = script.get(&format!("{pod} log")).cloned().unwrap_or(Ok(String::new())).unwrap();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{log}", log.len());
            return stream.write_all(answer.as_bytes()).await.unwrap();
        }
        // One request a connection, so that each of them comes by here.
        let text = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let address = self.double.url().replace("http://", "");
        let mut behind = TcpStream::connect(address).await.unwrap();
        behind.write_all(text.as_bytes()).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
    }
}

async fn exec(stream: TcpStream, asked: &Mutex<Vec<String>>, pod: &str, query: &str, script: &Script) {
    let words: Vec<String> =
        query.split('&').filter_map(|pair| pair.strip_prefix("command=")).map(decoded).collect();
    let command = format!("{pod} {}", words.join(" "));
    asked.lock().unwrap().push(command.clone());
    #[allow(clippy::result_large_err, reason = "as the library has it")]
    let choose = |_: &Request, mut answer: Response| {
        answer.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().unwrap());
        Ok(answer)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap();
    let (channel, said, status) = match script.get(&command) {
        Some(Ok(said)) => (STDOUT, said.clone(), json!({ "status": "Success" })),
        Some(Err(said)) => (STDERR, said.clone(), failed("command terminated with non-zero exit code")),
        None => (STDERR, String::new(), failed(&format!("nobody scripted `{command}`"))),
    };
    // In pieces, as kubelets send it.
    for piece in said.as_bytes().chunks(100) {
        let message = [&[channel][..], piece].concat();
        socket.send(Message::binary(message)).await.unwrap();
    }
    let status = [&[STATUS][..], status.to_string().as_bytes()].concat();
    socket.send(Message::binary(status)).await.unwrap();
    let _closed = socket.close(None).await;
    while let Some(Ok(_)) = socket.next().await {}
}

fn failed(message: &str) -> Value {
    json!({ "status": "Failure", "reason": "NonZeroExitCode", "message": message })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = std::str::from_utf8(&others[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &others[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}
