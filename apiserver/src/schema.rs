//! What a schema says about a value: what is unknown is cut off, what is wrong is refused, which lists merge.

use serde_json::Value;

/// How a list merges under server-side apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merging {
    /// As one value.
    Atomic,
    /// Its items are scalars, each once.
    Set,
    /// Its items are told apart by these fields.
    ByKeys(Vec<String>),
}

/// Where in an object one is, for as long as its schema is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// Of Kubernetes' own kinds nothing is written down here but which of their lists merge.
    BuiltIn(&'a str),
    /// Of a CustomResourceDefinition.
    Custom(Option<&'a Value>),
}

/// Lists of Kubernetes' own kinds that merge: the field's name, and the keys of its items.
const ASSOCIATIVE: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("volumes", &["name"]),
    ("env", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("imagePullSecrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("conditions", &["type"]),
    ("ownerReferences", &["uid"]),
    ("podIPs", &["ip"]),
    ("versions", &["name"]),
    ("webhooks", &["name"]),
];

impl<'a> Shape<'a> {
    pub(crate) fn field(self, name: &'a str) -> Self {
        match self {
            // `metadata` is known of every kind.
            Self::Custom(_) if name == "metadata" => Self::BuiltIn(name),
            Self::Custom(schema) => {
                let properties = schema.and_then(|schema| schema.get("properties")?.get(name));
                Self::Custom(properties.or_else(|| schema?.get("additionalProperties")))
            }
            Self::BuiltIn(_) => Self::BuiltIn(name),
        }
    }

    pub(crate) fn item(self) -> Self {
        match self {
            Self::BuiltIn(_) => Self::BuiltIn(""),
            Self::Custom(schema) => Self::Custom(schema.and_then(|schema| schema.get("items"))),
        }
    }

    pub(crate) fn merging(self) -> Merging {
        let texts = |list: &Value| {
            let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        match self {
            Self::BuiltIn("finalizers") => Merging::Set,
            Self::BuiltIn("ports") => Merging::Atomic,
            Self::BuiltIn(name) => {
                let known = ASSOCIATIVE.iter().find(|(known, _)| *known == name);
                let keys = known.map(|(_, keys)| keys.iter().map(|key| (*key).to_owned()).collect());
                keys.map_or(Merging::Atomic, Merging::ByKeys)
            }
            Self::Custom(None) => Merging::Atomic,
            Self::Custom(Some(schema)) => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Merging::Set,
                Some("map") => Merging::ByKeys(texts(&schema["x-kubernetes-list-map-keys"])),
                _ => Merging::Atomic,
            },
        }
    }

    /// A mapping that counts as one value.
    pub(crate) fn atomic_map(self) -> bool {
        matches!(self, Self::Custom(Some(schema)) if schema["x-kubernetes-map-type"] == "atomic")
    }
}

/// Cuts off what a structural schema does not know.
pub(crate) fn prune(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let extra = schema.get("additionalProperties");
            fields.retain(|name, _| open || extra.is_some() || schema["properties"].get(name).is_some());
            for (name, below) in fields.iter_mut() {
                if let Some(schema) = schema["properties"].get(name).or(extra) {
                    prune(below, schema);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                prune(item, &schema["items"]);
            }
        }
        _ => {}
    }
}

/// What a schema refuses, as the API server words it; of patterns and CEL rules nothing is known here.
pub(crate) fn refused(value: &Value, schema: &Value, path: &str) -> Option<String> {
    if value.is_null() {
        let message = format!("{path}: Invalid value: \"null\": {path} must not be null");
        return (schema["nullable"] != true && schema.get("type").is_some()).then_some(message);
    }
    if let Some(problem) = wrong_type(value, schema, path).or_else(|| bounds(value, schema, path)) {
        return Some(problem);
    }
    match value {
        Value::Object(fields) => {
            let mut needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(missing) = needed.find(|name| !fields.contains_key(*name)) {
                return Some(format!("{path}.{missing}: Required value"));
            }
            fields.iter().find_map(|(name, below)| {
                let schema = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"))?;
                refused(below, schema, &format!("{path}.{name}"))
            })
        }
        Value::Array(items) => {
            let schema = schema.get("items")?;
            items.iter().enumerate().find_map(|(at, item)| refused(item, schema, &format!("{path}[{at}]")))
        }
        _ => None,
    }
}

fn wrong_type(value: &Value, schema: &Value, path: &str) -> Option<String> {
    if schema["x-kubernetes-int-or-string"] == true {
        return (!value.is_string() && !value.is_i64())
            .then(|| format!("{path}: Invalid value: integer or string"));
    }
    let wanted = schema["type"].as_str()?;
    let is = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    (!is).then(|| format!("{path}: Invalid value: {value}: {path} must be of type {wanted}"))
}

fn bounds(value: &Value, schema: &Value, path: &str) -> Option<String> {
    let size = |key: &str| schema[key].as_u64().and_then(|size| usize::try_from(size).ok());
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(value)) {
        return Some(format!(
            "{path}: Unsupported value: {value}: supported values: {}",
            Value::from(known.clone())
        ));
    }
    let (length, least, most) = match value {
        Value::Array(items) => (items.len(), size("minItems"), size("maxItems")),
        Value::String(text) => (text.chars().count(), size("minLength"), size("maxLength")),
        _ => return None,
    };
    if least.is_some_and(|least| length < least) {
        return Some(format!("{path}: Invalid value: {value}: {path} is too short"));
    }
    most.filter(|most| length > *most).map(|most| format!("{path}: Too long: may not be more than {most}"))
}
