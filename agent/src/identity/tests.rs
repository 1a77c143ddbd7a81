//! Certificates against an authority in the same process, with lifetimes of seconds.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{PodUid, WorkloadUid};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::Store;
use heddle_core::workload::LocalWorkload;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Identities, KeyStore, Renewal, RenewalOptions, WallClock};
use crate::control::fake::{CONTROLLER, Fake};
use crate::tls::{Credentials, TrustBundle};

const POD: &str = "0c1d2e3f-1111-2222-3333-444455556666";

struct Manager {
    identities: Arc<Identities>,
    clock: WallClock,
    snapshots: watch::Sender<Arc<Snapshot>>,
    keys: KeyStore,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    roots: watch::Sender<Option<TrustBundle>>,
}

impl Manager {
    fn start(fake: &Fake, ttl: u64) -> Self {
        fake.authority.lock().unwrap().ttl = Duration::from_secs(ttl);
        let clock = WallClock::default();
        let keys = KeyStore::open(&fake.directory.path().join("keys")).unwrap();
        let identities = Identities::new(clock.clone());
        let options = RenewalOptions {
            controller: fake.controller.clone(),
            ttl: Duration::from_secs(ttl),
            keys: keys.clone(),
            clock: clock.clone(),
        };
        let renewal = Renewal::new(options, Arc::clone(&identities)).unwrap();
        let (snapshots, seen) = watch::channel(snapshot(&[POD]));
        let roots = TrustBundle::from_pem(fake.root_pem.as_bytes()).unwrap();
        let (roots, roots_seen) = watch::channel(Some(roots));
        let stop = CancellationToken::new();
        let task = tokio::spawn(renewal.run(seen, roots_seen, stop.clone()));
        Self { identities, clock, snapshots, keys, stop, task, roots }
    }

