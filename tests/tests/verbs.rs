//! The verbs of the sandbox as a person uses them: what they print, how they end, and rollouts under load.
#![allow(clippy::unwrap_used, reason = "tests")]

use heddle_tests::world::World;
use serde_json::Value;

/// Servers that stay a moment after they have left the endpoints, as any that is to be rolled without loss must.
const WEB: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: hashicorp/http-echo, args: ['-text=web'],
    lifecycle: {preStop: {sleep: {seconds: 1}}}, readinessProbe: {httpGet: {port: 5678}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 5678}]}}
";

const KINDS: &str = "
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: ds}, spec: {selector: {matchLabels: {app: ds}},
  template: {metadata: {labels: {app: ds}}, spec: {containers: [{name: c, image: busybox, command: [sh, -c, 'echo here; exec sleep 9999']}]}}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: sts}, spec: {replicas: 2, serviceName: sts, selector: {matchLabels: {app: sts}},
  template: {metadata: {labels: {app: sts}}, spec: {containers: [{name: c, image: busybox, command: [sleep, '9999']}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: job}, spec: {completions: 2,
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: [echo, finished]}]}}}}
";

/// Status and both outputs of `heddle sandbox ARGS…`.
fn says(world: &World, args: &str) -> (Option<i32>, String, String) {
    let words: Vec<&str> = std::iter::once("sandbox").chain(args.split_whitespace()).collect();
    let output = world.sandbox.output(&words).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn fine(world: &World, args: &str) -> String {
    let (code, out, err) = says(world, args);
    assert_eq!(code, Some(0), "{args}: {err}");
    out
}

#[test]
fn a_rollout_loses_no_request_in_clear_or_enrolled() {
    let world = World::up("t-roll").unwrap();
    world.apply(WEB).unwrap();
    let argv = ["load", "web:80", "--seconds", "6", "--connections", "new"];
    for enrolled in [false, true] {
        if enrolled {
            world.enrol().unwrap();
        }
        fine(&world, "rollout status deploy/web");
        let outcome = std::thread::scope(|scope| {
            let load = scope.spawn(|| world.probe(&argv).unwrap());
            fine(&world, "rollout restart deploy/web");
            assert!(fine(&world, "rollout status deploy/web").ends_with("successfully rolled out"));
            load.join().unwrap()
        });
        assert_eq!((&outcome["failed"], outcome["ok"].as_u64() > Some(500)), (&0.into(), true), "{outcome}");
    }
}

#[test]
fn verbs_take_names_labels_and_all_and_end_as_kubectl_does() {
    let world = World::up("t-verbs").unwrap();
    world.apply(KINDS).unwrap();
    fine(&world, "wait job/job --for condition=complete");
    fine(&world, "wait --for ready");
    assert_eq!(fine(&world, "logs job/job"), "finished");
    assert_eq!(fine(&world, "logs -l app=ds"), "here\nhere");
    for workload in ["ds/ds", "sts/sts"] {
        fine(&world, &format!("rollout restart {workload}"));
        assert!(fine(&world, &format!("rollout status {workload}")).ends_with("successfully rolled out"));
    }
    let one: Value = serde_json::from_str(&fine(&world, "get sts sts -o json")).unwrap();
    assert_eq!((&one["kind"], &one["status"]["readyReplicas"]), (&"StatefulSet".into(), &2.into()));
    let list: Value = serde_json::from_str(&fine(&world, "get sts,ds -A -o json")).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 2));
    assert!(fine(&world, "get all -o wide").contains("daemonset.apps/ds"));

    fine(&world, "scale sts --all --replicas 1");
    fine(&world, "wait pod sts-1 --for deleted");
    fine(&world, "label pods -l app=ds tier=edge");
    assert_eq!(fine(&world, "get pods -l tier=edge -o name").lines().count(), 2);
    fine(&world, "label pods --all -A tier-");
    assert_eq!(fine(&world, "get pods -l tier=edge -o name"), "");
    let refused = [
        ("label pod sts-0 b@d=x", 1, "invalid label key"),
        ("label pod sts-0 k=b@d", 1, "invalid label value"),
        ("label pod sts-0 app=other", 1, "already has a value"),
        ("label pod -l app=nobody k=v", 1, "no matching resources"),
        ("get pod sts-0 -A", 1, "across all namespaces"),
        ("get nothing", 1, "doesn't have a resource type"),
        ("get pod nobody", 1, "NotFound"),
        ("get pod sts-0 -o table2", 2, "invalid value"),
        ("scale ds ds --replicas 2", 1, "cannot scale"),
        ("rollout status job/job --timeout 1s", 1, "no rollout"),
        ("wait pod/sts-0 --for deleted --timeout 200ms", 1, "timed out"),
        ("wait pod/nobody --for ready", 1, "NotFound"),
        ("delete pod", 1, "no name was specified"),
        ("exec nobody -- true", 125, "NotFound"),
        ("exec sts-0 -- false", 1, ""),
    ];
    for (args, code, words) in refused {
        let (ended, _, err) = says(&world, args);
        assert_eq!(ended, Some(code), "{args}: {err}");
        assert!(err.contains(words), "{args}: {err}");
    }
    fine(&world, "delete sts,ds --all");
    fine(&world, "delete job job --wait");
    fine(&world, "wait --for synced");
    assert_eq!(fine(&world, "get sts,ds,job -o name"), "");
    assert_eq!(says(&world, "delete job job --ignore-not-found").0, Some(0));
}
