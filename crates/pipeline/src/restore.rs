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

use std::time::{Duration, Instant};

use churnwatch_faults::{Defence, Moment, holds, pass};
use churnwatch_store::{PartitionStore, RowChange, StateDir, StoreError, TaskRow, key};

use crate::{
    dues::Dues,
    source::{
        Changelog, ChangelogMark, ChangelogRead, Committed, PartitionId, Source, SourceError, Visit,
    },
    task::Task,
};

/// Rows written to the store at a time.
const ROWS_AT_A_TIME: usize = 2_000;

/// How long asking the broker may take at a time.
const ASK: Duration = Duration::from_secs(5);

/// How long the end of a committed transaction may take to reach the changelog.
const MARKERS: Duration = Duration::from_secs(30);

/// A partition on its way to the committed position.
pub(crate) struct Restore {
    pub(crate) partition: PartitionId,
    stage: Stage,
    /// Whether it was rebuilt from the beginning already.
    rebuilt: bool,
    pub(crate) began: Instant,
    /// It waits until then.
    not_before: Option<Instant>,
    /// Since when the changelog lacks what the group has committed.
    markers_missed: Option<Instant>,
    /// Rows read from the changelog.
    pub(crate) rows: u64,
    /// Share of the changelog that is read, 0 to 1.
    pub(crate) progress: f64,
}

