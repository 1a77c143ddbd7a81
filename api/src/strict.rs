//! Reads a value as a type and says everything that is wrong with it: misspelt fields, wrong types, at any depth.
//!
//! Serde hands a deserializer the names of a struct's fields. This one compares them with what is there, so that
//! every type of ours and of k8s-openapi is read strictly, without a line in that type.

use std::cell::RefCell;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::diagnostic::Problem;

mod nearest;
mod path;
mod read;
mod wrong;

#[cfg(test)]
mod tests;

pub(crate) use nearest::{did_you_mean, nearest};
pub(crate) use path::push_field;
use path::{Path, Segment};
use read::Reader;
use wrong::Wrong;

/// Over this, the rest of the wrong values of an object is left for the next run.
const MOST_WRONG_VALUES: usize = 32;

/// Everything about `value` that the schema of `T` does not allow.
pub fn schema<T: DeserializeOwned>(value: &Value) -> Vec<Problem> {
    let mut value = value.clone();
    let mut wrong_values = Vec::new();
    let mut removed: Vec<Vec<Segment>> = Vec::new();
    loop {
        let unknown = RefCell::new(Vec::new());
        let Err(wrong) = T::deserialize(Reader::new(&value, &Path::Root, &unknown)) else {
            return finish(unknown.into_inner(), wrong_values);
        };
        // Serde stops at the first wrong value: note it, take it away, and read on.
        let Wrong { path, message } = wrong;
        let path = path.unwrap_or_default();
        let seen = removed.contains(&path);
        if !seen {
            wrong_values.push(Problem::schema(path::show(&path), message));
        }
        let go_on = !seen && wrong_values.len() < MOST_WRONG_VALUES && path::remove(&mut value, &path);
        removed.push(path);
        if !go_on {
            return finish(unknown.into_inner(), wrong_values);
        }
    }
}

/// The check of a kind that is not served yet: well-formed metadata, and nothing beside `spec` and `status`.
pub fn metadata_only(value: &Value) -> Vec<Problem> {
    schema::<Envelope>(value)
}

/// What every object has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)] // read for its schema only
struct Envelope {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Option<Map<String, Value>>,
    status: Option<Map<String, Value>>,
}

fn finish(mut unknown: Vec<Problem>, wrong_values: Vec<Problem>) -> Vec<Problem> {
    unknown.extend(wrong_values);
    unknown
}
