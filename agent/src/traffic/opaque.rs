//! Where a connection goes that nobody looks into: `tcp` and `tls` rules, then the cluster of the service that was dialled.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_core::authorize::authorize_outbound;
use heddle_core::names::OrigDst;
use heddle_core::route::rule::Choice;
use heddle_core::route::{Client, Dialled};
use heddle_core::snapshot::Snapshot;
use heddle_core::upstream::{BudgetGuard, Endpoint, NoEndpoint, PickContext, Picked, Seen, Transport};
use heddle_core::workload::{LocalWorkload, Service};
use tokio::time::timeout;

use super::dial;
use super::network::PodNetwork;
use super::outbound::{self, Upstream};
use super::secured::Secured;
use super::worker::Worker;
use crate::http::Wire;
use crate::http::upstream::{PodClusters, Upstream as Cluster};
use crate::pod::Pod;
use crate::telemetry::{Failure, Outcome, Party, Reason};

/// Endpoints that are tried: one that refuses is on its way out, and the next may do.
const TRIES: usize = 3;

/// What lives as long as a connection, and how long that may be.
#[derive(Debug)]
pub(super) struct Kept {
    _budget: BudgetGuard,
    /// `tcp.idleTimeout`.
    pub idle: Option<Duration>,
    /// `tcp.maxConnectionDuration`.
    pub age: Option<Duration>,
}

impl Kept {
    fn new(budget: BudgetGuard, cluster: &heddle_core::upstream::Cluster) -> Self {
        let pool = cluster.policy.connection_pool.as_ref();
        let idle = pool.and_then(|pool| pool.tcp_idle_timeout).filter(|idle| !idle.is_zero());
        Self { _budget: budget, idle, age: pool.and_then(|pool| pool.max_connection_duration) }
    }

    /// Whether anything ends the connection but its ends.
    pub(super) fn is_bounded(&self) -> bool {
        self.idle.is_some() || self.age.is_some()
    }
}

/// A connection, as far as it is known.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub pod: &'a Arc<Pod>,
    pub client: SocketAddr,
    pub dialled: OrigDst,
    pub service: Option<&'a Arc<Service>>,
    /// The host that was dialled, as far as the address says it.
    pub host: Option<&'a str>,
    /// Server name, where the client begins with TLS.
    pub sni: Option<&'a str>,
}

/// How much of what is known decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Address and server name.
    Everything,
    /// The server name alone: what the address says has been done already.
    ServerName,
}

/// The cluster of a connection; `None`: as it was dialled.
///
/// # Errors
/// A rule sends it nowhere.
pub(super) fn cluster<N: PodNetwork>(
    worker: &Worker<N>,
    (snapshot, local): (&Snapshot, &LocalWorkload),
    asked: &Asked<'_>,
    by: By,
) -> Result<Option<Rc<Cluster>>, Failure> {
    let (ip, port) = (asked.dialled.0.ip().to_canonical(), asked.dialled.0.port());
    let client = Client { namespace: local.identity.namespace(), labels: &local.labels };
    let dialled = Dialled { host: asked.host, address: ip, port, sni: asked.sni };
    let routes = snapshot.routes();
    let clusters: Rc<PodClusters> = worker.http.clusters.of(asked.pod);
    let rule = routes.connection(&client, &dialled);
    if let Some(rule) = rule.filter(|rule| rule.by_server_name || by == By::Everything) {
        return match rule.forward.choose(worker.random()) {
            Choice::Backend(host, _) => {
                let named = snapshot.service_named(&host.host, client.namespace);
                let only = named.and_then(|service| match &*service.ports {
                    [only] => Some(only.service_port),
                    _ => None,
                });
                let to = (&*host.host, host.port_or(only, port), host.subset.as_deref());
                Ok(Some(clusters.get(snapshot, local, to)))
            }
            Choice::Refused(_, why) => Err(Failure::new(Reason::NoEndpoint, &why)),
            // Only routes of HTTP have it.
            Choice::Redirect(..) => Err(Failure::new(Reason::NoEndpoint, &"a redirect")),
        };
    }
    if let Some(service) = asked.service {
        if !service.ports.iter().any(|each| each.service_port == port) {
            return Err(Reason::NoSuchPort.into());
        }
        let to = (&*service.hostname, port, None);
        return Ok((by == By::Everything).then(|| clusters.get(snapshot, local, to)));
    }
    let server = asked.sni.and_then(|name| routes.server(&client, name, port));
    let host = match server {
        Some(server) => Some(&**server.name()),
        None => asked.host.filter(|_| by == By::Everything),
    };
    Ok(host.map(|host| clusters.get(snapshot, local, (host, port, None))))
}

