//! A node of its own in this process: a network namespace for the node, one per pod, a cgroup, and a bpffs.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use heddle_agent::datapath::inspect::DropCount;
use heddle_agent::datapath::{
    Applied, Datapath, DatapathOptions, EnrolmentHandle, EnrolmentOptions, PodListeners, WorkerCommand,
    enrolment,
};
use heddle_agent::node::Proc;
use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{Generation, PodUid, WorkloadUid};
use heddle_core::snapshot::Snapshot;
use heddle_core::store::Store;
use heddle_core::workload::LocalWorkload;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::{mpsc, watch};

/// The process' cgroup is one for all tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) const SOON: Duration = Duration::from_secs(5);

/// A node with its pods, and perhaps an agent. Everything is gone when it drops: namespaces with their descriptors,
/// mounts with their namespace, the cgroup by hand.
pub(crate) struct Lab {
    pub(crate) agent: Option<Agent>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) cgroup: PathBuf,
    /// Agents look for pods that run without a record.
    pub(crate) finds_running: bool,
    pub(crate) store: Store,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// The datapath as an agent with one worker runs it; the test is the worker.
pub(crate) struct Agent {
    pub(crate) datapath: Datapath,
    pub(crate) handle: EnrolmentHandle,
    pub(crate) orders: mpsc::Receiver<WorkerCommand>,
}

/// A pod's namespace behind a veth of the node.
pub(crate) struct Site {
    pub(crate) uid: PodUid,
    pub(crate) netns: OwnedFd,
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
    pub(crate) veth: String,
    pub(crate) ifindex: u32,
}

impl Site {
    /// Of its network namespace, for as long as this lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd())
    }
}

