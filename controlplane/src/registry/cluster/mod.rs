//! Objects of a Kubernetes cluster: one task lists and watches each kind, one owner holds them and hands over what changes.
//!
//! ```text
//! catalogue ──which kinds there are──► source (one a kind) ──News──► owner (holdings) ──Batch──► engine
//!                                          ▲ known: what a list or an event means      │
//!                                          └────────── Secrets that rules name ────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heddle_api::kind;
use heddle_api::object::Object;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::holdings::Holdings;
use super::{Batch, ObjectId, Unread};
use source::Source;
use watched::Watched;

mod catalogue;
mod client;
pub mod known;
mod pace;
mod source;
pub mod watched;

pub use client::{ConnectError, connect};
pub use pace::Pace;

/// News that follow each other this closely make one batch.
const SETTLE: Duration = Duration::from_millis(15);
/// Of more news a batch is made at once.
const MOST_NEWS: usize = 5_000;
/// Messages shown of a kind's objects that cannot be read.
const MOST_UNREAD: usize = 10;

type Named = source::Names;

/// What a source has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// A whole list.
    Listed { source: usize, puts: Vec<(ObjectId, Object)>, gone: Vec<ObjectId>, version: u64 },
    /// An object that is new or changed.
    Put(ObjectId, Box<Object>),
    /// An object that was deleted.
    Gone(ObjectId, u64),
    /// The kind is not there; perhaps for a reason that somebody should know.
    Absent(usize, Option<String>),
    /// A list or a watch failed, and is tried again.
    Trouble(usize, String),
    /// It went well again.
    Fine(usize),
    /// Which kinds there are cannot be asked, or can again.
    Discovery(Option<String>),
    /// An object cannot be read.
    Unreadable(usize, String),
}

/// How far a source is.
#[derive(Debug)]
struct Progress {
    called: String,
    directory: String,
    needed: bool,
    /// It was listed once, or is known not to exist.
    read: bool,
    trouble: Option<String>,
    unread: Vec<String>,
}

/// A running registry.
#[derive(Clone, Debug)]
pub struct Cluster {
    waiting: Arc<Mutex<Vec<String>>>,
    catalogue: watch::Receiver<catalogue::Catalogue>,
    pace: Pace,
}

/// Where an object is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The path of its namespace's objects.
    pub path: String,
    /// In the version that the server has.
    pub api_version: String,
    /// As in a manifest.
    pub kind: &'static str,
}