/// Connects to an endpoint of a cluster; to another one if it refuses.
pub(super) async fn connect<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    asked: &Asked<'_>,
    cluster: &Cluster,
    (outcome, counted): (&mut Outcome, &mut Option<crate::telemetry::party::Labels>),
) -> Result<(Upstream, Option<Kept>), Failure> {
    outcome.cluster = Some((&*cluster.cluster().name).into());
    let state = cluster.state();
    let Some(budget) = state.budget.try_connection() else { return Err(Reason::Overflow.into()) };
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let context = PickContext {
            hash: None,
            random: worker.random(),
            now: Instant::now(),
            tried: &tried,
            left: &[],
            dialled: Some(asked.dialled.0),
        };
        let picked = cluster.pick(&context, None).map_err(|none| match none {
            NoEndpoint::NoCluster => Failure::new(Reason::NoEndpoint, &"no such cluster"),
            NoEndpoint::NoHealthy => Reason::NoEndpoint.into(),
        })?;
        let address = picked.endpoint.address;
        outcome.upstream = Some(in_family(&picked.endpoint, asked.dialled.0));
        let within = cluster.cluster().connect_timeout;
        let opened = match timeout(within, Box::pin(open(worker, asked, cluster, &picked, counted))).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(Reason::ConnectTimeout.into()),
        };
        let seen = if opened.is_ok() { Seen::Connected } else { Seen::ConnectFailed };
        state.health.report(&picked.host, seen, Instant::now());
        let again = tried.len() + 1 < TRIES && !tried.contains(&address);
        match opened {
            Ok(upstream) => return Ok((upstream, Some(Kept::new(budget, &cluster.cluster())))),
            Err(failure) if !again || failure.reason == Reason::TunnelDenied => return Err(failure),
            Err(_) => tried.push(address),
        }
    }
}

/// An endpoint's address in the family that was dialled, where its workload has it: a server cannot be shown a client of the
/// other family.
fn in_family(endpoint: &Endpoint, dialled: SocketAddr) -> SocketAddr {
    let v4 = |ip: IpAddr| ip.to_canonical().is_ipv4();
    let wanted = v4(dialled.ip());
    let own = endpoint.workload.as_ref().filter(|_| v4(endpoint.address.ip()) != wanted);
    let same = own.and_then(|workload| workload.addresses.iter().find(|ip| v4(**ip) == wanted));
    same.map_or(endpoint.address, |ip| SocketAddr::new(*ip, endpoint.address.port()))
}

async fn open<N: PodNetwork>(
    worker: &Rc<Worker<N>>,
    asked: &Asked<'_>,
    cluster: &Cluster,
    picked: &Picked,
    counted: &mut Option<crate::telemetry::party::Labels>,
) -> Result<Upstream, Failure> {
    let endpoint = &picked.endpoint;
    let snapshot = worker.snapshot();
    let local = worker.rules.of(&asked.pod.uid, &snapshot).ok_or(Reason::PodUnknown)?;
    let permit = authorize_outbound(&snapshot, &local, in_family(endpoint, asked.dialled.0))?;
    let party =
        endpoint.workload.as_ref().map_or(Party::Unknown, |workload| Party::Workload(workload.clone()));
    let tunnels = endpoint.transport.tunnels();
    *counted = Some(outbound::labels(&snapshot, &local, party, cluster.cluster().service.clone(), tunnels));
    let source = local.identity.clone();
    drop((snapshot, local));
    match (&endpoint.transport, &endpoint.workload) {
        (Transport::Tunnel, Some(workload)) => {
            outbound::open(worker, asked.pod, source, workload, permit, asked.client)
                .await
                .map(Upstream::Tunnel)
        }
        (Transport::Plain, _) => {
            let socket = dial::passthrough(&worker.network, &worker.limits, asked.pod, permit).await?;
            let policy = cluster.cluster().policy.clone();
            if let Some(keepalive) = policy.connection_pool.as_ref().and_then(|pool| pool.keepalive) {
                socket.keep_alive_as(keepalive).map_err(|error| Failure::new(Reason::Connect, &error))?;
            }
            Ok(Upstream::Plain(socket))
        }
        (Transport::Refused(why), _) => Err(Failure::new(Reason::Connect, why)),
        (Transport::Tls { tls, tunnel }, workload) => {
            let wire = match workload.as_ref().filter(|_| *tunnel) {
                Some(workload) => {
                    let opened = outbound::open(worker, asked.pod, source, workload, permit, asked.client);
                    Wire::Tunnel(opened.await?)
                }
                None => {
                    Wire::Socket(dial::passthrough(&worker.network, &worker.limits, asked.pod, permit).await?)
                }
            };
            let host = &cluster.cluster().key.host;
            let secured = worker.http.tls.originate(wire, tls, host, None).await?;
            Ok(Upstream::Secured(Secured::new(secured)))
        }
        (Transport::Tunnel, None) => Err(Failure::new(Reason::Connect, &"the endpoint is not in the mesh")),
    }
}
