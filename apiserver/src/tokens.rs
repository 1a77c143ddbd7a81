//! Tokens of service accounts: bound, for an audience and a time, as TokenRequest issues and TokenReview judges them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::access::User;
use crate::failure::{Answer, Failure};
use crate::world::{World, timestamp};
use crate::write;

/// The audience of tokens for which none is asked, and the one that requests must have.
pub(crate) const API: &str = "https://kubernetes.default.svc";
const ISSUER: &str = API;

/// What a token is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct TokenSpec {
    /// Of the account, and of the pod.
    pub namespace: String,
    /// Name of the service account.
    pub account: String,
    /// None: the API server's own.
    pub audiences: Vec<String>,
    /// Name of the pod that it is bound to; empty: none.
    pub pod: String,
    /// How long it lasts; 0: an hour.
    pub seconds: u64,
}

impl World {
    fn sign(&self, text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()))
    }

    fn reference(&self, resource: &str, key: (&str, &str)) -> Option<Value> {
        let held = self.store.get(resource, &(key.0.to_owned(), key.1.to_owned()))?;
        Some(json!({"name": key.1, "uid": held["metadata"]["uid"]}))
    }

    /// A token and its end. An account or pod that is not there is refused.
    pub(crate) fn issue(&self, spec: &TokenSpec) -> Answer<(String, String)> {
        let gone =
            |what: &str, name: &str| Failure::new(404, "NotFound", format!("{what} \"{name}\" not found"));
        let account = self.reference("serviceaccounts", (&spec.namespace, &spec.account));
        let account = account.ok_or_else(|| gone("serviceaccounts", &spec.account))?;
        let mut bound = json!({"namespace": spec.namespace, "serviceaccount": account});
        if !spec.pod.is_empty() {
            let key = (spec.namespace.clone(), spec.pod.clone());
            let pod = self.store.get("pods", &key).ok_or_else(|| gone("pods", &spec.pod))?;
            if pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default")
                != spec.account
            {
                return Err(Failure::bad_request(
                    "cannot bind token for serviceaccount to pod running with different serviceaccount name",
                ));
            }
            bound["pod"] = json!({"name": spec.pod, "uid": pod["metadata"]["uid"]});
            if let Some(node) = pod.pointer("/spec/nodeName").and_then(Value::as_str) {
                bound["node"] = self.reference("nodes", ("", node)).unwrap_or_else(|| json!({"name": node}));
            }
        }
        let audiences = if spec.audiences.is_empty() { vec![API.to_owned()] } else { spec.audiences.clone() };
        let begin = self.clock();
        let seconds = if spec.seconds == 0 { 3600 } else { spec.seconds };
        let end = begin + std::time::Duration::from_secs(seconds);
        let claims = json!({"aud": audiences, "exp": end.unix_timestamp(), "iat": begin.unix_timestamp(),
            "nbf": begin.unix_timestamp(), "iss": ISSUER, "jti": write::fresh(), "kubernetes.io": bound,
            "sub": format!("system:serviceaccount:{}:{}", spec.namespace, spec.account)});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(&claims));
        Ok((format!("{text}.{}", self.sign(&text)), timestamp(end)))
    }

    /// Who brings a token, and which of these audiences it is for; no audience stands for the server's own.
    pub(crate) fn review(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), String> {
        let own = vec![API.to_owned()];
        let asked = if audiences.is_empty() { own } else { audiences.to_vec() };
        if let Some(user) = self.users.get(token) {
            return Ok((user.clone(), asked));
        }
        let (text, signature) = token.rsplit_once('.').ok_or("invalid bearer token")?;
        if self.sign(text) != signature {
            return Err("invalid bearer token".to_owned());
        }
        let claims = text.split_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Value = serde_json::from_slice(&claims.ok_or("invalid bearer token")?)
            .map_err(|error| format!("invalid bearer token: {error}"))?;
        let now = self.clock().unix_timestamp();
        if claims["exp"].as_i64().is_none_or(|end| end <= now) {
            return Err("[invalid bearer token, service account token has expired]".to_owned());
        }
        let mut common = asked.clone();
        common
            .retain(|audience| claims["aud"].as_array().is_some_and(|held| held.contains(&json!(audience))));
        if common.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {asked:?}",
                claims["aud"]
            ));
        }
        let bound = &claims["kubernetes.io"];
        Ok((self.bearer(bound, &claims)?, common))
    }

    fn bearer(&self, bound: &Value, claims: &Value) -> Result<User, String> {
        let text = |pointer: &str| bound.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, account) = (text("/namespace"), text("/serviceaccount/name"));
        let held = self.reference("serviceaccounts", (namespace, account));
        if held.as_ref() != Some(&bound["serviceaccount"]) {
            return Err("service account has been deleted".to_owned());
        }
        let jti = claims["jti"].as_str().unwrap_or_default();
        let mut extra = vec![("authentication.kubernetes.io/credential-id".to_owned(), format!("JTI={jti}"))];
        if bound.get("pod").is_some() {
            let held = self.reference("pods", (namespace, text("/pod/name")));
            if held.as_ref() != Some(&bound["pod"]) {
                return Err("pod has been deleted".to_owned());
            }
            for (key, pointer) in [
                ("pod-name", "/pod/name"),
                ("pod-uid", "/pod/uid"),
                ("node-name", "/node/name"),
                ("node-uid", "/node/uid"),
            ] {
                let value = text(pointer);
                if !value.is_empty() {
                    extra.push((format!("authentication.kubernetes.io/{key}"), value.to_owned()));
                }
            }
        }
        let name = format!("system:serviceaccount:{namespace}:{account}");
        let own = format!("system:serviceaccounts:{namespace}");
        let uid = text("/serviceaccount/uid").to_owned();
        Ok(User { uid, extra, ..User::named(&name, &["system:serviceaccounts", &own]) })
    }

    /// Who sends a request.
    pub(crate) fn authenticate(&self, header: Option<&str>) -> Answer<User> {
        let Some(header) = header else {
            let anonymous = User {
                name: "system:anonymous".to_owned(),
                groups: vec!["system:unauthenticated".to_owned()],
                ..User::default()
            };
            return Ok(anonymous);
        };
        let token = header.strip_prefix("Bearer ").map(str::trim).ok_or_else(Failure::unauthorized)?;
        match self.review(token, &[]) {
            Ok((user, _)) => Ok(user),
            Err(_) if !self.rbac => Ok(User::named("anybody", &[])),
            Err(_) => Err(Failure::unauthorized()),
        }
    }
}
