//! Load by the tools that everybody uses, and what they print.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::l7::world::{self as l7, Protocol, World};
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

/// wrk from the client's pod over kept connections.
pub(crate) fn wrk(world: &World, way: l7::Way, connections: u32, seconds: u32) -> Result<Requests> {
    let url = format!("http://{}/", world.authority(way, Protocol::Http1));
    let argv = format!("wrk -t1 -c{connections} -d{seconds}s --latency {url}");
    let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
    let text = world.in_client(way, &argv)?;
    parse_wrk(&text).with_context(|| format!("{}: {text}", argv.join(" ")))
}

/// h2load from the client's pod, ten streams at once on each connection; requests per second.
pub(crate) fn h2load(world: &World, way: l7::Way, connections: u32, seconds: u32) -> Result<f64> {
    let url = format!("http://{}/", world.authority(way, Protocol::Http2));
    let argv = format!("h2load -t1 -c{connections} -m10 -D{seconds} {url}");
    h2load_rate(world, way, &argv)
}

/// h2load with a gRPC message as its body; calls per second.
pub(crate) fn grpc(world: &World, way: l7::Way, connections: u32, seconds: u32) -> Result<f64> {
    let url = format!("http://{}/bench.Echo/Call", world.authority(way, Protocol::Grpc));
    // An empty message: flag and length.
    let make = "head -c 5 /dev/zero > /tmp/message";
    let load = format!(
        "h2load -t1 -c{connections} -m10 -D{seconds} -d /tmp/message -H content-type:application/grpc -H te:trailers {url}"
    );
    let argv = ["sh".to_owned(), "-c".to_owned(), format!("{make} && exec {load}")];
    parse_h2load(&world.in_client(way, &argv)?)
}

fn h2load_rate(world: &World, way: l7::Way, command: &str) -> Result<f64> {
    let argv: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let text = world.in_client(way, &argv)?;
    parse_h2load(&text).with_context(|| format!("{command}: {text}"))
}

/// `finished in 1.00s, 12345.60 req/s, 1.20MB/s`, and all of them 2xx.
fn parse_h2load(text: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.starts_with("finished in ")).context("not finished")?;
    let statuses = text.lines().find(|line| line.starts_with("status codes: ")).context("no statuses")?;
    ensure!(statuses.contains(" 0 3xx, 0 4xx, 0 5xx"), "{statuses}");
    let rate = line.split(", ").nth(1).and_then(|part| part.strip_suffix(" req/s")).context("no rate")?;
    let rate = rate.parse()?;
    ensure!(rate > 0.0, "no request was answered");
    Ok(rate)
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
    use super::{micros, parse_h2load, parse_wrk};

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
    fn what_h2load_prints_is_read() {
        let text =
            "finished in 1.00s, 12345.60 req/s, 1.20MB/s\nstatus codes: 12345 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert!((parse_h2load(text).unwrap() - 12345.6).abs() < 0.01);
        assert!(parse_h2load(&text.replace(" 0 5xx", " 3 5xx")).is_err());
    }

    #[test]
    fn a_round_with_errors_is_no_round() {
        assert!(
            parse_wrk(&format!("{WRK}\n  Socket errors: connect 0, read 3, write 0, timeout 0")).is_err()
        );
        assert!(parse_wrk(&format!("{WRK}\n  Non-2xx or 3xx responses: 7")).is_err());
    }
}
