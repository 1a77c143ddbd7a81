//! `/double/…`: what a test in another process asks of the double itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Answer, Failure};
use crate::request::{self, Raw};
use crate::world::World;
use crate::write;

impl World {
    /// `None`: the path is none of these.
    pub(crate) fn control(&mut self, raw: &Raw) -> Option<Answer<Value>> {
        let what = raw.path.strip_prefix("/double/")?;
        Some(match what {
            "requests" => Ok(json!(self.seen)),
            "denied" => Ok(json!(self.denied)),
            "compact" => {
                self.store.compact();
                Ok(json!({}))
            }
            "faults" | "put" | "advance" | "token" => {
                request::body(raw).and_then(|body| self.change(what, body))
            }
            _ => Err(Failure::no_such_path()),
        })
    }

    fn change(&mut self, what: &str, body: Value) -> Answer<Value> {
        let wrong = |error: serde_json::Error| Failure::bad_request(error.to_string());
        match what {
            "faults" => {
                self.faults.push(serde_json::from_value(body).map_err(wrong)?);
                self.store.wake();
            }
            "put" => return self.own(body),
            "advance" => {
                let seconds =
                    body["seconds"].as_u64().ok_or_else(|| Failure::bad_request("seconds is missing"))?;
                self.ahead += Duration::from_secs(seconds);
            }
            _ => {
                let (token, end) = self.issue(&serde_json::from_value(body).map_err(wrong)?)?;
                return Ok(json!({"token": token, "expirationTimestamp": end}));
            }
        }
        Ok(json!({}))
    }

    /// Stores an object as it is, status included: as its owners would have made it, one after the other.
    pub(crate) fn own(&mut self, mut object: Value) -> Answer<Value> {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (resource, _) = self
            .by_kind(&api_version, &kind)
            .ok_or_else(|| Failure::bad_request(format!("no kind {kind} in {api_version}")))?;
        let now = self.now();
        let metadata = write::metadata(&mut object);
        let of = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        let namespace = if resource.namespaced {
            of("namespace").unwrap_or_else(|| "default".to_owned())
        } else {
            String::new()
        };
        let key = (namespace, of("name").ok_or_else(|| Failure::bad_request("metadata.name is missing"))?);
        let before = self.store.get(&resource.id, &key).cloned();
        let old = |name: &str| {
            before.as_ref().map(|before| before["metadata"][name].clone()).filter(|value| !value.is_null())
        };
        if !metadata.contains_key("uid") {
            metadata.insert("uid".to_owned(), old("uid").unwrap_or_else(|| write::uid().into()));
        }
        if !metadata.contains_key("creationTimestamp") {
            metadata.insert(
                "creationTimestamp".to_owned(),
                old("creationTimestamp").unwrap_or_else(|| now.into()),
            );
        }
        if resource.namespaced {
            metadata.insert("namespace".to_owned(), key.0.clone().into());
        }
        if resource.generation {
            let generation = old("generation").and_then(|value| value.as_i64()).unwrap_or(0);
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
        object["apiVersion"] = resource.api_version(&resource.versions[0]).into();
        let kept = self.store.put(&resource.id, &key, object);
        self.settle(&resource.id);
        Ok((*kept).clone())
    }
}
