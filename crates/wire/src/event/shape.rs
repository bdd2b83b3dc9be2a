//! Why a record has not the shape of its kind: the slow path of decoding.
//!
//! The fast path only learns *that* serde failed. Here the record is taken
//! apart once more, field by field, with the bytes of each kept, so that the
//! rejection can name the field at fault and show what stood in it.

use std::fmt;

use serde::{
    Deserialize,
    de::{self, value::StrDeserializer},
};
use serde_json::{error::Category, value::RawValue};

use crate::rejection::{RejectReason, Rejection, shown};

/// Says why `text` is no `T`.
pub(super) fn explain<'a, T: Deserialize<'a>>(text: &'a str) -> Rejection {
    let fields = match Fields::of(text) {
        Ok(fields) => fields,
        Err(rejection) => return rejection,
    };
    match T::deserialize(de::value::MapAccessDeserializer::new(fields)) {
        Err(fault) => fault.into_rejection(),
        // The fast path refused what this one takes. Should the two ever
        // differ, the record is still kept as a dead letter.
        Ok(_) => Rejection::new(RejectReason::NotJson, "not readable as one JSON object"),
    }
}

/// Says why `text` is no JSON object at all; `Ok` when it is one.
pub(super) fn check_object(text: &str) -> Result<(), Rejection> {
    Fields::of(text).map(drop)
}

/// The fields of one object, in reverse order, each with its unread bytes.
struct Fields<'a> {
    rest: Vec<(String, &'a RawValue)>,
    value: Option<(String, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Result<Self, Rejection> {
        let mut rest = serde_json::from_str::<Pairs<'a>>(text).map_err(|e| match e.classify() {
            Category::Data => Rejection::new(
                RejectReason::NotAnObject,
                format!(
                    "the value is no JSON object ({}): write one object a record",
                    shown(text)
                ),
            ),
            _ => Rejection::new(
                RejectReason::NotJson,
                format!(
                    "the value is not JSON ({}): {e}; write one object a record",
                    shown(text)
                ),
            ),
        })?;
        rest.0.reverse();
        Ok(Self {
            rest: rest.0,
            value: None,
        })
    }
}

impl<'a> de::MapAccess<'a> for Fields<'a> {
    type Error = Fault;

    fn next_key_seed<K: de::DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.value = self.rest.pop();
        match &self.value {
            Some((name, _)) => seed.deserialize(StrDeserializer::new(name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((name, raw)) = self.value.take() else {
            return Err(de::Error::custom("a value without a name"));
        };
        seed.deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
            .map_err(|error| Fault::unfit(&name, raw.get(), &error))
    }
}

/// The same fields as they stand in the text.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> de::Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(PairsVisitor)
    }
}

/// What is wrong with the shape of the first field that does not fit.
#[derive(Debug)]
enum Fault {
    /// A required field is absent.
    Missing(&'static str),
    /// A field stands in the record twice.
    Twice(&'static str),
    /// A field holds something else than it should.
    Unfit(Rejection),
}

impl Fault {
    fn unfit(name: &str, raw: &str, error: &serde_json::Error) -> Self {
        let starts_as_number = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let value = shown_json(raw);
        Self::Unfit(match error.classify() {
            Category::Data if raw == "null" => Rejection::new(
                RejectReason::MissingField,
                format!("{name} is null: it is required, write its value"),
            ),
            Category::Data => Rejection::new(
                RejectReason::WrongType,
                format!("{name} is {value}: {}", complaint(error)),
            ),
            // The bytes of the field are known to be JSON, so a number can only
            // be too large to be held.
            _ if starts_as_number => Rejection::new(
                RejectReason::OutOfRange,
                format!("{name} is {value}: give a number that 64 bits can hold"),
            ),
            _ => Rejection::new(
                RejectReason::NotJson,
                format!("{name} is {value}, which is not valid: {error}"),
            ),
        })
    }

    fn into_rejection(self) -> Rejection {
        match self {
            Self::Missing(name) => Rejection::new(
                RejectReason::MissingField,
                format!("{name} is missing: it is required, write it"),
            ),
            Self::Twice(name) => Rejection::new(
                RejectReason::NotJson,
                format!("{name} stands in the record twice: write each field once"),
            ),
            Self::Unfit(rejection) => rejection,
        }
    }
}

/// The JSON of a field, shortened.
fn shown_json(raw: &str) -> String {
    let mut rest = raw.chars();
    let start: String = rest.by_ref().take(64).collect();
    if rest.next().is_some() {
        start + "…"
    } else {
        start
    }
}

/// What serde_json says of a field, without the value (which may be long) and
/// without line and column (which would count from the start of the field).
fn complaint(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    match message[..end].rsplit_once("expected ") {
        Some((_, "a sequence")) => "write an array".to_owned(),
        Some((_, "a JSON number")) => "write a number".to_owned(),
        Some((_, wanted)) => format!("write {wanted}"),
        None => message[..end].to_owned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Unfit(Rejection::new(RejectReason::WrongType, message.to_string()))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Twice(field)
    }
}
