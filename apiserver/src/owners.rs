//! `metadata.managedFields`: who wrote what, and what follows from it for the next one who writes.

use serde_json::{Value, json};

use crate::failure::{Answer, Failure};
use crate::fields::{self, Fields};
use crate::schema::Shape;
use crate::write::Writer;

/// Of `metadata` these are nobody's.
const NOBODYS: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "generateName",
];

/// One entry.
#[derive(Clone, Debug)]
struct Owner {
    entry: Value,
    fields: Fields,
}

fn owners(object: &Value) -> Vec<Owner> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    entries
        .map(|entry| Owner { fields: Fields::from_json(&entry["fieldsV1"]), entry: entry.clone() })
        .collect()
}

/// What of an object somebody can own.
fn ownable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| name != "apiVersion" && name != "kind");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !NOBODYS.contains(&name.as_str()));
        }
        if fields.get("metadata").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            fields.shift_remove("metadata");
        }
    }
    object
}

impl Writer<'_> {
    fn is_mine(&self, owner: &Owner, operation: &str) -> bool {
        owner.entry["manager"] == *self.manager
            && owner.entry["operation"] == operation
            && owner.entry["subresource"].as_str().unwrap_or_default() == self.subresource
    }

    fn entry(&self, operation: &str, fields: &Fields) -> Value {
        let mut entry = json!({"manager": self.manager, "operation": operation, "apiVersion": self.api_version(),
            "time": self.now, "fieldsType": "FieldsV1", "fieldsV1": fields.to_json()});
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.into();
        }
        entry
    }

    fn write_owners(&self, object: &mut Value, owners: Vec<Owner>) {
        let entries = owners.into_iter().filter(|owner| !owner.fields.is_empty()).map(|mut owner| {
            owner.entry["fieldsV1"] = owner.fields.to_json();
            owner.entry
        });
        object["metadata"]["managedFields"] = entries.collect();
    }

    /// Notes who changed what, after a write that is no apply.
    pub(crate) fn note_update(&self, before: Option<&Value>, after: &mut Value) {
        let shape = self.shape();
        let old = before.map(ownable).unwrap_or(Value::Null);
        let new = ownable(after);
        let now = Fields::of(&new, shape);
        let mut gone = if old.is_null() { Fields::default() } else { Fields::of(&old, shape) };
        gone.take_away(&now);
        let mut changed = Fields::default();
        for path in now.paths() {
            if fields::look(&old, &path) != fields::look(&new, &path) {
                changed.add(&only(&path));
            }
        }
        let mut all = before.map(owners).unwrap_or_default();
        for owner in &mut all {
            owner.fields.take_away(&gone);
            if !self.is_mine(owner, "Update") {
                owner.fields.take_away(&changed);
            }
        }
        if !changed.is_empty() {
            match all.iter_mut().find(|owner| self.is_mine(owner, "Update")) {
                Some(mine) => {
                    mine.fields.add(&changed);
                    mine.entry["time"] = self.now.into();
                }
                None => all.push(Owner { entry: self.entry("Update", &changed), fields: changed }),
            }
        }
        self.write_owners(after, all);
    }

    /// The object after an apply; `live` is there already or as good as empty.
    pub(crate) fn applied(&self, live: &Value, applied: &Value, force: bool) -> Answer<Value> {
        let shape = self.shape();
        let wanted = ownable(applied);
        let set = if wanted.as_object().is_none_or(serde_json::Map::is_empty) {
            Fields::default()
        } else {
            Fields::of(&wanted, shape)
        };
        let mut all = owners(live);
        self.conflicts(live, &wanted, (&set, &mut all), force)?;
        let mut after = live.clone();
        fields::put(&mut after, &wanted, shape);
        let mine = all.iter().position(|owner| self.is_mine(owner, "Apply"));
        let before = mine.map(|at| all.remove(at));
        if let Some(before) = &before {
            let mut dropped = before.fields.clone();
            dropped.take_away(&set);
            for path in dropped.paths() {
                // What somebody else owns, or something below it, stays.
                if !set.touches(&path) && !all.iter().any(|owner| owner.fields.touches(&path)) {
                    fields::cut(&mut after, &path);
                }
            }
        }
        let mut entry = self.entry("Apply", &set);
        if let Some(before) = before.filter(|before| before.fields == set) {
            entry["time"] = before.entry["time"].clone();
        }
        all.insert(mine.unwrap_or(0), Owner { entry, fields: set });
        self.write_owners(&mut after, all);
        Ok(after)
    }

    /// Refuses to change what others own; with `force` it is theirs no more.
    fn conflicts(
        &self,
        live: &Value,
        wanted: &Value,
        (set, all): (&Fields, &mut Vec<Owner>),
        force: bool,
    ) -> Answer<()> {
        let mut causes = Vec::new();
        for path in set.paths() {
            let is_item = path.last().is_some_and(|step| step.starts_with("k:"));
            if is_item || fields::look(live, &path) == fields::look(wanted, &path) {
                continue;
            }
            for owner in all.iter_mut() {
                if self.is_mine(owner, "Apply") || !owner.fields.contains(&path) {
                    continue;
                }
                owner.fields.take_away(&only(&path));
                let field = path.iter().map(|step| format!(".{}", &step[2..])).collect::<String>();
                let manager = owner.entry["manager"].as_str().unwrap_or_default();
                causes.push(json!({"reason": "FieldManagerConflict", "field": field,
                    "message": format!("conflict with {manager:?}")}));
            }
        }
        if causes.is_empty() || force {
            return Ok(());
        }
        let mut failure =
            Failure::new(409, "Conflict", format!("Apply failed with {} conflicts", causes.len()));
        failure.details = Some(Box::new(json!({"causes": causes})));
        Err(failure)
    }

    fn shape(&self) -> Shape<'_> {
        if self.resource.custom {
            Shape::Custom(self.resource.schema(self.version))
        } else {
            Shape::BuiltIn("")
        }
    }
}

/// The set of one field.
fn only(path: &[String]) -> Fields {
    let mut value = json!({});
    for step in path.iter().rev() {
        value = json!({ step: value });
    }
    let mut fields = Fields::from_json(&value);
    if path.is_empty() {
        fields = Fields::default();
    }
    fields
}
