//! What choices are made from: made anew when the endpoints, their health or their warm-up change, and only read between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::edf::{Edf, Lags};
use super::hash::Spread;
use super::priority::{Level, Load, loads};
use super::warmup;
use crate::upstream::cluster::Cluster;
use crate::upstream::host::Host;
use crate::upstream::locality::LocalityShare;
use crate::upstream::model::{Algorithm, Ring, Warmup};

/// So that the sum of a time and it exists.
const LONGEST_WARMUP: Duration = Duration::from_secs(315_360_000);
/// Envoy's overprovisioning factor: a place gives nothing away before less than five in seven are healthy.
const OVERPROVISIONED: f64 = 1.4;

/// The endpoints of a balancer, by index, and how they are chosen.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) cluster: Arc<Cluster>,
    pub(super) hosts: Vec<Arc<Host>>,
    pub(super) algorithm: Algorithm,
    pub(super) warmup: Option<Warmup>,
    /// Indices by priority.
    levels: Vec<Vec<u32>>,
    panic_threshold: u32,
}

/// Made from a pool at one moment.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of the health that it was made from.
    version: u64,
    /// Somebody is warming up until then.
    until: Option<Instant>,
    /// By priority.
    pub(super) health: Vec<Level>,
    pub(super) loads: Vec<Load>,
    pub(super) levels: Vec<Choice>,
}

/// How one of a priority is chosen.
#[derive(Debug)]
pub(super) enum Choice {
    /// A place first, where there are several, then one of it.
    Groups(Vec<Group>, Option<Edf>),
    /// By hash.
    Spread(Vec<u32>, Spread),
}

/// Endpoints of one place.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<u32>,
    /// Among the places of the priority.
    pub(super) weight: f64,
    turn: Turn,
}

#[derive(Debug)]
enum Turn {
    Scheduled(Edf),
    /// The less busy of two at random.
    Pair,
    /// Sums of weights up to each.
    Random(Vec<u64>),
}

impl Pool {
    pub(super) fn new(cluster: Arc<Cluster>, hosts: Vec<Arc<Host>>) -> Self {
        let highest = cluster.endpoints.iter().map(|endpoint| endpoint.priority).max();
        let mut levels = vec![Vec::new(); highest.map_or(0, |highest| highest as usize + 1)];
        for (endpoint, index) in cluster.endpoints.iter().zip(0..) {
            levels[endpoint.priority as usize].push(index);
        }
        let outliers = cluster.policy.outlier_detection.as_ref();
        let panic_threshold = outliers.and_then(|policy| policy.min_health_percent).unwrap_or(0).min(100);
        let algorithm = cluster.algorithm();
        let warmup = cluster.policy.load_balancer.as_ref().and_then(|balancer| balancer.warmup);
        let scheduled = matches!(algorithm, Algorithm::RoundRobin | Algorithm::LeastRequest);
        let warmup = warmup.filter(|warmup| scheduled && !warmup.duration.is_zero());
        let warmup = warmup.map(|warmup| Warmup { duration: warmup.duration.min(LONGEST_WARMUP), ..warmup });
        Self { cluster, hosts, algorithm, warmup, levels, panic_threshold }
    }

    pub(super) fn weight(&self, index: u32) -> u32 {
        self.cluster.endpoints[index as usize].weight
    }

    /// What turns go by: the weight, less while it warms up, less the busier it is where that counts.
    fn turn_weight(&self, index: u32, now: Instant) -> f64 {
        let host = &self.hosts[index as usize];
        let weight = f64::from(self.weight(index)) * warmup::factor(self.warmup, host.joined(), now);
        match self.algorithm {
            Algorithm::LeastRequest => weight / (f64::from(host.active()) + 1.0),
            _ => weight,
        }
    }

    fn usable(&self, members: &[u32], panic: bool) -> Vec<u32> {
        let healthy = |index: &u32| panic || !self.hosts[*index as usize].is_ejected();
        members.iter().copied().filter(healthy).collect()
    }
}

impl Plan {
    pub(super) fn new(pool: &Pool, version: u64, now: Instant, random: u64, lags: &Lags) -> Self {
        let count =
            |members: &Vec<u32>| Level { total: members.len(), healthy: pool.usable(members, false).len() };
        let health: Vec<Level> = pool.levels.iter().map(count).collect();
        let loads = loads(&health, pool.panic_threshold);
        let until = pool.hosts.iter().filter_map(|host| warmup::until(pool.warmup, host.joined(), now)).max();
        let builder = Builder { pool, now, random, lags, warming: until.is_some() };
        let levels = pool.levels.iter().zip(&loads).zip(0..);
        let levels =
            levels.map(|((members, load), priority)| builder.level(members, load.panic, priority)).collect();
        Self { version, until, health, loads, levels }
    }

    pub(super) fn is_stale(&self, version: u64, now: Instant) -> bool {
        self.version != version || self.until.is_some_and(|until| until <= now)
    }

    /// When each endpoint's turn is, as far as they take turns.
    pub(super) fn lags(&self, count: usize) -> Lags {
        let mut lags = vec![None; count];
        for level in &self.levels {
            let Choice::Groups(groups, _) = level else { continue };
            for group in groups {
                if let Turn::Scheduled(edf) = &group.turn {
                    edf.lags(&mut lags);
                }
            }
        }
        lags
    }
}

