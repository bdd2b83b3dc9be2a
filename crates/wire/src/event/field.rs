//! What a field may hold: one type for each sort of field.
//!
//! Reading is in two steps. serde reads the *shape* into these types: a string
//! where a string has to stand, borrowed from the record's bytes. Then
//! [`Check`] judges the *meaning*: length, range, word, time. The type also
//! gives the field's JSON Schema, so that what is promised and what is checked
//! stand side by side.

use std::{borrow::Cow, fmt, marker::PhantomData};

use churnwatch_core::{
    event::Patch,
    ids::{ACCOUNT_ID_MAX_BYTES, AccountId, NAME_MAX_BYTES},
    time::{Day, EventTime, Zone, parse_day},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::{
    rejection::{RejectReason, Rejection, shown},
    rfc3339::parse_time,
    vocabulary::{OneOf, Vocabulary},
};

/// A field whose meaning can be judged.
pub(super) trait Check {
    /// What the core gets.
    type Checked;

    /// The checked value; `field` is the name that a rejection gives.
    fn check(&self, field: &str) -> Result<Self::Checked, Rejection>;
}

impl<F: Check> Check for Option<F> {
    type Checked = Option<F::Checked>;

    fn check(&self, field: &str) -> Result<Self::Checked, Rejection> {
        self.as_ref().map(|value| value.check(field)).transpose()
    }
}

/// The longest list of names that is accepted.
pub(super) const LIST_MAX: usize = 1_000;

impl<F: Check> Check for Vec<F> {
    type Checked = Vec<F::Checked>;

    fn check(&self, field: &str) -> Result<Self::Checked, Rejection> {
        let length = self.len();
        if length > LIST_MAX {
            return Err(Rejection::new(
                RejectReason::OutOfRange,
                format!("{field} has {length} entries: name at most {LIST_MAX}"),
            ));
        }
        let checked = self.iter().enumerate().map(|(place, entry)| {
            entry.check(field).map_err(|rejection| Rejection {
                message: format!("{} (entry {place})", rejection.message),
                ..rejection
            })
        });
        checked.collect()
    }
}

macro_rules! text_fields {
    ($($(#[$doc:meta])* $name:ident: $schema:tt)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name<'a>(Cow<'a, str>);

            impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    from.deserialize_str(TextVisitor).map(Self)
                }
            }

            impl JsonSchema for $name<'_> {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        )*
    };
}

// JSON Schema counts characters, we count bytes: a text of 512 characters that
// are not all ASCII fits the schema and is refused all the same.
text_fields! {
    /// The id of the account a record is about.
    AccountName: { "type": "string", "minLength": 1, "maxLength": 512 }
    /// RFC 3339 with an offset.
    Time: { "type": "string", "format": "date-time" }
    /// `YYYY-MM-DD`, or an RFC 3339 time of which the UTC date counts.
    Date: { "type": "string" }
    /// The name of an IANA time zone.
    ZoneName: { "type": "string", "examples": ["Europe/Berlin"] }
    /// An ISO 4217 code.
    Currency: { "type": "string", "pattern": "^[A-Z]{3}$" }
}

/// Takes a string without copying it, where its bytes need no unescaping.
struct TextVisitor;

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

impl Check for AccountName<'_> {
    type Checked = AccountId;

    fn check(&self, field: &str) -> Result<AccountId, Rejection> {
        let id = &*self.0;
        if id.is_empty() {
            return Err(Rejection::new(
                RejectReason::AccountIdEmpty,
                format!("{field} is empty: name the account the record is about"),
            ));
        }
        if id.len() > ACCOUNT_ID_MAX_BYTES {
            return Err(too_long(RejectReason::AccountIdTooLong, field, id));
        }
        no_control_characters(field, id)?;
        Ok(AccountId::from(id))
    }
}

/// An id or a name, kept as `T`: 1 to 512 bytes without control characters.
#[derive(Debug)]
pub(crate) struct Name<'a, T>(Cow<'a, str>, PhantomData<T>);

impl<'de: 'a, 'a, T> Deserialize<'de> for Name<'a, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextVisitor)
            .map(|name| Self(name, PhantomData))
    }
}

impl<T> JsonSchema for Name<'_, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 512 })
    }
}

/// A name that is checked and not kept.
#[derive(Debug)]
pub(crate) struct NotKept;

impl From<&str> for NotKept {
    fn from(_: &str) -> Self {
        Self
    }
}

impl<T: for<'t> From<&'t str>> Check for Name<'_, T> {
    type Checked = T;

    fn check(&self, field: &str) -> Result<T, Rejection> {
        let name = &*self.0;
        if name.is_empty() {
            return Err(Rejection::new(
                RejectReason::BadName,
                format!(
                    "{field} is empty: give a name, or leave the field out where it is optional"
                ),
            ));
        }
        if name.len() > NAME_MAX_BYTES {
            return Err(too_long(RejectReason::NameTooLong, field, name));
        }
        no_control_characters(field, name)?;
        Ok(T::from(name))
    }
}

