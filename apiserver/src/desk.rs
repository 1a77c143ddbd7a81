//! One request after another: who asks, whether they may, and what is done.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::access::{User, Wish};
use crate::failure::{Answer, Failure};
use crate::faults::What;
use crate::patch;
use crate::request::{self, Asked, Raw};
use crate::resource::Resource;
use crate::reviews;
use crate::store::Key;
use crate::watch::Watch;
use crate::world::World;
use crate::write::{Deletion, Writer};

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(u16, Value),
    Watch(Box<Watch>),
    /// The connection ends after so many bytes of the answer.
    Cut(Option<Value>),
}

impl World {
    /// Answers a request about a resource.
    pub(crate) fn answer(&mut self, raw: &Raw, asked: &Asked, user: &User) -> Answer<Reply> {
        let is_list = asked.verb == "list";
        let struck = self.strike(asked.verb, &asked.resource.id, |what| match what {
            What::Status(_) => true,
            What::Cut => asked.verb != "watch",
            What::Expired | What::Stale(_) | What::Empty => is_list,
            What::Duplicate | What::Reorder | What::Hang(_) => false,
        });
        match struck {
            Some(What::Status(code)) => return Err(scripted(code)),
            Some(What::Expired) => return Err(Failure::expired(0, self.store.version())),
            Some(What::Cut) if !is_list => return Ok(Reply::Cut(None)),
            _ => {}
        }
        self.permit(asked, user)?;
        match asked.verb {
            "get" => Ok(Reply::Json(200, self.get(asked)?)),
            "list" => {
                let list = self.list(asked, struck)?;
                Ok(if struck == Some(What::Cut) { Reply::Cut(Some(list)) } else { Reply::Json(200, list) })
            }
            "watch" => Ok(Reply::Watch(Box::new(Watch::begin(self, asked)?))),
            "create" if asked.resource.review => reviews::review(self, raw, asked, user),
            "create" if !asked.subresource.is_empty() => reviews::token(self, raw, asked),
            _ => self.write(raw, asked),
        }
    }

    fn permit(&mut self, asked: &Asked, user: &User) -> Answer<()> {
        // Everybody may ask about themselves.
        if asked.resource.plural == "selfsubjectaccessreviews" && user.name != "system:anonymous" {
            return Ok(());
        }
        self.authorize(user, &Wish::of(asked, asked.verb))?;
        let creates = asked.verb == "patch" && self.store.get(&asked.resource.id, &key(asked)).is_none();
        if creates && asked.subresource.is_empty() {
            self.authorize(user, &Wish::of(asked, "create"))?;
        }
        Ok(())
    }

    fn get(&self, asked: &Asked) -> Answer<Value> {
        if !matches!(asked.subresource.as_str(), "" | "status") {
            return Err(Failure::no_such_path());
        }
        let held = self.store.get(&asked.resource.id, &key(asked));
        let held = held.ok_or_else(|| Failure::not_found(&asked.resource, &key(asked).1))?;
        Ok(shown(held, asked))
    }

    fn list(&self, asked: &Asked, struck: Option<What>) -> Answer<Value> {
        let resource = &asked.resource;
        let newest = self.store.version();
        let given = asked.text("resourceVersion").parse::<u64>().unwrap_or(0);
        if given > newest {
            let mut failure = Failure::new(
                504,
                "Timeout",
                format!("Too large resource version: {given}, current: {newest}"),
            );
            failure.details = Some(Box::new(json!({"causes": [{"reason": "ResourceVersionTooLarge"}]})));
            failure.retry_after = Some(1);
            return Err(failure);
        }
        let (version, after) = match (asked.text("continue"), struck) {
            ("", Some(What::Stale(by))) => (newest.saturating_sub(by), None),
            ("", _) if asked.text("resourceVersionMatch") == "Exact" => (given, None),
            ("", _) => (newest, None),
            (token, _) => continued(token)?,
        };
        let objects = match self.store.at(&resource.id, version) {
            // A cache that lags holds what the log has forgotten.
            Err(_) if matches!(struck, Some(What::Stale(_))) => self.store.at(&resource.id, newest)?,
            other => other?,
        };
        let here = objects.iter().filter(|(key, object)| {
            struck != Some(What::Empty)
                && (asked.namespace.is_empty() || key.0 == asked.namespace)
                && after.as_ref().is_none_or(|after| *key > after)
                && asked.selector.selects(object)
        });
        let limit = asked.number("limit")?.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut page: Vec<_> = here.collect();
        let left = page.len().saturating_sub(limit);
        page.truncate(limit);
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let Some((last, _)) = page.last().filter(|_| left > 0) {
            let token = json!({"version": version, "after": last});
            metadata["continue"] = URL_SAFE_NO_PAD.encode(token.to_string()).into();
            metadata["remainingItemCount"] = left.into();
        }
        let items = page.into_iter().map(|(_, object)| item(object, asked));
        Ok(
            json!({"kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(&asked.version),
            "metadata": metadata, "items": items.collect::<Vec<_>>()}),
        )
    }

