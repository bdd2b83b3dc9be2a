//! Canonical bytes on our topics, versioned: events in, alerts out, dead
//! letters, and the JSON Schemas that describe them.
//!
//! ```text
//!   churn.events.v1                                    churn.alerts.v1          Envelope + headers
//!   key, value ──> decode_record ──> Record ─┐    ┌──> churn.alerts.current.v1  AlertBody or tombstone
//!                        │                core    │
//!                        │                   └─ Transition
//!                        └──> Rejection ──> DeadLetter ──> churn.dead-letters.v1
//! ```
//!
//! - A [`Record`] is one value of the log: an event about an account, a clock,
//!   or the end of a stop. [`decode`] reads it and checks everything the contract promises to
//!   the core: lengths, ranges, words, times.
//! - A [`Rejection`] says why a record could not be used: a [`RejectReason`]
//!   for machines (metric label, dead-letter header) and a sentence for people
//!   that names the field, shows the value and says what to do.
//! - An [`AlertBody`] is what subscribers read; an [`Envelope`] is the
//!   CloudEvents form of it on the history topic. The same [`Transition`] and
//!   [`Stamp`] always give the same bytes.
//! - A [`DeadLetter`] keeps a rejected record as it came, with Kafka Connect's
//!   headers around it.
//! - [`schemas`] and [`asyncapi`] describe all of it; [`is_additive`] guards
//!   them against changes that would break a producer or a subscriber.
//!
//! Unknown fields are ignored on input, never an error: a producer may be
//! newer than we are. Nothing here reads a clock, a file or the environment.
//!
//! [`Transition`]: churnwatch_core::alert::Transition

mod alert;
mod dead_letter;
mod event;
mod rejection;
mod rfc3339;
mod schema;
mod score_row;
mod vocabulary;

pub use alert::{
    AccountSummary, AlertBody, Envelope, EvidenceBody, EvidenceValue, InputCoordinates, Mode,
    MoneyBody, PlaybookBody, SCHEMA_VERSION, Stamp, WindowBody, current_record, headers,
};
pub use dead_letter::{DeadLetter, DeadLetterLine, HeaderLine, Payload};
pub use event::{
    Record, VALUE_MAX_BYTES, check_key, decode, decode_record, encode_clock, encode_erase,
    encode_resume,
};
pub use rejection::{RejectReason, Rejection, Stage};
pub use rfc3339::{CalendarDate, UtcTime, parse_time};
pub use schema::{Direction, asyncapi, is_additive, schemas};
pub use score_row::ScoreRow;
