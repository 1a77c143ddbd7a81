//! One kind: listed, then watched, for ever.
//!
//! The loop is our own, on kube's client: kube-runtime's watcher does not tell of which version a list is, without which a list
//! that lags cannot be told from one in which objects are gone (`known.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use heddle_api::object::Object;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::catalogue::Catalogue;
use super::known::{Known, Listing};
use super::pace::{Backoff, Pace};
use super::watched::Watched;
use super::{Named, News};
use crate::registry::ObjectId;

/// Objects a page.
const PAGE: u32 = 500;

/// Why a list or a watch ended.
#[derive(Debug)]
enum Ended {
    /// The list is to be asked for anew.
    ListAgain,
    /// The kind is served no more, or in another version.
    Gone,
    /// Nobody wants to hear more.
    Closed,
    /// It failed.
    Failed(String),
}

type Events = BoxStream<'static, Result<WatchEvent<Value>, kube::Error>>;

/// One kind's task.
pub(super) struct Source {
    pub(super) client: Client,
    /// Its number, as in news.
    pub(super) number: usize,
    pub(super) watched: Watched,
    pub(super) catalogue: watch::Receiver<Catalogue>,
    pub(super) named: watch::Receiver<Named>,
    pub(super) news: mpsc::Sender<News>,
    pub(super) pace: Pace,
}

impl Source {
    pub(super) async fn run(mut self) {
        let mut known = Known::default();
        let mut backoff = Backoff::new(self.pace);
        while let Some(version) = self.version(&mut known).await {
            match self.once(version, &mut known, &mut backoff).await {
                Ended::Closed => return,
                Ended::Gone | Ended::ListAgain => {}
                Ended::Failed(message) => {
                    if !self.tell(News::Trouble(self.number, message)).await {
                        return;
                    }
                }
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = self.news.closed() => return,
            }
        }
    }

    async fn tell(&self, news: News) -> bool {
        self.news.send(news).await.is_ok()
    }

