//! What is said when the cluster cannot be read: what is wrong, and what to do.

use heddle_apiserver::Setup;
use serde_json::json;

use crate::front::Script;
use crate::{Desk, err, node, out, own};

async fn desk() -> Desk {
    Desk::new(Setup { rbac: true, ..Setup::default() }, Script::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_not_there_or_has_no_such_context_is_said() {
    let desk = desk().await;
    let cases = [
        ("status --context x", None, "no kubeconfig: "),
        ("status --kubeconfig /nowhere/config", None, "no kubeconfig: /nowhere/config does not exist"),
        ("status", Some("/nowhere/config"), "/nowhere/config does not exist; name one: --kubeconfig FILE"),
    ];
    for (words, kubeconfig, said) in cases {
        let output = desk.with(words, kubeconfig).await;
        let text = err(&output);
        assert!(output.status.code() == Some(1) && text.contains(said), "{words}: {text}");
        assert!(out(&output).is_empty());
    }
    let output = desk.heddle("status --context other").await;
    assert!(err(&output).contains("no context 'other'; it has double"), "{}", err(&output));
    desk.write("{]");
    assert!(err(&desk.heddle("status").await).contains("kubeconfig: "));
    let output = desk.heddle("status --sandbox x --context double").await;
    assert_eq!(output.status.code(), Some(2), "one or the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_and_credentials_that_are_not_taken_are_told_apart() {
    let desk = desk().await;
    desk.log_in("no-such-token");
    let said = err(&desk.heddle("status").await);
    assert!(
        said.contains("does not accept the credentials of context 'double'") && said.contains("expired"),
        "{said}"
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    desk.write(&desk.double().kubeconfig("x").replace(&desk.double().url(), &format!("http://{address}")));
    let said = err(&desk.heddle("status").await);
    assert!(
        said.contains("cannot be reached") && said.contains("refused") && said.contains("--context"),
        "{said}"
    );
    let program = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/login",
        "interactiveMode": "Never"});
    let config =
        desk.double().kubeconfig("x").replace(r#"{"token":"x"}"#, &json!({"exec": program}).to_string());
    desk.write(&config);
    let said = err(&desk.heddle("status").await);
    assert!(said.contains("credentials of context 'double' cannot be used"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_named_with_verb_resource_and_namespace() {
    let desk = desk().await;
    desk.double().user("anns", "ann", &[]);
    desk.log_in("anns");
    let said = err(&desk.heddle("status").await);
    for part in ["not allowed in context 'double'", "\"ann\"", "list", "\"pods\"", "\"heddle-system\""] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_heddle_and_a_controller_that_does_not_run_are_said() {
    let desk = desk().await;
    let said = err(&desk.heddle("status").await);
    assert!(said.contains("Heddle is not installed") && said.contains("heddle install --apply"), "{said}");
    desk.double().put(node("node-1"));
    let state = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
    desk.double().put(own("heddle-controller", "heddle-controller-x", "node-1", &state));
    let said = err(&desk.heddle("status").await);
    assert!(
        said.contains(
            "the controller does not run (pod heddle-controller-x: CrashLoopBackOff: back-off 10s)"
        ),
        "{said}"
    );
    assert!(said.contains("kubectl -n heddle-system get pods"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_certificate_is_held_against_the_kubeconfig() {
    let desk = Desk::new(Setup { tls: true, ..Setup::default() }, Script::new()).await;
    let config = desk.double().kubeconfig(heddle_apiserver::ADMIN);
    desk.write(&config);
    assert!(err(&desk.heddle("status").await).contains("Heddle is not installed"));
    let mut other: serde_json::Value = serde_json::from_str(&config).unwrap();
    other["clusters"][0]["cluster"].as_object_mut().unwrap().remove("certificate-authority-data");
    desk.write(&other.to_string());
    let said = err(&desk.heddle("status").await);
    assert!(said.contains("cannot be reached") && said.contains("certificate"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_taken_from_the_kubeconfig_and_the_environments_is_not_for_this_machine() {
    let desk = desk().await;
    let status = async || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_heddle"));
        command.arg("status").env("KUBECONFIG", desk.kubeconfig());
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, "http://127.0.0.1:1"));
        err(&command.envs(proxies).output().await.unwrap())
    };
    let said = status().await;
    assert!(said.contains("Heddle is not installed"), "{said}");
    let mut config: serde_json::Value =
        serde_json::from_str(&desk.front.kubeconfig(heddle_apiserver::ADMIN)).unwrap();
    config["clusters"][0]["cluster"]["proxy-url"] = "http://127.0.0.1:1".into();
    desk.write(&config.to_string());
    let said = status().await;
    assert!(said.contains("cannot be reached"), "{said}");
}