impl Choice {
    /// Everybody who may be chosen.
    pub(super) fn members(&self) -> impl Iterator<Item = u32> {
        let (groups, spread) = match self {
            Self::Groups(groups, _) => (groups.as_slice(), [].as_slice()),
            Self::Spread(members, _) => ([].as_slice(), members.as_slice()),
        };
        groups.iter().flat_map(|group| &group.members).chain(spread).copied()
    }

    /// Chooses. `random` is the hash where it goes by one.
    pub(super) fn choose(&mut self, pool: &Pool, now: Instant, random: u64, attempt: u64) -> Option<u32> {
        match self {
            Self::Spread(_, spread) => spread.choose(random, attempt),
            Self::Groups(groups, places) => {
                let at = match places {
                    Some(places) => {
                        let weights: &[Group] = groups;
                        places.next(|at| weights[at as usize].weight)? as usize
                    }
                    None => 0,
                };
                let random = if attempt == 0 { random } else { mix(random.wrapping_add(attempt)) };
                groups.get_mut(at)?.choose(pool, now, random)
            }
        }
    }
}

impl Group {
    fn choose(&mut self, pool: &Pool, now: Instant, random: u64) -> Option<u32> {
        let Self { members, turn, .. } = self;
        match turn {
            Turn::Scheduled(edf) => edf.next(|index| pool.turn_weight(index, now)),
            Turn::Pair => {
                let one = |random: u64| {
                    members.get(usize::try_from(random % members.len().max(1) as u64).ok()?).copied()
                };
                let (first, second) = (one(random)?, one(mix(random))?);
                let active = |index: u32| pool.hosts[index as usize].active();
                Some(if active(second) < active(first) { second } else { first })
            }
            Turn::Random(sums) => {
                let wanted = random.checked_rem(*sums.last()?)?;
                members.get(sums.partition_point(|sum| *sum <= wanted)).copied()
            }
        }
    }
}

/// Another number, as good as independent (splitmix64).
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

struct Builder<'a> {
    pool: &'a Pool,
    now: Instant,
    random: u64,
    lags: &'a Lags,
    warming: bool,
}

impl Builder<'_> {
    fn level(&self, members: &[u32], panic: bool, priority: u32) -> Choice {
        let usable = self.pool.usable(members, panic);
        let shares = self.pool.cluster.shares.iter().filter(|share| share.priority == priority);
        let shares: Vec<&LocalityShare> = shares.filter(|share| share.weight > 0).collect();
        if let Algorithm::ConsistentHash { ring, .. } = &self.pool.algorithm {
            return self.spread(usable, &shares, *ring);
        }
        if shares.is_empty() || panic {
            return Choice::Groups(vec![self.group(usable, 1.0)], None);
        }
        let groups: Vec<Group> =
            shares.iter().filter_map(|share| self.place(share, members, &usable)).collect();
        let all: Vec<u32> = (0..).take(groups.len()).collect();
        let places = Edf::new(&all, &Lags::new(), self.random, |at| groups[at as usize].weight);
        Choice::Groups(groups, Some(places))
    }

    fn there(&self, share: &LocalityShare, members: &[u32]) -> Vec<u32> {
        let there = |index: &u32| self.pool.cluster.endpoints[*index as usize].locality == share.locality;
        members.iter().copied().filter(there).collect()
    }

    fn place(&self, share: &LocalityShare, members: &[u32], usable: &[u32]) -> Option<Group> {
        let here = self.there(share, usable);
        let whole = self.there(share, members).len();
        let healthy = (OVERPROVISIONED * here.len() as f64 / whole.max(1) as f64).min(1.0);
        (!here.is_empty()).then(|| self.group(here, f64::from(share.weight) * healthy))
    }

    fn group(&self, members: Vec<u32>, weight: f64) -> Group {
        let pool = self.pool;
        let even = members.windows(2).all(|pair| pool.weight(pair[0]) == pool.weight(pair[1]));
        let turn = match pool.algorithm {
            Algorithm::LeastRequest | Algorithm::Passthrough if even && !self.warming => Turn::Pair,
            Algorithm::Random => Turn::Random(
                members
                    .iter()
                    .scan(0_u64, |sum, index| {
                        *sum += u64::from(pool.weight(*index));
                        Some(*sum)
                    })
                    .collect(),
            ),
            _ => Turn::Scheduled(Edf::new(&members, self.lags, self.random, |index| {
                pool.turn_weight(index, self.now)
            })),
        };
        Group { members, weight, turn }
    }

    fn spread(&self, usable: Vec<u32>, shares: &[&LocalityShare], ring: Ring) -> Choice {
        let total: f64 = shares.iter().map(|share| f64::from(share.weight)).sum();
        let parts: Vec<(Vec<u32>, f64)> = match shares {
            [] => vec![(usable.clone(), 1.0)],
            shares => shares
                .iter()
                .map(|share| (self.there(share, &usable), f64::from(share.weight) / total))
                .collect(),
        };
        let mut entries = Vec::with_capacity(usable.len());
        for (members, part) in parts {
            let sum: f64 = members.iter().map(|index| f64::from(self.pool.weight(*index))).sum();
            let entry = |index: u32| {
                let share = part * f64::from(self.pool.weight(index)) / sum;
                (index, self.pool.hosts[index as usize].address(), share)
            };
            entries.extend(members.into_iter().map(entry));
        }
        Choice::Spread(usable, Spread::new(ring, &entries))
    }
}
