//! What can go wrong with stored state, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::key::Table;

/// An error of the store. None of them is cured by trying the same call again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process (or this one, elsewhere) works on the state directory.
    #[error(
        "state directory {} is in use by {holder}: stop it, or give this process a directory of its own",
        path.display()
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Program, process id, host and since when, as the holder wrote it.
        holder: String,
    },

    /// The directory was written by a newer version of Churnwatch.
    #[error(
        "state directory {} has format {found}, this version reads up to {known}: run a newer version",
        path.display()
    )]
    NewerFormat {
        /// The state directory.
        path: PathBuf,
        /// The format it is in.
        found: u32,
        /// The newest format this version reads.
        known: u32,
    },

    /// The directory holds something else.
    #[error(
        "{} is not a state directory and not empty (it holds {entry:?}): name an empty or a new directory",
        path.display()
    )]
    NotAStateDir {
        /// The directory.
        path: PathBuf,
        /// One of the things it holds.
        entry: String,
    },

    /// The state was begun on a log with another number of partitions.
    #[error(
        "the state was begun with {stored} partitions of the log, which now has {actual}: \
         accounts have moved between partitions; replay into a new log with a new state directory"
    )]
    PartitionCount {
        /// Partitions of the log when the state was begun.
        stored: u32,
        /// Partitions of the log today.
        actual: u32,
    },

    /// The partition's store is already open in this process.
    #[error("the store of partition {partition} is already open in this process: drop it first")]
    PartitionOpen {
        /// The partition.
        partition: i32,
    },

    /// A row was written by a newer version of Churnwatch.
    #[error(
        "partition {partition}: {row} has version {found}, this version reads up to {known}: \
         run a newer version"
    )]
    NewerRow {
        /// The partition.
        partition: i32,
        /// Table and account of the row.
        row: String,
        /// The version it has.
        found: u8,
        /// The newest version this program reads.
        known: u8,
    },

    /// Stored bytes are not what was written.
    #[error("partition {partition}: {what} is corrupt: {reason}; rebuild it from the changelog")]
    Corrupt {
        /// The partition.
        partition: i32,
        /// Table and account of the row, or the part of the store.
        what: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The rows do not add up to the committed digest.
    #[error(
        "partition {partition}: rows add up to {stored:032x}, committed was {committed:032x}; \
         rebuild it from the changelog"
    )]
    Digest {
        /// The partition.
        partition: i32,
        /// The digest that was committed.
        committed: u128,
        /// The digest of the rows as they are stored.
        stored: u128,
    },

    /// No space is left. Nothing is wrong with what is stored: once there is
    /// room, it can be opened again.
    #[error("no space left under {}: free some", path.display())]
    DiskFull {
        /// The state directory, or the partition's directory in it.
        path: PathBuf,
    },

    /// A row could not be put into bytes: a mistake in the program.
    #[error("cannot encode {table}: {source}")]
    Encode {
        /// The table.
        table: Table,
        /// Why.
        source: postcard::Error,
    },

    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// RocksDB refused.
    #[error("partition {partition}: {source}")]
    RocksDb {
        /// The partition.
        partition: i32,
        /// Why.
        source: rocksdb::Error,
    },
}

impl StoreError {
    /// Whether this partition's state is wrong and the changelog may have it
    /// right: remove the partition and restore it from the beginning, once.
    pub fn wants_rebuild(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Digest { .. })
    }

    /// Whether it is over as soon as somebody makes room on the disk.
    pub fn wants_room(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// The partition whose state it speaks of, where it is about one.
    pub fn partition(&self) -> Option<i32> {
        match self {
            Self::PartitionOpen { partition }
            | Self::NewerRow { partition, .. }
            | Self::Corrupt { partition, .. }
            | Self::Digest { partition, .. }
            | Self::RocksDb { partition, .. } => Some(*partition),
            _ => None,
        }
    }

    /// An error of the file system at `path`.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_owned(),
            },
            _ => Self::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// An error of the database of `partition`, which lies at `path`.
    pub(crate) fn rocksdb(partition: i32, path: &Path, source: rocksdb::Error) -> Self {
        let message: &str = source.as_ref();
        if says_full(message) {
            return Self::DiskFull {
                path: path.to_owned(),
            };
        }
        if source.kind() == rocksdb::ErrorKind::Corruption || says_lost(message) {
            return Self::Corrupt {
                partition,
                what: "the database".to_owned(),
                reason: message.to_owned(),
            };
        }
        Self::RocksDb { partition, source }
    }
}

/// RocksDB passes on nothing of the operating system's error but its text.
fn says_full(message: &str) -> bool {
    message.contains("No space left on device") || message.contains("Disk quota exceeded")
}

/// Whether a file of the database is gone, or cannot be read for good: it has
/// no copy on this disk.
fn says_lost(message: &str) -> bool {
    ["No such file or directory", "Input/output error"]
        .iter()
        .any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_failures() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(
            StoreError::io(Path::new("/s"), full),
            StoreError::DiskFull { .. }
        ));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(matches!(
            StoreError::io(Path::new("/s"), denied),
            StoreError::Io { .. }
        ));
    }

    #[test]
    fn only_wrong_state_is_worth_a_rebuild() {
        let wrong = StoreError::Digest {
            partition: 1,
            committed: 2,
            stored: 3,
        };
        assert!(wrong.wants_rebuild());
        let full = StoreError::DiskFull { path: "/s".into() };
        assert!(!full.wants_rebuild() && full.wants_room());
        assert_eq!((wrong.partition(), full.partition()), (Some(1), None));
    }
}
