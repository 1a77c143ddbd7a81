//! A look at a place in a value, whether or not something stands there.

use serde_json::Value;

use crate::diagnostic::Problem;
use crate::strict::push_field;

/// A place and what stands there. Wrong types read as nothing: the schema's check has named them.
#[derive(Clone, Debug)]
pub(super) struct Look<'a> {
    value: Option<&'a Value>,
    key: &'a str,
    path: String,
}

impl<'a> Look<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value: Some(value), key: "", path: String::new() }
    }

    pub(super) fn get(&self, key: &'a str) -> Self {
        let mut path = self.path.clone();
        push_field(&mut path, key);
        Self {
            value: self.value.and_then(|value| value.get(key)).filter(|value| !value.is_null()),
            key,
            path,
        }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = Self> {
        let items = self.value.and_then(Value::as_array).into_iter().flatten().enumerate();
        items.map(|(index, value)| Self {
            value: Some(value),
            key: "",
            path: format!("{}[{index}]", self.path),
        })
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Self> {
        let fields = self.value.and_then(Value::as_object).into_iter().flatten();
        fields.map(|(key, value)| {
            let mut path = self.path.clone();
            push_field(&mut path, key);
            Self { value: Some(value), key, path }
        })
    }

    pub(super) fn key(&self) -> &'a str {
        self.key
    }
    pub(super) fn path(&self) -> &str {
        &self.path
    }
    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }
    pub(super) fn integer(&self) -> Option<i64> {
        self.value.and_then(Value::as_i64)
    }
    pub(super) fn is_there(&self) -> bool {
        self.value.is_some()
    }
    pub(super) fn is_other_than_text(&self) -> bool {
        self.value.is_some_and(|value| !value.is_string())
    }

    /// Nothing there, or an empty text, list or mapping.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none_or(|value| match value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        })
    }

    pub(super) fn wrong(&self, message: impl Into<String>) -> Problem {
        Problem::schema(self.path.clone(), message)
    }

    /// Notes that something must stand here.
    pub(super) fn required(&self, problems: &mut Vec<Problem>) {
        if self.is_empty() {
            problems.push(self.wrong("is required"));
        }
    }

    /// Notes an integer outside the range.
    pub(super) fn within(&self, least: i64, most: i64, problems: &mut Vec<Problem>) {
        if let Some(number) = self.integer().filter(|number| !(least..=most).contains(number)) {
            problems.push(self.wrong(format!("is {number}, expected {least} to {most}")));
        }
    }

    /// Notes a text that is none of these.
    pub(super) fn one_of(&self, allowed: &[&str], problems: &mut Vec<Problem>) {
        if let Some(text) = self.text().filter(|text| !allowed.contains(text)) {
            let hint = crate::strict::did_you_mean(text, allowed);
            problems.push(self.wrong(format!("{text:?} is not allowed: {hint}")));
        }
    }

    /// Notes a port by number out of range, or by a name that cannot be one.
    pub(super) fn port_or_name(&self, problems: &mut Vec<Problem>) {
        self.within(1, 65535, problems);
        if let Some(name) = self.text().filter(|name| !crate::names::is_port_name(name)) {
            let grammar = crate::names::PORT_NAME;
            let number =
                name.parse::<u16>().map(|port| format!("; for the number write {port} without quotes"));
            let hint = number.unwrap_or_default();
            problems.push(self.wrong(format!("{name:?} is not the name of a port: {grammar}{hint}")));
        }
    }
}
