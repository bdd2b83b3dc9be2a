//! Where alerts, dead letters and state changes go: together, or not at all.

use churnwatch_core::{EventTime, alert::Transition};
use churnwatch_wire::{AlertBody, DeadLetter, Envelope, Stamp};

use crate::source::{PartitionId, TopicIds};

/// One atomic step of the world: what a batch of records led to.
#[derive(Debug, Default)]
pub struct Epoch {
    /// Alert transitions, in the order in which they arose.
    pub alerts: Vec<Emission>,
    /// Records that could not be applied, as they came.
    pub dead_letters: Vec<DeadLetter>,
    /// The partitions that moved, each with its changed rows.
    pub partitions: Vec<PartitionEpoch>,
}

/// One partition's part of an [`Epoch`].
#[derive(Debug)]
pub struct PartitionEpoch {
    /// Which partition.
    pub partition: PartitionId,
    /// Counts the epochs of the partition, from 1.
    pub epoch: u64,
    /// The next offset to read.
    pub next_offset: i64,
    /// Digest of the partition's rows after this epoch.
    pub digest: u128,
    /// Changed rows for the changelog: key and value (`None` deletes).
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The epoch record, written after `rows`: key and value.
    pub epoch_record: (Vec<u8>, Vec<u8>),
    /// The topics in which `next_offset` and the changelog's offsets count.
    pub topics: TopicIds,
}

/// A transition on its way out.
#[derive(Debug)]
pub struct Emission {
    /// What moved.
    pub transition: Transition,
    /// The body as it will be read.
    pub body: AlertBody,
    /// When the log took in the record that caused it.
    pub appended_at: Option<EventTime>,
}

impl Emission {
    /// Stamps a transition with its origin.
    pub fn new(transition: Transition, stamp: &Stamp<'_>, appended_at: Option<EventTime>) -> Self {
        let body = AlertBody::new(&transition, stamp);
        Self {
            transition,
            body,
            appended_at,
        }
    }

    /// For the history topic: key, headers and the CloudEvents envelope.
    pub fn history(&self) -> (String, Vec<(&'static str, String)>, Vec<u8>) {
        (
            self.transition.alert.account_id.to_string(),
            churnwatch_wire::headers(&self.transition),
            Envelope::new(&self.transition, self.body.clone()).to_json(),
        )
    }

    /// For the compacted topic: the alert key, and the body while the alert is
    /// open (`None`: a tombstone).
    pub fn current(&self) -> (String, Option<Vec<u8>>) {
        churnwatch_wire::current_record(&self.transition, &self.body)
    }
}

/// Takes epochs and makes them so.
pub trait Sink {
    /// Commits an epoch in one step. On success it gives, for each partition
    /// of the epoch in order, the changelog offset of its epoch record.
    ///
    /// # Errors
    /// Whatever the kind, the caller must take it that nothing it holds in
    /// memory is true any more: it drops it and reads the committed position.
    fn commit(&mut self, epoch: &Epoch) -> Result<Vec<i64>, CommitError>;

    /// Makes the sink usable after an error (a new producer, say).
    ///
    /// # Errors
    /// [`CommitError::Retry`] when it should be tried again later.
    fn reset(&mut self) -> Result<(), CommitError>;

    /// Writes a clock record into a partition of the log, outside of any
    /// transaction, without waiting for it.
    fn write_clock(&mut self, partition: PartitionId, value: Vec<u8>);
}

/// Why an epoch was not committed, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was committed; the batch may be done again.
    #[error("transaction aborted: {0}")]
    Aborted(String),
    /// It may or may not have been committed: only the group's offsets tell.
    #[error("commit in doubt: {0}")]
    InDoubt(String),
    /// Another member owns what we wanted to commit for.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The broker cannot be reached; later.
    #[error("{0}; retrying")]
    Retry(String),
    /// A file cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// Only a person can help.
    #[error("{0}")]
    Fatal(String),
}

impl CommitError {
    /// Label for `producer_resets_total`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Aborted(_) => "aborted",
            Self::InDoubt(_) => "in_doubt",
            Self::Fenced(_) => "fenced",
            Self::Retry(_) => "unreachable",
            Self::Output(_) | Self::Fatal(_) => "fatal",
        }
    }
}
