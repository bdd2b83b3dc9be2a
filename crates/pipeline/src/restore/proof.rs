//! The changelog is read as far as it is wanted: the state is proven, and
//! becomes a task.

use super::*;
use crate::dues::Dues;

/// Between two looks at whether a store has sorted itself out.
const SETTLING_LOOK: Duration = Duration::from_millis(20);

/// The most that a store may hold to be written into the changelog at once, in
/// bytes: it has to fit into one transaction.
const MAX_REWRITE_BYTES: u64 = 64 << 20;

impl Restore {
    /// The changelog is read as far as it is wanted, or as far as it goes.
    pub(super) fn reached<S: Source>(
        &mut self,
        reading: Reading,
        log: Option<&str>,
        source: &mut S,
        place: &Place<'_>,
    ) -> Result<Step, RestoreError> {
        let Reading {
            mut store,
            target,
            committed,
            epoch,
            ground,
            bulk,
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
                // Kafka forgets the offsets of a topic that is deleted.
                if differ(log, ground.topics.log.as_deref()) {
                    return Ok(Step::Stopped(self.log_made_anew(row.next_offset)));
                }
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
                None => {
                    let store = if bulk { store.end_bulk()? } else { store };
                    return self.finish(store, committed, source, place, ground);
                }
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
        if bulk {
            let began = Instant::now();
            store.flush_bulk()?;
            self.work.writing += began.elapsed();
            self.stage = Stage::Settling(Box::new(Settling {
                store,
                row,
                committed,
                ground,
            }));
            return Ok(Step::Going);
        }
        self.prove(store, &row, committed, source, place, ground)
    }

    /// Waits until the store has put in order what it was given.
    pub(super) fn settle<S: Source>(
        &mut self,
        settling: Settling,
        source: &mut S,
        place: &Place<'_>,
    ) -> Result<Step, RestoreError> {
        let began = Instant::now();
        if !settling.store.is_bulk_settled()? {
            self.work.writing += SETTLING_LOOK;
            self.wait(SETTLING_LOOK);
            self.stage = Stage::Settling(Box::new(settling));
            return Ok(Step::Going);
        }
        let Settling {
            store,
            row,
            committed,
            ground,
        } = settling;
        let store = store.end_bulk()?;
        self.work.writing += began.elapsed();
        self.prove(store, &row, committed, source, place, ground)
    }

    /// Reads all rows back, and takes over the position that they belong to.
    fn prove<S: Source>(
        &mut self,
        mut store: PartitionStore,
        row: &TaskRow,
        committed: Option<Committed>,
        source: &mut S,
        place: &Place<'_>,
        ground: Ground,
    ) -> Result<Step, RestoreError> {
        let began = Instant::now();
        let mut dues = Dues::default();
        self.work.kept = store.finish_restore(row, &mut |account, due| {
            if let Some(due) = due {
                dues.push(due, &account);
            }
        })?;
        self.work.proving += began.elapsed();
        self.ready(store, dues, committed, source, place, ground)
    }

    /// The store stands where it should: prove it.
    pub(super) fn finish<S: Source>(
        &mut self,
        store: PartitionStore,
        committed: Option<Committed>,
        source: &mut S,
        place: &Place<'_>,
        ground: Ground,
    ) -> Result<Step, RestoreError> {
        let began = Instant::now();
        let mut dues = Dues::default();
        self.work.kept = store.verify(&mut |account, due| {
            if let Some(due) = due {
                dues.push(due, &account);
            }
        })?;
        self.work.proving += began.elapsed();
        self.ready(store, dues, committed, source, place, ground)
    }

    fn ready<S: Source>(
        &mut self,
        store: PartitionStore,
        dues: Dues,
        committed: Option<Committed>,
        source: &mut S,
        place: &Place<'_>,
        ground: Ground,
    ) -> Result<Step, RestoreError> {
        let partition = self.partition;
        if ground.lacks_rows {
            let bytes = store.approximate_bytes()?;
            if bytes > MAX_REWRITE_BYTES {
                return Ok(Step::Stopped(format!(
                    "the changelog of partition {partition} was trimmed or made anew, and the {bytes} \
                     bytes of state on this disk are too many to write it again: keep a copy of this \
                     disk; restore the topic, or start anew with another group, changelog and state \
                     directory"
                )));
            }
            tracing::warn!(
                partition = partition.0,
                bytes,
                "the changelog was trimmed or made anew; writing every row of this state into it"
            );
        }
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
        let task = Task::new(
            partition,
            store,
            dues,
            place.partitions,
            next_offset,
            place.cached_accounts,
            place.breaker,
        );
        let task = task.in_topics(ground.topics, ground.lacks_rows);
        Ok(Step::Ready(Box::new(task)))
    }
}
