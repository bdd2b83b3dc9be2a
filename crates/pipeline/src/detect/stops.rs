//! Partitions that the breaker has stopped: said once, and let go on.

use super::{assignment::stopped_part, *};

impl<S: Source, K: Sink, C: Changelog> Detector<S, K, C> {
    /// Says which partitions stand still, and takes those back to their place
    /// that may go on.
    pub(super) fn note_stops(&mut self) -> Result<(), DetectError> {
        self.go_back_where_released()?;
        let stops: BTreeMap<PartitionId, i64> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.breaker.tripped().is_some())
            .map(|(&partition, task)| (partition, task.next_offset))
            .collect();
        if stops == self.stops {
            return Ok(());
        }
        for (&partition, &offset) in &stops {
            if self.stops.get(&partition) == Some(&offset) {
                continue;
            }
            let Some(tripped) = self
                .tasks
                .get(&partition)
                .and_then(|task| task.breaker.tripped())
            else {
                continue;
            };
            let reason = format!(
                "stopped at offset {offset}: {} of {} records could not be used, the dead letters \
                 say why; the records from there on wait in the log until \
                 `churnwatch resume --partition {partition}` lets them through",
                tripped.rejected, tripped.of
            );
            tracing::error!(partition = partition.0, reason, "this partition is stopped");
            self.report(&stopped_part(partition), Some(reason));
        }
        for partition in self.stops.keys() {
            // What is being restored speaks for itself.
            if !stops.contains_key(partition) && !self.restores.contains_key(partition) {
                self.report(&stopped_part(*partition), None);
            }
        }
        self.shares
            .partitions_stopped
            .set(stops.len().try_into().unwrap_or(i64::MAX));
        self.stops = stops;
        Ok(())
    }

    fn go_back_where_released(&mut self) -> Result<(), DetectError> {
        let released: Vec<PartitionId> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.breaker.is_released())
            .map(|(&partition, _)| partition)
            .collect();
        if released.is_empty() {
            return Ok(());
        }
        // Should the seek fail, the partition is restored from what is committed.
        self.commit()?;
        for partition in released {
            let Some(mut task) = self.tasks.remove(&partition) else {
                continue;
            };
            let offset = task.next_offset;
            if let Err(error) = self.source.resume(partition, offset) {
                drop(task.into_store());
                self.restore_later(partition, error)?;
                continue;
            }
            tracing::info!(partition = partition.0, offset, "going on");
            task.goes_on();
            self.tasks.insert(partition, task);
        }
        Ok(())
    }
}
