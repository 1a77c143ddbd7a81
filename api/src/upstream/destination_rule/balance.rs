//! `loadBalancer`: the choice of an endpoint, by place and by hash.

use heddle_core::upstream::model::{Algorithm, HashKey, LoadBalancer, Locality, Ring, Warmup};

use super::schema::{self, ConsistentHash, HttpCookie, LoadBalancerSettings, LocalityLbSetting, SimpleLb};
use crate::duration;
use crate::report::{At, Notes};
use crate::route::virtual_service::is_header_name;

/// Istio's bound: a prime below this.
const MOST_MAGLEV: i64 = 5_000_011;
const MOST_RING: i64 = 8_388_608;

pub(super) fn read(written: &LoadBalancerSettings, at: &At<'_>, notes: &mut Notes) -> LoadBalancer {
    if written.simple.is_some() && written.consistent_hash.is_some() {
        notes.error(&at.field("simple"), "cannot stand beside consistentHash: remove one of them");
    }
    let algorithm = match (&written.consistent_hash, written.simple) {
        (Some(hash), _) => consistent(hash, &at.field("consistentHash"), notes),
        (None, Some(SimpleLb::RoundRobin)) => Algorithm::RoundRobin,
        (None, Some(SimpleLb::Random)) => Algorithm::Random,
        (None, Some(SimpleLb::Passthrough)) => Algorithm::Passthrough,
        (None, Some(SimpleLb::LeastConn)) => {
            notes.warning(&at.field("simple"), "LEAST_CONN is deprecated: write LEAST_REQUEST");
            Algorithm::LeastRequest
        }
        (None, Some(SimpleLb::LeastRequest | SimpleLb::Unspecified) | None) => Algorithm::LeastRequest,
    };
    let warmup = warmup(written, at, notes);
    if warmup.is_some() && !matches!(algorithm, Algorithm::LeastRequest | Algorithm::RoundRobin) {
        notes.error(
            &at.field("warmup"),
            "is for ROUND_ROBIN and LEAST_REQUEST only: write one of them, or remove warmup",
        );
    }
    let setting = written.locality_lb_setting.as_ref();
    LoadBalancer {
        algorithm,
        locality: setting.map(|setting| locality(setting, &at.field("localityLbSetting"), notes)),
        warmup,
    }
}

fn warmup(written: &LoadBalancerSettings, at: &At<'_>, notes: &mut Notes) -> Option<Warmup> {
    let warmup_at = at.field("warmup");
    if let Some(old) = &written.warmup_duration_secs {
        let old_at = at.field("warmupDurationSecs");
        notes.warning(&old_at, format!("is deprecated: write `warmup: {{duration: {old}}}`"));
        if written.warmup.is_some() {
            notes.error(&old_at, "cannot stand beside warmup: remove it");
        }
        let duration = duration::istio(Some(old), &old_at, notes)?;
        return Some(Warmup { duration, minimum_percent: 10.0, aggression: 1.0 });
    }
    let written = written.warmup.as_ref()?;
    if written.duration.is_none() {
        notes.error(&warmup_at.field("duration"), "is required: write for example `duration: 60s`");
    }
    let minimum_percent = written.minimum_percent.unwrap_or(10.0);
    if !(0.0..=100.0).contains(&minimum_percent) {
        notes.error(&warmup_at.field("minimumPercent"), format!("is {minimum_percent}, expected 0 to 100"));
    }
    let aggression = written.aggression.unwrap_or(1.0);
    if aggression < 1.0 {
        notes.error(&warmup_at.field("aggression"), format!("is {aggression}, expected 1 or more"));
    }
    let duration = duration::istio(written.duration.as_deref(), &warmup_at.field("duration"), notes)?;
    Some(Warmup { duration, minimum_percent, aggression })
}

fn consistent(written: &ConsistentHash, at: &At<'_>, notes: &mut Notes) -> Algorithm {
    let keys = [
        written.http_header_name.is_some(),
        written.http_cookie.is_some(),
        written.use_source_ip.is_some(),
        written.http_query_parameter_name.is_some(),
    ];
    match keys.iter().filter(|there| **there).count() {
        1 => {}
        0 => notes.error(at, "names nothing to hash: write httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName"),
        _ => notes.error(at, "names several things to hash: keep one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName"),
    }
    let key = if let Some(name) = &written.http_header_name {
        if !is_header_name(name) {
            notes.error(
                &at.field("httpHeaderName"),
                format!("{name:?} is no header name: write letters, digits and '-'"),
            );
        }
        HashKey::Header(name.to_ascii_lowercase())
    } else if let Some(written) = &written.http_cookie {
        cookie(written, &at.field("httpCookie"), notes)
    } else if let Some(name) = &written.http_query_parameter_name {
        if name.is_empty() {
            notes.error(&at.field("httpQueryParameterName"), "is empty: write the name of a parameter");
        }
        HashKey::Query(name.clone())
    } else {
        if written.use_source_ip == Some(false) {
            notes.error(
                &at.field("useSourceIp"),
                "is false, so nothing is hashed: write true, or name something else",
            );
        }
        HashKey::SourceIp
    };
    Algorithm::ConsistentHash { key, ring: ring(written, at, notes) }
}

