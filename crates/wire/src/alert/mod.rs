//! Alerts out: what subscribers of the alert topics read.
//!
//! A [`Transition`] of the core and a [`Stamp`] of the run that found it make an
//! [`AlertBody`]. The history topic carries it in an [`Envelope`] (CloudEvents
//! 1.0) with [`headers`]; the topic of open alerts carries it plain, and a
//! tombstone once it is over ([`current_record`]); files carry one body a line.
//!
//! The bytes are canonical: fields in declared order, evidence in the order the
//! signal gave it, numbers through [`published`]. So two runs that find the same
//! write the same bytes, `mode` and `input` aside.
//!
//! [`Transition`]: churnwatch_core::alert::Transition
//! [`published`]: churnwatch_core::alert::published

mod body;
mod envelope;
mod evidence;
#[cfg(test)]
pub(crate) mod example;

pub use body::{
    AccountSummary, AlertBody, InputCoordinates, Mode, MoneyBody, PlaybookBody, SCHEMA_VERSION,
    Stamp, WindowBody,
};
pub use envelope::{Envelope, current_record, headers};
pub use evidence::{EvidenceBody, EvidenceValue};
