//! Bringing a partition's store to exactly the committed position.
//!
//! The group's committed offset carries the place in the changelog that
//! belongs to it: epoch, changelog offset and digest. A store that is behind
//! (an unclean stop, another machine, a lost disk) reads the changelog from its
//! own position to exactly that record, no further and no less; "to the end"
//! is not a place while another member is still writing. Then every row is read
//! once, and what they add up to must be the committed digest.
//!
//! ```text
//!  store epoch = committed        verify
//!  store epoch < committed        read the changelog in between, verify
//!  store epoch > committed        somebody moved the group back: rebuild
//!   or same epoch, other offset   the same
//!  digest differs                 rebuild once; still different: stop, with the reason
//!  no committed offset            the newest epoch record of the changelog is the truth;
//!                                 with an empty changelog and store: a first start
//! ```
//!
//! It works in steps, so that the loop goes on polling meanwhile.

mod proof;

use std::time::{Duration, Instant};

use churnwatch_core::breaker::Bound;
use churnwatch_faults::{Defence, Moment, holds, pass};
use churnwatch_store::{PartitionStore, RestoredRows, Scan, StateDir, StoreError, TaskRow, key};

use crate::{
    source::{
        Changelog, ChangelogMark, ChangelogRead, Committed, PartitionId, Source, SourceError,
        TopicIds, Visit,
    },
    task::Task,
};

/// Rows written to the store at a time, and the bytes at which it is done with
/// fewer.
const ROWS_AT_A_TIME: usize = 2_000;
const BYTES_AT_A_TIME: usize = 2 << 20;

/// Records of a changelog from which on an empty store is set up for it.
const BULK_RECORDS: i64 = 20_000;

/// How long asking the broker may take at a time.
const ASK: Duration = Duration::from_secs(5);

/// How long the end of a committed transaction may take to reach the changelog.
const MARKERS: Duration = Duration::from_secs(30);

/// After this long without it, somebody is asked what keeps it.
const MARKERS_ARE_LATE: Duration = Duration::from_secs(1);

/// A partition on its way to the committed position.
pub(crate) struct Restore {
    pub(crate) partition: PartitionId,
    /// When the group gave it to us, if that is why it is restored.
    pub(crate) assigned: Option<Instant>,
    stage: Stage,
    /// Whether the store is known to be damaged, and has to go first.
    distrusted: bool,
    /// Whether it was rebuilt from the beginning already.
    rebuilt: bool,
    pub(crate) began: Instant,
    /// It waits until then.
    not_before: Option<Instant>,
    /// Since when the changelog lacks what the group has committed.
    markers_missed: Option<Instant>,
    /// What it has done so far.
    pub(crate) work: Work,
    /// Share of the changelog that is read, 0 to 1.
    pub(crate) progress: f64,
}

enum Stage {
    /// Nothing is known yet.
    Waiting,
    /// Reading the changelog into the store.
    Reading(Box<Reading>),
    /// All is read, and the store puts it in order.
    Settling(Box<Settling>),
    /// It cannot go on without a person.
    Stopped,
}

struct Reading {
    store: PartitionStore,
    /// Where to stop; `None`: at the newest epoch record.
    target: Option<ChangelogMark>,
    /// What the group has committed.
    committed: Option<Committed>,
    /// First and next offset of the changelog when reading began.
    span: (i64, i64),
    ground: Ground,
    /// Rows since the last epoch record: not known to be committed as a whole
    /// before it is read.
    rows: RestoredRows,
    /// The newest epoch record that was read.
    epoch: Option<TaskRow>,
    /// Whether the store is set up for many rows.
    bulk: bool,
}

struct Settling {
    store: PartitionStore,
    /// The position that its rows belong to.
    row: TaskRow,
    committed: Option<Committed>,
    ground: Ground,
}

/// What a restore has done, and where its time went.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Rows read from the changelog.
    pub(crate) rows: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// Waiting for rows and taking them over.
    pub(crate) reading: Duration,
    /// Writing them to the store.
    pub(crate) writing: Duration,
    /// Reading them back and adding up their digest.
    pub(crate) proving: Duration,
    /// What was found then.
    pub(crate) kept: Scan,
}

/// The topics under a position.
#[derive(Debug, Clone)]
struct Ground {
    /// Those of today.
    topics: TopicIds,
    /// Whether the changelog has lost records since the position was committed.
    lacks_rows: bool,
}

