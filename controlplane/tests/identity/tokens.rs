//! Tokens that are no agent's: absent, forged, of somebody else, or vouched for in words that prove too little.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heddle_apiserver::TokenSpec;
use serde_json::{Value, json};

use crate::world::{HOME, World, account, agent, agent_pod};

/// What it is, the token, and the label under which its refusal is counted.
pub(crate) type Wrong = (&'static str, String, &'static str);

/// A token of these claims that nobody signed.
pub(crate) fn forged(claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"RS256","kid":"k"}"#), part(&claims.to_string()), part("no signature"))
}

/// The claims of the agent's token on `n1`, as the double has issued it.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn changed(claims: &Value, pointer: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    *claims.pointer_mut(pointer).unwrap() = value;
    claims
}

fn without(claims: &Value, pointer: &str, key: &str) -> Value {
    let mut claims = claims.clone();
    claims.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
    claims
}

/// Every wrong token; the world gets what they are tokens of.
pub(crate) async fn wrong(world: &World) -> Vec<Wrong> {
    let good = world.token("n1");
    let mut all = malformed(&good);
    all.extend(mistaken(&good));
    all.extend(of_somebody_else(world));
    all.extend(of_pods_that_changed(world).await);
    all.extend(reviewed(world, &good));
    all
}

fn malformed(good: &str) -> Vec<Wrong> {
    let claims = claims(good);
    let parts: Vec<&str> = good.split('.').collect();
    let rows = [
        ("none", String::new(), "no_token"),
        ("garbage", "garbage".into(), "malformed"),
        ("empty parts", "..".into(), "malformed"),
        ("two parts", format!("{}.{}", parts[0], parts[1]), "malformed"),
        ("four parts", format!("{good}.{}", parts[2]), "malformed"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "malformed"),
        ("claims that are no base64", format!("{}.{}!.{}", parts[0], parts[1], parts[2]), "malformed"),
        ("claims that are a list", forged(&json!([1])), "malformed"),
        ("claims that are a text", forged(&json!("x")), "malformed"),
        ("12 KiB of claims", forged(&changed(&claims, "/jti", "x".repeat(9_000).into())), "malformed"),
        ("no end", forged(&without(&claims, "", "exp")), "malformed"),
        ("an end that is a text", forged(&changed(&claims, "/exp", "2099".into())), "malformed"),
        ("an end before 1970", forged(&changed(&claims, "/exp", (-1).into())), "malformed"),
        ("no subject", forged(&without(&claims, "", "sub")), "malformed"),
        ("no audience", forged(&without(&claims, "", "aud")), "malformed"),
        ("audiences that are numbers", forged(&changed(&claims, "/aud", json!([1]))), "malformed"),
        ("a pod that is a text", forged(&changed(&claims, "/kubernetes.io/pod", "p".into())), "malformed"),
        ("no namespace", forged(&without(&claims, "/kubernetes.io", "namespace")), "malformed"),
    ];
    rows.into()
}