fn cookie(written: &HttpCookie, at: &At<'_>, notes: &mut Notes) -> HashKey {
    let name = written.name.clone().unwrap_or_default();
    if name.is_empty() {
        notes.error(&at.field("name"), "is required: write the name of the cookie");
    } else if !is_header_name(&name) || name.starts_with(':') {
        notes.error(
            &at.field("name"),
            format!("{name:?} is no name of a cookie: write letters, digits and '-'"),
        );
    }
    if !written.attributes.is_empty() {
        notes.unserved(&at.field("attributes"), "are not served: the cookie is made without them");
    }
    HashKey::Cookie {
        name,
        path: written.path.clone().unwrap_or_default(),
        ttl: duration::istio_or_zero(written.ttl.as_deref(), &at.field("ttl"), notes),
    }
}

fn ring(written: &ConsistentHash, at: &At<'_>, notes: &mut Notes) -> Ring {
    if written.ring_hash.is_some() && written.maglev.is_some() {
        notes.error(&at.field("maglev"), "cannot stand beside ringHash: remove one of them");
    }
    if let Some(maglev) = &written.maglev {
        let size = maglev.table_size.filter(|size| *size != 0).unwrap_or(65_537);
        if !(2..=MOST_MAGLEV).contains(&size) || !is_prime(size) {
            let at = at.field("maglev");
            notes.error(
                &at.field("tableSize"),
                format!("is {size}: write a prime up to {MOST_MAGLEV}, for example 65537"),
            );
        }
        return Ring::Maglev(size.unsigned_abs());
    }
    if written.minimum_ring_size.is_some() {
        notes.warning(&at.field("minimumRingSize"), "is deprecated: write `ringHash: {minimumRingSize: …}`");
    }
    let of_ring = written.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size);
    let size = of_ring.or(written.minimum_ring_size).filter(|size| *size != 0).unwrap_or(1024);
    if !(1..=MOST_RING).contains(&size) {
        let at = at.field("ringHash");
        notes.error(&at.field("minimumRingSize"), format!("is {size}, expected 1 to {MOST_RING}"));
    }
    Ring::RingHash(size.unsigned_abs().min(MOST_RING.unsigned_abs()))
}

fn is_prime(number: i64) -> bool {
    (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0)
}

/// `localityLbSetting`, of a rule or of the mesh.
pub(crate) fn locality(written: &LocalityLbSetting, at: &At<'_>, notes: &mut Notes) -> Locality {
    let given =
        [!written.distribute.is_empty(), !written.failover.is_empty(), !written.failover_priority.is_empty()];
    // Istio takes failover beside failoverPriority, and nothing else together.
    if given[0] && (given[1] || given[2]) {
        notes.error(
            at,
            "has distribute beside failover: keep one of distribute, failover and failoverPriority",
        );
    }
    Locality {
        disabled: written.enabled == Some(false),
        distribute: distribute(&written.distribute, &at.field("distribute"), notes),
        failover: failover(&written.failover, &at.field("failover"), notes),
        failover_priority: written.failover_priority.clone(),
    }
}

fn distribute(
    written: &[schema::Distribute],
    at: &At<'_>,
    notes: &mut Notes,
) -> Vec<(String, std::collections::BTreeMap<String, u32>)> {
    let mut read = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let from = each.from.clone().unwrap_or_default();
        place(&from, &at.field("from"), notes);
        let to_at = at.field("to");
        for (to, weight) in &each.to {
            place(to, &to_at.field(to), notes);
            if !(1..=100).contains(weight) {
                notes.error(&to_at.field(to), format!("is {weight}, expected 1 to 100 percent"));
            }
        }
        let sum: i64 = each.to.values().copied().fold(0, i64::saturating_add);
        if sum != 100 {
            notes.error(&to_at, format!("sums to {sum} percent, expected 100"));
        }
        let to = each.to.iter().map(|(to, weight)| (to.clone(), u32::try_from(*weight).unwrap_or(0)));
        read.push((from, to.collect()));
    }
    read
}

fn failover(written: &[schema::Failover], at: &At<'_>, notes: &mut Notes) -> Vec<(String, String)> {
    let mut read = Vec::with_capacity(written.len());
    for (index, each) in written.iter().enumerate() {
        let at = at.index(index);
        let (from, to) = (each.from.clone().unwrap_or_default(), each.to.clone().unwrap_or_default());
        for (field, region) in [("from", &from), ("to", &to)] {
            if region.is_empty() || region.contains(['/', '*']) {
                notes.error(
                    &at.field(field),
                    format!("{region:?} is no region: write its name alone, for example us-east"),
                );
            }
        }
        if from == to {
            notes.error(&at, format!("goes from {from:?} to itself: name another region"));
        }
        read.push((from, to));
    }
    read
}

/// `region/zone/subzone`; the last part may be `*`.
fn place(text: &str, at: &At<'_>, notes: &mut Notes) {
    let parts: Vec<&str> = text.split('/').collect();
    let inner = parts.len().saturating_sub(1);
    let wrong = parts.len() > 3
        || parts.iter().any(|part| part.is_empty())
        || parts[..inner].iter().any(|part| part.contains('*'))
        || parts[inner].contains('*') && parts[inner] != "*";
    if wrong {
        notes.error(
            at,
            format!("{text:?} is no place: write region/zone/subzone, the last of which may be '*'"),
        );
    }
}
