//! Fields that hold a number: read as any JSON number, then held against the
//! bounds that the field's type names.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::field::Check;
use crate::rejection::{RejectReason, Rejection};

/// A whole number from `MIN` to `MAX`, kept as `T`, which holds all of them.
#[derive(Debug)]
pub(crate) struct Whole<T, const MIN: i64, const MAX: i64>(serde_json::Number, PhantomData<T>);

impl<'de, T, const MIN: i64, const MAX: i64> Deserialize<'de> for Whole<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde_json::Number::deserialize(from).map(|number| Self(number, PhantomData))
    }
}

impl<T, const MIN: i64, const MAX: i64> JsonSchema for Whole<T, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<T: TryFrom<i64>, const MIN: i64, const MAX: i64> Check for Whole<T, MIN, MAX> {
    type Checked = T;

    /// `3.0` is a whole number, as JSON Schema has it; `3.5` is none.
    fn check(&self, field: &str) -> Result<T, Rejection> {
        // Every number here comes from JSON text, so it is finite.
        let float = self.0.as_f64().unwrap_or(f64::NAN);
        let whole = match self.0.as_i64() {
            Some(whole) => whole,
            None if float.fract() == 0.0 => float as i64, // saturates, and is out of range then
            None => {
                return Err(Rejection::new(
                    RejectReason::WrongType,
                    format!("{field} is {}: write a whole number", self.0),
                ));
            }
        };
        match T::try_from(whole) {
            Ok(number) if (MIN..=MAX).contains(&whole) => Ok(number),
            _ => Err(out_of_range(field, &self.0.to_string(), MIN, MAX)),
        }
    }
}

/// A number from `MIN` to `MAX`.
#[derive(Debug)]
pub(crate) struct Real<const MIN: i64, const MAX: i64>(f64);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Real<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl de::Visitor<'_> for NumberVisitor {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }

            fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }
        }

        from.deserialize_f64(NumberVisitor).map(Self)
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Real<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Real".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: i64, const MAX: i64> Check for Real<MIN, MAX> {
    type Checked = f64;

    /// The number, with one zero only.
    fn check(&self, field: &str) -> Result<f64, Rejection> {
        if (MIN as f64..=MAX as f64).contains(&self.0) {
            return Ok(self.0 + 0.0);
        }
        Err(out_of_range(field, &self.0.to_string(), MIN, MAX))
    }
}

fn out_of_range(field: &str, value: &str, min: i64, max: i64) -> Rejection {
    let value: String = value.chars().take(64).collect();
    Rejection::new(
        RejectReason::OutOfRange,
        format!("{field} is {value}: give a number from {min} to {max}"),
    )
}
