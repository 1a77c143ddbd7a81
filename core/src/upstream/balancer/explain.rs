//! Why an endpoint would be chosen, or would not be: the same plan as choices are made from, as data.

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use super::plan::Choice;
use super::{Balancer, warmup};
use crate::object::ObjectRef;
use crate::upstream::endpoint::{Endpoint, Transport};
use crate::upstream::model::{Algorithm, Ring};

/// How a cluster is balanced now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `outbound|80|v1|host`.
    pub cluster: String,
    /// `LEAST_REQUEST`, as a DestinationRule says it.
    pub algorithm: String,
    /// DestinationRules that count.
    pub rules: Vec<ObjectRef>,
    /// Why every request is answered 503, if it is.
    pub refused: Option<String>,
    /// By priority.
    pub levels: Vec<LevelView>,
    /// Every endpoint of the host; first those that are used.
    pub endpoints: Vec<EndpointView>,
}

/// One priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelView {
    /// Endpoints.
    pub total: usize,
    /// Endpoints that are not set aside.
    pub healthy: usize,
    /// Of the requests that go to it.
    pub percent: u32,
    /// Health is not looked at: too few are healthy.
    pub panic: bool,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// Its workload's name, else its address.
    pub name: String,
    /// Where, if that is known.
    pub address: Option<SocketAddr>,
    /// `HBONE`, `PLAINTEXT`, `TLS`, or why it is refused.
    pub transport: String,
    /// `region/zone/subzone`.
    pub locality: String,
    /// 0 is used first.
    pub priority: u32,
    /// Its weight.
    pub weight: u32,
    /// Requests under way.
    pub active: u32,
    /// Of its weight, while it warms up; percent.
    pub warmup_percent: Option<f64>,
    /// Of all requests, while nobody is busier than another; percent.
    pub share: f64,
    /// Whether it is used.
    pub state: EndpointState,
    /// The same in words.
    pub why: String,
}

/// Whether an endpoint is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointState {
    /// It gets requests.
    Used,
    /// It refused a connection a moment ago: it gets requests only where nobody else is left.
    Resting,
    /// It would, if those of a better priority, or place, failed.
    Standby,
    /// It is set aside.
    Ejected,
    /// It does not belong.
    Excluded,
}

impl Balancer {
    /// How things stand.
    pub fn explain(&self, now: Instant) -> Explanation {
        let cluster = &self.pool.cluster;
        let mut planned = self.planned();
        let plan = self.plan(&mut planned, now, 0);
        let mut shares = vec![0.0; cluster.endpoints.len()];
        let mut levels = Vec::new();
        for ((choice, load), priority) in plan.levels.iter().zip(&plan.loads).zip(0_u32..) {
            let all =
                cluster.endpoints.iter().zip(&self.pool.hosts).filter(|(it, _)| it.priority == priority);
            let (total, healthy) = all.fold((0, 0), |(total, healthy), (_, host)| {
                (total + 1, healthy + usize::from(!host.is_ejected()))
            });
            levels.push(LevelView { total, healthy, percent: load.percent, panic: load.panic });
            self.add_shares(choice, f64::from(load.percent), now, &mut shares);
        }
        drop(planned);
        let seen = cluster.endpoints.iter().zip(shares).enumerate();
        let mut endpoints: Vec<EndpointView> =
            seen.map(|(index, (endpoint, share))| self.view(index, endpoint, share, &levels, now)).collect();
        endpoints.extend(cluster.excluded.iter().map(|excluded| EndpointView {
            name: excluded.name.as_ref().to_owned(),
            address: excluded.address,
            transport: String::new(),
            locality: String::new(),
            priority: 0,
            weight: 0,
            active: 0,
            warmup_percent: None,
            share: 0.0,
            state: EndpointState::Excluded,
            why: excluded.why.to_string(),
        }));
        endpoints.sort_by_key(|view| (view.state, view.priority));
        Explanation {
            cluster: cluster.name.as_ref().to_owned(),
            algorithm: algorithm(&self.pool.algorithm),
            rules: cluster.rules.clone(),
            refused: self.refusal(),
            levels,
            endpoints,
        }
    }

