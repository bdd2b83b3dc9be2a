//! The breaker of one partition at work: what stops it, and what lets it go on.
//!
//! ```text
//!            one rejected record too many
//!  reading ------------------------------> standing still at `next_offset`
//!     ^                                        |  reads ahead, applies nothing,
//!     |                                        v  looks for the record `resume`
//!     +------ seek to `next_offset` <----- released
//! ```
//!
//! The record that trips it goes to the dead letters like those before it; what
//! stands behind it stays in the log, and the position stays with it. That the
//! partition has stopped is part of its state, so a restart, another member or
//! a replay stops it at the same record.
//!
//! A person lets it go on by a record in the log, behind the backlog. So a
//! partition that stands still reads ahead for that one record, which names the
//! place of the stop. Then it goes back and reads everything in between for
//! good; met in its turn, the record does nothing.

use churnwatch_core::{
    breaker::{Bound, Breaker, Tripped},
    event::Resume,
};
use churnwatch_faults::{Defence, holds};
use churnwatch_wire::Record;

use crate::source::RecordRef;

/// A breaker with its bound.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None`: it never trips.
    bound: Option<Bound>,
    state: Breaker,
    /// It may go on, and has not gone back yet.
    released: bool,
}

impl Guard {
    /// As it was committed. Without a bound nothing is counted, and a stop is
    /// over.
    pub(crate) fn new(bound: Option<Bound>, committed: Option<&Breaker>) -> Self {
        let keep = bound.is_some() && holds(Defence::BreakerWindow);
        let state = committed.filter(|_| keep).cloned();
        Self {
            bound,
            state: state.unwrap_or_default(),
            released: false,
        }
    }

    /// Takes note of a record that was read.
    pub(crate) fn count(&mut self, offset: i64, rejected: bool) {
        if let Some(bound) = self.bound {
            self.state.count(bound, offset, rejected);
        }
    }

    /// Looks at a record behind the stop, and whether it ends the stop at
    /// `next_offset`.
    pub(crate) fn look_ahead(&mut self, record: &RecordRef<'_>, next_offset: i64) {
        // It has no key, and events without one are of no use.
        if self.released || record.key.is_some() {
            return;
        }
        if let Ok(Record::Resume(Resume { offset, until })) =
            churnwatch_wire::decode_record(record.value)
            && offset == next_offset
        {
            self.state.go_on(until);
            self.released = true;
        }
    }

    /// Whether records are to be applied.
    pub(crate) fn is_reading(&self) -> bool {
        !self.released && self.state.tripped().is_none()
    }

    /// Why it stands still.
    pub(crate) fn tripped(&self) -> Option<Tripped> {
        self.state.tripped()
    }

    /// Whether it may go on, and has to go back first.
    pub(crate) fn is_released(&self) -> bool {
        self.released
    }

    /// It has gone back.
    pub(crate) fn goes_on(&mut self) {
        self.released = false;
    }

    /// What is to be stored.
    pub(crate) fn state(&self) -> &Breaker {
        &self.state
    }
}
