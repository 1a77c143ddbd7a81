//! The discovery client against a controller in the same process.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use heddle_core::names::{Generation, PodUid, PolicyName};
use heddle_core::snapshot::Snapshot;
use heddle_proto::discovery::Resource;
use heddle_proto::heddle::v1 as ours;
use heddle_proto::istio::{security, workload};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fake::{CONTROLLER, Fake, Stream, resource};
use super::{Control, ControlOptions, Kind, Publications, saved};
use crate::datapath::Applied;

struct Agent {
    seen: Publications,
    applied: watch::Sender<Applied>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(fake: &Fake) -> Self {
        let (control, seen) = Control::new(ControlOptions {
            node: "node-1".to_owned(),
            controller: fake.controller.clone(),
            state_dir: fake.directory.path().join("state"),
        });
        let (applied, reached) = watch::channel(Applied::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(control.run(reached, stop.clone()));
        Self { seen, applied, stop, task }
    }

    async fn until(&mut self, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let found = self.seen.snapshots.wait_for(|snapshot| holds(snapshot));
        let found = tokio::time::timeout(Duration::from_secs(10), found).await;
        found.expect("a snapshot in time").unwrap().clone()
    }

    fn reach(&self, generation: Generation, failed: Vec<(PodUid, String)>) {
        self.applied.send_replace(Applied { generation, enrolled: 0, failed });
    }

    fn state(&self, kind: Kind) -> (&'static str, String) {
        let status = self.seen.status.borrow();
        let report = status.types().remove(kind.index());
        (report.state, report.error)
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn mesh(fake: &Fake) -> Resource {
    let mesh = ours::Mesh {
        trust_domain: "cluster.local".to_owned(),
        pod_cidrs: vec!["10.244.0.0/16".to_owned()],
        trust_bundle: vec![fake.root_pem.clone()],
        ..Default::default()
    };
    resource(Kind::Mesh, "mesh", "m1", &mesh)
}

fn policy(name: &str, version: &str) -> Resource {
    let policy = security::Authorization {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        action: 1,
        ..Default::default()
    };
    resource(Kind::Authorization, &format!("default/{name}"), version, &policy)
}

fn pod(name: &str, version: &str) -> Resource {
    let pod = workload::Workload {
        uid: format!("c//Pod/default/{name}"),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        ..Default::default()
    };
    let address = workload::Address { r#type: Some(workload::address::Type::Workload(pod)) };
    resource(Kind::Address, &format!("c//Pod/default/{name}"), version, &address)
}

fn local(uid: &str, mode: i32) -> Resource {
    let local = ours::LocalWorkload {
        pod_uid: uid.to_owned(),
        workload_uid: format!("c//Pod/default/{uid}"),
        namespace: "default".to_owned(),
        name: uid.to_owned(),
        service_account: "app".to_owned(),
        enrolled: true,
        mtls_mode: mode,
        ..Default::default()
    };
    resource(Kind::LocalWorkload, uid, "l1", &local)
}

/// Everything once: what a controller says first.
async fn introduce(stream: &mut Stream, fake: &Fake) {
    stream.send(Kind::Mesh, "1", vec![mesh(fake)], &[]).await;
    stream.send(Kind::Authorization, "2", vec![policy("one", "v1"), policy("two", "v1")], &[]).await;
    stream.send(Kind::Traffic, "2t", vec![], &[]).await;
    stream.send(Kind::Address, "3", vec![pod("a", "v1"), pod("b", "v1")], &[]).await;
    stream.send(Kind::LocalWorkload, "4", vec![local("uid-a", 2)], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_about_pods_is_acknowledged_only_when_the_kernel_is_there() {
    let mut fake = Fake::start(CONTROLLER).await;
    let mut agent = Agent::start(&fake);
    let mut stream = fake.stream().await;
    let first = stream.subscriptions().await;
    assert!(first.iter().all(|request| request.initial_resource_versions.is_empty()));
    assert_eq!(first[0].node.as_ref().unwrap().id, "node-1");
    introduce(&mut stream, &fake).await;
    for nonce in ["1", "2", "2t", "3"] {
        let ack = stream.request().await;
        assert_eq!((ack.response_nonce.as_str(), ack.error_detail), (nonce, None));
    }
    let snapshot = agent.until(|snapshot| snapshot.locals().len() == 1).await;
    assert_eq!((snapshot.workloads().len(), snapshot.policies().len()), (2, 2));
    assert!(agent.seen.roots.borrow().is_some());
    assert!(stream.silent().await, "acknowledged before the kernel was there");
    assert_eq!(agent.state(Kind::LocalWorkload).0, "STALE");

    agent.reach(snapshot.generation(), vec![(PodUid::new("uid-a"), "no such interface".to_owned())]);
    let nack = stream.request().await;
    assert_eq!(nack.response_nonce, "4");
    assert_eq!(nack.error_detail.unwrap().message, "pod default/uid-a: no such interface");
    assert_eq!(agent.state(Kind::LocalWorkload).0, "NACK");

    agent.reach(snapshot.generation(), Vec::new());
    let ack = stream.request().await;
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("4", None));
    assert_eq!(agent.state(Kind::LocalWorkload).0, "SYNCED");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_may_arrive_in_any_order() {
    let mut fake = Fake::start(CONTROLLER).await;
    let mut agent = Agent::start(&fake);
    let mut stream = fake.stream().await;
    stream.subscriptions().await;
    stream.send(Kind::LocalWorkload, "1", vec![local("uid-a", 3)], &[]).await;
    stream.send(Kind::Address, "2", vec![pod("a", "v1")], &[]).await;
    assert!(stream.silent().await, "nothing can be read before the mesh's trust domain is known");
    stream.send(Kind::Mesh, "3", vec![mesh(&fake)], &[]).await;
    assert_eq!(stream.request().await.response_nonce, "3");
    assert_eq!(stream.request().await.response_nonce, "2");
    assert_eq!(agent.seen.snapshots.borrow().generation(), Generation(0), "a part is not published");
    stream.send(Kind::Traffic, "4t", vec![], &[]).await;
    stream.send(Kind::Authorization, "4", vec![], &[]).await;
    assert_eq!(stream.request().await.response_nonce, "4t");
    assert_eq!(stream.request().await.response_nonce, "4");
    let snapshot = agent.until(|snapshot| snapshot.generation() == Generation(1)).await;
    assert_eq!((snapshot.workloads().len(), snapshot.locals().len()), (1, 1));
    agent.reach(Generation(1), Vec::new());
    assert_eq!(stream.request().await.response_nonce, "1");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_resource_refuses_the_whole_response_and_the_last_good_one_stays() {
    let mut fake = Fake::start(CONTROLLER).await;
    let mut agent = Agent::start(&fake);
    let mut stream = fake.stream().await;
    stream.subscriptions().await;
    introduce(&mut stream, &fake).await;
    for _ in 0..4 {
        stream.request().await;
    }
    let before = agent.until(|snapshot| snapshot.locals().len() == 1).await;
    agent.reach(before.generation(), Vec::new());
    stream.request().await;

    let mut broken = policy("one", "v2");
    broken.resource.as_mut().unwrap().value = vec![0xff; 4];
    let good = policy("three", "v1");
    stream.send(Kind::Authorization, "9", vec![good, broken], &["default/two"]).await;
    let nack = stream.request().await;
    assert_eq!(nack.response_nonce, "9");
    let message = nack.error_detail.unwrap().message;
    assert!(message.starts_with("default/one: it is not valid protobuf"), "{message}");
    assert_eq!(agent.state(Kind::Authorization).0, "NACK");
    let after = agent.seen.snapshots.borrow().clone();
    assert_eq!(after.generation(), before.generation());
    assert!(
        after.policy(&PolicyName::new("default/two")).is_some(),
        "a removal of the refused response applied"
    );

    stream.send(Kind::Authorization, "10", vec![policy("one", "v3")], &[]).await;
    let ack = stream.request().await;
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("10", None));
    assert_eq!(agent.state(Kind::Authorization), ("SYNCED", String::new()));

    stream.send(Kind::LocalWorkload, "11", vec![local("uid-b", 0)], &[]).await;
    let nack = stream.request().await;
    assert_eq!(nack.error_detail.unwrap().message, "uid-b: mTLS mode 0 is not known");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_resumes_with_what_is_held_and_takes_removals() {
    let mut fake = Fake::start(CONTROLLER).await;
    let mut agent = Agent::start(&fake);
    let mut stream = fake.stream().await;
    stream.subscriptions().await;
    introduce(&mut stream, &fake).await;
    let snapshot = agent.until(|snapshot| snapshot.locals().len() == 1).await;
    agent.reach(snapshot.generation(), Vec::new());
    for _ in Kind::ALL {
        stream.request().await;
    }
    drop(stream);
    let mut stream = fake.stream().await;
    let resumed = stream.subscriptions().await;
    let held = |kind: Kind| resumed[kind.index()].initial_resource_versions.clone();
    assert_eq!(held(Kind::Mesh)["mesh"], "m1");
    assert_eq!(held(Kind::Address).len(), 2);
    assert_eq!(held(Kind::Address)["c//Pod/default/a"], "v1");
    assert_eq!(held(Kind::LocalWorkload)["uid-a"], "l1");
    stream.send(Kind::Address, "1", vec![pod("c", "v1")], &["c//Pod/default/a", "c//Pod/default/b"]).await;
    assert_eq!(stream.request().await.response_nonce, "1");
    let snapshot = agent.until(|snapshot| snapshot.workloads().len() == 1).await;
    assert_eq!(snapshot.workloads().next().unwrap().uid.as_str(), "c//Pod/default/c");
    assert_eq!(snapshot.policies().len(), 2, "what is unchanged stays");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_the_kernel_did_not_reach_are_asked_for_again() {
    let mut fake = Fake::start(CONTROLLER).await;
    let mut agent = Agent::start(&fake);
    let mut stream = fake.stream().await;
    stream.subscriptions().await;
    introduce(&mut stream, &fake).await;
    agent.until(|snapshot| snapshot.locals().len() == 1).await;
    drop(stream);
    let resumed = fake.stream().await.subscriptions().await;
    assert_eq!(
        resumed[Kind::LocalWorkload.index()].initial_resource_versions["uid-a"],
        "",
        "held, but no version that matches"
    );
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_serves_what_was_saved_before_it_meets_the_controller() {
    let mut fake = Fake::start(CONTROLLER).await;
    let mut agent = Agent::start(&fake);
    let mut stream = fake.stream().await;
    stream.subscriptions().await;
    introduce(&mut stream, &fake).await;
    agent.until(|snapshot| snapshot.locals().len() == 1).await;
    agent.end().await;

    let agent = Agent::start(&fake);
    let snapshot = agent.seen.snapshots.borrow().clone();
    assert_eq!((snapshot.workloads().len(), snapshot.locals().len()), (2, 1));
    assert!(agent.seen.roots.borrow().is_some());
    let status = agent.seen.status.borrow().clone();
    assert!(status.from_disk && status.types().iter().all(|report| report.state == "STALE"));
    let resumed = fake.stream().await.subscriptions().await;
    assert_eq!(resumed[Kind::Address.index()].initial_resource_versions.len(), 2);
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_with_a_certificate_of_the_mesh_is_not_the_controller() {
    let mut fake = Fake::start("spiffe://cluster.local/ns/default/sa/heddle-controller").await;
    let mut agent = Agent::start(&fake);
    let failed = agent.seen.status.wait_for(|status| !status.error.is_empty());
    let status = tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap().unwrap().clone();
    assert!(!status.connected && status.error.contains("expected spiffe://"), "{}", status.error);
    assert!(fake.streams.try_recv().is_err());
    agent.end().await;
}

#[test]
fn a_saved_configuration_survives_the_round_trip_and_any_change_of_it_is_noticed() {
    let responses = [heddle_proto::discovery::DeltaDiscoveryResponse {
        type_url: Kind::Address.url().to_owned(),
        resources: vec![pod("a", "v1")],
        ..Default::default()
    }];
    let file = saved::encode("node-1", &responses);
    assert_eq!(saved::decode("node-1", &file).unwrap(), responses);
    assert!(matches!(saved::decode("node-2", &file), Err(saved::SavedError::Node(_))));
    for at in 0..file.len() {
        let mut broken = file.clone();
        broken[at] ^= 1;
        assert!(saved::decode("node-1", &broken).is_err(), "byte {at}");
        assert!(saved::decode("node-1", &file[..at]).is_err(), "cut at {at}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_decoder_of_saved_files_panic(bytes: Vec<u8>, tail: Vec<u8>) {
        let _refused = saved::decode("node-1", &bytes);
        // Past the checksum: a body that is anything.
        let mut file = saved::encode("node-1", &[]);
        file.truncate(12);
        file.extend_from_slice(&(tail.len() as u64).to_be_bytes());
        file.extend_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &tail).as_ref());
        file.extend_from_slice(&tail);
        let _refused = saved::decode("node-1", &file);
    }
}