enum Stage {
    /// Nothing is known yet.
    Waiting,
    /// Reading the changelog into the store.
    Reading(Box<Reading>),
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
    /// Rows since the last epoch record: not known to be committed as a whole
    /// before it is read.
    rows: Vec<RowChange>,
    /// The newest epoch record that was read.
    epoch: Option<TaskRow>,
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
            stage: Stage::Waiting,
            rebuilt: false,
            began: Instant::now(),
            not_before: None,
            markers_missed: None,
            rows: 0,
            progress: 0.0,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.stage, Stage::Stopped)
    }

    /// Whether there is something to do for it now.
    pub(crate) fn is_due(&self) -> bool {
        !self.is_stopped() && self.not_before.is_none_or(|then| Instant::now() >= then)
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
        let result = match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Stopped => {
                self.stage = Stage::Stopped;
                return Ok(Step::Going);
            }
            Stage::Waiting => self.begin(source, changelog, place),
            Stage::Reading(reading) => self.read(*reading, source, changelog, place, budget),
        };
        match result {
            Err(RestoreError::Store(error)) if error.wants_rebuild() && !self.rebuilt => {
                // The changelog may have it right.
                tracing::warn!(partition = self.partition.0, %error, "rebuilding the state from the changelog");
                changelog.end();
                place.state.remove_partition(self.partition.0)?;
                self.rebuilt = true;
                self.stage = Stage::Waiting;
                Ok(Step::Going)
            }
            Err(RestoreError::Store(error)) if error.wants_rebuild() => {
                changelog.end();
                Ok(self.stop(error.to_string()))
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
            return self.finish(store, committed, source, place);
        }
        // Where the group knows nothing, the changelog has the truth, if only by
        // the very record that this store stands at: so that one is read again.
        let after = store.task().map_or(-1, |row| match target {
            Some(_) => row.changelog_offset,
            None => (row.changelog_offset - 1).max(-1),
        });
        if target.is_none() && store.task().is_none() && !holds(Defence::EpochRecord) {
            return self.finish(store, committed, source, place);
        }
        let span = changelog.begin(self.partition, after)?;
        if let Some(mark) = target
            && span.1 <= mark.changelog_offset
            && self
                .markers_missed
                .get_or_insert_with(Instant::now)
                .elapsed()
                < MARKERS
        {
            // The broker makes a transaction visible in one topic after the
            // other: the offsets are committed already, the changelog not yet.
            changelog.end();
            return Ok(Step::Going);
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
        self.stage = Stage::Reading(Box::new(Reading {
            store,
            target,
            committed,
            span,
            rows: Vec::new(),
            epoch: None,
        }));
        Ok(Step::Going)
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
            let mut count = 0_u64;
            let partition = self.partition.0;
            let read = changelog.read(left, &mut |offset, key, value| {
                count += 1;
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
                    rows.push(RowChange {
                        key: key.to_vec(),
                        value: value.map(<[u8]>::to_vec),
                    });
                }
                let full = rows.len() >= ROWS_AT_A_TIME;
                if full || failed.is_some() {
                    Visit::Stop
                } else {
                    Visit::More
                }
            })?;
            self.rows += count;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if let Some(offset) = last_offset {
                let (first, end) = reading.span;
                self.progress = (offset - first + 1) as f64 / (end - first).max(1) as f64;
            }
            reading
                .store
                .restore_rows(&std::mem::take(&mut reading.rows))?;
            pass(Moment::DuringRestore);
            let reached = match (reading.target, &reading.epoch) {
                (Some(target), Some(row)) => {
                    holds(Defence::ExactEpoch) && row.changelog_offset >= target.changelog_offset
                }
                _ => false,
            };
            if reached || read == ChangelogRead::AtEnd {
                changelog.end();
                return self.reached(reading, source, place);
            }
            if Instant::now() >= deadline {
                self.stage = Stage::Reading(Box::new(reading));
                return Ok(Step::Going);
            }
        }
    }

    /// The changelog is read as far as it is wanted, or as far as it goes.
    fn reached<S: Source>(
        &mut self,
        reading: Reading,
        source: &mut S,
        place: &Place<'_>,
    ) -> Result<Step, RestoreError> {
        let Reading {
            mut store,
            target,
            committed,
            epoch,
            ..
        } = reading;
        let partition = self.partition;
        let row = match (target, epoch) {
            (Some(_), Some(row)) if !holds(Defence::ExactEpoch) => row,
            (Some(target), Some(row)) if row.epoch == target.epoch => {
                if row.digest != target.digest && holds(Defence::Digest) {
                    let (committed, stored) = (target.digest, row.digest);
                    return Err(StoreError::Digest {
                        partition: partition.0,
                        committed,
                        stored,
                    }
                    .into());
                }
                row
            }
            (Some(target), found) => {
                let found = found.map_or_else(|| "none".to_owned(), |row| row.epoch.to_string());
                let reason = format!(
                    "the changelog of partition {partition} does not hold the committed epoch {} at \
                     offset {} (found: {found}): it was trimmed or made anew; restore the topic, or \
                     replay the log into a new one",
                    target.epoch, target.changelog_offset
                );
                // From the beginning it may still be there.
                return if self.rebuilt {
                    Ok(Step::Stopped(reason))
                } else {
                    tracing::warn!(
                        partition = partition.0,
                        reason,
                        "reading the changelog from its beginning"
                    );
                    store.wipe()?;
                    self.rebuilt = true;
                    Ok(Step::Going)
                };
            }
            (None, Some(row)) => {
                tracing::warn!(
                    partition = partition.0,
                    epoch = row.epoch,
                    "the group has no offset for this partition; going on from its newest epoch record"
                );
                row
            }
            (None, None) => match store.task() {
                // An empty changelog: the store is at its newest, or this is
                // the first start ever.
                None => return self.finish(store, committed, source, place),
                Some(row) if row.changelog_offset < 0 => row.clone(),
                Some(_) => {
                    return Ok(Step::Stopped(format!(
                        "partition {partition} has local state, but neither the group nor the changelog \
                         knows of it: the topics were made anew, or this state directory belongs to \
                         another cluster; remove the state directory if it is to start from nothing"
                    )));
                }
            },
        };
        row.check_partitions(place.partitions)?;
        let mut dues = Dues::default();
        store.finish_restore(&row, &mut |account, due| {
            if let Some(due) = due {
                dues.push(due, account);
            }
        })?;
        self.ready(store, dues, committed, source, place)
    }

    /// The store stands where it should: prove it.
    fn finish<S: Source>(
        &mut self,
        store: PartitionStore,
        committed: Option<Committed>,
        source: &mut S,
        place: &Place<'_>,
    ) -> Result<Step, RestoreError> {
        let mut dues = Dues::default();
        store.verify(&mut |account, due| {
            if let Some(due) = due {
                dues.push(due, account);
            }
        })?;
        self.ready(store, dues, committed, source, place)
    }

    fn ready<S: Source>(
        &mut self,
        store: PartitionStore,
        dues: Dues,
        committed: Option<Committed>,
        source: &mut S,
        place: &Place<'_>,
    ) -> Result<Step, RestoreError> {
        let partition = self.partition;
        let (first, end) = source.bounds(partition)?;
        let position = match &committed {
            // Believed only where a test wants to see what comes of it.
            Some(foreign) if foreign.mark.is_none() => Some(foreign.next_offset),
            _ => store.task().map(|row| row.next_offset),
        };
        if let (Some(position), Some(committed)) = (position, &committed)
            && position != committed.next_offset
            && holds(Defence::StoreAhead)
            && holds(Defence::ExactEpoch)
        {
            return Ok(Step::Stopped(format!(
                "partition {partition}: the group is at offset {}, its epoch record at {position}: \
                 something else committed in between",
                committed.next_offset
            )));
        }
        let next_offset = position.unwrap_or(first);
        if next_offset < first && holds(Defence::Bounds) {
            return Ok(Step::Stopped(format!(
                "partition {partition} was trimmed to offset {first}, but only what is before \
                 {next_offset} was read: events are lost; replay from a backup, or lengthen the \
                 retention of the log"
            )));
        }
        if next_offset > end && holds(Defence::Bounds) {
            return Ok(Step::Stopped(format!(
                "partition {partition} ends at offset {end}, but {next_offset} was read already: the \
                 topic was deleted and made again; give the group a new name, or restore the topic"
            )));
        }
        self.progress = 1.0;
        Ok(Step::Ready(Box::new(Task::new(
            partition,
            store,
            dues,
            place.partitions,
            next_offset,
            place.cached_accounts,
        ))))
    }
}
