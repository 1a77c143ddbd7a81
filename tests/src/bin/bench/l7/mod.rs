//! The HTTP stage: requests per second, latency, CPU and memory, beside a pair of real Envoys with mTLS, router and RBAC.

mod certificates;
mod envoy;
mod rules;
pub(crate) mod world;

use anyhow::Result;
use heddle_tests::report::Report;

use crate::Options;
use crate::footprint::cpu_seconds;
use crate::load::{self, Requests};
use crate::rounds::{extremes, keep, median};
use world::{Protocol, Way, World};

/// A row of the mesh, and Envoy's.
type Pair = [&'static str; 2];

/// One load, and the rows that it makes.
struct Case {
    protocol: Protocol,
    connections: u32,
    rate: Pair,
    p50: Option<Pair>,
    p99: Option<Pair>,
    cpu: Option<Pair>,
}

const CASES: [Case; 7] = [
    Case {
        protocol: Protocol::Http1,
        connections: 1,
        rate: ["l7-h1-1", "l7-h1-1-envoy"],
        p50: Some(["l7-h1-1-p50", "l7-h1-1-p50-envoy"]),
        p99: Some(["l7-h1-1-p99", "l7-h1-1-p99-envoy"]),
        cpu: None,
    },
    Case {
        protocol: Protocol::Http1,
        connections: 16,
        rate: ["l7-h1-16", "l7-h1-16-envoy"],
        p50: None,
        p99: Some(["l7-h1-16-p99", "l7-h1-16-p99-envoy"]),
        cpu: Some(["l7-h1-16-cpu", "l7-h1-16-cpu-envoy"]),
    },
    Case {
        protocol: Protocol::Http1,
        connections: 64,
        rate: ["l7-h1-64", "l7-h1-64-envoy"],
        p50: None,
        p99: Some(["l7-h1-64-p99", "l7-h1-64-p99-envoy"]),
        cpu: None,
    },
    Case {
        protocol: Protocol::Http2,
        connections: 1,
        rate: ["l7-h2-1", "l7-h2-1-envoy"],
        p50: None,
        p99: None,
        cpu: None,
    },
    Case {
        protocol: Protocol::Http2,
        connections: 16,
        rate: ["l7-h2-16", "l7-h2-16-envoy"],
        p50: None,
        p99: Some(["l7-h2-16-p99", "l7-h2-16-p99-envoy"]),
        cpu: Some(["l7-h2-16-cpu", "l7-h2-16-cpu-envoy"]),
    },
    Case {
        protocol: Protocol::Http2,
        connections: 64,
        rate: ["l7-h2-64", "l7-h2-64-envoy"],
        p50: None,
        p99: None,
        cpu: None,
    },
    Case {
        protocol: Protocol::Grpc,
        connections: 16,
        rate: ["l7-grpc-16", "l7-grpc-16-envoy"],
        p50: None,
        p99: Some(["l7-grpc-16-p99", "l7-grpc-16-p99-envoy"]),
        cpu: Some(["l7-grpc-16-cpu", "l7-grpc-16-cpu-envoy"]),
    },
];
const RSS: Pair = ["l7-rss", "l7-rss-envoy"];
/// With the mesh's access log on; in all others it is off, as it is in Istio, and so is Envoy's.
const LOGGED: &str = "l7-h1-16-log";
const ROUTES: [(Pair, usize); 3] = [
    (["l7-routes-1", "l7-routes-1-envoy"], 1),
    (["l7-routes-100", "l7-routes-100-envoy"], 100),
    (["l7-routes-10000", "l7-routes-10000-envoy"], 10_000),
];

impl Case {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.rate), self.p50, self.p99, self.cpu].into_iter().flatten().flatten()
    }
}

/// All rows, in the order of the report.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let cases = CASES.iter().flat_map(Case::names);
    cases.chain(RSS).chain([LOGGED]).chain(ROUTES.into_iter().flat_map(|(names, _)| names))
}

/// How much better than Envoy it shall be, and how much less CPU it shall take.
const TIMES_ENVOY: f64 = 2.0;
const CPU_OF_ENVOY: f64 = 0.5;

