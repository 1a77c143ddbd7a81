//! `heddle install`: what it prints, what it applies, what it leaves alone, and what it waits for.

use heddle_apiserver::{ADMIN, Setup};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::front::Script;
use crate::{Desk, err, out, own};

async fn desk(mesh: bool) -> Desk {
    Desk::new(Setup { mesh, rbac: true, ..Setup::default() }, Script::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_or_applies_and_does_neither_unasked() {
    let desk = desk(false).await;
    for words in ["install", "install --print --apply", "install --apply --tag {x}"] {
        assert_eq!(desk.heddle(words).await.status.code(), Some(2), "{words}");
    }
    let printed = desk.with("install --print", None).await;
    assert!(printed.status.success() && out(&printed).contains("kind: DaemonSet"), "{}", err(&printed));
    assert_eq!(printed.stdout, desk.with("install --print", None).await.stdout);
    let failed = desk.with("install --apply", None).await;
    assert!(err(&failed).contains("no kubeconfig"), "{}", err(&failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_called_again_and_says_what_it_did() {
    let desk = desk(false).await;
    let first = desk.heddle("install --apply --wait=false").await;
    assert!(first.status.success(), "{}{}", out(&first), err(&first));
    let text = out(&first);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().take(17).all(|line| line.starts_with("customresourcedefinition.")), "{text}");
    for line in [
        "serviceaccount/heddle-agent created",
        "daemonset.apps/heddle-agent created",
        "clusterrole.rbac.authorization.k8s.io/heddle-controller created",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    let again = out(&desk.heddle("install --apply --wait=false").await);
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    let other = out(&desk.heddle("install --apply --wait=false --tag v2").await);
    let changed: Vec<&str> = other.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    assert_eq!(
        changed,
        ["deployment.apps/heddle-controller configured", "daemonset.apps/heddle-agent configured"]
    );
    let agent = desk.double().get("daemonsets.apps", "heddle-system", "heddle-agent").unwrap();
    let managers: Vec<&Value> =
        agent["metadata"]["managedFields"].as_array().unwrap().iter().map(|each| &each["manager"]).collect();
    assert_eq!(managers, ["heddle"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_others_are_used_and_said_to_be_old_where_they_are() {
    let desk = desk(false).await;
    let name = "virtualservices.networking.istio.io";
    desk.double().put(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": "networking.istio.io", "scope": "Namespaced",
            "names": {"kind": "VirtualService", "plural": "virtualservices"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true}]}}));
    let before = desk.double().get("customresourcedefinitions.apiextensions.k8s.io", "", name);
    let output = desk.heddle("install --apply --wait=false").await;
    let (text, said) = (out(&output), err(&output));
    assert!(text.contains(&format!("{name} unchanged: using the CRD that is installed")), "{text}");
    assert!(said.contains(&format!("{name} serves v1beta1 and not v1")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(desk.double().get("customresourcedefinitions.apiextensions.k8s.io", "", name), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_manages_is_a_conflict_until_it_is_taken_over() {
    let desk = desk(false).await;
    assert!(desk.heddle("install --apply --wait=false").await.status.success());
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "heddle-controller", "namespace": "heddle-system"}, "spec": {"replicas": 3}});
    apply_as(&desk, "argocd", "apps/v1/namespaces/heddle-system/deployments/heddle-controller", &theirs)
        .await;
    let output = desk.heddle("install --apply --wait=false").await;
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "deployment.apps/heddle-controller: ",
        "argocd",
        ".spec.replicas",
        "--force-conflicts takes them over",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let forced = desk.heddle("install --apply --wait=false --force-conflicts").await;
    assert!(forced.status.success(), "{}", err(&forced));
    let controller = desk.double().get("deployments.apps", "heddle-system", "heddle-controller").unwrap();
    assert_eq!(controller["spec"]["replicas"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_until_everything_runs_and_says_what_it_waits_for() {
    let desk = desk(false).await;
    let waits = json!({"waiting": {"reason": "ErrImageNeverPull", "message": "image is not present"}});
    desk.double().put(own("heddle-controller", "heddle-controller-x", "node-1", &waits));
    let late = desk.heddle("install --apply --timeout 1s").await;
    let said = err(&late);
    assert_eq!(late.status.code(), Some(1));
    assert!(said.contains("deployment.apps/heddle-controller does not run after 1s"), "{said}");
    assert!(said.contains("pod heddle-controller-x: ErrImageNeverPull: image is not present"), "{said}");
    for (kind, name, status) in [
        ("deployments.apps", "heddle-controller", json!({"updatedReplicas": 1, "availableReplicas": 1})),
        (
            "daemonsets.apps",
            "heddle-agent",
            json!({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}),
        ),
    ] {
        let mut object = desk.double().get(kind, "heddle-system", name).unwrap();
        object["status"] = status;
        object["status"]["observedGeneration"] = 99.into();
        desk.double().put(object);
    }
    let done = desk.heddle("install --apply --timeout 30s").await;
    let text = out(&done);
    assert!(done.status.success(), "{text}{}", err(&done));
    for line in [
        "deployment.apps/heddle-controller successfully rolled out",
        "daemonset.apps/heddle-agent successfully rolled out",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_install_is_told_what_is_missing() {
    let desk = desk(false).await;
    desk.double().user("anns", "ann", &[]);
    desk.log_in("anns");
    let said = err(&desk.heddle("install --apply").await);
    assert!(said.contains("not allowed") && said.contains("customresourcedefinitions"), "{said}");
}

/// Server-side apply by another manager.
async fn apply_as(desk: &Desk, manager: &str, path: &str, object: &Value) {
    let address = desk.double().url().replace("http://", "");
    let body = object.to_string();
    let request = format!(
        "PATCH /apis/{path}?fieldManager={manager}&force=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/apply-patch+yaml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
