//! The deserializer: a value, its path, and a list of the fields that its type does not know.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{Unexpected, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::did_you_mean;
use super::path::{Path, show};
use super::wrong::Wrong;
use crate::diagnostic::Problem;

/// Reads one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'de, 'p> {
    value: &'de Value,
    path: &'p Path<'p>,
    unknown: &'p RefCell<Vec<Problem>>,
}

impl<'de, 'p> Reader<'de, 'p> {
    pub(super) fn new(value: &'de Value, path: &'p Path<'p>, unknown: &'p RefCell<Vec<Problem>>) -> Self {
        Self { value, path, unknown }
    }

    fn fields<V: Visitor<'de>>(
        self,
        fields: &'de Map<String, Value>,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if let Some(known) = known {
            for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
                let path = show(&Path::Field(self.path, name).segments());
                let message = format!("unknown field {name:?}: {}", did_you_mean(name, known));
                self.unknown.borrow_mut().push(Problem::schema(path, message));
            }
        }
        let access = Fields { rest: fields.iter(), known, value: None, reader: self };
        visitor.visit_map(access).map_err(|wrong| wrong.at(self.path))
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let read = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                _ => Err(Wrong::custom("is no number that can be represented")),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { rest: items.iter().enumerate(), reader: self }),
            Value::Object(fields) => return self.fields(fields, None, visitor),
        };
        read.map_err(|wrong| wrong.at(self.path))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Object(fields) => self.fields(fields, Some(known), visitor),
            _ => {
                let read = Err(Wrong::invalid_type(kind_of(self.value), &visitor));
                read.map_err(|wrong: Wrong| wrong.at(self.path))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let read = if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) };
        read.map_err(|wrong: Wrong| wrong.at(self.path))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self).map_err(|wrong: Wrong| wrong.at(self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let read = match self.value {
            Value::String(text) => visitor.visit_enum(Variant(text)),
            other => Err(Wrong::invalid_type(kind_of(other), &"a string")),
        };
        read.map_err(|wrong| wrong.at(self.path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier
    }
}

/// The entries of a mapping, without those that its type does not know.
struct Fields<'de, 'p> {
    rest: serde_json::map::Iter<'de>,
    known: Option<&'static [&'static str]>,
    value: Option<(&'de str, &'de Value)>,
    reader: Reader<'de, 'p>,
}

impl<'de> MapAccess<'de> for Fields<'de, '_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let known = |name: &str| self.known.is_none_or(|known| known.contains(&name));
        let Some((name, value)) = self.rest.find(|(name, _)| known(name)) else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(Key(name)).map(Some).map_err(|wrong| wrong.at(&Path::Field(self.reader.path, name)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (name, value) = self.value.take().ok_or_else(|| Wrong::custom("a value without its key"))?;
        let path = Path::Field(self.reader.path, name);
        seed.deserialize(Reader::new(value, &path, self.reader.unknown)).map_err(|wrong| wrong.at(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The items of a list.
struct Items<'de, 'p> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
    reader: Reader<'de, 'p>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let Some((index, value)) = self.rest.next() else { return Ok(None) };
        let path = Path::Index(self.reader.path, index);
        let read = seed.deserialize(Reader::new(value, &path, self.reader.unknown));
        read.map(Some).map_err(|wrong| wrong.at(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A key: a text, or the number that a map's key type wants (`portLevelMtls`).
struct Key<'de>(&'de str);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let canonical = |number: &u16| number.to_string() == self.0;
        let Some(number) = self.0.parse().ok().filter(canonical) else {
            return Err(Wrong::invalid_value(Unexpected::Str(self.0), &"a port from 1 to 65535"));
        };
        visitor.visit_u16(number)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A variant without content, by its name.
struct Variant<'de>(&'de str);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Wrong> {
        Ok((seed.deserialize(IntoDeserializer::<Wrong>::into_deserializer(self.0))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        Ok(())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, Wrong> {
        Err(Wrong::invalid_type(Unexpected::Str(self.0), &"a mapping"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Wrong> {
        Err(Wrong::invalid_type(Unexpected::Str(self.0), &visitor))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        Err(Wrong::invalid_type(Unexpected::Str(self.0), &visitor))
    }
}

fn kind_of(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Unexpected::Unsigned(number),
            (None, Some(number)) => Unexpected::Signed(number),
            (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}
