//! The task row: how far a partition's rows have come.

use churnwatch_core::watermark::TaskTime;
use serde::{Deserialize, Serialize};

use crate::{error::StoreError, row};

/// Position, clocks and digest of one partition; written in the same batch as
/// the rows it speaks of. Its bytes are also the value of the epoch record
/// that closes each commit in the changelog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Partitions of the log when the state was begun.
    pub partitions: u32,
    /// Counts the commits that touched this partition, from 1.
    pub epoch: u64,
    /// Offset in the log of the next record to apply.
    pub next_offset: i64,
    /// Offset in the changelog of this epoch's record; -1 where there is no
    /// changelog (files).
    pub changelog_offset: i64,
    /// What all other rows add up to.
    pub digest: u128,
    /// Stream times and clocks of the sources.
    pub time: TaskTime,
}

impl TaskRow {
    /// The row as bytes, with its version.
    ///
    /// # Errors
    /// [`StoreError::Encode`]: a mistake in the program.
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        row::encode(self)
    }

    /// Reads what [`TaskRow::encode`] wrote; `partition` is for the error only.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], or [`StoreError::NewerRow`] where a newer
    /// version of Churnwatch wrote it.
    pub fn decode(bytes: &[u8], partition: i32) -> Result<Self, StoreError> {
        row::decode(bytes, None, partition)
    }

    /// Refuses state that was begun on a log with another number of
    /// partitions: its accounts may now live in other partitions.
    ///
    /// # Errors
    /// [`StoreError::PartitionCount`].
    pub fn check_partitions(&self, actual: u32) -> Result<(), StoreError> {
        if self.partitions == actual {
            Ok(())
        } else {
            Err(StoreError::PartitionCount {
                stored: self.partitions,
                actual,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_number_of_partitions_is_refused_with_both_numbers() {
        let task = TaskRow {
            partitions: 4,
            epoch: 1,
            next_offset: 10,
            changelog_offset: -1,
            digest: 0,
            time: TaskTime::default(),
        };
        assert!(task.check_partitions(4).is_ok());
        let refusal = task.check_partitions(8).expect_err("changed").to_string();
        assert!(
            refusal.contains("with 4 partitions") && refusal.contains("now has 8"),
            "{refusal}"
        );
    }
}