    fn refusal(&self) -> Option<String> {
        let cluster = &self.pool.cluster;
        if cluster.missing_subset {
            let subset = cluster.key.subset.as_deref().unwrap_or_default();
            return Some(format!("no DestinationRule of {} has the subset {subset} (NC)", cluster.key.host));
        }
        if !cluster.is_known() {
            return Some(format!("nobody has announced {} (NC)", cluster.key.host));
        }
        let none = cluster.endpoints.is_empty() && !cluster.goes_as_dialled();
        none.then(|| "no endpoint (UH)".to_owned())
    }

    fn add_shares(&self, choice: &Choice, percent: f64, now: Instant, shares: &mut [f64]) {
        let weight = |index: u32| {
            let joined = self.pool.hosts[index as usize].joined();
            f64::from(self.pool.weight(index)) * warmup::factor(self.pool.warmup, joined, now)
        };
        let mut add = |members: &[u32], part: f64| {
            let sum: f64 = members.iter().map(|index| weight(*index)).sum();
            for index in members {
                shares[*index as usize] = part * weight(*index) / sum;
            }
        };
        match choice {
            Choice::Spread(members, _) => add(members, percent),
            Choice::Groups(groups, _) => {
                let sum: f64 = groups.iter().map(|group| group.weight).sum();
                groups.iter().for_each(|group| add(&group.members, percent * group.weight / sum));
            }
        }
    }

    fn view(
        &self,
        index: usize,
        endpoint: &Endpoint,
        share: f64,
        levels: &[LevelView],
        now: Instant,
    ) -> EndpointView {
        let host = &self.pool.hosts[index];
        let warm = warmup::factor(self.pool.warmup, host.joined(), now);
        let (state, why) = match host.ejection() {
            Some(ejection) if share == 0.0 => {
                let left = ejection.until.saturating_duration_since(now).as_secs();
                let why =
                    format!("set aside for {}, {left} s more, {} in a row", ejection.cause, ejection.times);
                (EndpointState::Ejected, why)
            }
            Some(_) => {
                (EndpointState::Used, "set aside, and used all the same: too few are healthy".to_owned())
            }
            None if host.is_resting(now) => {
                (EndpointState::Resting, "it refused a connection a moment ago".to_owned())
            }
            None if share == 0.0 => {
                (EndpointState::Standby, "a better priority is healthy enough".to_owned())
            }
            None => {
                let percent = levels.get(endpoint.priority as usize).map_or(0, |level| level.percent);
                (EndpointState::Used, format!("priority {} gets {percent} %", endpoint.priority))
            }
        };
        EndpointView {
            name: endpoint.name().as_ref().to_owned(),
            address: Some(endpoint.address),
            transport: transport(&endpoint.transport),
            locality: endpoint.locality.join("/").trim_end_matches('/').to_owned(),
            priority: endpoint.priority,
            weight: endpoint.weight,
            active: host.active(),
            warmup_percent: (warm < 1.0).then_some(warm * 100.0),
            share,
            state,
            why,
        }
    }
}

fn transport(transport: &Transport) -> String {
    match transport {
        Transport::Tunnel => "HBONE".to_owned(),
        Transport::Plain => "PLAINTEXT".to_owned(),
        Transport::Tls { tunnel: true, .. } => "TLS in HBONE".to_owned(),
        Transport::Tls { tunnel: false, .. } => "TLS".to_owned(),
        Transport::Refused(why) => format!("refused: {why}"),
    }
}

fn algorithm(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::LeastRequest => "LEAST_REQUEST".to_owned(),
        Algorithm::RoundRobin => "ROUND_ROBIN".to_owned(),
        Algorithm::Random => "RANDOM".to_owned(),
        Algorithm::Passthrough => "PASSTHROUGH".to_owned(),
        Algorithm::ConsistentHash { ring: Ring::RingHash(_), .. } => "consistentHash (ring)".to_owned(),
        Algorithm::ConsistentHash { ring: Ring::Maglev(_), .. } => "consistentHash (maglev)".to_owned(),
    }
}