impl Cluster {
    /// Starts to read and watch a cluster, until it is stopped or the receiver of `batches` is gone.
    pub fn spawn(
        client: &Client,
        holdings: Holdings,
        pace: Pace,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> Self {
        let watched = Arc::new(watched::all());
        let (found, catalogue) = watch::channel(catalogue::Catalogue::new());
        let (news, heard) = mpsc::channel(1024);
        let discovery = catalogue::Discovery {
            client: client.clone(),
            watched: watched.clone(),
            pace,
            news: news.clone(),
        };
        tokio::spawn(discovery.run(found));
        let (named, names) = watch::channel(Named::default());
        for (number, watched) in watched.iter().enumerate() {
            let source = Source {
                client: client.clone(),
                number,
                watched: *watched,
                catalogue: catalogue.clone(),
                named: names.clone(),
                news: news.clone(),
                pace,
            };
            tokio::spawn(source.run());
        }
        let waiting = Arc::new(Mutex::new(vec!["nothing was read yet".to_owned()]));
        let owner = Owner {
            holdings,
            sources: watched.iter().map(progress).collect(),
            named,
            discovery: None,
            resource_version: 0,
            complete: false,
            waiting: waiting.clone(),
        };
        tokio::spawn(owner.run(heard, batches, stop));
        Self { waiting, catalogue, pace }
    }

    /// Where an object is served, if its kind is.
    pub fn served(&self, id: &ObjectId) -> Option<Served> {
        let kind = kind::KINDS.iter().find(|kind| kind.directory() == *id.directory)?;
        let version = *self.catalogue.borrow().get(&(kind.group, kind.plural))?.as_ref().ok()?;
        let (api_version, root) = if kind.group.is_empty() {
            (version.to_owned(), format!("/api/{version}"))
        } else {
            let api_version = format!("{}/{version}", kind.group);
            (api_version.clone(), format!("/apis/{api_version}"))
        };
        let place = if kind.namespaced { format!("namespaces/{}/", id.namespace) } else { String::new() };
        Some(Served { path: format!("{root}/{place}{}", kind.plural), api_version, kind: kind.kind })
    }

    /// Lists and watches something for somebody else, with news of their own.
    pub(crate) fn follow(
        &self,
        client: &Client,
        (number, watched): (usize, Watched),
        news: mpsc::Sender<News>,
    ) {
        let source = Source {
            client: client.clone(),
            number,
            watched,
            catalogue: self.catalogue.clone(),
            named: watch::channel(Named::default()).1,
            news,
            pace: self.pace,
        };
        tokio::spawn(source.run());
    }

    /// What is not read, and why. Empty: everything is.
    pub fn waiting(&self) -> Vec<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn progress(watched: &Watched) -> Progress {
    Progress {
        called: watched.called(),
        directory: watched.kind.directory(),
        needed: watched.needed,
        read: false,
        trouble: None,
        unread: Vec::new(),
    }
}

/// Holds every object, and is the only one who does.
#[derive(Debug)]
struct Owner {
    holdings: Holdings,
    sources: Vec<Progress>,
    named: watch::Sender<Named>,
    discovery: Option<String>,
    resource_version: u64,
    complete: bool,
    waiting: Arc<Mutex<Vec<String>>>,
}

impl Owner {
    async fn run(
        mut self,
        mut heard: mpsc::Receiver<News>,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) {
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return,
                () = batches.closed() => return,
                news = heard.recv() => news,
            };
            let Some(first) = first else { return };
            let mut batch = Batch::default();
            self.take(first, &mut batch);
            let settled = tokio::time::Instant::now() + SETTLE;
            for _ in 0..MOST_NEWS {
                match tokio::time::timeout_at(settled, heard.recv()).await {
                    Ok(Some(news)) => self.take(news, &mut batch),
                    _ => break,
                }
            }
            self.finish(&mut batch);
            if batches.send(batch).await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, news: News, batch: &mut Batch) {
        match news {
            News::Listed { source, puts, gone, version } => {
                for (id, object) in puts {
                    self.holdings.take(id, object, batch);
                }
                for id in gone {
                    self.holdings.remove(&id, batch);
                }
                self.saw(version);
                self.progress(source, |progress| {
                    progress.read = true;
                    progress.trouble = None;
                });
            }
            News::Put(id, object) => {
                self.saw(object.resource_version().unwrap_or(0));
                self.holdings.take(id, *object, batch);
            }
            News::Gone(id, version) => {
                self.saw(version);
                self.holdings.remove(&id, batch);
            }
            News::Absent(source, why) => {
                let directory = self.sources.get(source).map(|progress| progress.directory.clone());
                for id in directory.map(|directory| self.holdings.of_kind(&directory)).unwrap_or_default() {
                    self.holdings.remove(&id, batch);
                }
                self.progress(source, |progress| {
                    // One that is there in another version only has to be read where it decides over access.
                    progress.read = why.is_none() || !progress.directory.ends_with("security.istio.io");
                    progress.trouble = why;
                    progress.unread.clear();
                });
            }
            News::Trouble(source, message) => self.progress(source, |progress| {
                if progress.trouble.as_ref() != Some(&message) {
                    tracing::warn!(kind = progress.called, message, "not read");
                }
                progress.trouble = Some(message);
            }),
            News::Discovery(trouble) => {
                if let Some(message) = trouble.as_ref().filter(|_| trouble != self.discovery) {
                    tracing::warn!(message, "the API server does not say which kinds it has");
                }
                self.discovery = trouble;
            }
            News::Fine(source) => self.progress(source, |progress| progress.trouble = None),
            News::Unreadable(source, message) => self.progress(source, |progress| {
                if progress.unread.len() < MOST_UNREAD && !progress.unread.contains(&message) {
                    progress.unread.push(message);
                }
            }),
        }
    }

    fn saw(&mut self, version: u64) {
        self.resource_version = self.resource_version.max(version);
    }

    fn progress(&mut self, source: usize, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.sources.get_mut(source) {
            change(progress);
        }
    }

    fn finish(&mut self, batch: &mut Batch) {
        self.holdings.heed(batch);
        let names: BTreeSet<ObjectId> = self.holdings.named_secrets();
        self.named.send_if_modified(|held| {
            let changed = **held != names;
            if changed {
                *held = Arc::new(names);
            }
            changed
        });
        let unread = |progress: &Progress, message: &String| Unread {
            object: progress.called.clone(),
            message: message.clone(),
        };
        for progress in &self.sources {
            let all = progress.trouble.iter().chain(&progress.unread);
            batch.problems.extend(all.map(|message| unread(progress, message)));
        }
        let server = |message: &String| Unread { object: "API server".to_owned(), message: message.clone() };
        batch.problems.extend(self.discovery.iter().map(server));
        batch.problems.extend(self.holdings.problems());
        let unread = self.sources.iter().filter(|progress| progress.needed && !progress.read);
        let unread: BTreeMap<&str, &str> = unread
            .map(|progress| (&*progress.called, progress.trouble.as_deref().unwrap_or("not listed yet")))
            .collect();
        self.complete |= unread.is_empty();
        batch.complete = self.complete;
        batch.resource_version = self.resource_version;
        let server = self.discovery.iter().map(|message| format!("API server: {message}"));
        let waiting = server.chain(unread.iter().map(|(called, why)| format!("{called}: {why}"))).collect();
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }
}
