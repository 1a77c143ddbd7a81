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
use world::{Way, World};

pub(crate) const NAMES: &[&str] = &[
    "l7-h1-1",
    "l7-h1-1-envoy",
    "l7-h1-1-p99",
    "l7-h1-1-p99-envoy",
    "l7-h1-16",
    "l7-h1-16-envoy",
    "l7-h1-16-p99",
    "l7-h1-16-p99-envoy",
    "l7-h1-64",
    "l7-h1-64-envoy",
    "l7-h1-64-p99",
    "l7-h1-64-p99-envoy",
    "l7-h2-1",
    "l7-h2-1-envoy",
    "l7-h2-16",
    "l7-h2-16-envoy",
    "l7-h2-64",
    "l7-h2-64-envoy",
    "l7-grpc-16",
    "l7-grpc-16-envoy",
    "l7-cpu-16",
    "l7-cpu-16-envoy",
    "l7-rss",
    "l7-rss-envoy",
    "l7-routes-1",
    "l7-routes-1-envoy",
    "l7-routes-100",
    "l7-routes-100-envoy",
    "l7-routes-10000",
    "l7-routes-10000-envoy",
];

/// Place in [`NAMES`] of the rows of one number of connections, and that number.
const H1: [(usize, u32); 3] = [(0, 1), (4, 16), (8, 64)];
const H2: [(usize, u32); 3] = [(12, 1), (14, 16), (16, 64)];
const GRPC: usize = 18;
const CPU: usize = 20;
const RSS: usize = 22;
const ROUTES: [(usize, usize); 3] = [(24, 1), (26, 100), (28, 10_000)];

/// How much better than Envoy the issue wants it.
const TIMES_ENVOY: f64 = 2.0;

/// Measures all rows that were asked for.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(NAMES) {
        return Ok(());
    }
    let (rounds, seconds) = if options.quick { (3, 1) } else { (5, 3) };
    let world = World::up(options.keep)?;
    if let Err(reason) = world.envoy() {
        println!("  no Envoy to compare with: {reason}");
    }
    let mut bench = Bench { world, rounds, seconds, report };
    for (first, connections) in H1 {
        bench.http1(options, first, connections)?;
    }
    for (first, connections) in H2 {
        bench.http2(options, first, connections);
    }
    if options.wants(&NAMES[GRPC..GRPC + 2]) {
        let names = &NAMES[GRPC..GRPC + 2];
        bench.rates(names, "calls/s", |world, way, seconds| load::grpc(world, way, 16, seconds));
    }
    if options.wants(&NAMES[RSS..RSS + 2]) {
        bench.memory()?;
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
type Round<T> = (T, T, Option<T>);

impl Bench<'_> {
    fn http1(&mut self, options: &Options, first: usize, connections: u32) -> Result<()> {
        let mut names = NAMES[first..first + 4].to_vec();
        if connections == 16 {
            names.extend(&NAMES[CPU..CPU + 2]);
        }
        if !options.wants(&names) {
            return Ok(());
        }
        let mut spent = [(0.0, 0.0); 2];
        let seconds = self.seconds;
        let measured = self.interleaved(|world, way| {
            let before = world.cpu(way)?;
            let requests = load::wrk(world, way, connections, seconds)?;
            if let (Some(before), Some(after)) = (before, world.cpu(way)?) {
                let place = usize::from(way == Way::Envoy);
                spent[place].0 += after - before;
                spent[place].1 += requests.count;
            }
            Ok(requests)
        });
        let Some(rounds) = keep(measured, &names, self.report) else { return Ok(()) };
        self.pair(&names[0..2], &rounds, |round: &Requests| round.rate, "req/s", Better::More);
        self.pair(&names[2..4], &rounds, |round: &Requests| round.p99, "µs", Better::Less);
        if connections == 16 {
            self.cpu(spent);
        }
        Ok(())
    }

    fn http2(&mut self, options: &Options, first: usize, connections: u32) {
        let names = &NAMES[first..first + 2];
        if options.wants(names) {
            self.rates(names, "req/s", |world, way, seconds| load::h2load(world, way, connections, seconds));
        }
    }

    fn rates(
        &mut self,
        names: &'static [&'static str],
        unit: &str,
        measure: impl Fn(&World, Way, u32) -> Result<f64>,
    ) {
        let seconds = self.seconds;
        let measured = self.interleaved(|world, way| measure(world, way, seconds));
        if let Some(rounds) = keep(measured, names, self.report) {
            self.pair(names, &rounds, |rate| *rate, unit, Better::More);
        }
    }

    /// Rounds of all ways in turn; the first is thrown away.
    fn interleaved<T>(&self, mut measure: impl FnMut(&World, Way) -> Result<T>) -> Result<Vec<Round<T>>> {
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
    fn pair<T>(
        &mut self,
        names: &[&'static str],
        rounds: &[Round<T>],
        value: impl Fn(&T) -> f64,
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
        let envoys: Vec<&T> = rounds.iter().filter_map(|round| round.2.as_ref()).collect();
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

    fn cpu(&mut self, spent: [(f64, f64); 2]) {
        let per_thousand = |(seconds, requests): (f64, f64)| seconds / requests * 1000.0;
        let mut note =
            format!("both agents, {:.2} CPU s over {:.0} requests at 16 connections", spent[0].0, spent[0].1);
        if spent[1].1 > 0.0 {
            let ratio = per_thousand(spent[0]) / per_thousand(spent[1]);
            let met = if ratio <= 0.5 { "met" } else { "missed" };
            note = format!("{note}; {ratio:.2} of Envoy's, goal ≤ 0.5: {met}");
        }
        self.report.figure(NAMES[CPU], true, (per_thousand(spent[0]), "s per 1,000 requests"), note);
        if spent[1].1 == 0.0 {
            return self.no_envoy(NAMES[CPU + 1]);
        }
        let note = format!("both Envoys, {:.2} CPU s over {:.0} requests", spent[1].0, spent[1].1);
        self.report.figure(NAMES[CPU + 1], true, (per_thousand(spent[1]), "s per 1,000 requests"), note);
    }

    /// After all of that traffic.
    fn memory(&mut self) -> Result<()> {
        let own = self.world.rss_mib(Way::Mesh)?;
        self.report.figure(NAMES[RSS], true, (own, "MiB"), "larger of both agents, after the rounds above");
        match self.world.envoy() {
            Ok(version) => {
                let note = format!("larger of both Envoys ({version}); one per pod");
                let figure = (self.world.rss_mib(Way::Envoy)?, "MiB");
                self.report.figure(NAMES[RSS + 1], true, figure, note);
            }
            Err(_) => self.no_envoy(NAMES[RSS + 1]),
        }
        Ok(())
    }

    /// The last of many rules, at 16 connections; as ratios to the direct way, so that all three stand side by side.
    fn routes(&mut self, options: &Options) -> Result<()> {
        for (first, count) in ROUTES {
            let names = &NAMES[first..first + 2];
            if !options.wants(names) {
                continue;
            }
            self.world.routes(count)?;
            let seconds = self.seconds;
            let measured = self.interleaved(|world, way| load::wrk(world, way, 16, seconds));
            if let Some(rounds) = keep(measured, names, self.report) {
                self.pair(names, &rounds, |round: &Requests| round.rate, "req/s", Better::More);
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
