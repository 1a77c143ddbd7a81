//! From the text of a file to checked objects: nothing that is broken takes anything else with it.

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Problem, Severity};
use crate::mesh;
use crate::object::{Object, ObjectError};
use crate::rules;

mod documents;

#[cfg(test)]
mod tests;

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Objects without an error, each with the number of its document, in the order of the file.
    pub objects: Vec<(usize, Object)>,
    /// Everything that was found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether anything is refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads YAML or JSON, with any number of documents; `file` is what diagnostics call it.
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (document, read) in documents::read(text) {
        match read {
            Ok(value) => flatten(file, document, value, &mut parsed),
            Err(problem) => parsed.diagnostics.push(Diagnostic::of_document(file, document, problem)),
        }
    }
    parsed
}

/// Takes one document: an object, or a list of them.
fn flatten(file: &str, document: usize, value: Value, parsed: &mut Parsed) {
    match as_list(value) {
        Ok(items) => {
            for (index, item) in items.into_iter().enumerate() {
                take(file, document, &format!("items[{index}]"), item, parsed);
            }
        }
        Err(value) => take(file, document, "", value, parsed),
    }
}

/// The items of a `List` (or a `PodList` and so on), each with the kind that the list implies.
fn as_list(value: Value) -> Result<Vec<Value>, Value> {
    let kind = value.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
    let (Some(kind), Some(Value::Array(_))) = (kind, value.get("items")) else { return Err(value) };
    let (kind, version) = (kind.to_owned(), value.get("apiVersion").cloned());
    let Value::Object(mut fields) = value else { return Err(value) };
    let Some(Value::Array(mut items)) = fields.remove("items") else { return Ok(Vec::new()) };
    for item in items.iter_mut().filter_map(Value::as_object_mut).filter(|_| !kind.is_empty()) {
        if let Some(version) = &version {
            item.entry("apiVersion").or_insert_with(|| version.clone());
        }
        item.entry("kind").or_insert_with(|| kind.clone().into());
    }
    Ok(items)
}

fn take(file: &str, document: usize, prefix: &str, value: Value, parsed: &mut Parsed) {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut object = match Object::from_value(value) {
        Ok(object) => object,
        Err(error) => {
            let problem = Problem { path: prefix.to_owned(), ..unreadable(&error) };
            let diagnostic = Diagnostic::of_document(file, document, problem);
            parsed.diagnostics.push(Diagnostic { kind, name, ..diagnostic });
            return;
        }
    };
    let problems = check(&mut object);
    let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    for mut problem in problems {
        problem.path = joined(prefix, &problem.path);
        parsed.diagnostics.push(Diagnostic::of_object(file, document, &object, problem));
    }
    if !refused {
        parsed.objects.push((document, object));
    }
}

/// Everything about one object, by itself. A namespace that its kind does not have is taken off it.
pub fn check(object: &mut Object) -> Vec<Problem> {
    let mut problems = (object.kind.check)(&object.value);
    for found in rules::check(object).into_iter().chain(mesh::check(object)) {
        // The schema has said it already, with the types' own words.
        if !problems.iter().any(|known| known.path == found.path) {
            problems.push(found);
        }
    }
    if !object.kind.namespaced && object.metadata_mut().remove("namespace").is_some() {
        let message = format!("a {} has no namespace: remove the field", object.kind.kind);
        problems.push(Problem::warning(Code::ClusterScoped, "metadata.namespace", message));
    }
    if !object.kind.served {
        problems.push(not_served(object));
    }
    problems
}

fn not_served(object: &Object) -> Problem {
    let kind = object.kind.kind;
    let effect = if object.kind.security { "denies all that it selects" } else { "has no effect" };
    Problem::warning(
        Code::NotServed,
        "",
        format!(
            "{kind} is not served yet: it is stored, shown as Accepted=False (Unsupported), and {effect}"
        ),
    )
}

fn unreadable(error: &ObjectError) -> Problem {
    let code = match error {
        ObjectError::NotAnObject => Code::Syntax,
        ObjectError::Missing(_) => Code::Schema,
        ObjectError::UnknownKind { .. } => Code::UnknownKind,
    };
    let message = match error {
        ObjectError::NotAnObject => "is not an object: apiVersion, kind and metadata are expected".to_owned(),
        other => other.to_string(),
    };
    Problem::error(code, "", message)
}

fn joined(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty() || path.starts_with('[')) {
        (true, _) => path.to_owned(),
        (false, true) => format!("{prefix}{path}"),
        (false, false) => format!("{prefix}.{path}"),
    }
}

/// One YAML or JSON value within a text, such as a key of a ConfigMap; `None` where there is nothing.
pub(crate) fn value(text: &str) -> Result<Option<Value>, Problem> {
    documents::read(text).into_iter().next().map(|(_, read)| read).transpose()
}
