//! Label and field selectors.

use serde_json::Value;

use crate::failure::{Answer, Failure};
use crate::resource::Resource;

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Both selectors of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Term>,
    /// Field, value, and whether it is to be equal.
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Answer<Self> {
        let labels = split(labels).iter().map(|term| label(term)).collect::<Option<_>>();
        let labels = labels
            .ok_or_else(|| Failure::bad_request("unable to parse requirement of the label selector"))?;
        let fields = fields.split(',').filter(|term| !term.is_empty());
        let fields = fields.map(|term| field(resource, term)).collect::<Answer<_>>()?;
        Ok(Self { labels, fields })
    }

    /// The one name that it admits, if it names one.
    pub(crate) fn name(&self) -> Option<&str> {
        let mut names = self.fields.iter().filter(|(field, _, equal)| *equal && field == "metadata.name");
        names.next().map(|(_, name, _)| name.as_str())
    }

    pub(crate) fn selects(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let labelled = self.labels.iter().all(|term| match term {
            Term::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|known| known == value))
            }
            Term::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|known| known != value))
            }
            Term::Exists(key) => label(key).is_some(),
            Term::Absent(key) => label(key).is_none(),
        });
        labelled && self.fields.iter().all(|(path, wanted, equal)| (text(object, path) == *wanted) == *equal)
    }
}

fn text(object: &Value, path: &str) -> String {
    match object.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn field(resource: &Resource, term: &str) -> Answer<(String, String, bool)> {
    let (path, value, equal) = term
        .split_once("!=")
        .map(|(path, value)| (path, value, false))
        .or_else(|| term.split_once("==").map(|(path, value)| (path, value, true)))
        .or_else(|| term.split_once('=').map(|(path, value)| (path, value, true)))
        .ok_or_else(|| Failure::bad_request(format!("invalid field selector: {term:?}")))?;
    let known = path == "metadata.name"
        || (path == "metadata.namespace" && resource.namespaced)
        || resource.selectable.contains(&path);
    if !known {
        return Err(Failure::bad_request(format!("field label not supported: {path}")));
    }
    Ok((path.to_owned(), value.to_owned(), equal))
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut terms, mut deep) = (vec![String::new()], false);
    for letter in text.chars() {
        match letter {
            ',' if !deep => terms.push(String::new()),
            _ => {
                deep = (deep || letter == '(') && letter != ')';
                terms.last_mut().into_iter().for_each(|term| term.push(letter));
            }
        }
    }
    terms.iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty()).collect()
}

fn label(term: &str) -> Option<Term> {
    let values = |list: &str| {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
    };
    let key = |key: &str| Some(key.trim().to_owned()).filter(|key| !key.is_empty());
    if let Some((name, list)) = term.split_once(" notin ") {
        return Some(Term::NotIn(key(name)?, values(list)?));
    }
    if let Some((name, list)) = term.split_once(" in ") {
        return Some(Term::In(key(name)?, values(list)?));
    }
    if let Some((name, value)) = term.split_once("!=") {
        return Some(Term::NotIn(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = term.split_once('=') {
        return Some(Term::In(key(name)?, vec![value.trim_start_matches('=').trim().to_owned()]));
    }
    match term.strip_prefix('!') {
        Some(name) => Some(Term::Absent(key(name)?)),
        None => Some(Term::Exists(key(term)?)),
    }
}
