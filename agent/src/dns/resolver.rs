//! A pod's resolver: its own servers, search domains and hosts, asked from inside its network namespace.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::files;
use crate::node::Proc;
use crate::pod::Pod;
use crate::traffic::network::{PodNetwork, Purpose};

/// Files are read again when they are this old, or a look has failed.
const FILES: Duration = Duration::from_secs(60);
/// To connect to a server that has much to say.
const CONNECT: Duration = Duration::from_secs(5);

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// None: there is no such name, or it has no addresses.
    pub addresses: Vec<IpAddr>,
    /// For how long that may be taken for true.
    pub ttl: Duration,
}

/// Why nothing is known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// What the pod resolves by.
    #[error("the pod's resolver: {0}")]
    Files(String),
    /// No server has answered.
    #[error("{0}")]
    Servers(String),
    /// Not in time.
    #[error("no answer in time")]
    Late,
}

/// Resolvers by pod.
pub trait Lookup: Debug + Send + Sync {
    /// That of a pod.
    fn of(&self, pod: &Arc<Pod>) -> Box<dyn PodLookup>;
}

/// One pod's resolver.
pub trait PodLookup: Debug + Send + Sync {
    /// Looks a name up.
    fn look(&self, name: &str) -> BoxFuture<'static, Result<Found, LookupError>>;
}

/// As the pods' own files say.
#[derive(Clone, Debug)]
pub struct FromPods<N> {
    network: N,
    proc: Proc,
}

impl<N> FromPods<N> {
    /// With sockets from `network`; `proc` shows the pods' processes.
    pub fn new(network: N, proc: Proc) -> Self {
        Self { network, proc }
    }
}

impl<N: PodNetwork> Lookup for FromPods<N> {
    fn of(&self, pod: &Arc<Pod>) -> Box<dyn PodLookup> {
        let provider =
            InPod { pod: pod.clone(), network: self.network.clone(), handle: TokioHandle::default() };
        Box::new(PodResolver { provider, proc: self.proc.clone(), made: Arc::default() })
    }
}

#[derive(Debug)]
struct PodResolver<N: PodNetwork> {
    provider: InPod<N>,
    proc: Proc,
    made: Made<N>,
}

type Made<N> = Arc<Mutex<Option<(Instant, Resolver<InPod<N>>)>>>;

impl<N: PodNetwork> PodLookup for PodResolver<N> {
    fn look(&self, name: &str) -> BoxFuture<'static, Result<Found, LookupError>> {
        let (provider, proc) = (self.provider.clone(), self.proc.clone());
        let (made, name) = (self.made.clone(), name.to_owned());
        Box::pin(async move {
            let known =
                lock(&made).as_ref().filter(|(since, _)| since.elapsed() < FILES).map(|(_, it)| it.clone());
            let resolver = match known {
                Some(resolver) => resolver,
                None => {
                    let resolver = resolver(provider, proc).await?;
                    *lock(&made) = Some((Instant::now(), resolver.clone()));
                    resolver
                }
            };
            match resolver.lookup_ip(name.as_str()).await {
                Ok(found) => {
                    let ttl = found.valid_until().saturating_duration_since(Instant::now());
                    Ok(Found { addresses: found.iter().collect(), ttl })
                }
                Err(error) => none(&error).ok_or_else(|| {
                    *lock(&made) = None;
                    LookupError::Servers(error.to_string())
                }),
            }
        })
    }
}

/// That there is no such name is an answer.
fn none(error: &NetError) -> Option<Found> {
    error.is_no_records_found().then(|| Found { addresses: Vec::new(), ttl: NEGATIVE })
}

/// How long a name may be missing before somebody looks again.
const NEGATIVE: Duration = Duration::from_secs(5);

async fn resolver<N: PodNetwork>(provider: InPod<N>, proc: Proc) -> Result<Resolver<InPod<N>>, LookupError> {
    let failed = |error: &dyn std::fmt::Display| LookupError::Files(error.to_string());
    let pod = provider.pod.clone();
    let read =
        tokio::task::spawn_blocking(move || files::of(&pod, &proc)).await.map_err(|error| failed(&error))?;
    let files = read.map_err(|error| failed(&error))?;
    let (config, mut options) = parse_resolv_conf(&files.resolv_conf).map_err(|error| failed(&error))?;
    let has = |v4: bool| provider.pod.addresses.iter().any(|ip| ip.is_ipv4() == v4);
    options.ip_strategy = match (has(true), has(false)) {
        (true, false) => LookupIpStrategy::Ipv4Only,
        (false, true) => LookupIpStrategy::Ipv6Only,
        _ => LookupIpStrategy::Ipv4AndIpv6,
    };
    // Answers are kept by whoever asks, and the node's hosts are not the pod's.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let builder = Resolver::builder_with_config(config, provider).with_options(options);
    let mut resolver = builder.build().map_err(|error| failed(&error))?;
    let mut hosts = Hosts::default();
    if let Err(error) = hosts.read_hosts_conf(files.hosts.as_slice()) {
        tracing::debug!(%error, "a pod's hosts cannot be read");
    }
    resolver.set_hosts(Arc::new(hosts));
    Ok(resolver)
}

/// Sockets in the pod's network namespace.
#[derive(Clone)]
struct InPod<N> {
    pod: Arc<Pod>,
    network: N,
    handle: TokioHandle,
}

impl<N> Debug for InPod<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InPod").field("pod", &self.pod.uid).finish_non_exhaustive()
    }
}

type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl<N: PodNetwork> RuntimeProvider for InPod<N> {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _bind: Option<SocketAddr>,
        within: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let socket = self.network.dial(&self.pod, server, Purpose::Passthrough);
        Box::pin(async move {
            let stream = TcpStream::from_std(socket?.into())?;
            timeout(within.unwrap_or(CONNECT), stream.writable()).await??;
            match stream.take_error()? {
                Some(error) => Err(error),
                None => Ok(AsyncIoTokioAsStd(stream)),
            }
        })
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Opening<UdpSocket> {
        let socket = self.network.datagrams(&self.pod, local);
        Box::pin(async move { UdpSocket::from_std(socket?.into()) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
