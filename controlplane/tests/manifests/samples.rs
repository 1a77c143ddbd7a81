//! The samples are what Heddle itself finds nothing wrong with, and pods that the strictest namespace takes.

use heddle_api::analyze::analyze;
use heddle_api::manifest;

use super::files;

const FILES: [&str; 3] = ["samples/apps.yaml", "samples/canary.yaml", "samples/strict.yaml"];

#[test]
fn nothing_is_wrong_with_the_samples_alone_or_together() {
    let parsed: Vec<_> = FILES.iter().map(|file| manifest::parse(file, &files::text(file))).collect();
    for one in &parsed {
        assert!(one.diagnostics.is_empty(), "{:?}", one.diagnostics);
    }
    let objects: Vec<_> =
        parsed.iter().flat_map(|one| one.objects.iter().map(|(_, object)| object)).collect();
    assert_eq!(objects.len(), files::folder("samples").len(), "every file is known here");
    let found = analyze(&objects);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn their_pods_need_nothing_that_a_restricted_namespace_refuses_and_no_registry_but_once() {
    for document in files::folder("samples").iter().filter(|document| document.kind() == "Deployment") {
        let pod = &document.object["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{}", document.name());
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{}", document.name());
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{}", document.name());
            assert_eq!(security["capabilities"], serde_json::json!({"drop": ["ALL"]}), "{}", document.name());
            let (_, tag) = container["image"].as_str().unwrap().rsplit_once(':').unwrap();
            assert_ne!(tag, "latest");
            assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{}", document.name());
        }
    }
}
