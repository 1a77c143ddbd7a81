//! Load by the tools that everybody uses, and what they print.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::topology::{Topology, Way};

/// What one round of requests showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    pub(crate) rate: f64,
    pub(crate) count: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// wrk from the client's pod: over kept connections, or over a new one for each request.
pub(crate) fn requests(
    topology: &Topology,
    way: Way,
    connections: u32,
    fresh: bool,
    seconds: u32,
) -> Result<Requests> {
    let mut argv: Vec<String> =
        vec!["wrk".into(), "-t1".into(), format!("-c{connections}"), format!("-d{seconds}s")];
    argv.push("--latency".into());
    if fresh {
        argv.extend(["-H".into(), "Connection: close".into()]);
    }
    argv.push(format!("http://{}/", topology.http(way)));
    let text = topology.in_client(way, &argv)?;
    parse_wrk(&text).with_context(|| format!("{}: {text}", argv.join(" ")))
}

/// iperf3 from the client's pod; bits per second that arrived.
pub(crate) fn bulk(topology: &Topology, way: Way, streams: u32, seconds: u32) -> Result<f64> {
    let (host, port) = topology.bulk(way);
    let argv =
        format!("iperf3 -c {host} -p {port} --connect-timeout 5000 -P {streams} -t {seconds} -C cubic -J");
    let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
    let value: Value = serde_json::from_str(&topology.in_client(way, &argv)?)?;
    value["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 received nothing")
}

fn parse_wrk(text: &str) -> Result<Requests> {
    let after = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name}"))
    };
    ensure!(!text.contains("Non-2xx"), "replies that are not 200");
    ensure!(!text.contains("Socket errors"), "socket errors");
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")).context("no count")?.0;
    Ok(Requests {
        rate: after("Requests/sec:")?.parse()?,
        count: count.parse()?,
        p50: micros(after("50%")?)?,
        p99: micros(after("99%")?)?,
    })
}

/// `1.23ms` → 1230
fn micros(text: &str) -> Result<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = found.with_context(|| format!("no time: {text}"))?;
    Ok(number.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{micros, parse_wrk};

    const WRK: &str = "Running 1s test @ http://10.244.2.2:80/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  400.00us   9.00ms   90.00%
    Req/Sec    13.00k   500.00     14.00k    70.00%
  Latency Distribution
     50%    1.10ms
     75%    1.30ms
     90%    1.60ms
     99%    3.20ms
  13100 requests in 1.01s, 3.10MB read
Requests/sec:  12970.30
Transfer/sec:      3.07MB
";

    #[test]
    fn what_wrk_prints_is_read() {
        let read = parse_wrk(WRK).unwrap();
        assert!((read.rate - 12970.30).abs() < 0.01 && (read.count - 13100.0).abs() < 0.1);
        assert!((read.p50 - 1100.0).abs() < 0.1 && (read.p99 - 3200.0).abs() < 0.1);
        assert!((micros("250.00us").unwrap() - 250.0).abs() < 0.1);
    }

    #[test]
    fn a_round_with_errors_is_no_round() {
        assert!(
            parse_wrk(&format!("{WRK}\n  Socket errors: connect 0, read 3, write 0, timeout 0")).is_err()
        );
        assert!(parse_wrk(&format!("{WRK}\n  Non-2xx or 3xx responses: 7")).is_err());
    }
}
