//! Durations as Istio and Gateway API write them.

use std::time::Duration;

use crate::report::{At, Notes};

/// As Go reads them: `1h30m`, `1.5s`, `250ms`, `10us`, `0`. Bounded by Go's 2^63 nanoseconds.
pub(crate) fn go(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit =
            after.len() - after.trim_start_matches(|each: char| !each.is_ascii_digit() && each != '.').len();
        total = total.checked_add(nanoseconds(whole, fraction, &after[..unit])?)?;
        rest = &after[unit..];
    }
    let bounded = i64::try_from(total).ok().filter(|_| !text.is_empty() && text != "+")?;
    Some(Duration::from_nanos(bounded.unsigned_abs()))
}

/// GEP-2257: one to four of `h`, `m`, `s`, `ms` with at most five digits each, no fractions: `1h30m`, `500ms`, `0s`.
pub(crate) fn gateway(text: &str) -> Option<Duration> {
    let (mut rest, mut parts, mut total) = (text, 0, 0_u64);
    while !rest.is_empty() {
        let (number, after) = digits(rest);
        let unit = after.len() - after.trim_start_matches(|each: char| each.is_ascii_lowercase()).len();
        parts += 1;
        if number.is_empty() || number.len() > 5 || parts > 4 {
            return None;
        }
        let milliseconds = match &after[..unit] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        total += number.parse::<u64>().ok()? * milliseconds;
        rest = &after[unit..];
    }
    (parts > 0).then(|| Duration::from_millis(total))
}

/// Istio's durations: at least 1 ms, in whole milliseconds.
pub(crate) fn istio(text: Option<&str>, at: &At<'_>, notes: &mut Notes) -> Option<Duration> {
    let duration = istio_or_zero(text, at, notes)?;
    if duration.is_zero() {
        notes.error(at, "is 0, the least is 1ms: write for example \"5s\", or leave the field out");
        return None;
    }
    Some(duration)
}

/// The same where 0 has a meaning: it switches something off.
pub(crate) fn istio_or_zero(text: Option<&str>, at: &At<'_>, notes: &mut Notes) -> Option<Duration> {
    let text = text?;
    let Some(duration) = go(text) else {
        notes.error(
            at,
            format!("{text:?} is no duration: write a number with its unit: \"5s\", \"250ms\", \"1m30s\""),
        );
        return None;
    };
    if duration.subsec_nanos() % 1_000_000 != 0 {
        notes.error(
            at,
            format!("{text:?} is finer than a millisecond: write whole milliseconds, for example \"1ms\""),
        );
        return None;
    }
    Some(duration)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|each: char| !each.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn nanoseconds(whole: &str, fraction: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits of a fraction beyond the nanosecond cannot matter.
    let kept = &fraction[..fraction.len().min(15)];
    let part: u128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let scale = 10_u128.checked_pow(u32::try_from(kept.len()).ok()?)?;
    whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let rows = [
            ("5s", Some(5_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1.5s", Some(1_500)),
            (".5s", Some(500)),
            ("1.s", Some(1_000)),
            ("1h2m3s4ms", Some(3_723_004)),
            ("250ms", Some(250)),
            ("1000us", Some(1)),
            ("+1s", Some(1_000)),
            ("", None),
            ("+", None),
            ("s", None),
            (".s", None),
            ("5", None),
            ("5 s", None),
            ("-5s", None),
            ("5d", None),
            ("5S", None),
            ("99999999999h", None),
            ("99999999999999999999999999999999999999999999s", None),
            ("1.00000000000000000000000000000000000000000001s", Some(1_000)),
        ];
        for (text, want) in rows {
            assert_eq!(go(text), want.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn durations_of_gateway_api_are_those_of_gep_2257() {
        let rows = [
            ("0s", Some(0)),
            ("0h", Some(0)),
            ("1h30m", Some(5_400_000)),
            ("10s5ms", Some(10_005)),
            ("99999h", Some(359_996_400_000)),
            ("5", None),
            ("0", None),
            ("", None),
            ("1.5s", None),
            ("100000s", None),
            ("1h1h1h1h1h", None),
            ("1us", None),
            ("-1s", None),
        ];
        for (text, want) in rows {
            assert_eq!(gateway(text), want.map(Duration::from_millis), "{text:?}");
        }
    }
}
