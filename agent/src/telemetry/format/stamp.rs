//! `%START_TIME(…)%`: strftime, with Envoy's specifiers for fractions of a second.

use std::fmt::Write as _;
use std::time::SystemTime;

use time::OffsetDateTime;

/// Envoy's default: `2016-04-15T20:17:00.310Z`.
pub(super) fn default(at: SystemTime, line: &mut String) {
    format("%Y-%m-%dT%H:%M:%S.%3fZ", at, line);
}

/// Appends the time in UTC; a specifier that is not known stands for itself.
pub(super) fn format(pattern: &str, at: SystemTime, line: &mut String) {
    let at = OffsetDateTime::from(at);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        line.push_str(before);
        let mut characters = after.chars();
        let specifier = characters.next();
        rest = characters.as_str();
        match specifier {
            Some(digits @ '1'..='9') if rest.starts_with('f') => {
                rest = &rest[1..];
                fraction(at, digits.to_digit(10).unwrap_or(9), line);
            }
            Some(specifier) => {
                if one(specifier, at, line).is_err() {
                    line.extend(['%', specifier]);
                }
            }
            None => line.push('%'),
        }
    }
    line.push_str(rest);
}

fn fraction(at: OffsetDateTime, digits: u32, line: &mut String) {
    let value = at.nanosecond() / 10_u32.pow(9 - digits);
    // Writing to a String does not fail.
    let _ = write!(line, "{value:0width$}", width = digits as usize);
}

fn one(specifier: char, at: OffsetDateTime, line: &mut String) -> std::fmt::Result {
    let (month, weekday) = (at.month(), at.weekday());
    let hour12 = match at.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    match specifier {
        'Y' => write!(line, "{:04}", at.year()),
        'y' => write!(line, "{:02}", at.year().rem_euclid(100)),
        'm' => write!(line, "{:02}", u8::from(month)),
        'd' => write!(line, "{:02}", at.day()),
        'e' => write!(line, "{:2}", at.day()),
        'H' => write!(line, "{:02}", at.hour()),
        'I' => write!(line, "{hour12:02}"),
        'M' => write!(line, "{:02}", at.minute()),
        'S' => write!(line, "{:02}", at.second()),
        'j' => write!(line, "{:03}", at.ordinal()),
        'p' => write!(line, "{}", if at.hour() < 12 { "AM" } else { "PM" }),
        'b' | 'h' => write!(line, "{:.3}", month.to_string()),
        'B' => write!(line, "{month}"),
        'a' => write!(line, "{:.3}", weekday.to_string()),
        'A' => write!(line, "{weekday}"),
        'F' => write!(line, "{:04}-{:02}-{:02}", at.year(), u8::from(month), at.day()),
        'T' => write!(line, "{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
        'R' => write!(line, "{:02}:{:02}", at.hour(), at.minute()),
        'D' => write!(line, "{:02}/{:02}/{:02}", u8::from(month), at.day(), at.year().rem_euclid(100)),
        's' => write!(line, "{}", at.unix_timestamp()),
        'f' => write!(line, "{:09}", at.nanosecond()),
        'z' => line.write_str("+0000"),
        'Z' => line.write_str("UTC"),
        'n' => line.write_str("\\n"),
        't' => line.write_char(' '),
        '%' => line.write_char('%'),
        _ => Err(std::fmt::Error),
    }
}