/// Measures all rows that were asked for.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !names().any(|name| options.wants(&[name])) {
        return Ok(());
    }
    let (rounds, seconds) = if options.quick { (3, 1) } else { (5, 3) };
    let world = World::up(options.keep)?;
    if let Err(reason) = world.envoy() {
        println!("  no Envoy to compare with: {reason}");
    }
    let mut bench = Bench { world, rounds, seconds, report };
    for case in &CASES {
        bench.case(options, case)?;
    }
    if options.wants(&RSS) {
        bench.memory()?;
    }
    if options.wants(&[LOGGED]) {
        bench.logged()?;
    }
    bench.routes(options)
}

struct Bench<'a> {
    world: World,
    rounds: usize,
    seconds: u32,
    report: &'a mut Report,
}

/// One round: directly, through the mesh, and through the Envoys where there are some.
type Round = (Requests, Requests, Option<Requests>);

impl Bench<'_> {
    fn case(&mut self, options: &Options, case: &Case) -> Result<()> {
        let names: Vec<&'static str> = case.names().collect();
        if !options.wants(&names) {
            return Ok(());
        }
        let mut spent = [(0.0, 0.0); 2];
        let seconds = self.seconds;
        let measured = self.interleaved(|world, way| {
            let before = world.cpu(way)?;
            let requests = load::l7(world, way, case.protocol, case.connections, seconds)?;
            if let (Some(before), Some(after)) = (before, world.cpu(way)?) {
                let place = usize::from(way == Way::Envoy);
                spent[place].0 += after - before;
                spent[place].1 += requests.count;
            }
            Ok(requests)
        });
        let Some(rounds) = keep(measured, &names, self.report) else { return Ok(()) };
        self.pair(&case.rate, &rounds, |round| round.rate, "req/s", Better::More);
        if let Some(names) = &case.p50 {
            self.pair(names, &rounds, |round| round.p50, "µs", Better::Less);
        }
        if let Some(names) = &case.p99 {
            self.pair(names, &rounds, |round| round.p99, "µs", Better::Less);
        }
        if let Some(names) = &case.cpu {
            self.cpu(names, case.connections, spent);
        }
        Ok(())
    }

    /// What a line for each request costs; Envoy writes none meanwhile.
    fn logged(&mut self) -> Result<()> {
        self.world.access_log(true)?;
        let seconds = self.seconds;
        let measured = self.interleaved(|world, way| load::l7(world, way, Protocol::Http1, 16, seconds));
        self.world.access_log(false)?;
        let Some(rounds) = keep(measured, &[LOGGED], self.report) else { return Ok(()) };
        let ratio = median(rounds.iter().map(|round| round.1.rate / round.0.rate));
        let rate = median(rounds.iter().map(|round| round.1.rate));
        let note = format!("{rate:.1} req/s, with both agents' access logs on");
        self.report.figure(LOGGED, true, (ratio, "ratio"), note);
        Ok(())
    }

    /// Rounds of all ways in turn; the first is thrown away.
    fn interleaved(&self, mut measure: impl FnMut(&World, Way) -> Result<Requests>) -> Result<Vec<Round>> {
        let mut all = Vec::new();
        for _ in 0..=self.rounds {
            let (direct, mesh) = (measure(&self.world, Way::Direct)?, measure(&self.world, Way::Mesh)?);
            let envoy = match self.world.envoy() {
                Ok(_) => Some(measure(&self.world, Way::Envoy)?),
                Err(_) => None,
            };
            all.push((direct, mesh, envoy));
        }
        all.remove(0);
        Ok(all)
    }

    /// The mesh's row and Envoy's, both as ratios to the direct way.
    fn pair(
        &mut self,
        names: &Pair,
        rounds: &[Round],
        value: impl Fn(&Requests) -> f64,
        unit: &str,
        better: Better,
    ) {
        let direct = median(rounds.iter().map(|round| value(&round.0)));
        let own = median(rounds.iter().map(|round| value(&round.1)));
        let ratios = || rounds.iter().map(|round| value(&round.1) / value(&round.0));
        let (least, most) = extremes(ratios());
        let mut note = format!(
            "{own:.1} {unit}, direct {direct:.1} {unit}, median of {}, from {least:.3} to {most:.3}",
            rounds.len()
        );
        let envoys: Vec<&Requests> = rounds.iter().filter_map(|round| round.2.as_ref()).collect();
        if !envoys.is_empty() {
            let times =
                median(rounds.iter().filter_map(|round| Some(value(&round.1) / value(round.2.as_ref()?))));
            note = format!("{note}; {}", better.against_envoy(times));
        }
        self.report.figure(names[0], true, (median(ratios()), "ratio"), note);
        if envoys.is_empty() {
            return self.no_envoy(names[1]);
        }
        let ratio =
            median(rounds.iter().filter_map(|round| Some(value(round.2.as_ref()?) / value(&round.0))));
        let own = median(envoys.into_iter().map(value));
        self.report.figure(names[1], true, (ratio, "ratio"), format!("{own:.1} {unit}"));
    }

    fn no_envoy(&mut self, name: &'static str) {
        let reason = self.world.envoy().err().map_or_else(String::new, ToString::to_string);
        self.report.check(name, true, format!("skipped: no Envoy: {reason}"));
    }

    fn cpu(&mut self, names: &Pair, connections: u32, spent: [(f64, f64); 2]) {
        let per_thousand = |(seconds, requests): (f64, f64)| seconds / requests * 1000.0;
        let load = |(seconds, requests): (f64, f64)| {
            format!("{seconds:.2} CPU s over {requests:.0} requests at {connections} connections")
        };
        let mut note = format!("both agents, {}", load(spent[0]));
        if spent[1].1 > 0.0 {
            let ratio = per_thousand(spent[0]) / per_thousand(spent[1]);
            let met = if ratio <= CPU_OF_ENVOY { "met" } else { "missed" };
            note = format!("{note}; {ratio:.2} of Envoy's, goal ≤ {CPU_OF_ENVOY}: {met}");
        }
        self.report.figure(names[0], true, (per_thousand(spent[0]), "s per 1,000 requests"), note);
        if spent[1].1 == 0.0 {
            return self.no_envoy(names[1]);
        }
        let note = format!("both Envoys, {}", load(spent[1]));
        self.report.figure(names[1], true, (per_thousand(spent[1]), "s per 1,000 requests"), note);
    }

    /// After all of that traffic.
    fn memory(&mut self) -> Result<()> {
        let own = self.world.rss_mib(Way::Mesh)?;
        self.report.figure(RSS[0], true, (own, "MiB"), "larger of both agents, after the rounds above");
        match self.world.envoy() {
            Ok(version) => {
                let note = format!("larger of both Envoys ({version}); one per pod");
                let figure = (self.world.rss_mib(Way::Envoy)?, "MiB");
                self.report.figure(RSS[1], true, figure, note);
            }
            Err(_) => self.no_envoy(RSS[1]),
        }
        Ok(())
    }

    /// The last of many rules, at 16 connections; as ratios to the direct way, so that all three stand side by side.
    fn routes(&mut self, options: &Options) -> Result<()> {
        for (names, count) in ROUTES {
            if !options.wants(&names) {
                continue;
            }
            self.world.routes(count)?;
            let seconds = self.seconds;
            let measured = self.interleaved(|world, way| load::l7(world, way, Protocol::Http1, 16, seconds));
            if let Some(rounds) = keep(measured, &names, self.report) {
                self.pair(&names, &rounds, |round| round.rate, "req/s", Better::More);
            }
        }
        Ok(())
    }
}

/// Which way is up.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

impl Better {
    fn against_envoy(self, times: f64) -> String {
        let (goal, met) = match self {
            Self::More => (format!("goal ≥ {TIMES_ENVOY}"), times >= TIMES_ENVOY),
            Self::Less => ("goal < 1".to_owned(), times < 1.0),
        };
        format!("{times:.2} times Envoy's, {goal}: {}", if met { "met" } else { "missed" })
    }
}

/// User and system time of some processes.
fn cpu(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}
