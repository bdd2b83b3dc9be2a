//! Which partitions a worker owns, and how far each was read and committed:
//! what the source knows and the sink must respect.
//!
//! ```text
//! accept (as member m) ──> ours ── committed ── resume(o) ──> read = committed = o
//!                                                   visit ──> read grows
//!                                                  commit ──> committed grows, never past read
//! lost ──> nothing more is committed              release ──> gone
//! ```
//!
//! A batch may be committed only if its partition was ours **without
//! interruption** since its committed position was read. The broker does not
//! check that: it checks that the committer is a member of the current
//! generation, and a member that was thrown out, and came back, is one.
//!
//! librdkafka marks an assignment as lost in such a case, but not always: if
//! the loss comes while an earlier rebalance waits for our answer, it is left
//! out ("already in progress, skipping" in its log). A worker that slept then
//! hears of a harmless revocation, answers it, rejoins, and goes on with
//! partitions that somebody else has moved on meanwhile. What cannot be left
//! out is the member id: a member that was thrown out gets a new one. So the id
//! is kept with the partition from the moment at which the group gave it to us,
//! and another id refuses the commit, and then the question for the committed
//! position too. It is not enough to read the position again as the new member:
//! that may have been let in, and not yet been told that the partition is
//! somebody else's. The source has to join anew.

use std::collections::BTreeMap;

use churnwatch_faults::{Defence, holds};

use crate::source::PartitionId;

/// The partitions of one worker.
#[derive(Debug, Default)]
pub struct Ownership(BTreeMap<PartitionId, Tenure>);

/// One stay of a partition with us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tenure {
    /// Somebody else may own it already.
    lost: bool,
    /// As which member it was given to us.
    member: String,
    /// Where reading and committing stand, once it was resumed.
    progress: Option<Progress>,
}

/// Offsets of a tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// The next offset to be handed to the visitor.
    read: i64,
    /// The next offset to read as committed.
    committed: i64,
}

/// Why a partition's epoch may not be committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// It is not ours.
    #[error("partition {0} is not assigned to this worker")]
    NotAssigned(PartitionId),
    /// It was taken without asking.
    #[error("partition {0} was lost to another member")]
    Lost(PartitionId),
    /// We were out of the group meanwhile.
    #[error("partition {0}: this worker was out of the group since it was given it")]
    Interrupted(PartitionId),
    /// Its position was asked for, and nothing read from there.
    #[error("partition {0} was not read since its committed position was asked for")]
    NotRead(PartitionId),
    /// What was read and not committed lies elsewhere.
    #[error(
        "partition {partition}: offset {offset} is outside of {from}..={to}, which this worker has read and not committed"
    )]
    NotRange {
        /// The partition.
        partition: PartitionId,
        /// The offset that was to be committed.
        offset: i64,
        /// The least that may be committed.
        from: i64,
        /// The most that may be committed.
        to: i64,
    },
}

impl Ownership {
    /// A partition came to us, who are this member.
    pub fn accept(&mut self, partition: PartitionId, member: &str) {
        let tenure = Tenure {
            member: member.to_owned(),
            ..Tenure::default()
        };
        self.0.insert(partition, tenure);
    }

    /// A partition was given up.
    pub fn release(&mut self, partition: PartitionId) {
        self.0.remove(&partition);
    }

    /// A partition was taken without asking.
    pub fn lose(&mut self, partition: PartitionId) {
        if let Some(tenure) = self.0.get_mut(&partition) {
            tenure.lost = true;
        }
    }

    /// The committed position is being read, as this member. What was read
    /// before is void.
    ///
    /// # Errors
    /// [`NotOurs::Interrupted`] where the partition was given to another member,
    /// even if that was us: whether it is still ours, only a new assignment
    /// tells.
    pub fn position_asked(&mut self, partition: PartitionId, member: &str) -> Result<(), NotOurs> {
        let Some(tenure) = self.0.get_mut(&partition) else {
            return Ok(());
        };
        tenure.progress = None;
        if tenure.member == member || !holds(Defence::Ownership) {
            Ok(())
        } else {
            Err(NotOurs::Interrupted(partition))
        }
    }

    /// Reading starts at the committed offset.
    pub fn resume(&mut self, partition: PartitionId, offset: i64) {
        if let Some(tenure) = self.0.get_mut(&partition) {
            // A pause in between changes nothing about what is committed.
            let committed = tenure
                .progress
                .map_or(offset, |progress| progress.committed.min(offset));
            tenure.progress = Some(Progress {
                read: offset,
                committed,
            });
        }
    }

    /// Records below `next` were handed to the visitor.
    pub fn read(&mut self, partition: PartitionId, next: i64) {
        if let Some(progress) = self.progress(partition) {
            progress.read = progress.read.max(next);
        }
    }

