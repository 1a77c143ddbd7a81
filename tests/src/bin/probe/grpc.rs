//! gRPC of every kind, by tonic: a server, and a client that says what came back.

use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

use contract::Message;
use contract::echo_client::EchoClient;
use contract::echo_server::{Echo, EchoServer};

#[allow(missing_debug_implementations, unreachable_pub, unused_qualifications, reason = "generated")]
mod contract {
    tonic::include_proto!("heddle.test.v1");
}

type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

#[derive(Debug)]
struct Server {
    version: String,
}

/// Serves on every address of the pod until the process ends.
pub(crate) fn serve(port: u16, version: String) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("listening on {port}");
    let service = EchoServer::new(Server { version });
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    runtime.block_on(tonic::transport::Server::builder().add_service(service).serve(address))?;
    Ok(())
}

impl Server {
    fn reply(&self, text: String) -> Message {
        Message { text, version: self.version.clone(), ..Message::default() }
    }
}

async fn asked(message: &Message) -> Result<(), Status> {
    tokio::time::sleep(Duration::from_millis(message.delay_milliseconds.into())).await;
    match Code::from(i32::try_from(message.status).unwrap_or(2)) {
        Code::Ok => Ok(()),
        code => {
            let mut trailers = MetadataMap::new();
            trailers.insert("x-trailer", MetadataValue::from_static("at-the-end"));
            Err(Status::with_metadata(code, "as asked", trailers))
        }
    }
}

#[tonic::async_trait]
impl Echo for Server {
    type RepeatStream = Messages;
    type ConverseStream = Messages;

    async fn unary(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let metadata = request.metadata().clone().into_headers();
        let named = metadata.iter().filter(|(name, _)| name.as_str().starts_with("x-"));
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let metadata = named.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        let message = request.into_inner();
        asked(&message).await?;
        Ok(Response::new(Message { metadata, ..self.reply(message.text) }))
    }

    async fn collect(&self, request: Request<Streaming<Message>>) -> Result<Response<Message>, Status> {
        let (mut messages, mut texts) = (request.into_inner(), Vec::new());
        while let Some(message) = messages.message().await? {
            asked(&message).await?;
            texts.push(message.text);
        }
        Ok(Response::new(self.reply(texts.join("|"))))
    }

    async fn repeat(&self, request: Request<Message>) -> Result<Response<Messages>, Status> {
        let message = request.into_inner();
        let (reply, count) = (self.reply(message.text.clone()), message.count as usize);
        let replies = tokio_stream::iter(std::iter::repeat_n(Ok(reply), count));
        let end = futures_util::stream::once(async move { asked(&message).await.err() });
        let end = end.filter_map(|status| status.map(Err));
        Ok(Response::new(Box::pin(replies.chain(end))))
    }

    async fn converse(&self, request: Request<Streaming<Message>>) -> Result<Response<Messages>, Status> {
        let version = self.version.clone();
        let replies = request.into_inner().then(move |message| {
            let version = version.clone();
            async move {
                let message = message?;
                asked(&message).await?;
                Ok(Message { text: message.text, version, ..Message::default() })
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// Options of `grpc-client`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Client {
    /// `http://HOST:PORT`.
    to: String,
    /// Which kind of call.
    #[arg(long, value_enum, default_value_t = Kind::Unary)]
    kind: Kind,
    /// Messages of a stream, calls of a unary one.
    #[arg(long, default_value_t = 3)]
    count: u32,
    /// A gRPC status that the server is to end with.
    #[arg(long, default_value_t = 0)]
    status: u32,
    /// Metadata, `name=value`.
    #[arg(long)]
    header: Vec<String>,
    /// Milliseconds before the answer.
    #[arg(long, default_value_t = 0)]
    delay: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Unary,
    Collect,
    Repeat,
    Converse,
}

impl Client {
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = runtime.block_on(async {
            let mut client = EchoClient::connect(self.to.clone()).await?;
            let answer = self.call(&mut client).await;
            anyhow::Ok(match answer {
                Ok(replies) => json!({ "code": 0, "replies": replies }),
                Err(status) => json!({
                    "code": i32::from(status.code()),
                    "message": status.message(),
                    "trailer": status.metadata().get("x-trailer").and_then(|value| value.to_str().ok()),
                }),
            })
        })?;
        println!("{said}");
        Ok(())
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        for header in &self.header {
            let (name, value) = header.split_once('=').unwrap_or((header, ""));
            let name: tonic::metadata::AsciiMetadataKey = name
                .parse()
                .map_err(|error| Status::invalid_argument(format!("--header {name}: {error}")))?;
            let value = value
                .parse()
                .map_err(|error| Status::invalid_argument(format!("--header {value}: {error}")))?;
            request.metadata_mut().insert(name, value);
        }
        Ok(request)
    }

    fn message(&self, number: u32) -> Message {
        Message {
            text: format!("m{number}"),
            count: self.count,
            status: self.status,
            delay_milliseconds: self.delay,
            ..Message::default()
        }
    }

    async fn call(&self, client: &mut EchoClient<tonic::transport::Channel>) -> Result<Vec<Value>, Status> {
        let messages: Vec<Message> = (0..self.count).map(|number| self.message(number)).collect();
        let shown = |message: &Message| json!({ "text": message.text, "version": message.version, "metadata": message.metadata });
        let mut replies = Vec::new();
        match self.kind {
            Kind::Unary => {
                for message in messages {
                    replies.push(shown(client.unary(self.request(message)?).await?.get_ref()));
                }
            }
            Kind::Collect => {
                let request = self.request(tokio_stream::iter(messages))?;
                replies.push(shown(client.collect(request).await?.get_ref()));
            }
            Kind::Repeat => {
                let mut stream = client.repeat(self.request(self.message(0))?).await?.into_inner();
                while let Some(message) = stream.message().await? {
                    replies.push(shown(&message));
                }
            }
            Kind::Converse => {
                // The next message only after the answer to the last: a proxy that collects would stall.
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                let said = tokio_stream::wrappers::ReceiverStream::new(receiver);
                let first = messages.first().cloned().unwrap_or_default();
                let _open = sender.send(first).await;
                let mut stream = client.converse(self.request(said)?).await?.into_inner();
                let mut rest = messages.into_iter().skip(1);
                while let Some(message) = stream.message().await? {
                    replies.push(shown(&message));
                    match rest.next() {
                        Some(next) => drop(sender.send(next).await),
                        None => break,
                    }
                }
            }
        }
        Ok(replies)
    }
}
