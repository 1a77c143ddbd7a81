//! Durations on the command line.
use std::time::Duration;

/// `500ms`, `60s`, `2m`, `1h30m`; a bare number is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write for example 500ms, 30s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u32 = rest[..digits].parse().map_err(|_not_a_number| wrong())?;
        rest = &rest[digits..];
        let unit = &rest[..rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len())];
        let one = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        total = one.checked_mul(count).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        let rows = [("60s", 60_000), ("500ms", 500), ("1h30m", 5_400_000), ("2m", 120_000), ("5", 5_000)];
        for (text, millis) in rows {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "s", "5x", "-1s", "1h5"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
