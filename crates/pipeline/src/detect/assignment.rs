//! Which partitions are ours: what comes, what goes, and what must be restored
//! before it can be read.

use super::*;

/// The part of the worker's health that says why a partition is stopped.
pub(super) fn stopped_part(partition: PartitionId) -> String {
    format!("partition {partition}")
}

impl<S: Source, K: Sink, C: Changelog> Detector<S, K, C> {
    /// Until the group has said for the first time what is ours, possibly
    /// nothing, we are not ready.
    pub(super) fn note_joining(&mut self) {
        if !self.has_joined && self.source.has_joined() {
            self.has_joined = true;
            self.report_assignment();
        }
    }

    pub(super) fn assigned(&mut self, partitions: &[PartitionId]) -> Result<(), DetectError> {
        self.count_rebalance(RebalanceEvent::Assigned, partitions);
        self.refuse_new_partitions(partitions)?;
        self.source.accept(partitions)?;
        pass(Moment::DuringAssignment);
        for &partition in partitions {
            let restore = Restore::of_assigned(partition);
            self.restores.insert(partition, restore);
        }
        self.report_assignment();
        Ok(())
    }

    /// The log may be given more partitions while we run. From then on its
    /// producers put accounts where their state is not.
    pub(super) fn refuse_new_partitions(
        &self,
        partitions: &[PartitionId],
    ) -> Result<(), StoreError> {
        let stored = self.settings.partitions;
        match partitions
            .iter()
            .filter_map(|partition| u32::try_from(partition.0).ok())
            .max()
        {
            Some(last) if last >= stored => Err(StoreError::PartitionCount {
                stored,
                actual: last + 1,
            }),
            _ => Ok(()),
        }
    }

    /// Partitions go: the open epoch is finished while it still may be, and
    /// dropped where somebody else may own them already.
    pub(super) fn revoked(
        &mut self,
        partitions: &[PartitionId],
        lost: bool,
    ) -> Result<(), DetectError> {
        let event = if lost {
            RebalanceEvent::Lost
        } else {
            RebalanceEvent::Revoked
        };
        self.count_rebalance(event, partitions);
        pass(Moment::DuringRevocation);
        let committed = if lost { Ok(()) } else { self.commit() };
        if lost || committed.is_err() {
            // An epoch spans all partitions of the worker, so all fall back.
            self.roll_back(partitions);
        }
        for partition in partitions {
            self.end_restore(*partition);
            self.tasks.remove(partition);
            self.last_record.remove(partition);
            self.metrics.forget_partition(partition.0);
        }
        self.source.release(partitions, lost)?;
        self.report_assignment();
        committed
    }

    /// Forgets how far the restoring of a partition has come. The changelog is
    /// let go only if it is this partition's that is being read.
    pub(super) fn end_restore(&mut self, partition: PartitionId) {
        let Some(restore) = self.restores.remove(&partition) else {
            return;
        };
        if restore.is_reading() {
            self.changelog.end();
        }
        if restore.is_stopped() {
            // Whoever owns it now has to say so.
            self.report(&stopped_part(partition), None);
        }
    }

    /// Forgets everything that is not committed. Tasks that stay are restored
    /// anew from what is committed; `except` go anyway.
    pub(super) fn roll_back(&mut self, except: &[PartitionId]) {
        self.batch.discard();
        for (partition, task) in std::mem::take(&mut self.tasks) {
            drop(task.into_store());
            if !except.contains(&partition) {
                if let Err(error) = self.source.pause(partition) {
                    tracing::debug!(%error, partition = partition.0, "pausing");
                }
                self.restores.insert(partition, Restore::new(partition));
            }
        }
    }

    /// Begins a restore anew, after a while where the broker cannot serve it
    /// yet: the partitions that are fine go on meanwhile.
    pub(super) fn restore_later(
        &mut self,
        partition: PartitionId,
        error: SourceError,
    ) -> Result<(), DetectError> {
        let former = self.restores.remove(&partition);
        let mut restore = former.map_or_else(|| Restore::new(partition), |former| former.again());
        let retry = matches!(error, SourceError::Retry(_));
        if retry {
            tracing::warn!(partition = partition.0, %error, "restoring");
            self.report(&stopped_part(partition), Some(error.to_string()));
            restore.wait(self.settings.restore_retry);
        }
        self.restores.insert(partition, restore);
        if retry { Ok(()) } else { Err(error.into()) }
    }