    /// Whether this member may commit the offset for the partition.
    ///
    /// # Errors
    /// Why it may not: the epoch must be dropped.
    pub fn may_commit(
        &self,
        partition: PartitionId,
        offset: i64,
        member: &str,
    ) -> Result<(), NotOurs> {
        if !holds(Defence::Ownership) {
            return Ok(());
        }
        let tenure = self
            .0
            .get(&partition)
            .ok_or(NotOurs::NotAssigned(partition))?;
        if tenure.lost {
            return Err(NotOurs::Lost(partition));
        }
        let Progress { read, committed } = tenure.progress.ok_or(NotOurs::NotRead(partition))?;
        if tenure.member != member {
            return Err(NotOurs::Interrupted(partition));
        }
        if (committed..=read).contains(&offset) {
            Ok(())
        } else {
            Err(NotOurs::NotRange {
                partition,
                offset,
                from: committed,
                to: read,
            })
        }
    }

    /// The offset was committed.
    pub fn committed(&mut self, partition: PartitionId, offset: i64) {
        if let Some(progress) = self.progress(partition) {
            progress.committed = offset;
        }
    }

    fn progress(&mut self, partition: PartitionId) -> Option<&mut Progress> {
        self.0.get_mut(&partition)?.progress.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(3);
    const ME: &str = "member-1";

    fn read_up_to_ten() -> Ownership {
        let mut ownership = Ownership::default();
        ownership.accept(P, ME);
        ownership.position_asked(P, ME).unwrap();
        ownership.resume(P, 5);
        ownership.read(P, 10);
        ownership
    }

    #[test]
    fn what_was_read_and_not_committed_may_be_committed() {
        let mut ownership = read_up_to_ten();
        assert_eq!(ownership.may_commit(P, 10, ME), Ok(()));
        ownership.committed(P, 8);
        assert_eq!(ownership.may_commit(P, 10, ME), Ok(()));
        let outside = |offset| {
            Err(NotOurs::NotRange {
                partition: P,
                offset,
                from: 8,
                to: 10,
            })
        };
        assert_eq!(ownership.may_commit(P, 7, ME), outside(7));
        assert_eq!(ownership.may_commit(P, 11, ME), outside(11));
    }

    #[test]
    fn a_lost_or_released_partition_takes_no_commit() {
        let mut ownership = read_up_to_ten();
        ownership.lose(P);
        assert_eq!(ownership.may_commit(P, 10, ME), Err(NotOurs::Lost(P)));
        ownership.release(P);
        assert_eq!(
            ownership.may_commit(P, 10, ME),
            Err(NotOurs::NotAssigned(P))
        );
    }

    #[test]
    fn another_member_id_takes_no_commit_until_the_partition_is_given_to_it() {
        let mut ownership = read_up_to_ten();
        let interrupted = Err(NotOurs::Interrupted(P));
        assert_eq!(ownership.may_commit(P, 10, "member-2"), interrupted);
        assert_eq!(ownership.position_asked(P, "member-2"), interrupted);
        ownership.release(P);
        ownership.accept(P, "member-2");
        ownership.position_asked(P, "member-2").unwrap();
        assert_eq!(
            ownership.may_commit(P, 10, "member-2"),
            Err(NotOurs::NotRead(P))
        );
        ownership.resume(P, 12);
        assert_eq!(ownership.may_commit(P, 12, "member-2"), Ok(()));
    }

    #[test]
    fn a_batch_of_the_stay_before_is_refused() {
        let mut ownership = read_up_to_ten();
        ownership.release(P);
        ownership.accept(P, ME);
        assert_eq!(ownership.may_commit(P, 10, ME), Err(NotOurs::NotRead(P)));
        ownership.position_asked(P, ME).unwrap();
        ownership.resume(P, 12);
        assert!(matches!(
            ownership.may_commit(P, 10, ME),
            Err(NotOurs::NotRange { .. })
        ));
    }

    #[test]
    fn a_pause_does_not_commit_what_was_read_before_it() {
        let mut ownership = read_up_to_ten();
        ownership.resume(P, 10);
        for offset in [5, 10] {
            assert_eq!(ownership.may_commit(P, offset, ME), Ok(()));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_tracked() {
        let mut ownership = Ownership::default();
        ownership.position_asked(P, ME).unwrap();
        ownership.resume(P, 5);
        ownership.read(P, 10);
        ownership.committed(P, 10);
        ownership.lose(P);
        assert_eq!(
            ownership.may_commit(P, 10, ME),
            Err(NotOurs::NotAssigned(P))
        );
    }
}
