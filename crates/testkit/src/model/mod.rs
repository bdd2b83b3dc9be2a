//! The commit protocol on a model of the broker, by random schedules.
//!
//! The detect loop, the restore and the store are the real ones. What they work
//! on is a broker in memory, which can do what a real one does on a bad day, at
//! the worst moment, many thousand times a minute:
//!
//! ```text
//! schedule   from a seed: what happens, in which order     a run     the same, under way
//! process    the real loop, with its disk                  member    its source, sink and changelog
//! broker     topics, offsets, transactions                 group     members, generations, who owns what
//! topic      records, markers, last stable offset,         log       what is read, and what has to
//!            compaction                                              come of it
//! faults     what goes wrong, and how often                counts    how much of it did
//! ```
//!
//! It tests our logic, as far as we understand the broker; whether we do is
//! tested on a real one.

mod broker;
mod counts;
mod faults;
mod group;
mod log;
mod member;
mod process;
mod random;
mod run;
mod schedule;
mod search;
mod topic;

pub use churnwatch_faults::Defence;

pub use self::{
    counts::Counts,
    faults::{Faults, Misfortune},
    schedule::{Fault, Outcome, Setup, Wrong},
    search::{Found, search, seed_of_this_run},
};
