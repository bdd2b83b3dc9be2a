//! The task row: how far a partition's rows have come.

use churnwatch_core::{breaker::Breaker, watermark::TaskTime};
use serde::{Deserialize, Serialize};

use crate::{
    error::StoreError,
    key::Table,
    row::{self, Row},
    version::StateVersion,
};

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
    /// How many of the last records were of no use. From version 2 on; the
    /// window begins anew where the row is older.
    pub breaker: Breaker,
}

/// As version 1 had it.
#[derive(Serialize, Deserialize)]
struct TaskRow1<T> {
    partitions: u32,
    epoch: u64,
    next_offset: i64,
    changelog_offset: i64,
    digest: u128,
    time: T,
}

impl Row for TaskRow {
    const TABLE: Table = Table::Task;
    const VERSION: u8 = 2;

    fn read_old(version: u8, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        (version == 1).then(|| {
            let (row, rest) = postcard::take_from_bytes::<TaskRow1<TaskTime>>(bytes)?;
            let row = Self {
                partitions: row.partitions,
                epoch: row.epoch,
                next_offset: row.next_offset,
                changelog_offset: row.changelog_offset,
                digest: row.digest,
                time: row.time,
                breaker: Breaker::default(),
            };
            Ok((row, rest))
        })
    }

    fn write_old(&self, version: u8) -> Option<postcard::Result<Vec<u8>>> {
        let row = TaskRow1 {
            partitions: self.partitions,
            epoch: self.epoch,
            next_offset: self.next_offset,
            changelog_offset: self.changelog_offset,
            digest: self.digest,
            time: &self.time,
        };
        (version == 1).then(|| postcard::to_allocvec(&row))
    }
}

impl TaskRow {
    /// The row as bytes, in the form that this state version has. An older one
    /// leaves out what it had no place for.
    ///
    /// # Errors
    /// [`StoreError::Encode`]: a mistake in the program.
    pub fn encode(&self, version: StateVersion) -> Result<Vec<u8>, StoreError> {
        row::encode(self, version)
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
    use churnwatch_core::breaker::Bound;

    use super::*;

    fn task() -> TaskRow {
        TaskRow {
            partitions: 4,
            epoch: 1,
            next_offset: 10,
            changelog_offset: -1,
            digest: 7,
            time: TaskTime::default(),
            breaker: Breaker::default(),
        }
    }

    #[test]
    fn an_old_form_reads_back_without_what_it_had_no_place_for() {
        let mut task = task();
        let bound = Bound {
            percent: 50,
            records: 100,
        };
        task.breaker.count(bound, 9, true);
        let new = task.encode(StateVersion::NEWEST).unwrap();
        assert_eq!(
            (new[0], TaskRow::decode(&new, 0).unwrap()),
            (2, task.clone())
        );
        let old = task.encode(StateVersion::OLDEST).unwrap();
        task.breaker = Breaker::default();
        assert_eq!((old[0], TaskRow::decode(&old, 0).unwrap()), (1, task));
    }

    #[test]
    fn a_changed_number_of_partitions_is_refused_with_both_numbers() {
        let task = task();
        assert!(task.check_partitions(4).is_ok());
        let refusal = task.check_partitions(8).expect_err("changed").to_string();
        assert!(
            refusal.contains("with 4 partitions") && refusal.contains("now has 8"),
            "{refusal}"
        );
    }
}