    async fn until(&self, holds: impl Fn(&Identities) -> bool) {
        let mut waited = 0;
        while !holds(&self.identities) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            waited += 1;
            assert!(waited < 500, "not in time: {:?}", self.identities.report());
        }
    }

    fn not_after(&self) -> Option<SystemTime> {
        self.identities.not_after(&PodUid::new(POD))
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn identity() -> Identity {
    Identity::new("cluster.local", "default", "app").unwrap()
}

fn snapshot(pods: &[&str]) -> Arc<Snapshot> {
    let mut store = Store::default();
    for uid in pods {
        store.put_local(LocalWorkload {
            pod_uid: PodUid::new(*uid),
            workload_uid: WorkloadUid::new("c//Pod/default/app"),
            name: "app".into(),
            identity: identity(),
            enrolled: true,
            mtls: MtlsPolicy::new(MtlsMode::Strict, []),
            policies: Box::default(),
            labels: Default::default(),
            l7: Default::default(),
        });
    }
    store.publish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate_and_there_is_always_a_valid_one() {
    let fake = Fake::start(CONTROLLER).await;
    let manager = Manager::start(&fake, 4);
    manager.until(|held| held.count() == 1).await;
    assert!(manager.identities.cover(&snapshot(&[POD])));
    let pod = PodUid::new(POD);
    assert!(manager.identities.client_config(&pod, &identity()).is_some());
    let mut ends = vec![manager.not_after().unwrap()];
    for _ in 0..350 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let end = manager.not_after().expect("a valid certificate at any time");
        assert!(manager.identities.server_config(&pod).is_some());
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    assert!(ends.len() >= 3, "in 7 s of 4 s certificates: {ends:?}");
    assert!(fake.authority.lock().unwrap().asked.iter().all(|uid| uid.contains(POD)));
    manager.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_authority_takes_no_valid_certificate_away_and_no_expired_one_is_presented() {
    let fake = Fake::start(CONTROLLER).await;
    let manager = Manager::start(&fake, 4);
    manager.until(|held| held.count() == 1).await;
    fake.authority.lock().unwrap().fails = true;
    let end = manager.not_after().unwrap();
    let pod = PodUid::new(POD);
    while SystemTime::now() + Duration::from_millis(300) < end {
        assert!(manager.identities.server_config(&pod).is_some(), "dropped before its end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(manager.identities.server_config(&pod).is_none(), "presented after its end");
    assert!(manager.identities.client_config(&pod, &identity()).is_none());
    let report = manager.identities.report().remove(0);
    assert_eq!(report.state, "EXPIRED");
    assert!(report.error.contains("the test says no"), "{}", report.error);
    let asked = fake.authority.lock().unwrap().asked.len();
    assert!((4..=40).contains(&asked), "{asked} requests: too few to recover soon, or a storm");

    fake.authority.lock().unwrap().fails = false;
    manager.until(|held| held.count() == 1).await;
    manager.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_survives_a_restart_without_the_controller_and_goes_with_its_pod() {
    let fake = Fake::start(CONTROLLER).await;
    let manager = Manager::start(&fake, 3600);
    manager.until(|held| held.count() == 1).await;
    manager.end().await;
    fake.authority.lock().unwrap().fails = true;
    let asked = fake.authority.lock().unwrap().asked.len();

    let manager = Manager::start(&fake, 3600);
    manager.until(|held| held.count() == 1).await;
    assert_eq!(fake.authority.lock().unwrap().asked.len(), asked, "asked although there was a valid one");
    assert_eq!(manager.keys.pods().len(), 1);
    manager.snapshots.send_replace(snapshot(&[]));
    manager.until(|held| held.count() == 0).await;
    assert!(manager.keys.pods().is_empty());
    manager.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_a_root_that_is_no_longer_believed_is_renewed_at_once() {
    let (fake, other) = (Fake::start(CONTROLLER).await, Fake::start(CONTROLLER).await);
    let bundle = |pem: &str| Some(TrustBundle::from_pem(pem.as_bytes()).unwrap());
    let manager = Manager::start(&fake, 3600);
    manager.until(|held| held.count() == 1).await;
    let asked = || fake.authority.lock().unwrap().asked.len();
    assert_eq!(asked(), 1);

    // A second root beside the first: nobody is asked for anything.
    manager.roots.send_replace(bundle(&format!("{}{}", fake.root_pem, other.root_pem)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asked(), 1);

    // The first goes. This authority still signs with it: it is asked once, and what there is stays.
    manager.roots.send_replace(bundle(&other.root_pem));
    manager.until(|_| asked() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((asked(), manager.identities.count()), (2, 1), "once, not in a loop");
    manager.end().await;

    // The same for what a restarted agent finds.
    let manager = Manager::start(&fake, 3600);
    manager.until(|held| held.count() == 1).await;
    manager.end().await;
    assert_eq!(asked(), 2, "its own root is believed again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_jump_of_the_clock_an_expired_certificate_is_not_presented() {
    let fake = Fake::start(CONTROLLER).await;
    let manager = Manager::start(&fake, 3600);
    manager.until(|held| held.count() == 1).await;
    manager.clock.shift(2 * 86_400);
    assert!(manager.identities.server_config(&PodUid::new(POD)).is_none());
    manager.clock.shift(-86_400);
    assert!(manager.identities.server_config(&PodUid::new(POD)).is_none(), "not valid yet");
    manager.clock.shift(0);
    assert!(manager.identities.server_config(&PodUid::new(POD)).is_some());
    manager.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_somebody_else_or_for_another_time_is_refused() {
    let fake = Fake::start(CONTROLLER).await;
    fake.authority.lock().unwrap().identity = "spiffe://cluster.local/ns/default/sa/other".to_owned();
    let manager = Manager::start(&fake, 3600);
    let says = |text: &'static str| {
        move |held: &Identities| held.report().first().is_some_and(|report| report.error.contains(text))
    };
    manager.until(says("not for spiffe://cluster.local/ns/default/sa/app")).await;
    {
        let mut authority = fake.authority.lock().unwrap();
        authority.identity = identity().to_string();
        authority.not_before = Some(SystemTime::now() + Duration::from_secs(900));
    }
    manager.until(says("the clocks of this node and of the controller differ by 8")).await;
    assert_eq!(manager.identities.count(), 0);
    manager.end().await;
}

#[test]
fn keys_are_private_and_a_uid_cannot_be_a_path() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let keys = KeyStore::open(&directory.path().join("keys")).unwrap();
    assert!(keys.save(&PodUid::new("../../escaped"), "key", "chain").is_err());
    keys.save(&PodUid::new(POD), "key", "chain").unwrap();
    let path = directory.path().join("keys").join(POD).with_extension("pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(directory.path().join("keys")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    assert!(keys.load(&PodUid::new(POD)).is_err(), "not a key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(keys.load(&PodUid::new(POD)), Err(super::KeysError::Owner(..))));
    keys.remove(&PodUid::new(POD));
    assert!(keys.load(&PodUid::new(POD)).unwrap().is_none());
}

#[test]
fn a_directory_on_a_disk_gets_a_tmpfs() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let _keys = KeyStore::open(&path).unwrap();
    let kind = nix::sys::statfs::statfs(&path).unwrap().filesystem_type();
    let _again = KeyStore::open(&path).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let count = mounts.lines().filter(|line| line.contains(path.to_str().unwrap())).count();
    nix::mount::umount(&path).ok();
    assert_eq!((kind, count <= 1), (nix::sys::statfs::TMPFS_MAGIC, true));
}