impl Lab {
    /// The calling thread becomes the node.
    pub(crate) fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("tests of the datapath need root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        without_dad();
        for forwarding in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(Path::new("/proc/sys/net").join(forwarding), "1").unwrap();
        }
        ip("link set lo up");
        let (cgroup, home) = cgroups();
        fs::create_dir_all(cgroup.join("prober")).unwrap();
        fs::create_dir_all(cgroup.join("agent")).unwrap();
        join(&cgroup.join("agent"));
        let (snapshots, _) = watch::channel(Arc::new(Snapshot::default()));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::default();
        Self { agent: None, folder, cgroup, finds_running: false, store, snapshots, home, _turn: turn }
    }

    /// A pod of the node; `number` is in its addresses. It has a record, and is in no mesh yet.
    pub(crate) fn pod(&self, number: u8) -> Site {
        let site = self.site(number);
        let record = serde_json::json!({
            "uid": site.uid.as_str(), "namespace": "test", "name": format!("pod-{number}"), "serviceAccount": "default",
            "node": "node-1", "ips": [site.v4, site.v6], "netns": site.path(), "hostIfindex": site.ifindex,
            "hostInterface": site.veth,
        });
        fs::create_dir_all(self.folder.path().join("pods")).unwrap();
        fs::write(self.folder.path().join(format!("pods/{}.json", site.uid)), record.to_string()).unwrap();
        site
    }

    /// The same without a record.
    pub(crate) fn site(&self, number: u8) -> Site {
        let netns: OwnedFd = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            without_dad();
            File::open("/proc/thread-self/ns/net").unwrap().into()
        })
        .join()
        .unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
        let (v4, v6) =
            (Ipv4Addr::new(10, 77, number, 2), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, number.into(), 2));
        let veth = format!("veth{number}");
        ip(&format!("link add {veth} type veth peer name eth0 netns {path}"));
        ip(&format!("addr add 10.77.0.1/32 dev {veth}"));
        ip(&format!("addr add fd77::1/128 dev {veth} nodad"));
        ip(&format!("link set {veth} up"));
        inside(&netns, || {
            ip("link set lo up");
            ip("link set eth0 up");
            ip(&format!("addr add {v4}/32 dev eth0"));
            ip(&format!("addr add {v6}/128 dev eth0 nodad"));
            ip("route add 10.77.0.1/32 dev eth0");
            ip("route add default via 10.77.0.1");
            ip("-6 route add fd77::1/128 dev eth0");
            ip("-6 route add default via fd77::1");
        });
        ip(&format!("route add {v4}/32 dev {veth}"));
        ip(&format!("-6 route add {v6}/128 dev {veth}"));
        let ifindex = nix::net::if_::if_nametoindex(veth.as_str()).unwrap();
        let uid = PodUid::new(format!("00000000-0000-4000-8000-{number:012}"));
        Site { uid, netns, v4: v4.into(), v6: v6.into(), veth, ifindex }
    }

    /// What an agent of this node opens.
    pub(crate) fn options(&self) -> DatapathOptions {
        DatapathOptions {
            bpffs: self.folder.path().join("bpf"),
            cgroup: self.cgroup.clone(),
            prober_cgroup: Some(self.cgroup.join("prober")),
        }
    }

    /// An agent starts: on what the last one left.
    pub(crate) fn start_agent(&mut self) {
        let datapath = Datapath::open(&self.options()).unwrap();
        let (sender, orders) = mpsc::channel(16);
        let folders = EnrolmentOptions {
            pods_dir: self.folder.path().join("pods"),
            captured_dir: self.folder.path().join("captured"),
            running: self.finds_running.then(Proc::default),
            ..EnrolmentOptions::default()
        };
        let handle = enrolment::spawn(&datapath, folders, self.snapshots.subscribe(), vec![sender]).unwrap();
        self.agent = Some(Agent { datapath, handle, orders });
    }

    /// The agent dies; its listeners die with the orders that hold them.
    pub(crate) fn kill_agent(&mut self) {
        self.agent = None;
    }

    pub(crate) fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("an agent runs")
    }

    /// Publishes what the controller wants of a pod, and waits until the kernel is there.
    pub(crate) fn want(&mut self, site: &Site, enrolled: bool, mtls: MtlsPolicy) -> Applied {
        self.store.put_local(LocalWorkload {
            pod_uid: site.uid.clone(),
            workload_uid: WorkloadUid::new(format!("Kubernetes//Pod/test/{}", site.uid)),
            name: site.uid.as_str().into(),
            identity: Identity::new("cluster.local", "test", "default").unwrap(),
            enrolled,
            mtls,
            policies: Box::default(),
            labels: Default::default(),
            l7: Default::default(),
        });
        let snapshot = self.store.publish();
        let generation = snapshot.generation();
        self.snapshots.send_replace(snapshot);
        self.applied(generation)
    }

    /// Waits for an answer to a generation.
    pub(crate) fn applied(&mut self, generation: Generation) -> Applied {
        let until = Instant::now() + SOON;
        loop {
            let applied = self.agent().handle.applied.borrow().clone();
            if applied.generation >= generation {
                return applied;
            }
            assert!(Instant::now() < until, "generation {} was not applied in time", generation.0);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Enrols, and takes over the listeners as the worker would.
    pub(crate) fn enrol(&mut self, site: &Site, mode: MtlsMode) -> PodListeners {
        let applied = self.want(site, true, MtlsPolicy::new(mode, []));
        assert_eq!(applied.failed, [], "enrolment failed");
        self.listeners()
    }

    /// The next order, which must be to serve.
    pub(crate) fn listeners(&mut self) -> PodListeners {
        let until = Instant::now() + SOON;
        loop {
            match self.agent().orders.try_recv() {
                Ok(WorkerCommand::Serve(listeners)) => return listeners,
                Ok(other) => panic!("an order that was not expected: {other:?}"),
                Err(_) => assert!(Instant::now() < until, "no listeners came"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often the kernel refused for a reason.
    pub(crate) fn refusals(&mut self, direction: &str, reason: &str) -> u64 {
        let drops = self.agent().datapath.inspector().drops();
        drops
            .iter()
            .find(|drop| drop.direction == direction && drop.reason == reason)
            .expect("a reason")
            .count
    }

    /// All refusals that happened, for messages.
    pub(crate) fn all_refusals(&mut self) -> Vec<DropCount> {
        self.agent().datapath.inspector().drops().into_iter().filter(|drop| drop.count > 0).collect()
    }

    /// Runs as a process of another cgroup would, below ours or outside of it.
    pub(crate) fn in_cgroup<R>(&self, cgroup: &Path, work: impl FnOnce() -> R) -> R {
        join(cgroup);
        let result = work();
        join(&self.cgroup.join("agent"));
        result
    }

    /// Where no program of ours is attached.
    pub(crate) fn outside_cgroup(&self) -> PathBuf {
        self.home.clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.agent = None;
        join(&self.home);
        for folder in ["prober", "agent", ""] {
            let _ = fs::remove_dir(self.cgroup.join(folder));
        }
        let _ = nix::mount::umount(&self.folder.path().join("bpf"));
    }
}

/// Runs on a thread of its own inside a namespace.
pub(crate) fn inside<R: Send>(netns: &OwnedFd, work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        worker.join().unwrap()
    })
}

/// Connects from inside a namespace.
pub(crate) fn connect(netns: &OwnedFd, to: SocketAddr) -> std::io::Result<TcpStream> {
    inside(netns, || TcpStream::connect_timeout(&to, Duration::from_millis(400)))
}

/// Listens inside a namespace, as an application would.
pub(crate) fn listen(netns: &OwnedFd, at: SocketAddr) -> TcpListener {
    let listener = inside(netns, || TcpListener::bind(at)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Accepts, or gives up soon.
pub(crate) fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        match listener.accept() {
            Ok(accepted) => return Some(accepted),
            Err(_) if Instant::now() > until => return None,
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The listener of an address.
pub(crate) fn at(listeners: &[TcpListener], ip: IpAddr) -> &TcpListener {
    listeners
        .iter()
        .find(|listener| listener.local_addr().unwrap().ip() == ip)
        .expect("a listener of the address")
}

/// Link-local addresses are usable at once; else the first neighbour solicitations wait for them.
fn without_dad() {
    for scope in ["all", "default"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0").unwrap();
    }
}

/// `ip ARGUMENTS`, in the namespace of the calling thread.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A cgroup of this process' own to attach to, and the one to come back to.
fn cgroups() -> (PathBuf, PathBuf) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
    });
    let root = root.expect("cgroup2 is mounted");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup2").to_owned();
    (root.join(format!("heddle-test-{}", std::process::id())), root.join(own))
}

fn join(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
}
