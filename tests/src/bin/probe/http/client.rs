//! Many requests at a time, counted by what came back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use tokio::net::{TcpStream, lookup_host};

/// Options of `requests`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Requests {
    /// `http://HOST:PORT/PATH`.
    to: Uri,
    /// How many in all; with --rate, as many as --seconds asks for.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Requests a second, however long the answers take.
    #[arg(long, requires = "seconds")]
    rate: Option<f64>,
    /// How long.
    #[arg(long)]
    seconds: Option<f64>,
    /// At a time.
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// HTTP/2 with prior knowledge.
    #[arg(long)]
    http2: bool,
    /// A new connection for each request.
    #[arg(long)]
    fresh: bool,
    /// Look the name up once, before the first request: hundreds of questions at once lose some, and ask again seconds later.
    #[arg(long)]
    resolve_once: bool,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// A header, `name=value`; `{}` becomes the number of the request.
    #[arg(long)]
    header: Vec<String>,
    /// What the name led to, with --resolve-once.
    #[arg(skip)]
    resolved: Vec<SocketAddr>,
}

/// What came back.
#[derive(Debug, Default, Serialize)]
struct Tally {
    ok: u64,
    /// Without an answer.
    failed: u64,
    statuses: BTreeMap<u16, u64>,
    versions: BTreeMap<String, u64>,
    pods: BTreeMap<String, u64>,
    errors: Vec<String>,
    /// Of all answers.
    milliseconds: Vec<u64>,
    /// The pod that answered each number, where a header carries numbers.
    by_number: BTreeMap<u64, String>,
}

enum Connection {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

const PATIENCE: Duration = Duration::from_secs(15);

impl Requests {
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let total = match (self.rate, self.seconds) {
            (Some(rate), Some(seconds)) => (rate * seconds) as u64,
            _ => self.count,
        };
        runtime.block_on(async {
            let mut requests = self;
            if requests.resolve_once {
                let found = lookup_host(requests.address()?).await.context("lookup")?;
                let found: Vec<SocketAddr> = found.collect();
                requests.resolved = found;
            }
            let start = Instant::now();
            let shared = Arc::new(requests);
            let mut workers = tokio::task::JoinSet::new();
            for worker in 0..shared.connections {
                workers.spawn(shared.clone().work((worker, total, start), tally.clone()));
            }
            workers.join_all().await;
            anyhow::Ok(())
        })?;
        let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{}", serde_json::to_string(&*tally)?);
        Ok(())
    }

    /// Every so-many-th request, one after the other.
    async fn work(self: Arc<Self>, (worker, total, start): (u64, u64, Instant), tally: Arc<Mutex<Tally>>) {
        let mut kept = None;
        let mut number = worker;
        while number < total {
            if let Some(rate) = self.rate {
                let due = start + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            let begun = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, self.exchange(number, &mut kept)).await;
            let answer = answer.unwrap_or_else(|_elapsed| Err(anyhow!("no answer within {PATIENCE:?}")));
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.record(number, answer, begun.elapsed(), self.header.iter().any(|text| text.contains("{}")));
            drop(tally);
            number += self.connections;
        }
    }

    async fn exchange(&self, number: u64, kept: &mut Option<Connection>) -> Result<(u16, String)> {
        // A connection that the server has closed meanwhile is nobody's failure.
        let mut connection = match kept.take() {
            Some(kept) if !self.fresh => kept,
            _ => self.connect().await?,
        };
        if !connection.ready().await {
            connection = self.connect().await?;
        }
        let answer = connection.send(self.request(number)?).await.context("request")?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.context("body")?.to_bytes();
        *kept = Some(connection);
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn address(&self) -> Result<(&str, u16)> {
        let host = self.to.host().context("no host")?.trim_matches(['[', ']']);
        Ok((host, self.to.port_u16().unwrap_or(80)))
    }

    async fn connect(&self) -> Result<Connection> {
        let stream = match &self.resolved[..] {
            [] => TcpStream::connect(self.address()?).await,
            resolved => TcpStream::connect(resolved).await,
        };
        let stream = stream.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        if self.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            return Ok(Connection::Two(sender));
        }
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Connection::One(sender))
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>> {
        let authority = self.to.authority().context("no host")?.as_str();
        let path = self.to.path_and_query().map_or("/", |path| path.as_str());
        let uri = if self.http2 { self.to.to_string() } else { path.to_owned() };
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        let mut host = authority.to_owned();
        for header in &self.header {
            let (name, value) = header.split_once('=').context("want --header name=value")?;
            let value = value.replace("{}", &number.to_string());
            if name.eq_ignore_ascii_case("host") {
                host = value;
            } else {
                request = request.header(name, value);
            }
        }
        if !self.http2 {
            request = request.header("host", host);
        }
        request.body(Full::default()).context("request")
    }
}

impl Connection {
    async fn ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        Ok(match self {
            Self::One(sender) => sender.send_request(request).await?,
            Self::Two(sender) => sender.send_request(request).await?,
        })
    }
}

impl Tally {
    fn record(&mut self, number: u64, answer: Result<(u16, String)>, took: Duration, numbered: bool) {
        let answer = answer.and_then(|(status, body)| {
            ensure!(status != 0, "status 0");
            Ok((status, serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default()))
        });
        match answer {
            Ok((status, said)) => {
                self.ok += u64::from(status < 400);
                *self.statuses.entry(status).or_default() += 1;
                self.milliseconds.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                if let (Some(version), Some(pod)) = (said["version"].as_str(), said["pod"].as_str()) {
                    *self.versions.entry(version.to_owned()).or_default() += 1;
                    *self.pods.entry(pod.to_owned()).or_default() += 1;
                    if numbered {
                        self.by_number.insert(number, pod.to_owned());
                    }
                }
            }
            Err(error) => {
                self.failed += 1;
                if self.errors.len() < 20 {
                    self.errors.push(format!("{error:#}"));
                }
            }
        }
    }
}
