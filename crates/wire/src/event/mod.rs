//! The canonical log, read: bytes of `churn.events.v1` to [`Record`]s.
//!
//! Each kind is one file: a struct that is the contract (its doc comments are
//! the published JSON Schema) and a `check` that turns it into the core's
//! event. [`decode`] finds the kind, lets serde read the struct, checks it. A
//! record that fails is read a second time, slowly, to say why: good records
//! pay nothing for the quality of messages about bad ones.

mod account;
mod clock;
mod command;
mod contact;
mod erase;
mod field;
#[cfg(test)]
mod mutation;
mod number;
#[cfg(test)]
mod rejections;
mod resume;
mod seat;
mod shape;
mod ticket;
mod usage;

use churnwatch_core::event::{Clock, Event, EventId, Resume};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use self::{
    account::AccountRecord, clock::ClockRecord, command::CommandRecord, contact::ContactRecord,
    erase::EraseRecord, resume::ResumeRecord, seat::SeatRecord, ticket::TicketRecord,
    usage::UsageRecord,
};
pub use self::{clock::encode_clock, erase::encode_erase, resume::encode_resume};
use self::{
    field::{Name, NotKept, Object},
    shape::{check_object, explain},
};
use crate::rejection::{RejectReason, Rejection, shown};

/// The longest value that is accepted, in bytes: 1 MiB.
pub const VALUE_MAX_BYTES: usize = 1_048_576;

/// Seed of the hash that stands for a producer's id. It is in stored state:
/// another seed would make every repeat look new once.
const EVENT_ID_SEED: u64 = 0;

/// One value of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A fact about an account.
    Event(Event),
    /// A source has been read up to its end.
    Clock(Clock),
    /// A partition that was stopped may go on.
    Resume(Resume),
}

/// Reads a record's value as it comes from Kafka; a record without one is rejected.
///
/// # Errors
/// Says why the value cannot be used: see [`decode`].
pub fn decode_record(value: Option<&[u8]>) -> Result<Record, Rejection> {
    value.map_or_else(
        || {
            Err(Rejection::new(
                RejectReason::NullValue,
                "the record has no value: nothing can be deleted from the log, write an event",
            ))
        },
        decode,
    )
}

/// Reads one canonical value.
///
/// # Errors
/// The value is no JSON object of a known kind, or a field of it breaks the
/// contract. The rejection names the field.
pub fn decode(value: &[u8]) -> Result<Record, Rejection> {
    if value.len() > VALUE_MAX_BYTES {
        let length = value.len();
        return Err(Rejection::new(
            RejectReason::TooLarge,
            format!("the value is {length} bytes long: keep it within {VALUE_MAX_BYTES} bytes"),
        ));
    }
    let text = std::str::from_utf8(value).map_err(|e| {
        let place = e.valid_up_to();
        Rejection::new(
            RejectReason::NotUtf8,
            format!("the value is not UTF-8 from byte {place} on: encode it as UTF-8"),
        )
    })?;
    match leading_kind(text) {
        Some(kind) => read_as(kind, text),
        None => match serde_json::from_str::<Object<Head>>(text) {
            Ok(Object(head)) => read_as(head.kind.as_str(), text),
            Err(_) => Err(explain::<Head>(text)),
        },
    }
}

/// Checks the record's key: an event has to be keyed by its account, or it
/// would lie in another partition than the rest of its account.
///
/// # Errors
/// The key is absent or names something else.
pub fn check_key(key: Option<&[u8]>, record: &Record) -> Result<(), Rejection> {
    let Record::Event(event) = record else {
        return Ok(());
    };
    let account = event.account.as_str();
    match key {
        Some(key) if key == account.as_bytes() => Ok(()),
        Some(key) => Err(Rejection::new(
            RejectReason::KeyMismatch,
            format!(
                "the record key {} is not the account_id {}: key every event by its account",
                shown(&String::from_utf8_lossy(&key[..key.len().min(512)])),
                shown(account),
            ),
        )),
        None => Err(Rejection::new(
            RejectReason::KeyMissing,
            format!(
                "the record has no key: key it by its account_id {}",
                shown(account)
            ),
        )),
    }
}