    /// The version to ask for; `None`: nobody knows yet.
    fn served(&mut self) -> Option<Result<&'static str, Option<String>>> {
        let key = (self.watched.kind.group, self.watched.kind.plural);
        self.catalogue.borrow_and_update().get(&key).cloned()
    }

    /// Waits until the kind is served. Of one that is not, nothing is there.
    async fn version(&mut self, known: &mut Known) -> Option<&'static str> {
        loop {
            match self.served() {
                Some(Ok(version)) => return Some(version),
                None => {}
                Some(Err(why)) => {
                    *known = Known::default();
                    if !self.tell(News::Absent(self.number, why)).await {
                        return None;
                    }
                }
            }
            tokio::select! {
                changed = self.catalogue.changed() => changed.ok()?,
                () = self.news.closed() => return None,
            }
        }
    }

    /// Lists until a list is taken, then watches until that ends.
    async fn once(&mut self, version: &'static str, known: &mut Known, backoff: &mut Backoff) -> Ended {
        let path = self.watched.path(version);
        let names = self.named.borrow_and_update().clone();
        loop {
            let (at, objects) = match self.list(&path, version, &names).await {
                Ok(listed) => listed,
                Err(ended) => return ended,
            };
            match known.listed(at, objects) {
                Listing::Taken { puts, gone, version } => {
                    if !self.tell(News::Listed { source: self.number, puts, gone, version }).await {
                        return Ended::Closed;
                    }
                    break;
                }
                Listing::Behind => {
                    tracing::warn!(
                        kind = self.watched.called(),
                        version = at,
                        "a list is older than what is known"
                    );
                }
                Listing::Doubtful(count) => {
                    tracing::warn!(
                        kind = self.watched.called(),
                        missing = count,
                        "objects are missing in a list; asking again"
                    );
                }
            }
            tokio::time::sleep(self.pace.confirm).await;
        }
        let ended = self.watch((&path, version), &names, known, backoff).await;
        if *self.named.borrow() != names {
            known.forget_versions();
        }
        ended
    }

    async fn list(
        &self,
        path: &str,
        version: &str,
        names: &Named,
    ) -> Result<(u64, Vec<(ObjectId, u64, Object)>), Ended> {
        let mut params = ListParams {
            field_selector: self.watched.selector(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut objects = Vec::new();
        loop {
            let request =
                Request::new(path).list(&params).map_err(|error| Ended::Failed(error.to_string()))?;
            let mut page =
                match tokio::time::timeout(self.pace.answer, self.client.request::<Value>(request)).await {
                    Ok(Ok(page)) => page,
                    // The pages before are too old: all at once then, which never is.
                    Ok(Err(kube::Error::Api(status))) if status.code == 410 && params.limit.is_some() => {
                        params.limit = None;
                        params.continue_token = None;
                        objects.clear();
                        continue;
                    }
                    Ok(Err(error)) => return Err(self.failed(&error)),
                    Err(_) => return Err(Ended::Failed("no answer to a list".to_owned())),
                };
            let items = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            for item in items {
                objects.extend(self.read(item, version, names).await);
            }
            let text =
                |key: &str| page["metadata"][key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            params.continue_token = text("continue");
            if params.continue_token.is_none() {
                let at = text("resourceVersion").and_then(|version| version.parse().ok());
                let at = at.ok_or_else(|| {
                    Ended::Failed("a list without a resourceVersion that is a number".to_owned())
                })?;
                return Ok((at, objects));
            }
        }
    }

    /// One object, or the news that it cannot be read: it stops nothing else.
    async fn read(&self, mut value: Value, version: &str, names: &Named) -> Option<(ObjectId, u64, Object)> {
        let kind = self.watched.kind;
        if let Some(fields) = value.as_object_mut() {
            // Items of lists do not say what they are.
            let group = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) };
            fields.insert("apiVersion".to_owned(), format!("{group}{version}").into());
            fields.insert("kind".to_owned(), kind.kind.into());
        }
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let read = Object::from_value(value).map_err(|error| error.to_string()).and_then(|object| {
            let at = object
                .resource_version()
                .ok_or_else(|| "metadata.resourceVersion is not a number".to_owned())?;
            if object.name.is_empty() { Err("metadata.name is missing".to_owned()) } else { Ok((at, object)) }
        });
        match read {
            Ok((at, mut object)) => {
                let id = ObjectId::of(&object);
                if kind.kind == "Secret" && !names.contains(&id) {
                    let fields = object.value.as_object_mut().into_iter();
                    fields.for_each(|fields| fields.retain(|name, _| name != "data" && name != "stringData"));
                }
                Some((id, at, object))
            }
            Err(message) => {
                self.tell(News::Unreadable(self.number, message)).await;
                None
            }
        }
    }

    async fn watch(
        &mut self,
        (path, version): (&str, &'static str),
        names: &Named,
        known: &mut Known,
        backoff: &mut Backoff,
    ) -> Ended {
        loop {
            // What failed may be gone, or be served in another version by now.
            if self.served() != Some(Ok(version)) {
                return Ended::Gone;
            }
            let params = WatchParams {
                field_selector: self.watched.selector(),
                timeout: Some(self.pace.watch),
                bookmarks: true,
                ..WatchParams::default()
            };
            let request = Request::new(path).watch(&params, &known.version().to_string());
            let request = match request {
                Ok(request) => request,
                Err(error) => return Ended::Failed(error.to_string()),
            };
            let begun =
                tokio::time::timeout(self.pace.answer, self.client.request_events::<Value>(request)).await;
            let ended = match begun {
                Ok(Ok(events)) => {
                    if backoff.went_well() && !self.tell(News::Fine(self.number)).await {
                        return Ended::Closed;
                    }
                    let events = events.boxed();
                    self.follow((events, version), names, known).await
                }
                Ok(Err(error)) => Some(self.failed(&error)),
                Err(_) => Some(Ended::Failed("no answer to a watch".to_owned())),
            };
            // Its time was over, or its connection: it goes on where it was.
            let trouble = match ended {
                None => None,
                Some(Ended::Failed(message)) => Some(message),
                Some(ended) => return ended,
            };
            if let Some(message) = trouble
                && !self.tell(News::Trouble(self.number, message)).await
            {
                return Ended::Closed;
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = self.news.closed() => return Ended::Closed,
            }
        }
    }

    /// `None`: the stream ended.
    async fn follow(
        &mut self,
        (mut events, version): (Events, &'static str),
        names: &Named,
        known: &mut Known,
    ) -> Option<Ended> {
        let silence = Duration::from_secs(u64::from(self.pace.watch)) + self.pace.answer;
        loop {
            let event = tokio::select! {
                event = tokio::time::timeout(silence, events.next()) => event.ok()?,
                () = self.news.closed() => return Some(Ended::Closed),
                changed = self.named.changed(), if self.watched.kind.kind == "Secret" => {
                    return Some(if changed.is_ok() { Ended::ListAgain } else { Ended::Closed });
                }
                changed = self.catalogue.changed() => {
                    changed.ok()?;
                    if self.served() == Some(Ok(version)) { continue } else { return Some(Ended::Gone) }
                }
            };
            match event {
                Some(Ok(event)) => {
                    if let Some(ended) = self.hear(event, version, names, known).await {
                        return Some(ended);
                    }
                }
                None => return None,
                // A line that cannot be read is one object that cannot be read.
                Some(Err(kube::Error::SerdeError(error))) => {
                    self.tell(News::Unreadable(self.number, error.to_string())).await;
                }
                Some(Err(error)) => return Some(self.failed(&error)),
            }
        }
    }

    async fn hear(
        &self,
        event: WatchEvent<Value>,
        version: &'static str,
        names: &Named,
        known: &mut Known,
    ) -> Option<Ended> {
        let (value, deleted) = match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => (value, false),
            WatchEvent::Deleted(value) => (value, true),
            WatchEvent::Bookmark(bookmark) => {
                bookmark.metadata.resource_version.parse().ok().into_iter().for_each(|at| known.bookmark(at));
                return None;
            }
            WatchEvent::Error(status) if status.code == 410 => return Some(Ended::ListAgain),
            WatchEvent::Error(status) => return Some(Ended::Failed(status.message)),
        };
        let (id, at, object) = self.read(value, version, names).await?;
        let in_order = known.in_order(at);
        let news = if deleted {
            known.delete(&id, at).then(|| News::Gone(id, at))
        } else {
            known.put(&id, at).then(|| News::Put(id, Box::new(object)))
        };
        if let Some(news) = news
            && !self.tell(news).await
        {
            return Some(Ended::Closed);
        }
        // What else it left out or mixed up nobody knows.
        (!in_order).then_some(Ended::ListAgain)
    }

    fn failed(&self, error: &kube::Error) -> Ended {
        match error {
            kube::Error::Api(status) if status.code == 410 => Ended::ListAgain,
            // The catalogue will say whether it is gone.
            kube::Error::Api(status) if status.code == 404 => {
                Ended::Failed("was served, and is not found now".to_owned())
            }
            kube::Error::Api(status) => Ended::Failed(status.message.clone()),
            error => Ended::Failed(error.to_string()),
        }
    }
}

/// What rules name, shared by everybody who asks.
pub(super) type Names = Arc<std::collections::BTreeSet<ObjectId>>;
