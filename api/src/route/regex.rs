//! Regular expressions: RE2's syntax, bounded in what they compile to.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::diagnostic::{Code, Severity};
use crate::report::{At, Notes};

/// Bytes of a compiled expression.
const MOST_COMPILED: usize = 1 << 20;
/// Bytes of a written one; Envoy's own bound on program size is of this order.
const MOST_WRITTEN: usize = 4096;
/// Distinct expressions whose verdicts are kept by one thread.
const MOST_KEPT: usize = 16_384;

thread_local! {
    /// Verdicts on expressions: objects repeat theirs, and are checked whenever they are written.
    static SEEN: RefCell<HashMap<String, Option<String>>> = RefCell::new(HashMap::new());
}

/// Notes an expression that cannot be compiled within bounds.
pub(crate) fn check(pattern: &str, at: &At<'_>, notes: &mut Notes) -> bool {
    let Some(message) = verdict(pattern) else { return true };
    notes.put(Severity::Error, Code::InvalidRegexp, at, message);
    false
}

/// The largest group of an expression that compiles.
pub(crate) fn groups(pattern: &str) -> usize {
    build(pattern).map_or(0, |regex| regex.captures_len() - 1)
}

fn verdict(pattern: &str) -> Option<String> {
    if pattern.len() > MOST_WRITTEN {
        return Some(format!("the expression has {} bytes, {MOST_WRITTEN} is the most", pattern.len()));
    }
    SEEN.with_borrow_mut(|seen| {
        if let Some(known) = seen.get(pattern) {
            return known.clone();
        }
        let verdict = build(pattern).err().map(|error| words(pattern, &error));
        if seen.len() >= MOST_KEPT {
            seen.clear();
        }
        seen.insert(pattern.to_owned(), verdict.clone());
        verdict
    })
}

fn build(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(MOST_COMPILED).build()
}

fn words(pattern: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!(
            "{pattern:?} compiles to more than {MOST_COMPILED} bytes: write smaller repetitions, or a prefix match"
        ),
        _ => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!(
                "{pattern:?} is no regular expression ({reason}): write RE2 syntax; it must match the whole text"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_taken_refused_and_bounded() {
        for good in ["", ".*", "/v[12]/.*", "(?i)abc", r"^/a/(\d+)$", r"\pL+"] {
            assert_eq!(verdict(good), None, "{good}");
        }
        for (bad, word) in [
            ("(", "unclosed group"),
            ("[a", "unclosed character class"),
            ("*", "repetition operator missing"),
            (r"(?=a)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("((a{100}){100}){100}", "smaller repetitions"),
            ("(?:x{1000}){1000}", "smaller repetitions"),
        ] {
            let message = verdict(bad).unwrap_or_default();
            assert!(message.contains(word), "{bad}: {message}");
        }
        assert!(verdict(&"a".repeat(5000)).is_some());
        assert_eq!(groups("(a)(b(c))"), 3);
    }
}
