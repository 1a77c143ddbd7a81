//! Sets of fields as `metadata.managedFields` has them (FieldsV1), and who owns which.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::schema::{Merging, Shape};

/// A set of fields: whether this one is in it, and what below it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    here: bool,
    below: BTreeMap<String, Fields>,
}

/// Steps from the object's root: `f:spec`, `k:{"name":"a"}`, `v:"a"`.
pub(crate) type Path = Vec<String>;

impl Fields {
    /// Every field of a value.
    pub(crate) fn of(value: &Value, shape: Shape<'_>) -> Self {
        let leaf = Self { here: true, below: BTreeMap::new() };
        match value {
            Value::Object(fields) if !fields.is_empty() && !shape.atomic_map() => {
                let below = fields
                    .iter()
                    .map(|(name, value)| (format!("f:{name}"), Self::of(value, shape.field(name))));
                Self { here: false, below: below.collect() }
            }
            Value::Array(items) if !items.is_empty() => match shape.merging() {
                Merging::Atomic => leaf,
                Merging::Set => {
                    let below = items.iter().map(|item| (format!("v:{item}"), leaf.clone()));
                    Self { here: false, below: below.collect() }
                }
                Merging::ByKeys(keys) => {
                    let below = items.iter().map(|item| {
                        let fields = Self { here: true, ..Self::of(item, shape.item()) };
                        (step(item, &keys), fields)
                    });
                    Self { here: false, below: below.collect() }
                }
            },
            _ => leaf,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.here |= other.here;
        for (step, fields) in &other.below {
            self.below.entry(step.clone()).or_default().add(fields);
        }
    }

    pub(crate) fn take_away(&mut self, other: &Self) {
        self.here &= !other.here;
        for (step, fields) in &other.below {
            if let Some(mine) = self.below.get_mut(step) {
                mine.take_away(fields);
            }
        }
        self.below.retain(|_, fields| !fields.is_empty());
    }

    pub(crate) fn contains(&self, path: &[String]) -> bool {
        match path.split_first() {
            None => self.here,
            Some((step, rest)) => self.below.get(step).is_some_and(|fields| fields.contains(rest)),
        }
    }

    /// Whether anything at or below a path is in it.
    pub(crate) fn touches(&self, path: &[String]) -> bool {
        match path.split_first() {
            None => !self.is_empty(),
            Some((step, rest)) => self.below.get(step).is_some_and(|fields| fields.touches(rest)),
        }
    }

    /// Every field in it, the deepest first.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut all = Vec::new();
        self.walk(&mut Vec::new(), &mut all);
        all
    }

    fn walk(&self, at: &mut Path, all: &mut Vec<Path>) {
        for (step, fields) in &self.below {
            at.push(step.clone());
            fields.walk(at, all);
            at.pop();
        }
        if self.here {
            all.push(at.clone());
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut fields: Map<String, Value> = Map::new();
        if self.here && !self.below.is_empty() {
            fields.insert(".".to_owned(), json!({}));
        }
        fields.extend(self.below.iter().map(|(step, below)| (step.clone(), below.to_json())));
        Value::Object(fields)
    }

    pub(crate) fn from_json(value: &Value) -> Self {
        let fields = value.as_object().cloned().unwrap_or_default();
        let here = fields.is_empty() || fields.contains_key(".");
        let below = fields.into_iter().filter(|(step, _)| step != ".");
        Self { here, below: below.map(|(step, value)| (step, Self::from_json(&value))).collect() }
    }
}

fn step(item: &Value, keys: &[String]) -> String {
    let named = keys.iter().map(|key| (key.clone(), item[key].clone()));
    format!("k:{}", Value::Object(named.collect()))
}

/// The value at a path.
pub(crate) fn look<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    let below = match step.split_at_checked(2)? {
        ("f:", name) => value.get(name)?,
        (_, text) => {
            let items = value.as_array()?;
            items.iter().find(|item| is_item(item, step, text))?
        }
    };
    look(below, rest)
}

/// Removes the value at a path, and what is empty after that.
pub(crate) fn cut(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    let Some((_, text)) = step.split_at_checked(2) else { return };
    match value {
        Value::Object(fields) => {
            if let Some(below) = fields.get_mut(text).filter(|_| !rest.is_empty()) {
                cut(below, rest);
                if below.as_object().is_some_and(Map::is_empty) || below.as_array().is_some_and(Vec::is_empty)
                {
                    fields.shift_remove(text);
                }
            } else {
                fields.shift_remove(text);
            }
        }
        Value::Array(items) => {
            let Some(at) = items.iter().position(|item| is_item(item, step, text)) else { return };
            if rest.is_empty() {
                items.remove(at);
            } else {
                cut(&mut items[at], rest);
            }
        }
        _ => {}
    }
}

fn is_item(item: &Value, step: &str, text: &str) -> bool {
    let Ok(named) = serde_json::from_str::<Value>(text) else { return false };
    match named.as_object().filter(|_| step.starts_with("k:")) {
        Some(keys) => keys.iter().all(|(key, value)| item.get(key).unwrap_or(&Value::Null) == value),
        None => *item == named,
    }
}

/// Puts what is applied into what is there.
pub(crate) fn put(live: &mut Value, applied: &Value, shape: Shape<'_>) {
    match (live, applied) {
        (Value::Object(into), Value::Object(fields)) if !shape.atomic_map() => {
            for (name, value) in fields {
                put(into.entry(name.clone()).or_insert(Value::Null), value, shape.field(name));
            }
        }
        (Value::Array(into), Value::Array(items)) => match shape.merging() {
            Merging::Atomic => into.clone_from(items),
            Merging::Set => {
                let new = items.iter().filter(|item| !into.contains(item)).cloned().collect::<Vec<_>>();
                into.extend(new);
            }
            Merging::ByKeys(keys) => {
                for item in items {
                    let same = |held: &&mut Value| keys.iter().all(|key| held[key] == item[key]);
                    match into.iter_mut().find(same) {
                        Some(held) => put(held, item, shape.item()),
                        None => into.push(item.clone()),
                    }
                }
            }
        },
        (live, applied) => live.clone_from(applied),
    }
}
