//! Interleaved rounds: each round measures every way once, and a row is the median of the rounds' ratios to the direct way.

use anyhow::Result;
use heddle_tests::report::Report;

use crate::Options;
use crate::footprint;
use crate::load::{self, Requests};
use crate::topology::{Topology, Way};

pub(crate) const NAMES: &[&str] = &[
    "requests-1",
    "requests-1-relay",
    "p50-1",
    "p50-1-relay",
    "p99-1",
    "p99-1-relay",
    "requests-16",
    "requests-16-relay",
    "p50-16",
    "p50-16-relay",
    "p99-16",
    "p99-16-relay",
    "requests-64",
    "requests-64-relay",
    "p50-64",
    "p50-64-relay",
    "p99-64",
    "p99-64-relay",
    "connections-16",
    "connections-16-relay",
    "bulk-1",
    "bulk-1-relay",
    "bulk-8",
    "bulk-8-relay",
    "cpu-client-agent",
    "cpu-server-agent",
    "cpu-client-relay",
    "cpu-server-relay",
];

/// Rows of one number of connections: the names' place in `NAMES`, the connections, and the goals at L4 (rate, p50).
const KEPT: [(usize, u32, Option<f64>, Option<f64>); 3] =
    [(0, 1, None, Some(3.0)), (6, 16, Some(0.36), None), (12, 64, Some(0.45), None)];
const FRESH: usize = 18;
const BULK: [(usize, u32, f64); 2] = [(20, 1, 0.28), (22, 8, 0.26)];
const CPU: usize = 24;

/// Measures all rows that were asked for.
pub(crate) fn run(options: &Options, topology: &Topology, report: &mut Report) -> Result<()> {
    let (rounds, seconds) = if options.quick { (3, 1) } else { (5, 3) };
    for (first, connections, rate_goal, p50_goal) in KEPT {
        let mut names = NAMES[first..first + 6].to_vec();
        if connections == 16 {
            names.extend(&NAMES[CPU..]);
        }
        if !options.wants(&names) {
            continue;
        }
        let mut spent = Spent::default();
        let measured = interleaved(rounds, |way| {
            let before = Spent::begin(topology, way)?;
            let requests = load::requests(topology, way, connections, false, seconds)?;
            spent.end(topology, way, before, requests)?;
            Ok(requests)
        });
        let Some(rounds) = keep(measured, &names, report) else { continue };
        rows(report, &names[0..2], &rounds, |round| round.rate, "req/s", rate_goal.map(Goal::AtLeast));
        rows(report, &names[2..4], &rounds, |round| round.p50, "µs", p50_goal.map(Goal::AtMost));
        rows(report, &names[4..6], &rounds, |round| round.p99, "µs", None);
        if connections == 16 {
            spent.rows(report);
        }
    }
    let names = &NAMES[FRESH..FRESH + 2];
    if options.wants(names) {
        let measured = interleaved(rounds, |way| load::requests(topology, way, 16, true, seconds));
        if let Some(rounds) = keep(measured, names, report) {
            rows(report, names, &rounds, |round| round.rate, "connections/s", Some(Goal::AtLeast(0.33)));
        }
    }
    for (first, streams, goal) in BULK {
        let names = &NAMES[first..first + 2];
        if options.wants(names) {
            let measured = interleaved(rounds, |way| load::bulk(topology, way, streams, seconds));
            if let Some(rounds) = keep(measured, names, report) {
                rows(report, names, &rounds, |bits| bits / 1e9, "Gbit/s", Some(Goal::AtLeast(goal)));
            }
        }
    }
    Ok(())
}

/// What PERFORMANCE asks of a ratio.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One value per way, per round; a first round is thrown away.
fn interleaved<T>(rounds: usize, mut measure: impl FnMut(Way) -> Result<T>) -> Result<Vec<[T; 3]>> {
    let mut all = Vec::new();
    for _ in 0..=rounds {
        all.push([measure(Way::Direct)?, measure(Way::Mesh)?, measure(Way::Relay)?]);
    }
    all.remove(0);
    Ok(all)
}

/// A case that cannot be measured fails its rows and not the others.
pub(crate) fn keep<T>(measured: Result<T>, names: &[&'static str], report: &mut Report) -> Option<T> {
    measured
        .map_err(|error| names.iter().for_each(|name| report.check(name, false, format!("{error:#}"))))
        .ok()
}

/// The row of the mesh and that of the relays.
fn rows<T>(
    report: &mut Report,
    names: &[&'static str],
    rounds: &[[T; 3]],
    value: impl Fn(&T) -> f64,
    unit: &str,
    goal: Option<Goal>,
) {
    let direct = median(rounds.iter().map(|round| value(&round[0])));
    for (name, way) in names.iter().zip([1, 2]) {
        let ratio = median(rounds.iter().map(|round| value(&round[way]) / value(&round[0])));
        let own = median(rounds.iter().map(|round| value(&round[way])));
        let (least, most) = extremes(rounds.iter().map(|round| value(&round[way]) / value(&round[0])));
        let mut note = format!(
            "{own:.1} {unit}, direct {direct:.1} {unit}, median of {}, from {least:.3} to {most:.3}",
            rounds.len()
        );
        if let (1, Some(goal)) = (way, goal) {
            let (words, met) = match goal {
                Goal::AtLeast(least) => (format!("goal ≥ {least}"), ratio >= least),
                Goal::AtMost(most) => (format!("goal ≤ {most}"), ratio <= most),
            };
            note = format!("{note}; {words}: {}", if met { "met" } else { "missed" });
        }
        report.figure(name, true, (ratio, "ratio"), note);
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

/// CPU of both agents, and of both relays, while their way is measured: client's side first.
#[derive(Default)]
struct Spent {
    seconds: [[f64; 2]; 2],
    requests: [f64; 2],
}

impl Spent {
    fn begin(topology: &Topology, way: Way) -> Result<[f64; 2]> {
        match way {
            Way::Direct => Ok([0.0; 2]),
            Way::Mesh => footprint::agents_cpu(&topology.sandbox),
            Way::Relay => footprint::relays_cpu(&topology.sandbox),
        }
    }

    fn end(&mut self, topology: &Topology, way: Way, before: [f64; 2], measured: Requests) -> Result<()> {
        let Some(place) = [Way::Mesh, Way::Relay].iter().position(|measured| *measured == way) else {
            return Ok(());
        };
        let after = Self::begin(topology, way)?;
        for side in 0..2 {
            self.seconds[place][side] += after[side] - before[side];
        }
        self.requests[place] += measured.count;
        Ok(())
    }

    fn rows(&self, report: &mut Report) {
        for (number, name) in NAMES[CPU..].iter().enumerate() {
            let (seconds, requests) = (self.seconds[number / 2][number % 2], self.requests[number / 2]);
            let note = format!("{seconds:.2} CPU s over {requests:.0} requests at 16 connections");
            report.figure(name, true, (seconds / requests * 1000.0, "s per 1,000 requests"), note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one_in_order() {
        assert!((median([5.0, 1.0, 3.0].into_iter()) - 3.0).abs() < f64::EPSILON);
    }
}