fn mistaken(good: &str) -> Vec<Wrong> {
    let claims = claims(good);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let with = |pointer: &str, value: Value| forged(&changed(&claims, pointer, value));
    let rows = [
        ("ended long ago", with("/exp", 1.into()), "expired"),
        ("ended a second ago", with("/exp", (now - 1).into()), "expired"),
        ("an end beyond all time", with("/exp", u64::MAX.into()), "expired"),
        ("for nobody", with("/aud", json!([])), "audience"),
        (
            "for almost us",
            with("/aud", json!(["heddle-ca2", "heddle-c", "Heddle-CA", "heddle-ca "])),
            "audience",
        ),
        ("for Istio", with("/aud", json!("istio-ca")), "audience"),
        ("of a person", with("/sub", "admin".into()), "account"),
        ("of a node", with("/sub", "system:node:n1".into()), "account"),
        (
            "of an account in three parts",
            with("/sub", "system:serviceaccount:heddle-system:heddle-agent:x".into()),
            "account",
        ),
        (
            "of an account without a namespace",
            with("/sub", "system:serviceaccount::heddle-agent".into()),
            "account",
        ),
        ("in capitals", with("/sub", "system:serviceaccount:heddle-system:HEDDLE-AGENT".into()), "account"),
        (
            "of a longer name",
            with("/sub", "system:serviceaccount:heddle-system:heddle-agent-2".into()),
            "account",
        ),
        ("of two namespaces", with("/kubernetes.io/namespace", "ns".into()), "account"),
        ("bound to nothing", forged(&without(&claims, "", "kubernetes.io")), "unbound"),
        ("bound to no pod", forged(&without(&claims, "/kubernetes.io", "pod")), "unbound"),
        ("bound to no node", forged(&without(&claims, "/kubernetes.io", "node")), "unbound"),
        ("a pod without a UID", with("/kubernetes.io/pod/uid", "".into()), "unbound"),
        ("a pod without a name", with("/kubernetes.io/pod/name", "".into()), "unbound"),
        ("a node without a name", with("/kubernetes.io/node/name", "".into()), "unbound"),
        (
            "a pod that nobody knows",
            with("/kubernetes.io/pod/uid", "11111111-2222-4333-a444-555555555555".into()),
            "unknown_pod",
        ),
        ("a pod of another name", with("/kubernetes.io/pod/name", "heddle-agent-n2".into()), "other_pod"),
        ("the other node", with("/kubernetes.io/node/name", "n2".into()), "other_node"),
        ("a node that is not there", with("/kubernetes.io/node/name", "n9".into()), "other_node"),
        ("signed by nobody", forged(&claims), "rejected"),
        ("prolonged", with("/exp", (now + 99_999).into()), "rejected"),
        ("with another signature", format!("{}x", &good[..good.len() - 1]), "rejected"),
    ];
    rows.into()
}

/// Tokens that the double has issued to others, or for something else.
fn of_somebody_else(world: &World) -> Vec<Wrong> {
    let double = &world.double;
    let issued = |spec: TokenSpec| double.token(&spec).unwrap();
    account(double, HOME, "other");
    account(double, "ns", "heddle-agent");
    let like_an_agent = |name: &str, namespace: &str, account: &str| {
        let mut pod = agent_pod("n1");
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["namespace"] = namespace.into();
        pod["spec"]["serviceAccountName"] = account.into();
        double.put(pod);
        TokenSpec {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            pod: name.to_owned(),
            ..agent("n1")
        }
    };
    let same_uid = {
        // A pod of an application, claimed by an account that is trusted.
        let uid = like_an_agent("app", "ns", "sa");
        let claims = claims(&issued(agent("n1")));
        let app = double.get("pods", "ns", &uid.pod).unwrap()["metadata"]["uid"].clone();
        forged(&changed(&claims, "/kubernetes.io/pod/uid", app))
    };
    vec![
        ("for the API server", issued(TokenSpec { audiences: vec![], ..agent("n1") }), "audience"),
        (
            "for somebody else",
            issued(TokenSpec { audiences: vec!["istio-ca".into()], ..agent("n1") }),
            "audience",
        ),
        ("of another account", issued(like_an_agent("other", HOME, "other")), "account"),
        (
            "of the same name in another namespace",
            issued(like_an_agent("agent", "ns", "heddle-agent")),
            "account",
        ),
        (
            "of the controller",
            issued(TokenSpec { account: "heddle-controller".into(), pod: String::new(), ..agent("n1") }),
            "account",
        ),
        (
            "of an application",
            issued(TokenSpec {
                namespace: "ns".into(),
                account: "sa".into(),
                pod: "app".into(),
                ..agent("n1")
            }),
            "account",
        ),
        ("not bound to a pod", issued(TokenSpec { pod: String::new(), ..agent("n1") }), "unbound"),
        ("the UID of an application", same_uid, "other_pod"),
    ]
}