    /// Restores one partition at a time, a step between two polls. The one
    /// whose changelog is being read goes on first: there is one reader.
    pub(super) fn restore_some(&mut self) -> Result<(), DetectError> {
        let reading = self.restores.values().find(|restore| restore.is_reading());
        let next = reading.or_else(|| self.restores.values().find(|restore| restore.is_due()));
        let Some(partition) = next.map(|restore| restore.partition) else {
            return Ok(());
        };
        if !self.has_room()? {
            return Ok(());
        }
        let Some(restore) = self.restores.get_mut(&partition) else {
            return Ok(());
        };
        let place = Place {
            state: &self.state,
            partitions: self.settings.partitions,
            cached_accounts: self.settings.cached_accounts,
            breaker: self.settings.breaker,
        };
        let rows_before = restore.work.rows;
        let step = restore.step(&mut self.source, &mut self.changelog, &place, RESTORE_STEP);
        let rows = restore.work.rows - rows_before;
        self.metrics.restore_rows_total.of(partition.0).inc_by(rows);
        self.metrics
            .restore_progress_ratio
            .of(partition.0)
            .set(restore.progress);
        self.metrics
            .changelog_stable_offset_age_seconds
            .of(partition.0)
            .set(restore.held_back().as_secs_f64());
        match step {
            Ok(Step::Going) => Ok(()),
            Ok(Step::Stopped(reason)) => {
                tracing::error!(partition = partition.0, reason, "this partition is stopped");
                self.report(&stopped_part(partition), Some(reason));
                self.report_assignment();
                Ok(())
            }
            Ok(Step::Ready(task)) => {
                self.metrics
                    .restore_seconds
                    .observe(restore.began.elapsed().as_secs_f64());
                let work = &restore.work;
                tracing::info!(
                    partition = partition.0,
                    offset = task.next_offset,
                    rows = work.rows,
                    bytes = work.bytes,
                    accounts = work.kept.accounts,
                    kept_rows = work.kept.rows,
                    kept_bytes = work.kept.bytes,
                    reading_seconds = work.reading.as_secs_f64(),
                    writing_seconds = work.writing.as_secs_f64(),
                    proving_seconds = work.proving.as_secs_f64(),
                    "restored"
                );
                if let Err(error) = self.source.resume(partition, task.next_offset) {
                    // Still ours and not yet read: it must not fall between
                    // tasks and restores.
                    drop(task.into_store());
                    return self.restore_later(partition, error);
                }
                let restore = self.restores.remove(&partition);
                if let Some(assigned) = restore.and_then(|restore| restore.assigned) {
                    let took = assigned.elapsed().as_secs_f64();
                    self.metrics.handover_seconds.observe(took);
                }
                self.report(&stopped_part(partition), None);
                self.last_record.insert(partition, Instant::now());
                let owes_rows = task.owes_rows();
                self.tasks.insert(partition, *task);
                self.share_memory();
                self.report_assignment();
                // Until that is done, there is one copy of the state only.
                if owes_rows { self.commit() } else { Ok(()) }
            }
            Err(RestoreError::Source(error)) => {
                self.changelog.end();
                self.restore_later(partition, error)
            }
            Err(RestoreError::Store(error)) => {
                self.changelog.end();
                Err(error.into())
            }
        }
    }

    pub(super) fn count_rebalance(&self, event: RebalanceEvent, partitions: &[PartitionId]) {
        tracing::info!(
            event = event.as_str(),
            ?partitions,
            worker = self.settings.worker,
            "rebalance"
        );
        self.metrics
            .rebalances_total
            .with([event.as_str()])
            .inc_by(partitions.len() as u64);
    }

    pub(super) fn report_assignment(&mut self) {
        let assigned = self.tasks.len() + self.restores.len();
        self.shares
            .partitions_assigned
            .set(assigned.try_into().unwrap_or(i64::MAX));
        let restoring: Vec<String> = self
            .restores
            .values()
            .filter(|restore| !restore.is_stopped())
            .map(|restore| restore.partition.to_string())
            .collect();
        let cause = (!restoring.is_empty())
            .then(|| format!("restoring partitions {}", restoring.join(", ")));
        self.report_room(cause.is_some());
        self.report("assignment", cause);
    }
}
