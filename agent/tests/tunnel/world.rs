//! Two agents and two pods over loopback: fictional pod addresses, real sockets, real certificates.
#![allow(unreachable_pub)]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use heddle_agent::dns::names::{Names, Pace};
use heddle_agent::dns::resolver::FromPods;
use heddle_agent::node::Proc;
use heddle_agent::pod::{NetnsCookie, Pod};
use heddle_agent::telemetry::{Direction, Reason, Telemetry};
use heddle_agent::traffic::command::{PodListeners, WorkerCommand};
use heddle_agent::traffic::limits::Limits;
use heddle_agent::traffic::network::{PodNetwork, Purpose};
use heddle_agent::traffic::{WorkerContext, Workers, spawn_workers};
use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{NodeName, OrigDst, PodUid, PolicyName, WorkloadUid};
use heddle_core::policy::Cidr;
use heddle_core::snapshot::Snapshot;
use heddle_core::store::{MeshFacts, Store};
use heddle_core::workload::{LocalWorkload, Tunnel, Workload};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use crate::authority::{Authority, Lifetime, TestCredentials};

pub const CLIENT: &str = "10.244.1.2";
pub const SERVER: &str = "10.244.2.2";
/// The server pod's address that exists on loopback, for plaintext: its local address is what was dialled.
pub const SERVER_PLAIN: &str = "127.0.0.2";
/// Dialling this port of any pod panics.
pub const PANICS: u16 = 666;
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing here depends on names; workers want a place to look them up.
static LOOKUPS: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Loopback in place of pods: where fictional addresses lead, and what clients had dialled.
#[derive(Clone, Debug, Default)]
pub struct Loopback {
    routes: Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>,
    dialled: Arc<Mutex<HashMap<SocketAddr, OrigDst>>>,
    pub clients: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Loopback {
    pub fn route(&self, from: SocketAddr, to: SocketAddr) {
        self.routes.lock().unwrap().insert(from, to);
    }
}

impl PodNetwork for Loopback {
    fn original_destination(&self, _pod: &Pod, client: SocketAddr) -> Option<OrigDst> {
        self.dialled.lock().unwrap().remove(&client)
    }

    fn dial(&self, _pod: &Pod, to: SocketAddr, purpose: Purpose) -> io::Result<socket2::Socket> {
        if let Purpose::Application { client } = purpose {
            self.clients.lock().unwrap().push(client);
        }
        assert_ne!(to.port(), PANICS, "injected");
        let to = *self.routes.lock().unwrap().get(&to).ok_or(io::ErrorKind::ConnectionRefused)?;
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    fn datagrams(&self, _pod: &Pod, _local: SocketAddr) -> io::Result<socket2::Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One agent with one worker and one pod.
pub struct Agent {
    pub workers: Option<Workers>,
    pub telemetry: Telemetry,
    pub credentials: Arc<TestCredentials>,
    pub outbound: SocketAddr,
    pub plaintext: SocketAddr,
    pub tunnel: SocketAddr,
}

impl Agent {
    pub fn command(&self, command: WorkerCommand) {
        let commands = self.workers.as_ref().unwrap().commands();
        commands[0].blocking_send(command).unwrap();
    }

    pub fn ended(&self, direction: Direction, reason: Reason) -> u64 {
        self.telemetry.ended(direction, reason)
    }

    /// Waits until `count` connections ended for this reason, and fails if they do not.
    pub fn expect(&self, direction: Direction, reason: Reason, count: u64) {
        eventually(&format!("{count} × {reason:?}, metrics: {}", self.endings()), || {
            self.ended(direction, reason) == count
        });
    }

    pub fn endings(&self) -> String {
        let families = self.telemetry.registry().gather();
        let ended = families.iter().find(|family| family.name() == "heddle_agent_ended_total");
        format!("{ended:?}")
    }

    pub fn live(&self) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.workers.as_ref().unwrap().connections()).len()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let Some(workers) = self.workers.take() else { return };
        // Not joined here: a failed test must not hang in its clean-up.
        drop(workers);
    }
}

pub struct World {
    pub authority: Authority,
    pub network: Loopback,
    pub store: Mutex<Store>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub client: Agent,
    pub server: Agent,
}

pub fn identity(name: &str) -> Identity {
    Identity::new("cluster.local", "shop", name).unwrap()
}

pub fn uri(name: &str) -> String {
    identity(name).to_string()
}

/// A workload of the mesh.
pub fn plain_workload(name: &str, address: &[&str]) -> Workload {
    Workload {
        uid: WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}")),
        name: name.into(),
        identity: identity(name),
        addresses: address.iter().map(|ip| ip.parse().unwrap()).collect(),
        tunnel: Tunnel::Hbone,
        plaintext_ports: Box::default(),
        node: NodeName::new("node-1"),
        canonical_name: name.into(),
        canonical_revision: "v1".into(),
        workload_name: name.into(),
        services: Box::default(),
        policies: Box::default(),
        healthy: true,
        host_network: false,
        labels: Default::default(),
        locality: Default::default(),
        weight: 1,
    }
}

