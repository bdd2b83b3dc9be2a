//! Why a record could not be used.

use std::fmt;

/// How much of an offending value a message shows, in characters.
const SHOWN_CHARS: usize = 64;

/// Which step refused a record: the `__connect.errors.stage` of its dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The bytes are no record of a known kind.
    Decode,
    /// The record is well formed, but breaks the contract.
    Validate,
    /// The record's time lies ahead of the time at which it was appended.
    Skew,
}

impl Stage {
    /// The name in the dead-letter header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Validate => "validate",
            Self::Skew => "skew",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal at $stage:ident,)*) => {
        /// The kinds of rejection: bounded, so that each can be a metric label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RejectReason {
            $($(#[$doc])* $reason,)*
        }

        impl RejectReason {
            /// Every reason, in the order of the checks.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The metric label, and the dead letter's
            /// `__connect.errors.exception.class.name`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }

            /// The step that refuses a record for this reason.
            pub const fn stage(self) -> Stage {
                match self {
                    $(Self::$reason => Stage::$stage,)*
                }
            }
        }
    };
}

reasons! {
    /// The record has no value: a tombstone, which means nothing in an event log.
    NullValue = "null_value" at Decode,
    /// The value is longer than [`crate::VALUE_MAX_BYTES`].
    TooLarge = "too_large" at Decode,
    /// The value is not UTF-8.
    NotUtf8 = "not_utf8" at Decode,
    /// The value is not JSON (RFC 8259), or a field stands in it twice.
    NotJson = "not_json" at Decode,
    /// The value is JSON, but no object.
    NotAnObject = "not_an_object" at Decode,
    /// The `kind` is not one of ours.
    UnknownKind = "unknown_kind" at Decode,
    /// A required field is absent or null.
    MissingField = "missing_field" at Decode,
    /// A field has another JSON type than the contract says.
    WrongType = "wrong_type" at Decode,
    /// `account_id` is the empty string.
    AccountIdEmpty = "account_id_empty" at Validate,
    /// `account_id` is longer than 512 bytes.
    AccountIdTooLong = "account_id_too_long" at Validate,
    /// A name is empty or holds control characters.
    BadName = "bad_name" at Validate,
    /// A name is longer than 512 bytes.
    NameTooLong = "name_too_long" at Validate,
    /// A time or date that does not parse.
    BadTime = "bad_time" at Validate,
    /// A number outside the bounds of its field.
    OutOfRange = "out_of_range" at Validate,
    /// A word that is not in the field's vocabulary.
    UnknownValue = "unknown_value" at Validate,
    /// An event without a record key.
    KeyMissing = "key_missing" at Validate,
    /// An event whose record key is not its account id.
    KeyMismatch = "key_mismatch" at Validate,
    /// The event time is further ahead of the append time than the allowed skew.
    TimeAhead = "time_ahead" at Skew,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    /// For machines.
    pub reason: RejectReason,
    /// For people: the field, the offending value (shortened) and what to do.
    pub message: String,
}

impl Rejection {
    /// A rejection with its message.
    pub fn new(reason: RejectReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// A value as messages show it: quoted, escaped, at most 64 characters of it.
pub(crate) fn shown(value: &str) -> String {
    let mut rest = value.chars();
    let start: String = rest.by_ref().take(SHOWN_CHARS).collect();
    let more = if rest.next().is_some() { "…" } else { "" };
    format!("{start:?}{more}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_that_fits_a_metric_label() {
        let names: BTreeSet<_> = RejectReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), RejectReason::ALL.len());
        for name in names {
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'8'),
                "{name}"
            );
        }
    }

    #[test]
    fn a_long_value_is_shortened_between_characters() {
        let value = "ü".repeat(65);
        assert_eq!(shown(&value), format!("\"{}\"…", "ü".repeat(64)));
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
    }
}