/// The kind, where it is the first field, as nearly every producer writes it:
/// saves a pass over the record. Only a hint: the record's own struct reads
/// the field again, and everything else is checked there.
fn leading_kind(text: &str) -> Option<&str> {
    let rest = text
        .trim_ascii_start()
        .strip_prefix('{')?
        .trim_ascii_start();
    let rest = rest.strip_prefix("\"kind\"")?.trim_ascii_start();
    let rest = rest.strip_prefix(':')?.trim_ascii_start();
    let (kind, _) = rest.strip_prefix('"')?.split_once('"')?;
    (!kind.contains('\\')).then_some(kind)
}

/// What tells the kinds apart.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Head<'a> {
    kind: Name<'a, NotKept>,
}

fn read_as(kind: &str, text: &str) -> Result<Record, Rejection> {
    match kind {
        "usage" => read::<UsageRecord>(text),
        "ticket" => read::<TicketRecord>(text),
        "account" => read::<AccountRecord>(text),
        "seat" => read::<SeatRecord>(text),
        "contact" => read::<ContactRecord>(text),
        "command" => read::<CommandRecord>(text),
        "erase" => read::<EraseRecord>(text),
        "clock" => read::<ClockRecord>(text),
        "resume" => read::<ResumeRecord>(text),
        _ => {
            check_object(text)?;
            Err(Rejection::new(
                RejectReason::UnknownKind,
                format!(
                    "kind is {}: use one of usage, ticket, account, seat, contact, command, erase, clock, \
                     resume",
                    shown(kind)
                ),
            ))
        }
    }
}

fn read<'a, R: Shape<'a>>(text: &'a str) -> Result<Record, Rejection> {
    match serde_json::from_str::<Object<R>>(text) {
        Ok(Object(record)) => record.check(),
        Err(_) => Err(explain::<R>(text)),
    }
}

/// A record of one kind, as serde reads it.
trait Shape<'a>: Deserialize<'a> {
    /// Checks what the fields mean.
    fn check(&self) -> Result<Record, Rejection>;
}

/// Declares the record of one kind that is about an account: the common
/// fields, and its own. (`#[serde(flatten)]` would do the same at three times
/// the cost for each record.)
macro_rules! account_record {
    ($(#[$doc:meta])* $name:ident, $kind:literal, { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(bound(deserialize = "'de: 'a"))]
        pub(crate) struct $name<'a> {
            /// What sort of record this is.
            #[schemars(with = "String", extend("const" = $kind))]
            kind: $crate::event::field::Name<'a, $crate::event::field::NotKept>,
            /// The account it is about, as all sources name it; also the key of
            /// the record. 1 to 512 bytes without control characters.
            account_id: $crate::event::field::AccountName<'a>,
            /// When it happened (event time): RFC 3339 with an offset, read to the
            /// millisecond.
            time: $crate::event::field::Time<'a>,
            /// The producer's id of this record, by which a repeat within the dedupe
            /// horizon is known and ignored. 1 to 512 bytes. Without it, every
            /// record counts.
            id: Option<$crate::event::field::Name<'a, $crate::event::HashedId>>,
            /// The system it came from; watermarks are kept for each. `log` where
            /// absent. 1 to 512 bytes.
            source: Option<$crate::event::field::Name<'a, churnwatch_core::ids::SourceName>>,
            $($fields)*
        }

        impl<'a> $crate::event::Shape<'a> for $name<'a> {
            fn check(&self) -> Result<$crate::event::Record, $crate::Rejection> {
                use $crate::event::field::Check;

                debug_assert_eq!(self.kind.as_str(), $kind, "read as the kind that it names");
                Ok($crate::event::Record::Event(churnwatch_core::event::Event {
                    account: self.account_id.check("account_id")?,
                    time: self.time.check("time")?,
                    id: self.id.check("id")?.map(|id| id.0),
                    source: self
                        .source
                        .check("source")?
                        .unwrap_or_else(churnwatch_core::ids::SourceName::log),
                    fact: self.fact()?,
                }))
            }
        }
    };
}
use account_record;

/// An id of which only the hash is kept.
#[derive(Debug)]
struct HashedId(EventId);

impl From<&str> for HashedId {
    fn from(id: &str) -> Self {
        Self(EventId(xxh3_64_with_seed(id.as_bytes(), EVENT_ID_SEED)))
    }
}
