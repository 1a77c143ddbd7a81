//! Bad input of every kind gets a clear error, is counted, and disturbs nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Output;
use std::time::Duration;

use heddle_tests::sandbox::{Sandbox, eventually};
use heddle_tests::world::World;

fn refused(output: &Output, words: &[&str]) {
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "taken: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn apply(world: &World, manifest: &str) -> Output {
    let file = world.sandbox.directory().join("bad.yaml");
    std::fs::write(&file, manifest).unwrap();
    world.sandbox.output(&["sandbox", "apply", "-f", &file.to_string_lossy()]).unwrap()
}

#[test]
fn bad_manifests_are_refused_by_object_and_field_and_the_good_documents_beside_them_applied() {
    let world = World::enrolled("t-badyaml").unwrap();
    let misspelt = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {selecter: {app: a}, ports: [{port: 80}]}}";
    refused(&apply(&world, misspelt), &["spec.selecter", "selector"]);
    refused(&apply(&world, "{apiVersion: v1, kind: Servise, metadata: {name: s}}"), &["Servise"]);
    let lost = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: nowhere}}";
    refused(&apply(&world, lost), &["nowhere", "not found"]);
    let broken = "a: [\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: good}, data: {k: v}}\n";
    refused(&apply(&world, broken), &["bad.yaml[0]", "line 1"]);
    world.sandbox.run(&["sandbox", "get", "configmap", "good"]).unwrap();
    let mode = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: p}, spec: {mtls: {mode: STRIKT}}}";
    refused(&apply(&world, mode), &["spec.mtls.mode", "STRICT"]);
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
}

#[test]
fn wrong_flags_and_a_second_sandbox_of_the_same_name_are_refused() {
    let world = World::up("t-twice").unwrap();
    refused(&world.sandbox.output(&["sandbox", "up"]).unwrap(), &["t-twice"]);
    refused(&world.sandbox.output(&["sandbox", "get", "pods", "--nonsense"]).unwrap(), &["--nonsense"]);
    refused(&world.sandbox.output(&["sandbox", "get", "nonsense"]).unwrap(), &["nonsense"]);
    assert_eq!(
        world.sandbox.output(&["sandbox", "exec", "nobody", "--", "true"]).unwrap().status.code(),
        Some(125)
    );
    assert_eq!(
        world.sandbox.exec("default", "client", &["sh", "-c", "exit 7"]).unwrap().status.code(),
        Some(7)
    );
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
}

#[test]
fn an_unknown_image_names_the_flag_and_nothing_stays_behind() {
    let file = std::env::temp_dir().join("heddle-bad-image.yaml");
    std::fs::write(&file, "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: acme/unknown}]}}").unwrap();
    let up = Sandbox::up("t-image", &["-f", &file.to_string_lossy()]);
    std::fs::remove_file(&file).unwrap();
    let error = format!("{:#}", up.unwrap_err());
    assert!(error.contains("acme/unknown") && error.contains("--image"), "{error}");
    let left = heddle_tests::sandbox::cgroup_root().unwrap().join("heddle-t-image");
    assert!(!left.exists() && !std::path::Path::new("/run/heddle/t-image").exists());
}

#[test]
fn garbage_on_the_mesh_ports_disturbs_nobody() {
    let world = World::enrolled("t-garbage").unwrap();
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    let echo = world.sandbox.pod_addresses("default", "echo").unwrap();
    for port in [15001, 15006, 15008] {
        let shell = format!(
            "head -c 20000 /dev/urandom | timeout 3 curl -s -m 2 --http0.9 -T - telnet://{}:{port}; true",
            echo[0]
        );
        for (namespace, pod) in [("outside", "outsider"), ("default", "client")] {
            world.sandbox.exec(namespace, pod, &["sh", "-c", &shell]).unwrap();
        }
    }
    assert_eq!(world.curl("default", "client", "http://echo").unwrap(), "echo");
    eventually(Duration::from_secs(5), || {
        let page = world.sandbox.metrics("node-2")?;
        Ok(page
            .lines()
            .any(|line| line.starts_with("heddle_agent_ended_total{") && line.contains("reason=\"tls_")))
    })
    .unwrap();
}

#[test]
fn an_agent_with_a_wrong_token_is_refused_and_never_synced() {
    let world = World::enrolled("t-token").unwrap();
    let token = world.sandbox.directory().join("nodes/node-2/token");
    let right = std::fs::read_to_string(&token).unwrap();
    std::fs::write(&token, "wrong").unwrap();
    world.sandbox.run(&["sandbox", "agent", "restart", "node-2"]).unwrap();
    let status = world.sandbox.output(&["status", "--wait", "--timeout", "2s"]).unwrap();
    assert!(!status.status.success());
    // It serves from its snapshot meanwhile.
    eventually(Duration::from_secs(5), || Ok(world.curl("default", "client", "http://echo").is_ok()))
        .unwrap();
    std::fs::write(&token, right).unwrap();
    world.sandbox.run(&["sandbox", "agent", "restart", "node-2"]).unwrap();
    world.sandbox.run(&["status", "--wait", "--timeout", "20s"]).unwrap();
}
