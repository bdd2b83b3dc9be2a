//! Where records come from, and where state is read back from.
//!
//! Two implementations exist: files ([`crate::files`]) and Kafka (the crate
//! `churnwatch-kafka`). The loop in [`crate::detect`] drives both the same way:
//!
//! ```text
//! poll -> Assigned(p)  -> accept(p) -> committed(p) -> restore p -> resume(p, offset)
//!      -> Records(n)   (each handed to the visitor before poll returns)
//!      -> Revoked(p)   -> the open epoch is finished or dropped -> release(p)
//!      -> Idle | Ended
//! ```

use std::{collections::BTreeMap, time::Duration};

use churnwatch_core::EventTime;

/// A partition of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub i32);

impl std::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A record of the log, lent for the time of one visit.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// Where it stands.
    pub partition: PartitionId,
    /// Where it stands in its partition.
    pub offset: i64,
    /// When the log took it in (`LogAppendTime`); `None` where nobody knows,
    /// and then the check against wrong clocks is off.
    pub appended_at: Option<EventTime>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, needed for dead letters only.
    pub headers: &'a dyn Headers,
}

/// Headers of a record, read only when somebody asks.
pub trait Headers: std::fmt::Debug {
    /// All headers, in order.
    fn to_vec(&self) -> Vec<(String, Option<Vec<u8>>)>;
}

/// A record without headers.
#[derive(Debug)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn to_vec(&self) -> Vec<(String, Option<Vec<u8>>)> {
        Vec::new()
    }
}

/// What a poll brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// This many records went to the visitor.
    Records(usize),
    /// Nothing within the time given.
    Idle,
    /// These partitions are ours from now on; they deliver nothing before
    /// [`Source::resume`].
    Assigned(Vec<PartitionId>),
    /// These partitions go; [`Source::release`] must follow soon. When `lost`,
    /// somebody else may own them already and nothing may be committed for them.
    Revoked {
        /// Which ones.
        partitions: Vec<PartitionId>,
        /// Taken without asking.
        lost: bool,
    },
    /// The input has an end, and this is it (files only).
    Ended,
}

/// What the group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub next_offset: i64,
    /// The changelog position that belongs to it; `None` when the offset was
    /// committed by something else than this detector.
    pub mark: Option<ChangelogMark>,
}

/// The place in the changelog that belongs to a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangelogMark {
    /// The epoch.
    pub epoch: u64,
    /// Offset of the epoch's record in the changelog.
    pub changelog_offset: i64,
    /// Digest of the state at that epoch.
    pub digest: u128,
}

/// Which topics a position belongs to. A topic that was deleted and made again
/// is another one under the same name, and a position in the former means
/// nothing in it. `None` where nobody says: old brokers, files, offsets that
/// were committed by versions before this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicIds {
    /// The log.
    pub log: Option<String>,
    /// The changelog; beside a committed offset, its id and the first offset
    /// that its partition had, as [`TopicIds::changelog_from`] writes it.
    pub changelog: Option<String>,
}

impl TopicIds {
    /// With the first offset of the changelog's partition: when that moves,
    /// records were deleted that nobody has written again.
    #[must_use]
    pub fn changelog_from(self, first: i64) -> Self {
        let changelog = self.changelog.map(|id| format!("{id}@{first}"));
        Self { changelog, ..self }
    }
}

/// A source of records with assigned partitions.
pub trait Source {
    /// Waits up to `timeout` and hands what came to `visit`. At most one of
    /// the things of [`Polled`] happens in a call.
    ///
    /// # Errors
    /// [`SourceError::Retry`] is waited out by the loop; the others end it.
    fn poll(
        &mut self,
        timeout: Duration,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<Polled, SourceError>;

    /// Whether it is known for the first time which partitions are ours; they
    /// may be none, and then no [`Polled::Assigned`] tells.
    fn has_joined(&self) -> bool {
        true
    }

    /// Takes assigned partitions, paused.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn accept(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError>;

    /// The group's committed position of each partition, stable (no open
    /// transaction pending on it), within `timeout`.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn committed(
        &mut self,
        partitions: &[PartitionId],
        timeout: Duration,
    ) -> Result<Vec<(PartitionId, Option<Committed>)>, SourceError>;

    /// The topics as they are now.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn topic_ids(&mut self) -> Result<TopicIds, SourceError> {
        Ok(TopicIds::default())
    }

    /// The topics to which the position belongs that [`Source::committed`] gave
    /// last for this partition.
    fn committed_in(&self, _partition: PartitionId) -> TopicIds {
        TopicIds::default()
    }

    /// First and next offset of a partition of the log. An offset outside of
    /// them cannot be read.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn bounds(&mut self, partition: PartitionId) -> Result<(i64, i64), SourceError>;

    /// Lets a partition deliver from `offset` on.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), SourceError>;

    /// Stops a partition from delivering; it stays ours.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError>;

    /// Gives revoked partitions up.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn release(&mut self, partitions: &[PartitionId], lost: bool) -> Result<(), SourceError>;

    /// Next offset of each partition, as far as it is known without asking;
    /// for the lag.
    fn ends(&mut self) -> BTreeMap<PartitionId, i64> {
        BTreeMap::new()
    }

    /// For how long the committed records of each partition have not moved
    /// although others stand behind them, as far as it is known without asking:
    /// a transaction was left open there.
    fn held_back(&mut self) -> BTreeMap<PartitionId, Duration> {
        BTreeMap::new()
    }

    /// Leaves the group and closes, within a bound.
    fn close(&mut self);
}

/// Reads the changelog back, one partition at a time and in steps, so that the
/// loop goes on polling meanwhile.
pub trait Changelog {
    /// Starts reading `partition` behind changelog offset `after` (`-1`: from
    /// its first record). Gives the first offset that exists and the next one
    /// to be written (committed records only).
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn begin(&mut self, partition: PartitionId, after: i64) -> Result<(i64, i64), SourceError>;

    /// Reads on for up to `timeout`, handing over offset, key and value
    /// (`None`: a deletion), until the visitor answers
    /// [`Visit::Stop`] or the end is reached.
    ///
    /// # Errors
    /// As [`Source::poll`].
    #[expect(clippy::type_complexity, reason = "offset, key and value, named above")]
    fn read(
        &mut self,
        timeout: Duration,
        visit: &mut dyn FnMut(i64, &[u8], Option<&[u8]>) -> Visit,
    ) -> Result<ChangelogRead, SourceError>;

    /// The log to which the epoch record belongs that was handed over last.
    fn log_id(&self) -> Option<String> {
        None
    }

    /// Whether a record stands at `offset` or behind it that a transaction
    /// keeps from readers of committed records.
    ///
    /// # Errors
    /// As [`Source::poll`].
    fn is_held_back(&mut self, _partition: PartitionId, _offset: i64) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// Stops reading.
    fn end(&mut self);

    /// Whether committed state can be read back from it. Where it cannot, what
    /// is lost on disk is lost.
    fn is_durable(&self) -> bool {
        true
    }
}

/// Whether a reader wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Go on.
    More,
    /// That was the last one wanted.
    Stop,
}

/// How far a step of reading the changelog came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangelogRead {
    /// The visitor said stop.
    Stopped,
    /// The time was used up.
    More,
    /// Nothing committed is left to read.
    AtEnd,
}

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Try again later; nothing is wrong with us.
    #[error("{0}; retrying")]
    Retry(String),
    /// The group or the connection must be joined anew: drop what is not
    /// committed and start over.
    #[error("{0}; starting over from the committed position")]
    Rejoin(String),
    /// Only a person can help.
    #[error("{0}")]
    Fatal(String),
}