    fn write(&mut self, raw: &Raw, asked: &Asked) -> Answer<Reply> {
        if !matches!(asked.subresource.as_str(), "" | "status")
            || (asked.subresource == "status" && !asked.resource.status)
        {
            return Err(Failure::no_such_path());
        }
        let now = self.now();
        let agent = raw.user_agent.split(['/', ' ']).next().unwrap_or_default();
        let manager = Some(asked.text("fieldManager")).filter(|manager| !manager.is_empty()).unwrap_or(agent);
        let mut writer = Writer {
            store: &mut self.store,
            resource: &asked.resource,
            version: &asked.version,
            subresource: &asked.subresource,
            manager,
            now: &now,
            dry_run: asked.flag("dryRun"),
        };
        let key = key(asked);
        let reply = match asked.verb {
            "create" => {
                let kept = writer.create(&asked.namespace, request::body(raw)?)?;
                Reply::Json(201, shown(&kept, asked))
            }
            "update" => {
                let kept = writer.update(&key, request::body(raw)?)?;
                Reply::Json(200, shown(&kept, asked))
            }
            "patch" => patched(&mut writer, &key, (raw, asked))?,
            "delete" => {
                let deletion = deletion(raw, asked)?;
                match writer.delete(&key, &deletion)? {
                    Some(kept) => Reply::Json(200, shown(&kept, asked)),
                    None => Reply::Json(200, gone(&asked.resource, &key.1)),
                }
            }
            _ => {
                let keys = writer.store.all(&asked.resource.id).filter(|(key, object)| {
                    (asked.namespace.is_empty() || key.0 == asked.namespace) && asked.selector.selects(object)
                });
                let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
                let deletion = deletion(raw, asked)?;
                for key in keys {
                    writer.delete(&key, &deletion)?;
                }
                Reply::Json(200, gone(&asked.resource, ""))
            }
        };
        self.settle(&asked.resource.id);
        Ok(reply)
    }
}

fn patched(writer: &mut Writer<'_>, key: &Key, (raw, asked): (&Raw, &Asked)) -> Answer<Reply> {
    let body = request::body(raw)?;
    if raw.content_type.contains("apply-patch") {
        if asked.text("fieldManager").is_empty() {
            return Err(Failure::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
        let created = writer.store.get(&asked.resource.id, key).is_none();
        let kept = writer.apply(key, body, asked.flag("force"))?;
        return Ok(Reply::Json(if created { 201 } else { 200 }, shown(&kept, asked)));
    }
    let held = writer.store.get(&asked.resource.id, key);
    let held = held.ok_or_else(|| Failure::not_found(&asked.resource, &key.1))?;
    let mut object = shown(held, asked);
    let version = object["metadata"]["resourceVersion"].clone();
    if raw.content_type.contains("json-patch") {
        patch::json(&mut object, &body)?;
    } else if raw.content_type.contains("strategic") && !asked.resource.custom {
        patch::strategic(&mut object, &body);
    } else if raw.content_type.contains("merge-patch") && !raw.content_type.contains("strategic") {
        patch::merge(&mut object, &body);
    } else {
        let message = format!("the body of the request was in an unknown format: {}", raw.content_type);
        return Err(Failure::new(415, "UnsupportedMediaType", message));
    }
    if object["metadata"]["resourceVersion"].is_null() {
        object["metadata"]["resourceVersion"] = version;
    }
    let kept = writer.update(key, object)?;
    Ok(Reply::Json(200, shown(&kept, asked)))
}

fn key(asked: &Asked) -> Key {
    (asked.namespace.clone(), asked.name.clone().unwrap_or_default())
}

/// An object in the version that is asked for.
pub(crate) fn shown(object: &Value, asked: &Asked) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = asked.resource.api_version(&asked.version).into();
    object
}

/// Items of Kubernetes' own kinds do not say what they are: their list does.
fn item(object: &Arc<Value>, asked: &Asked) -> Value {
    let mut object = shown(object, asked);
    if !asked.resource.custom {
        object
            .as_object_mut()
            .into_iter()
            .for_each(|fields| fields.retain(|name, _| name != "apiVersion" && name != "kind"));
    }
    object
}

fn gone(resource: &Resource, name: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": resource.group, "kind": resource.plural}})
}

fn continued(token: &str) -> Answer<(u64, Option<Key>)> {
    let wrong = || Failure::bad_request("continue key is not valid");
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().ok_or_else(wrong)?;
    let token: Value = serde_json::from_slice(&bytes).ok().ok_or_else(wrong)?;
    let text = |at: usize| token["after"][at].as_str().map(str::to_owned).ok_or_else(wrong);
    Ok((token["version"].as_u64().ok_or_else(wrong)?, Some((text(0)?, text(1)?))))
}

fn deletion(raw: &Raw, asked: &Asked) -> Answer<Deletion> {
    let body = if raw.body.is_empty() { Value::Null } else { request::body(raw)? };
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let grace = asked.number("gracePeriodSeconds")?.and_then(|seconds| i64::try_from(seconds).ok());
    Ok(Deletion {
        grace: grace.or_else(|| body["gracePeriodSeconds"].as_i64()),
        uid: text("/preconditions/uid"),
        version: text("/preconditions/resourceVersion"),
    })
}

/// A status that a test asked for.
fn scripted(code: u16) -> Failure {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let mut failure = Failure::new(code, reason, "a fault that was asked for");
    failure.retry_after = matches!(code, 429 | 503).then_some(1);
    failure
}
