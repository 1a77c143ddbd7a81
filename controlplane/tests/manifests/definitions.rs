//! The definitions take what people write.

use heddle_api::crd;
use heddle_api::kind::{self, KINDS};
use heddle_apiserver::{ADMIN, Double, Setup};
use heddle_controlplane::registry::cluster::connect;
use serde_json::{Value, json};

use super::files;

/// A double that knows the mesh kinds by our definitions alone, and a client of it.
async fn server() -> (Double, kube::Client) {
    let double = Double::start(Setup { mesh: false, ..Setup::default() }).await.unwrap();
    for document in files::folder("crds") {
        double.put(document.object);
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kubeconfig");
    std::fs::write(&config, double.kubeconfig(ADMIN)).unwrap();
    let client = connect(Some(&config)).await.unwrap();
    (double, client)
}

/// As kubectl does it, refusing what the schema does not know.
async fn create(client: &kube::Client, object: &Value) -> Value {
    let version = object["apiVersion"].as_str().unwrap();
    let kind = kind::find(version, object["kind"].as_str().unwrap()).unwrap();
    let group = if kind.group.is_empty() { "api".to_owned() } else { "apis".to_owned() };
    let place = if kind.namespaced { "/namespaces/default" } else { "" };
    let path = format!("/{group}/{version}{place}/{}?fieldValidation=Strict", kind.plural);
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(serde_json::to_vec(object).unwrap()).unwrap();
    client.request(request).await.unwrap_or_else(|error| panic!("{object}: {error}"))
}

#[tokio::test]
async fn the_tutorials_files_are_taken_with_every_field() {
    let (_double, client) = server().await;
    for document in files::folder("tutorial") {
        let created = create(&client, &document.object).await;
        assert_eq!(created["spec"], document.object["spec"], "{}", document.file);
    }
}

#[tokio::test]
async fn every_kind_is_taken_in_every_version_and_keeps_what_is_misspelt() {
    let (_double, client) = server().await;
    let mut taken = 0;
    for kind in KINDS.iter().filter(|kind| crd::is_custom(kind)) {
        for version in kind.versions {
            let object = json!({"apiVersion": format!("{}/{version}", kind.group), "kind": kind.kind,
                "metadata": {"name": format!("of-{version}")},
                "spec": {"hosst": ["a"], "deep": {"er": [{"still": true}, 7]}}});
            let created = create(&client, &object).await;
            assert_eq!(created["spec"], object["spec"], "{kind:?}");
            taken += 1;
        }
    }
    assert!(taken > 17, "{taken}");
}
