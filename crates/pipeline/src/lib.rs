//! The detect loop, read top to bottom, and the [`Source`] and [`Sink`] it
//! works on.
//!
//! - [`detect`] holds the loop and one event's whole journey;
//! - a [`task::Task`] is one partition of the log with its state;
//! - [`restore`] brings a task to the committed position;
//! - a [`batch::Batch`] is what has been applied and not yet committed;
//! - [`ownership`] is the book of which partitions are whose, and how far they
//!   were read and committed;
//! - [`source`] and [`sink`] are what the loop needs of the world, and
//!   [`files`] is one such world.

pub mod batch;
mod breaker;
pub mod detect;
mod dues;
pub mod error;
pub mod files;
pub mod ownership;
pub mod restore;
pub mod scores;
pub mod sink;
pub mod source;
pub mod task;

pub use churnwatch_core::{EventTime, breaker::Bound};
pub use churnwatch_wire::DeadLetter;

pub use self::{
    detect::{Detector, Settings},
    error::DetectError,
    sink::{CommitError, Emission, Epoch, PartitionEpoch, Sink},
    source::{
        Changelog, ChangelogMark, ChangelogRead, Committed, PartitionId, Polled, RecordRef, Source,
        SourceError, TopicIds, Visit,
    },
};
