//! A value that a type does not take, and where it stands.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::did_you_mean;
use super::path::{Path, Segment};

/// The innermost place that refused.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: Option<Vec<Segment>>,
    pub(super) message: String,
}

impl Wrong {
    /// Notes the place; the innermost one stays.
    pub(super) fn at(mut self, path: &Path<'_>) -> Self {
        self.path.get_or_insert_with(|| path.segments());
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: None, message: message.to_string() }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = plainly(&expected.to_string());
        let hint = match unexpected {
            Unexpected::Signed(number) if expected == "a string" => format!(": write \"{number}\""),
            Unexpected::Unsigned(number) if expected == "a string" => format!(": write \"{number}\""),
            Unexpected::Float(number) if expected == "a string" => format!(": write \"{number}\""),
            Unexpected::Bool(truth) if expected == "a string" => format!(": write \"{truth}\""),
            Unexpected::Str(text) if expected == "an integer" && text.parse::<i64>().is_ok() => {
                format!(": write {text} without quotes")
            }
            Unexpected::Str("true" | "false") if expected == "true or false" => {
                ": write it without quotes".to_owned()
            }
            _ => String::new(),
        };
        Self::custom(format_args!("is {}, expected {expected}{hint}", what(&unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("is {}, expected {}", what(&unexpected), plainly(&expected.to_string())))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("{variant:?} is not allowed: {}", did_you_mean(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("unknown field {field:?}: {}", did_you_mean(field, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("field {field:?} is required"))
    }
}

fn what(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("{:?}", shortened(text)),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

/// Rust's names of types in the words of a manifest.
fn plainly(expected: &str) -> String {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "IntOrString" => "an integer or a string".to_owned(),
        "Quantity" => "a quantity such as 100m or 64Mi".to_owned(),
        text => match text.strip_prefix("struct ") {
            Some(name) => format!("a mapping ({name})"),
            None if text.starts_with(|first: char| first.is_ascii_uppercase()) => {
                format!("a mapping ({text})")
            }
            None => text.to_owned(),
        },
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 64;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("…".chars()).collect()
}
