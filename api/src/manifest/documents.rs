//! The documents of a text, each read by itself and within bounds.
//!
//! Documents are told apart before they are parsed, so that a broken one loses no other: YAML forbids `---` at the
//! start of a line inside a document, even in a quoted or block scalar (YAML 1.2.2, section 9.1.2).

use serde_json::Value;

use crate::diagnostic::{Code, Problem};

/// Bytes of a whole text.
const MOST_BYTES: usize = 16 << 20;
/// Bytes of a document; etcd takes 1.5 MiB.
const MOST_DOCUMENT_BYTES: usize = 3 << 20;
/// Documents of a text.
const MOST_DOCUMENTS: usize = 50_000;

/// A document that has content, with the number of lines before it.
struct Document<'a> {
    number: usize,
    first_line: usize,
    text: &'a str,
}

/// Every document that is not empty, with its number.
pub(super) fn read(text: &str) -> Vec<(usize, Result<Value, Problem>)> {
    if text.len() > MOST_BYTES {
        let message = format!("is {} bytes; {MOST_BYTES} is the most", text.len());
        return vec![(0, Err(Problem::error(Code::Bound, "", message)))];
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(values) = json(text) {
        return values.into_iter().map(Ok).enumerate().collect();
    }
    let documents = split(text);
    if documents.len() > MOST_DOCUMENTS {
        let message = format!("has {} documents; {MOST_DOCUMENTS} is the most", documents.len());
        return vec![(0, Err(Problem::error(Code::Bound, "", message)))];
    }
    documents.iter().filter_map(|document| Some((document.number, yaml(document).transpose()?))).collect()
}

/// One JSON value after another; `None` if it is not that, and may be YAML all the same.
fn json(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('{') || text.len() > MOST_DOCUMENT_BYTES {
        return None;
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let values: Vec<Value> = values.take(MOST_DOCUMENTS + 1).collect::<Result<_, _>>().ok()?;
    (values.len() <= MOST_DOCUMENTS).then_some(values)
}

/// Splits as YAML does; what stands before the first marker is a document only if it has content.
fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut number, mut start, mut first_line, mut at) = (0, 0, 0, 0);
    let mut marked = false;
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let ends = is_marker(content, "...");
        if ends || is_marker(content, "---") {
            let document = Document { number, first_line, text: &text[start..at] };
            if marked || has_content(document.text) {
                documents.push(document);
                number += 1;
            }
            marked = !ends;
            let skipped = if ends { content.len() } else { 3 };
            (start, first_line) = (at + skipped, line + usize::from(ends));
        }
        at += content.len();
    }
    documents.push(Document { number, first_line, text: &text[start..] });
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(text: &str) -> bool {
    text.lines().map(str::trim_start).any(|line| !line.is_empty() && !line.starts_with(['#', '%']))
}

fn yaml(document: &Document<'_>) -> Result<Option<Value>, Problem> {
    if document.text.len() > MOST_DOCUMENT_BYTES {
        let message = format!("is {} bytes; {MOST_DOCUMENT_BYTES} is the most", document.text.len());
        return Err(Problem::error(Code::Bound, "", message));
    }
    if !has_content(document.text) {
        return Ok(None);
    }
    match serde_saphyr::from_str_with_options::<Value>(document.text, options()) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(broken(&error, document.first_line)),
    }
}

/// What Kubernetes takes (YAML 1.1's booleans and octal numbers), within bounds that stop an alias bomb early.
fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_depth: 64,
        // An object of 10,000 routes has some 200,000.
        max_nodes: 500_000,
        max_events: 1_500_000,
        max_aliases: 1_000,
        max_anchors: 1_000,
        max_recorded_anchor_events: 100_000,
        max_total_scalar_bytes: MOST_DOCUMENT_BYTES,
    };
    serde_saphyr::options! {
        budget: budget,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000, max_replay_stack_depth: 16 },
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn broken(error: &serde_saphyr::Error, lines_before: usize) -> Problem {
    let error = error.without_snippet();
    let text = error.to_string();
    // A bound that breaks inside an alias comes wrapped, as text.
    let bound = matches!(error, serde_saphyr::Error::Budget { .. }) || text.contains("budget breached");
    let bound = bound || matches!(error, serde_saphyr::Error::AliasReplayLimitExceeded { .. });
    let code = if bound { Code::Bound } else { Code::Syntax };
    match error.location() {
        Some(at) if at.line() > 0 => {
            let line = usize::try_from(at.line()).unwrap_or(usize::MAX).saturating_add(lines_before);
            let text = without_place(&text);
            Problem::error(code, "", format!("line {line}, column {}: {text}", at.column()))
        }
        _ => Problem::error(code, "", text),
    }
}

/// The parser's message without the place that it counted within the document.
fn without_place(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default();
    let text = first.split(" at line ").next().unwrap_or(first);
    let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or(text);
    let text = text.rsplit_once(" (line ").map_or(text, |(before, _)| before);
    text.trim_end_matches([':', ' '])
}
