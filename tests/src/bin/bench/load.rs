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

/// wrk or h2load from the client's pod over kept connections, ten streams at once on each of HTTP/2; the bodies of gRPC
/// are an empty message.
pub(crate) fn l7(
    world: &World,
    way: l7::Way,
    protocol: Protocol,
    connections: u32,
    seconds: u32,
) -> Result<Requests> {
    let authority = world.authority(way, protocol);
    let load = match protocol {
        Protocol::Http1 => format!("wrk -t1 -c{connections} -d{seconds}s --latency http://{authority}/"),
        Protocol::Http2 => h2load(connections, seconds, &format!("http://{authority}/")),
        Protocol::Grpc => {
            let grpc = "-d /tmp/message -H content-type:application/grpc -H te:trailers";
            let load = h2load(connections, seconds, &format!("{grpc} http://{authority}/bench.Echo/Call"));
            // Flag and length.
            format!("head -c 5 /dev/zero > /tmp/message; {load}")
        }
    };
    let text = world.in_client(way, &["sh".to_owned(), "-c".to_owned(), load.clone()])?;
    match protocol {
        Protocol::Http1 => parse_wrk(&text),
        Protocol::Http2 | Protocol::Grpc => parse_h2load(&text),
    }
    .with_context(|| format!("{load}: {text}"))
}

/// h2load tells no percentiles: its log has a line for each request, whose third field is its time in microseconds.
fn h2load(connections: u32, seconds: u32, to: &str) -> String {
    let percentiles = "awk '{print $3}' /tmp/times | sort -n | awk '{t[NR] = $1} END {print \"percentiles: \" t[int(NR / 2) + 1], t[int(NR * 0.99) + 1]}'";
    format!(
        "rm -f /tmp/times; h2load -t1 -c{connections} -m10 -D{seconds} --log-file=/tmp/times {to} && {percentiles}"
    )
}

/// `finished in 1.00s, 12345.60 req/s, 1.20MB/s`, and all of them 2xx.
fn parse_h2load(text: &str) -> Result<Requests> {
    let after = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))
    };
    let statuses = after("status codes: ")?;
    ensure!(statuses.contains(" 0 3xx, 0 4xx, 0 5xx"), "{statuses}");
    let rate = after("finished in ")?.split(", ").nth(1).and_then(|part| part.strip_suffix(" req/s"));
    let rate = rate.context("no rate")?.parse()?;
    ensure!(rate > 0.0, "no request was answered");
    let count = statuses.split_once(" 2xx").context("no count")?.0.parse()?;
    let (p50, p99) = after("percentiles: ")?.split_once(' ').context("one percentile")?;
    Ok(Requests { rate, count, p50: p50.parse()?, p99: p99.parse()? })
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
        let text = "finished in 1.00s, 12345.60 req/s, 1.20MB/s\nstatus codes: 12345 2xx, 0 3xx, 0 4xx, 0 5xx\npercentiles: 812 2345\n";
        let read = parse_h2load(text).unwrap();
        assert!((read.rate - 12345.6).abs() < 0.01 && (read.count - 12345.0).abs() < 0.1);
        assert!((read.p50 - 812.0).abs() < 0.1 && (read.p99 - 2345.0).abs() < 0.1);
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