impl<T> Name<'_, T> {
    /// The text, unchecked.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn too_long(reason: RejectReason, field: &str, name: &str) -> Rejection {
    let length = name.len();
    Rejection::new(
        reason,
        format!(
            "{field} is {length} bytes long ({}): shorten it to {NAME_MAX_BYTES} bytes",
            shown(name)
        ),
    )
}

fn no_control_characters(field: &str, name: &str) -> Result<(), Rejection> {
    let found = if name.is_ascii() {
        name.bytes().any(|byte| byte.is_ascii_control())
    } else {
        name.chars().any(char::is_control)
    };
    if found {
        return Err(Rejection::new(
            RejectReason::BadName,
            format!(
                "{field} holds control characters ({}): remove them",
                shown(name)
            ),
        ));
    }
    Ok(())
}

impl Check for Time<'_> {
    type Checked = EventTime;

    fn check(&self, field: &str) -> Result<EventTime, Rejection> {
        parse_time(&self.0).map_err(|_| {
            Rejection::new(
                RejectReason::BadTime,
                format!(
                    "{field} is no time ({}): write RFC 3339 with an offset, such as 2026-03-01T09:30:00Z",
                    shown(&self.0)
                ),
            )
        })
    }
}

impl Check for Date<'_> {
    type Checked = Day;

    fn check(&self, field: &str) -> Result<Day, Rejection> {
        parse_day(&self.0).map_err(|_| {
            Rejection::new(
                RejectReason::BadTime,
                format!(
                    "{field} is no date ({}): write it as 2026-03-01",
                    shown(&self.0)
                ),
            )
        })
    }
}

impl Check for ZoneName<'_> {
    type Checked = Zone;

    fn check(&self, field: &str) -> Result<Zone, Rejection> {
        Zone::named(&self.0).map_err(|_| {
            Rejection::new(
                RejectReason::UnknownValue,
                format!(
                    "{field} is no time zone we know ({}): use an IANA name such as Europe/Berlin",
                    shown(&self.0)
                ),
            )
        })
    }
}

impl Check for Currency<'_> {
    type Checked = Box<str>;

    fn check(&self, field: &str) -> Result<Box<str>, Rejection> {
        if self.0.len() == 3 && self.0.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Ok(Box::from(&*self.0));
        }
        Err(Rejection::new(
            RejectReason::UnknownValue,
            format!(
                "{field} is no currency ({}): use an ISO 4217 code in upper case, such as EUR",
                shown(&self.0)
            ),
        ))
    }
}

/// One of the words of `T`.
#[derive(Debug)]
pub(crate) struct Word<'a, T>(Cow<'a, str>, PhantomData<T>);

impl<'de: 'a, 'a, T> Deserialize<'de> for Word<'a, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextVisitor)
            .map(|word| Self(word, PhantomData))
    }
}

impl<T: Vocabulary> JsonSchema for Word<'_, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        OneOf::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        OneOf::<T>::json_schema(generator)
    }
}

impl<T: Vocabulary> Check for Word<'_, T> {
    type Checked = T;

    fn check(&self, field: &str) -> Result<T, Rejection> {
        T::of(&self.0).ok_or_else(|| {
            Rejection::new(
                RejectReason::UnknownValue,
                format!("{field} is {}: use one of {}", shown(&self.0), T::words()),
            )
        })
    }
}

/// An object, and nothing else: structs alone would also be read from an array.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
            }
        }

        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<T: Check> Check for Object<T> {
    type Checked = T::Checked;

    fn check(&self, field: &str) -> Result<T::Checked, Rejection> {
        self.0.check(field)
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A field of a merge patch: absent leaves it alone, null removes it. Needs
/// `#[serde(default)]`, or absent would read as null.
#[derive(Debug)]
pub(crate) struct Change<T>(Patch<T>);

impl<T> Default for Change<T> {
    fn default() -> Self {
        Self(Patch::Keep)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Option::<T>::deserialize(from)?;
        Ok(Self(value.map_or(Patch::Remove, Patch::Set)))
    }
}

impl<T: JsonSchema> JsonSchema for Change<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

impl<T: Check> Check for Change<T> {
    type Checked = Patch<T::Checked>;

    fn check(&self, field: &str) -> Result<Patch<T::Checked>, Rejection> {
        Ok(match &self.0 {
            Patch::Keep => Patch::Keep,
            Patch::Remove => Patch::Remove,
            Patch::Set(value) => Patch::Set(value.check(field)?),
        })
    }
}

impl Check for bool {
    type Checked = bool;

    fn check(&self, _: &str) -> Result<bool, Rejection> {
        Ok(*self)
    }
}
