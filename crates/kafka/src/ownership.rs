//! Which partitions a worker owns, and how far each was read and committed:
//! what the source knows and the sink must respect.
//!
//! Every time a partition comes to us it gets a new **tenure**. A batch may be
//! committed only within the tenure in which it was read; the broker fences by
//! the group's generation, and this is the check that finds our own mistakes
//! before they get there.
//!
//! ```text
//! accept ──> owned, nothing read ── resume(o) ──> read = committed = o
//!                                       visit ──> read grows
//!                                      commit ──> committed grows, never past read
//! lost ──> nothing more is committed     release ──> gone
//! ```

use std::collections::BTreeMap;

use churnwatch_pipeline::source::PartitionId;

/// The partitions of one worker.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    owned: BTreeMap<PartitionId, Tenure>,
    /// Tenures so far, of all partitions.
    tenures: u64,
}

/// One stay of a partition with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenure {
    /// Counts up with every stay of any partition.
    pub(crate) number: u64,
    /// Somebody else may own it already.
    pub(crate) lost: bool,
    /// Where reading and committing stand, once it was resumed.
    pub(crate) progress: Option<Progress>,
}

/// Offsets of a tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The next offset to be handed to the visitor.
    pub(crate) read: i64,
    /// The next offset to read as committed.
    pub(crate) committed: i64,
}

/// Why a partition's epoch may not be committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOurs {
    #[error("partition {0} is not assigned to this worker")]
    NotAssigned(PartitionId),
    #[error("partition {0} was lost to another member")]
    Lost(PartitionId),
    #[error("partition {0} was not read since it was assigned")]
    NotRead(PartitionId),
    #[error("partition {partition}: offset {offset} is outside of {from}..={to}, which this worker has read and not committed")]
    OtherTenure { partition: PartitionId, offset: i64, from: i64, to: i64 },
}

impl Ownership {
    /// A partition came to us.
    pub(crate) fn accept(&mut self, partition: PartitionId) {
        self.tenures += 1;
        let tenure = Tenure { number: self.tenures, lost: false, progress: None };
        self.owned.insert(partition, tenure);
    }

    /// A partition was given up.
    pub(crate) fn release(&mut self, partition: PartitionId) {
        self.owned.remove(&partition);
    }

    /// A partition was taken without asking.
    pub(crate) fn lose(&mut self, partition: PartitionId) {
        if let Some(tenure) = self.owned.get_mut(&partition) {
            tenure.lost = true;
        }
    }

    /// Reading starts at a committed offset.
    pub(crate) fn resume(&mut self, partition: PartitionId, offset: i64) {
        if let Some(tenure) = self.owned.get_mut(&partition) {
            tenure.progress = Some(Progress { read: offset, committed: offset });
        }
    }

    /// Records below `next` were handed to the visitor.
    pub(crate) fn read(&mut self, partition: PartitionId, next: i64) {
        if let Some(progress) = self.owned.get_mut(&partition).and_then(|t| t.progress.as_mut()) {
            progress.read = progress.read.max(next);
        }
    }

    /// Whether the offset may be committed for the partition.
    pub(crate) fn may_commit(&self, partition: PartitionId, offset: i64) -> Result<(), NotOurs> {
        let tenure = self.owned.get(&partition).ok_or(NotOurs::NotAssigned(partition))?;
        if tenure.lost {
            return Err(NotOurs::Lost(partition));
        }
        let Progress { read, committed } = tenure.progress.ok_or(NotOurs::NotRead(partition))?;
        if (committed..=read).contains(&offset) {
            Ok(())
        } else {
            Err(NotOurs::OtherTenure { partition, offset, from: committed, to: read })
        }
    }

    /// The offset was committed.
    pub(crate) fn committed(&mut self, partition: PartitionId, offset: i64) {
        if let Some(progress) = self.owned.get_mut(&partition).and_then(|t| t.progress.as_mut()) {
            progress.committed = offset;
        }
    }

    /// Partitions that are read, with their committed position.
    pub(crate) fn committed_positions(&self) -> impl Iterator<Item = (PartitionId, i64)> {
        self.owned.iter().filter_map(|(partition, tenure)| Some((*partition, tenure.progress?.committed)))
    }

    #[cfg(test)]
    fn tenure(&self, partition: PartitionId) -> Option<u64> {
        self.owned.get(&partition).map(|tenure| tenure.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(3);

    fn read_up_to_ten() -> Ownership {
        let mut ownership = Ownership::default();
        ownership.accept(P);
        ownership.resume(P, 5);
        ownership.read(P, 10);
        ownership
    }

    #[test]
    fn what_was_read_and_not_committed_may_be_committed() {
        let mut ownership = read_up_to_ten();
        assert_eq!(ownership.may_commit(P, 10), Ok(()));
        ownership.committed(P, 8);
        assert_eq!(ownership.may_commit(P, 10), Ok(()));
        let outside = |offset| Err(NotOurs::OtherTenure { partition: P, offset, from: 8, to: 10 });
        assert_eq!(ownership.may_commit(P, 7), outside(7));
        assert_eq!(ownership.may_commit(P, 11), outside(11));
        assert_eq!(ownership.committed_positions().collect::<Vec<_>>(), [(P, 8)]);
    }

    #[test]
    fn a_lost_or_released_partition_takes_no_commit() {
        let mut ownership = read_up_to_ten();
        ownership.lose(P);
        assert_eq!(ownership.may_commit(P, 10), Err(NotOurs::Lost(P)));
        ownership.release(P);
        assert_eq!(ownership.may_commit(P, 10), Err(NotOurs::NotAssigned(P)));
    }

    #[test]
    fn a_batch_of_the_tenure_before_is_refused() {
        let mut ownership = read_up_to_ten();
        let first = ownership.tenure(P);
        ownership.release(P);
        ownership.accept(P);
        assert!(ownership.tenure(P) > first);
        assert_eq!(ownership.may_commit(P, 10), Err(NotOurs::NotRead(P)));
        ownership.resume(P, 12);
        assert!(matches!(ownership.may_commit(P, 10), Err(NotOurs::OtherTenure { .. })));
    }

    #[test]
    fn what_is_not_ours_is_not_tracked() {
        let mut ownership = Ownership::default();
        ownership.resume(P, 5);
        ownership.read(P, 10);
        ownership.committed(P, 10);
        assert_eq!(ownership.committed_positions().count(), 0);
    }
}