/// Tokens that were good until something became of their pod.
async fn of_pods_that_changed(world: &World) -> Vec<Wrong> {
    let double = &world.double;
    let of = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut pod = agent_pod("n1");
        pod["metadata"]["name"] = name.into();
        change(&mut pod);
        double.put(pod)
    };
    let issued = |name: &str| double.token(&TokenSpec { pod: name.to_owned(), ..agent("n1") }).unwrap();
    of("unscheduled", &|pod| pod["spec"]["nodeName"] = "".into());
    for name in ["succeeded", "failed", "deleted", "replaced", "moved", "short"] {
        of(name, &|_| {});
    }
    let short = double.token(&TokenSpec { pod: "short".to_owned(), seconds: 1, ..agent("n1") }).unwrap();
    let rows = vec![
        ("of a pod that is nowhere yet", issued("unscheduled"), "unbound"),
        ("of a pod that succeeded", issued("succeeded"), "ended"),
        ("of a pod that failed", issued("failed"), "ended"),
        ("of a pod that is deleted", issued("deleted"), "unknown_pod"),
        ("of a pod that was replaced", issued("replaced"), "unknown_pod"),
        ("of a pod that is elsewhere now", issued("moved"), "other_node"),
        ("that has ended", short, "expired"),
    ];
    let again = |name: &str, pointer: &str, value: Value| {
        let mut pod = double.get("pods", HOME, name).unwrap();
        *pod.pointer_mut(pointer).unwrap() = value;
        double.put(pod);
    };
    again("succeeded", "/status/phase", "Succeeded".into());
    again("failed", "/status/phase", "Failed".into());
    again("moved", "/spec/nodeName", "n2".into());
    for name in ["deleted", "replaced"] {
        assert!(double.remove("pods", HOME, name));
    }
    of("replaced", &|_| {});
    world.settled().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    rows
}

/// Tokens whose claims are those of an agent, and an API server that vouches for something else, or not quite.
fn reviewed(world: &World, good: &str) -> Vec<Wrong> {
    let claims = claims(good);
    let extra = |key: &str| format!("/user/extra/authentication.kubernetes.io~1{key}");
    let text = |pointer: &str| claims.pointer(pointer).unwrap().clone();
    let said = json!({"authenticated": true, "audiences": ["heddle-ca"],
        "user": {"username": "system:serviceaccount:heddle-system:heddle-agent", "extra": {
            "authentication.kubernetes.io/pod-name": [text("/kubernetes.io/pod/name")],
            "authentication.kubernetes.io/pod-uid": [text("/kubernetes.io/pod/uid")],
            "authentication.kubernetes.io/node-name": ["n1"]}}});
    let with = |pointer: &str, value: Value| changed(&said, pointer, value);
    let rows = [
        (
            "an error beside a yes",
            {
                let mut said = said.clone();
                said["error"] = "no".into();
                said
            },
            "rejected",
        ),
        ("neither yes nor no", without(&said, "", "authenticated"), "rejected"),
        ("a no", with("/authenticated", false.into()), "rejected"),
        ("a yes to nobody", without(&said, "", "user"), "rejected"),
        ("no audience answered", without(&said, "", "audiences"), "audience"),
        ("an empty audience answered", with("/audiences", json!([])), "audience"),
        ("another audience answered", with("/audiences", json!(["istio-ca"])), "audience"),
        ("a node vouched for", with("/user/username", "system:node:n1".into()), "account"),
        (
            "another account vouched for",
            with("/user/username", "system:serviceaccount:ns:heddle-agent".into()),
            "account",
        ),
        ("no extra", without(&said, "/user", "extra"), "unbound"),
        (
            "no node answered",
            without(&said, "/user/extra", "authentication.kubernetes.io/node-name"),
            "unbound",
        ),
        (
            "no pod answered",
            without(&said, "/user/extra", "authentication.kubernetes.io/pod-name"),
            "unbound",
        ),
        ("no UID answered", without(&said, "/user/extra", "authentication.kubernetes.io/pod-uid"), "unbound"),
        ("two nodes answered", with(&extra("node-name"), json!(["n1", "n2"])), "unbound"),
        ("an empty node answered", with(&extra("node-name"), json!([""])), "unbound"),
        ("another node answered", with(&extra("node-name"), json!(["n2"])), "rejected"),
        ("another pod answered", with(&extra("pod-name"), json!(["heddle-agent-n2"])), "rejected"),
        ("another UID answered", with(&extra("pod-uid"), json!(["other"])), "rejected"),
    ];
    let mut all = Vec::new();
    for (number, (name, status, label)) in rows.into_iter().enumerate() {
        let token = forged(&changed(&claims, "/jti", number.into()));
        world.double.review_as(&token, status);
        all.push((name, token, label));
    }
    all
}
