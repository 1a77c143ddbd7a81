//! A watch: what happened since a version, as it happens, with bookmarks, until its time is over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::desk::shown;
use crate::failure::Answer;
use crate::faults::What;
use crate::request::Asked;
use crate::serve::Shared;
use crate::store::{Event, as_of};
use crate::world::World;

/// Where no time is asked for.
const LASTS: u64 = 1800;

/// A watch that begins.
#[derive(Debug)]
pub(crate) struct Watch {
    asked: Asked,
    /// What was there at the beginning, where that is asked for.
    first: Vec<Value>,
    seen: u64,
    lasts: Duration,
    bookmarks: Option<Duration>,
}

impl Watch {
    pub(crate) fn begin(world: &World, asked: &Asked) -> Answer<Self> {
        let given = asked.text("resourceVersion").parse::<u64>().unwrap_or(0);
        let newest = world.store.version();
        let initial = asked.flag("sendInitialEvents");
        let mut first = Vec::new();
        if given == 0 || initial {
            let here =
                world.store.all(&asked.resource.id).filter(|(key, object)| is_here(asked, &key.0, object));
            first.extend(here.map(|(_, object)| event("ADDED", &shown(object, asked))));
        }
        if initial {
            let mut bookmark = bookmark(asked, newest);
            bookmark["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            first.push(bookmark);
        }
        let seen = if given == 0 || initial { newest } else { given };
        let lasts = Duration::from_secs(asked.number("timeoutSeconds")?.unwrap_or(LASTS));
        let bookmarks = asked.flag("allowWatchBookmarks").then_some(world.bookmarks);
        Ok(Self { asked: asked.clone(), first, seen, lasts, bookmarks })
    }

    /// Lines for the client; an error cuts the connection.
    pub(crate) fn run(mut self, shared: Arc<Shared>) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        async_stream::stream! {
            let mut changed = shared.world().store.changed();
            let end = Instant::now() + self.lasts;
            for event in std::mem::take(&mut self.first) {
                yield Ok(line(&event));
            }
            loop {
                let struck = {
                    let mut world = shared.world();
                    world.strike("watch", &self.asked.resource.id, |what| {
                        matches!(what, What::Cut | What::Expired | What::Duplicate | What::Reorder)
                    })
                };
                if struck == Some(What::Reorder) {
                    // So that there is something to put in another order.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let (mut events, over) = self.next(&shared, struck);
                match struck {
                    Some(What::Duplicate) => events = events.into_iter().flat_map(|event| [event.clone(), event]).collect(),
                    Some(What::Reorder) => events.reverse(),
                    Some(What::Cut) => events.truncate(events.len() / 2),
                    _ => {}
                }
                for event in events {
                    yield Ok(line(&event));
                }
                if struck == Some(What::Cut) {
                    // So that what was said before is sent.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    yield Err(io::Error::other("a cut that was asked for"));
                }
                if over {
                    return;
                }
                let rest = self.bookmarks.unwrap_or(self.lasts * 2);
                tokio::select! {
                    told = changed.changed() => if told.is_err() { return },
                    () = tokio::time::sleep(rest) => yield Ok(line(&bookmark(&self.asked, self.seen))),
                    () = tokio::time::sleep_until(end) => return,
                }
            }
        }
    }

    /// What happened since the last look, and whether that is all there will be.
    fn next(&mut self, shared: &Shared, struck: Option<What>) -> (Vec<Value>, bool) {
        let world = shared.world();
        let since = world.store.since(&self.asked.resource.id, self.seen);
        let since = if struck == Some(What::Expired) {
            Err(crate::failure::Failure::expired(self.seen, world.store.version()))
        } else {
            since
        };
        match since {
            Ok(events) => {
                self.seen = self.seen.max(world.store.version());
                let told = events.iter().filter_map(|event| self.told(event)).collect();
                // A definition that is gone ends its watches.
                let resource = &self.asked.resource;
                let served = world.resource(&resource.group, &self.asked.version, &resource.plural).is_some();
                (told, !served || struck == Some(What::Cut))
            }
            Err(failure) => (vec![event("ERROR", &failure.status())], true),
        }
    }

    /// An event as this watch sees it: what begins or ceases to be selected is added or deleted.
    fn told(&self, happened: &Event) -> Option<Value> {
        let here = |object: &Value| is_here(&self.asked, &happened.key.0, object);
        let before = happened.before.as_ref().filter(|object| here(object));
        let after = happened.after.as_ref().filter(|object| here(object));
        match (before, after) {
            (None, Some(after)) => Some(event("ADDED", &shown(after, &self.asked))),
            (Some(_), Some(after)) => Some(event("MODIFIED", &shown(after, &self.asked))),
            (Some(before), None) => {
                Some(event("DELETED", &shown(&as_of(before, happened.version), &self.asked)))
            }
            (None, None) => None,
        }
    }
}

fn is_here(asked: &Asked, namespace: &str, object: &Value) -> bool {
    (asked.namespace.is_empty() || asked.namespace == namespace) && asked.selector.selects(object)
}

fn event(what: &str, object: &Value) -> Value {
    json!({"type": what, "object": object})
}

fn bookmark(asked: &Asked, version: u64) -> Value {
    let object = json!({"kind": asked.resource.kind, "apiVersion": asked.resource.api_version(&asked.version),
        "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null}});
    event("BOOKMARK", &object)
}

fn line(event: &Value) -> Frame<Bytes> {
    Frame::data(Bytes::from(format!("{event}\n")))
}