pub fn local(name: &str, mode: MtlsMode, policies: &[&str]) -> LocalWorkload {
    LocalWorkload {
        pod_uid: PodUid::new(name),
        workload_uid: WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}")),
        name: name.into(),
        identity: identity(name),
        enrolled: true,
        mtls: MtlsPolicy::new(mode, []),
        policies: policies.iter().map(|name| PolicyName::new(*name)).collect(),
        labels: Default::default(),
        l7: Default::default(),
    }
}

/// Deadlines as short as the tests need them.
pub fn limits() -> Limits {
    Limits {
        hold: Duration::from_millis(500),
        handshake: Duration::from_secs(2),
        half_closed_idle: Duration::from_millis(700),
        sweep: Duration::from_millis(100),
        drain: Duration::from_secs(3),
        ..Limits::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(limits)
    }

    /// Each agent gets limits of its own: their budgets are shared by clones.
    pub fn with(limits: impl Fn() -> Limits) -> Self {
        let authority = Authority::new();
        let network = Loopback::default();
        let mut store = Store::default();
        store.set_mesh(MeshFacts {
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            cluster_ranges: vec![Cidr::parse("10.0.0.0/8").unwrap()],
            registry_only: false,
            traffic: Default::default(),
            enrolled_namespaces: Vec::new(),
        });
        store.put_workload(plain_workload("client", &[CLIENT, "127.0.0.1"]));
        store.put_workload(plain_workload("server", &[SERVER]));
        store.put_local(local("client", MtlsMode::Permissive, &[]));
        store.put_local(local("server", MtlsMode::Permissive, &[]));
        let (snapshots, watched) = watch::channel(store.publish());
        let agent = |name: &str, addresses: &[&str]| {
            let certificate = authority.issue(&[&uri(name)], Lifetime::Valid);
            let credentials = Arc::new(TestCredentials {
                certificates: Mutex::new(HashMap::from([(PodUid::new(name), Arc::new(certificate))])),
                roots: authority.bundle(),
            });
            start(name, addresses, &network, &watched, credentials, limits())
        };
        let client = agent("client", &[CLIENT]);
        let server = agent("server", &[SERVER, SERVER_PLAIN]);
        network.route(address(SERVER, 15008), server.tunnel);
        network.route(address(CLIENT, 15008), client.tunnel);
        Self { authority, network, store: Mutex::new(store), snapshots, client, server }
    }

    /// An application on the server pod, and the address that clients dial for it.
    pub fn serve(&self, port: u16, app: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = address(SERVER, port);
        self.network.route(dialled, listener.local_addr().unwrap());
        let app = Arc::new(app);
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                let app = app.clone();
                std::thread::spawn(move || app(connection));
            }
        });
        dialled
    }

    /// What an application on the client pod does: connect, and be captured.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&address("127.0.0.1", 0).into()).unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        self.network.dialled.lock().unwrap().insert(own, OrigDst(to));
        socket.connect(&self.client.outbound.into()).unwrap();
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub fn change(&self, change: impl FnOnce(&mut Store)) {
        let mut store = self.store.lock().unwrap();
        change(&mut store);
        self.snapshots.send_replace(store.publish());
    }
}

fn start(
    name: &str,
    addresses: &[&str],
    network: &Loopback,
    snapshots: &watch::Receiver<Arc<Snapshot>>,
    credentials: Arc<TestCredentials>,
    limits: Limits,
) -> Agent {
    let telemetry = Telemetry::new(prometheus::Registry::new()).unwrap();
    let context = WorkerContext {
        network: network.clone(),
        snapshots: snapshots.clone(),
        credentials: credentials.clone(),
        telemetry: telemetry.clone(),
        limits,
        names: Names::new(
            Arc::new(FromPods::new(network.clone(), Proc::default())),
            Pace::default(),
            LOOKUPS.handle().clone(),
        ),
    };
    let workers = spawn_workers(1, &context).unwrap();
    let listen = |ip: &str| {
        let listener = TcpListener::bind(address(ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        (vec![listener], at)
    };
    let (outbound, outbound_at) = listen("127.0.0.1");
    let (plaintext, plaintext_at) = listen(SERVER_PLAIN);
    let (tunnel, tunnel_at) = listen("127.0.0.1");
    let pod = Arc::new(Pod {
        uid: PodUid::new(name),
        namespace: "shop".into(),
        name: name.into(),
        service_account: name.into(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        cookie: NetnsCookie(1),
        netns: std::fs::File::open("/proc/self/ns/net").unwrap().into(),
        host_ifindex: 0,
    });
    let agent = Agent {
        workers: Some(workers),
        telemetry,
        credentials,
        outbound: outbound_at,
        plaintext: plaintext_at,
        tunnel: tunnel_at,
    };
    agent.command(WorkerCommand::Serve(PodListeners { pod, outbound, plaintext, tunnel }));
    agent
}

pub fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// Sends everything back, then ends.
pub fn echo(mut connection: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = connection.read(&mut buffer) {
        if read == 0 || connection.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

pub fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// The errno that the next read fails with.
#[track_caller]
pub fn read_error(stream: &mut TcpStream) -> Option<i32> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("end of file instead of an error"),
            Ok(_) => {}
            Err(error) => return error.raw_os_error(),
        }
    }
}

#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
