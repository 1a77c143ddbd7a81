//! Label selectors: the `matchLabels`/`matchExpressions` form and the `-l` form.
use serde_json::Value;

/// Whether a LabelSelector (or a plain label map, as Services have) selects these labels.
/// An empty LabelSelector selects everything; `null` selects nothing.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let Some(fields) = selector.as_object() else { return false };
    let is_structured = fields.is_empty()
        || fields.get("matchLabels").is_some_and(Value::is_object)
        || fields.get("matchExpressions").is_some_and(Value::is_array);
    if !is_structured {
        return matches_map(selector, labels);
    }
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    matches_map(&selector["matchLabels"], labels) && expressions.into_iter().all(|e| expression(e, labels))
}

/// Whether every pair of `wanted` is among `labels`.
pub fn matches_map(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn expression(expression: &Value, labels: &Value) -> bool {
    let key = expression["key"].as_str().unwrap_or_default();
    let actual = labels.get(key);
    let listed = || expression["values"].as_array().into_iter().flatten().any(|value| Some(value) == actual);
    match expression["operator"].as_str() {
        Some("In") => listed(),
        Some("NotIn") => !listed(),
        Some("Exists") => actual.is_some(),
        Some("DoesNotExist") => actual.is_none(),
        _ => false,
    }
}

/// One requirement of `-l a=b,c!=d,e,!f,g in (h,i),j notin (k)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Requirement {
    pub fn holds(&self, labels: &Value) -> bool {
        let of = |key: &String| labels.get(key).and_then(Value::as_str).map(str::to_owned);
        match self {
            Requirement::In(key, values) => of(key).is_some_and(|value| values.contains(&value)),
            Requirement::NotIn(key, values) => of(key).is_none_or(|value| !values.contains(&value)),
            Requirement::Exists(key) => of(key).is_some(),
            Requirement::Missing(key) => of(key).is_none(),
        }
    }
}

/// Parses the `-l` form.
pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let parts = split_outside_brackets(text);
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let words: Vec<&str> = part.splitn(3, ' ').map(str::trim).collect();
    if let [key, operator @ ("in" | "notin"), rest] = words.as_slice() {
        let inner = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let inner =
            inner.ok_or_else(|| format!("unable to parse requirement: {part:?}: values stand in ( )"))?;
        let values = inner.split(',').map(|value| value.trim().to_owned()).collect();
        let key = (*key).to_owned();
        return Ok(if *operator == "in" {
            Requirement::In(key, values)
        } else {
            Requirement::NotIn(key, values)
        });
    }
    let (key, requirement) = if let Some((key, value)) = part.split_once("!=") {
        (key, Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Requirement::In(key.trim().to_owned(), vec![value.trim().to_owned()]))
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Requirement::Missing(key.trim().to_owned()))
    } else {
        (part, Requirement::Exists(part.to_owned()))
    };
    if key.trim().is_empty() || key.trim().contains(char::is_whitespace) {
        return Err(format!("unable to parse requirement: {part:?} is no label selector"));
    }
    Ok(requirement)
}

fn split_outside_brackets(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts
}
