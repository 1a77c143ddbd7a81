//! What is asked and not kept: TokenReview, TokenRequest, and whether somebody may.

use serde_json::{Value, json};

use crate::access::{User, Wish};
use crate::desk::Reply;
use crate::failure::{Answer, Failure};
use crate::request::{self, Asked, Raw};
use crate::tokens::TokenSpec;
use crate::world::World;

/// POST of a review.
pub(crate) fn review(world: &World, raw: &Raw, asked: &Asked, user: &User) -> Answer<Reply> {
    let mut body = request::body(raw)?;
    let spec = body["spec"].clone();
    body["kind"] = asked.resource.kind.clone().into();
    body["apiVersion"] = asked.resource.api_version(&asked.version).into();
    body["status"] = match asked.resource.plural.as_str() {
        "tokenreviews" => {
            let token = spec["token"].as_str().unwrap_or_default();
            if token.is_empty() {
                return Err(Failure::bad_request("token is required for TokenReview in authentication"));
            }
            match (world.verdicts.get(token), world.review(token, &texts(&spec["audiences"]))) {
                (Some(said), _) => said.clone(),
                (None, Ok((user, audiences))) => {
                    json!({"authenticated": true, "user": user.to_json(), "audiences": audiences})
                }
                (None, Err(error)) => json!({"user": {}, "error": error}),
            }
        }
        plural => {
            let other = User {
                name: spec["user"].as_str().unwrap_or_default().to_owned(),
                groups: texts(&spec["groups"]),
                ..User::default()
            };
            let who = if plural == "selfsubjectaccessreviews" { user } else { &other };
            let allowed = world.allows(who, &wish(&spec["resourceAttributes"]));
            json!({"allowed": allowed, "reason": if allowed { "" } else { "no rule grants it" }})
        }
    };
    Ok(Reply::Json(201, body))
}

fn wish(attributes: &Value) -> Wish {
    let text = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
    let sub = text("subresource");
    let slash = if sub.is_empty() { "" } else { "/" };
    Wish {
        verb: text("verb"),
        group: text("group"),
        resource: format!("{}{slash}{sub}", text("resource")),
        namespace: text("namespace"),
        name: text("name"),
    }
}

/// POST of a TokenRequest: the only subresource that is created.
pub(crate) fn token(world: &World, raw: &Raw, asked: &Asked) -> Answer<Reply> {
    if (&*asked.resource.id, asked.subresource.as_str()) != ("serviceaccounts", "token") {
        return Err(Failure::no_such_path());
    }
    let mut body = request::body(raw)?;
    let spec = &body["spec"];
    let seconds = spec["expirationSeconds"].as_u64().unwrap_or(3600);
    if seconds < 600 {
        let what = "spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes";
        return Err(Failure::new(
            422,
            "Invalid",
            format!("TokenRequest.authentication.k8s.io \"\" is invalid: {what}"),
        ));
    }
    let bound = &spec["boundObjectRef"];
    let wanted = TokenSpec {
        namespace: asked.namespace.clone(),
        account: asked.name.clone().unwrap_or_default(),
        audiences: texts(&spec["audiences"]),
        pod: Some(bound["name"].as_str().unwrap_or_default())
            .filter(|_| bound["kind"] == "Pod")
            .unwrap_or_default()
            .to_owned(),
        seconds,
    };
    let (token, end) = world.issue(&wanted)?;
    body["kind"] = "TokenRequest".into();
    body["apiVersion"] = "authentication.k8s.io/v1".into();
    body["status"] = json!({"token": token, "expirationTimestamp": end});
    Ok(Reply::Json(201, body))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
