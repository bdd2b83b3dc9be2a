//! Whether each partition had one committing owner at any time: the changelog
//! tells, since every commit leaves an epoch record behind, whoever made it.

use std::collections::BTreeMap;
use std::fmt;

use churnwatch_store::{TaskRow, key};

use crate::broker::{Deployment, Record};
use crate::world::Difference;

/// The commits of each partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Commits over all partitions.
    pub commits: usize,
    partitions: BTreeMap<i32, (u64, i64)>,
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commits", self.commits)
    }
}

impl Owners {
    /// Looks at every commit of a run whose changelog was not compacted yet.
    ///
    /// # Errors
    /// The first commit that does not follow from the one before it: two
    /// owners committed from the same state, or one from a state of its own.
    ///
    /// # Panics
    /// The changelog cannot be read.
    pub fn check(deployment: &Deployment) -> Result<Self, Box<Difference>> {
        Self::of(&deployment.read("churnwatch.state"))
    }

    fn of(changelog: &[Record]) -> Result<Self, Box<Difference>> {
        let mut owners = Self::default();
        let task = key::task();
        for record in changelog {
            if record.key.as_deref() != Some(task.as_slice()) {
                continue;
            }
            let value = record
                .value
                .as_deref()
                .expect("a task row is never deleted");
            let row = TaskRow::decode(value, record.partition).expect("a task row");
            let last = owners.partitions.get(&record.partition).copied();
            let (epoch, offset) = last.unwrap_or((0, 0));
            if row.epoch != epoch + 1 || row.next_offset < offset {
                return Err(Box::new(Difference {
                    what: format!(
                        "the commit at offset {} of the changelog of partition {} does not follow \
                         from the one before",
                        record.offset, record.partition
                    ),
                    expected: format!("epoch {}, at offset {offset} or behind it", epoch + 1),
                    found: format!("epoch {}, at offset {}", row.epoch, row.next_offset),
                }));
            }
            let now = (row.epoch, row.next_offset);
            owners.partitions.insert(record.partition, now);
            owners.commits += 1;
        }
        Ok(owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(epoch: u64, next_offset: i64) -> Record {
        let row = TaskRow {
            partitions: 1,
            epoch,
            next_offset,
            changelog_offset: -1,
            digest: 0,
            time: Default::default(),
        };
        Record {
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: Some(key::task().to_vec()),
            value: Some(row.encode().unwrap()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn epochs_go_up_one_by_one_and_positions_never_back() {
        let good = [commit(1, 5), commit(2, 5), commit(3, 9)];
        assert_eq!(Owners::of(&good).unwrap().commits, 3);
        for bad in [
            vec![commit(2, 5)],
            vec![commit(1, 5), commit(1, 7)],
            vec![commit(1, 5), commit(3, 9)],
            vec![commit(1, 5), commit(2, 4)],
        ] {
            assert!(Owners::of(&bad).is_err(), "{bad:?}");
        }
    }
}