/// How a step ended.
pub(crate) enum Step {
    /// More is to be done.
    Going,
    /// Done: the task stands at the committed position.
    Ready(Box<Task>),
    /// It stops here, with the reason.
    Stopped(String),
}

/// What a restore needs to know.
pub(crate) struct Place<'a> {
    pub(crate) state: &'a StateDir,
    /// Partitions of the log.
    pub(crate) partitions: u32,
    /// Accounts to keep decoded.
    pub(crate) cached_accounts: usize,
    /// When the partition is to be stopped.
    pub(crate) breaker: Option<Bound>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Restore {
    pub(crate) fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            assigned: None,
            stage: Stage::Waiting,
            distrusted: false,
            rebuilt: false,
            began: Instant::now(),
            not_before: None,
            markers_missed: None,
            work: Work::default(),
            progress: 0.0,
        }
    }

    /// A partition that the group has given us.
    pub(crate) fn of_assigned(partition: PartitionId) -> Self {
        Self {
            assigned: Some(Instant::now()),
            ..Self::new(partition)
        }
    }

    /// The same from the start, with the time that it has taken already.
    pub(crate) fn again(&self) -> Self {
        Self {
            assigned: self.assigned,
            began: self.began,
            markers_missed: self.markers_missed,
            ..Self::new(self.partition)
        }
    }

    /// For how long the changelog has kept from us what the group committed.
    pub(crate) fn held_back(&self) -> Duration {
        self.markers_missed
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.stage, Stage::Stopped)
    }

    /// Whether there is something to do for it now.
    pub(crate) fn is_due(&self) -> bool {
        !self.is_stopped() && self.not_before.is_none_or(|then| Instant::now() >= then)
    }

    /// The store gave back something else than was written: it is deleted
    /// before anything else.
    pub(crate) fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Leaves it alone for a while.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.not_before = Some(Instant::now() + time);
    }

    /// Whether it is its partition that the changelog's reader stands in.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.stage, Stage::Reading(_))
    }

    /// Works for about `budget`.
    pub(crate) fn step<S: Source, C: Changelog>(
        &mut self,
        source: &mut S,
        changelog: &mut C,
        place: &Place<'_>,
        budget: Duration,
    ) -> Result<Step, RestoreError> {
        if self.distrusted {
            match place.state.remove_partition(self.partition.0) {
                Err(StoreError::PartitionOpen { .. }) => return Ok(Step::Going),
                removed => removed?,
            }
            self.distrusted = false;
            self.rebuilt = true;
        }
        let result = match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Stopped => {
                self.stage = Stage::Stopped;
                return Ok(Step::Going);
            }
            Stage::Waiting => self.begin(source, changelog, place),
            Stage::Reading(reading) => self.read(*reading, source, changelog, place, budget),
            Stage::Settling(settling) => self.settle(*settling, source, place),
        };
        match result {
            Err(RestoreError::Store(error)) if error.wants_rebuild() && !self.rebuilt => {
                // The changelog may have it right.
                tracing::warn!(partition = self.partition.0, %error, "rebuilding the state from the changelog");
                changelog.end();
                self.distrusted = true;
                Ok(Step::Going)
            }
            Err(RestoreError::Store(error)) if error.wants_rebuild() => {
                changelog.end();
                Ok(self.stop(format!(
                    "partition {}: built anew from the changelog, the state is still wrong ({error}): \
                     the changelog has lost or changed rows; restore the topic, or start anew with \
                     another group, changelog and state directory",
                    self.partition
                )))
            }
            Ok(Step::Stopped(reason)) => Ok(self.stop(reason)),
            other => other,
        }
    }

    fn stop(&mut self, reason: String) -> Step {
        self.stage = Stage::Stopped;
        Step::Stopped(reason)
    }

    fn begin<S: Source, C: Changelog>(
        &mut self,
        source: &mut S,
        changelog: &mut C,
        place: &Place<'_>,
    ) -> Result<Step, RestoreError> {
        let committed = source
            .committed(&[self.partition], ASK)?
            .into_iter()
            .find_map(|(partition, committed)| (partition == self.partition).then_some(committed))
            .flatten();
        let now = source.topic_ids()?;
        let then = source.committed_in(self.partition);
        if let Some(Committed { next_offset, .. }) = &committed
            && differ(then.log.as_deref(), now.log.as_deref())
        {
            return Ok(Step::Stopped(self.log_made_anew(*next_offset)));
        }
        let mut store = match place.state.partition(self.partition.0) {
            // It came from another worker of this process that was thrown out
            // of the group and does not know it yet.
            Err(StoreError::PartitionOpen { .. }) => return Ok(Step::Going),
            opened => opened?,
        };
        if let Some(row) = store.task() {
            row.check_partitions(place.partitions)?;
        }
        let position = committed.as_ref().map(|committed| committed.next_offset);
        let target = match &committed {
            None => None,
            Some(Committed {
                mark: Some(mark), ..
            }) => Some(*mark),
            Some(Committed {
                mark: None,
                next_offset,
            }) if holds(Defence::ForeignOffset) => {
                return Ok(Step::Stopped(format!(
                    "the group's offset {next_offset} of partition {} was not committed by Churnwatch, \
                     so no state belongs to it: restore the former offset, or remove the group and \
                     the changelog to start anew",
                    self.partition
                )));
            }
            Some(Committed { mark: None, .. }) => None,
        };
        // Ahead of what is committed, or in the same epoch at another place:
        // this state belongs to a history that the group no longer has.
        if let (Some(mark), Some(row)) = (&target, store.task())
            && (row.epoch > mark.epoch
                || row.epoch == mark.epoch && Some(row.next_offset) != position)
            && holds(Defence::StoreAhead)
        {
            tracing::warn!(
                partition = self.partition.0,
                stored = row.epoch,
                committed = mark.epoch,
                "the store has another history than the group; rebuilding it from the changelog"
            );
            store = store.wipe()?;
        }
        if let (Some(mark), Some(row)) = (&target, store.task())
            && row.epoch >= mark.epoch
        {
            if row.digest != mark.digest && holds(Defence::Digest) {
                let (committed, stored) = (mark.digest, row.digest);
                let partition = self.partition.0;
                return Err(StoreError::Digest {
                    partition,
                    committed,
                    stored,
                }
                .into());
            }
            // Nothing is read from the changelog, but the next disk may need it.
            let (first, _) = changelog.begin(self.partition, mark.changelog_offset)?;
            changelog.end();
            let topics = now.changelog_from(first);
            let lacks_rows = differ(then.changelog.as_deref(), topics.changelog.as_deref());
            let ground = Ground { topics, lacks_rows };
            return self.finish(store, committed, source, place, ground);
        }
        // Where the group knows nothing, the changelog has the truth, if only by
        // the very record that this store stands at: so that one is read again.
        let after = store.task().map_or(-1, |row| match target {
            Some(_) => row.changelog_offset,
            None => (row.changelog_offset - 1).max(-1),
        });
        if target.is_none() && store.task().is_none() && !holds(Defence::EpochRecord) {
            let ground = Ground {
                topics: now.changelog_from(0),
                lacks_rows: false,
            };
            return self.finish(store, committed, source, place, ground);
        }
        let span = changelog.begin(self.partition, after)?;
        if let Some(mark) = target
            && differ(id_of(&then.changelog), now.changelog.as_deref())
        {
            changelog.end();
            return Ok(Step::Stopped(format!(
                "the changelog was deleted and made again since epoch {} of partition {} was \
                 committed, and no state on this disk stands there: start a process on the disk \
                 that does, restore the topic, or start anew with another group, changelog and \
                 state directory",
                mark.epoch, self.partition
            )));
        }
        if let Some(mark) = target
            && span.1 <= mark.changelog_offset
        {
            // The broker makes a transaction visible in one topic after the
            // other: the offsets are committed already, the changelog not yet.
            let missed = self
                .markers_missed
                .get_or_insert_with(Instant::now)
                .elapsed();
            if missed > MARKERS_ARE_LATE {
                self.refuse_held_back(changelog, mark.changelog_offset)?;
            }
            if missed < MARKERS {
                changelog.end();
                if missed > MARKERS_ARE_LATE {
                    self.wait(MARKERS_ARE_LATE);
                }
                return Ok(Step::Going);
            }
        } else {
            self.markers_missed = None;
        }
        if target.is_none() && span.1 > 0 {
            // Behind an open transaction there may be a newer epoch record.
            self.refuse_held_back(changelog, span.1)?;
        }
        if after >= 0 && span.0 > after + 1 && target.is_some() {
            // Compaction may have dropped deletions that this store has not
            // seen. If so, the digest differs in the end, and the state is
            // rebuilt from the changelog's beginning.
            tracing::info!(
                partition = self.partition.0,
                "the changelog begins behind the store's position"
            );
        }
        let topics = now.changelog_from(span.0);
        // What was read from its first record is all there is to read.
        let lacks_rows =
            after >= 0 && differ(then.changelog.as_deref(), topics.changelog.as_deref());
        let bulk = store.task().is_none() && span.1 - span.0 >= BULK_RECORDS;
        if bulk {
            store = store.begin_bulk()?;
        }
        self.stage = Stage::Reading(Box::new(Reading {
            store,
            target,
            committed,
            span,
            ground: Ground { topics, lacks_rows },
            rows: RestoredRows::default(),
            epoch: None,
            bulk,
        }));
        Ok(Step::Going)
    }

    /// Waits where an open transaction keeps the end of the changelog from
    /// readers: what stands there cannot be told from what was trimmed.
    fn refuse_held_back<C: Changelog>(
        &mut self,
        changelog: &mut C,
        offset: i64,
    ) -> Result<(), SourceError> {
        if !changelog.is_held_back(self.partition, offset)? {
            return Ok(());
        }
        self.markers_missed.get_or_insert_with(Instant::now);
        Err(SourceError::Retry(format!(
            "a transaction left open keeps the changelog of partition {} from offset {offset} on \
             from every reader",
            self.partition
        )))
    }

    fn read<S: Source, C: Changelog>(
        &mut self,
        mut reading: Reading,
        source: &mut S,
        changelog: &mut C,
        place: &Place<'_>,
        budget: Duration,
    ) -> Result<Step, RestoreError> {
        let deadline = Instant::now() + budget;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut failed = None;
            let mut last_offset = None;
            let Reading {
                rows,
                epoch,
                target,
                ..
            } = &mut reading;
            let (mut count, mut bytes) = (0, 0);
            let partition = self.partition.0;
            let began = Instant::now();
            let read = changelog.read(left, &mut |offset, key, value| {
                count += 1;
                bytes += key.len() + value.map_or(0, <[u8]>::len);
                last_offset = Some(offset);
                if key == key::task() {
                    match value.map(|value| TaskRow::decode(value, partition)) {
                        Some(Ok(mut row)) => {
                            row.changelog_offset = offset;
                            *epoch = Some(row);
                        }
                        Some(Err(error)) => failed = Some(error),
                        None => {}
                    }
                    if holds(Defence::ExactEpoch)
                        && target.is_some_and(|target| offset >= target.changelog_offset)
                    {
                        return Visit::Stop;
                    }
                } else {
                    failed = rows.push(partition, key, value).err();
                }
                let full = rows.len() >= ROWS_AT_A_TIME || rows.bytes() >= BYTES_AT_A_TIME;
                if full || failed.is_some() {
                    Visit::Stop
                } else {
                    Visit::More
                }
            })?;
            self.work.rows += count;
            self.work.bytes += bytes as u64;
            self.work.reading += began.elapsed();
            if let Some(error) = failed {
                return Err(error.into());
            }
            if let Some(offset) = last_offset {
                let (first, end) = reading.span;
                self.progress = (offset - first + 1) as f64 / (end - first).max(1) as f64;
            }
            let began = Instant::now();
            reading.store.restore(&mut reading.rows)?;
            self.work.writing += began.elapsed();
            pass(Moment::DuringRestore);
            let reached = match (reading.target, &reading.epoch) {
                (Some(target), Some(row)) => {
                    holds(Defence::ExactEpoch) && row.changelog_offset >= target.changelog_offset
                }
                _ => false,
            };
            if reached || read == ChangelogRead::AtEnd {
                changelog.end();
                let log = changelog.log_id();
                return self.reached(reading, log.as_deref(), source, place);
            }
            if Instant::now() >= deadline {
                self.stage = Stage::Reading(Box::new(reading));
                return Ok(Step::Going);
            }
        }
    }

    fn log_made_anew(&self, offset: i64) -> String {
        format!(
            "partition {}: the log was deleted and made again since offset {offset} was committed, so \
             neither offset nor state belong to it: restore the topic, or start anew with another \
             group, changelog and state directory",
            self.partition
        )
    }
}

/// Whether two ids are known and not the same.
fn differ(one: Option<&str>, other: Option<&str>) -> bool {
    let known = one.zip(other);
    known.is_some_and(|(one, other)| one != other) && holds(Defence::SameTopics)
}

/// The id without the first offset behind it.
fn id_of(changelog: &Option<String>) -> Option<&str> {
    let id = changelog.as_deref()?;
    Some(id.split_once('@').map_or(id, |(id, _)| id))
}
