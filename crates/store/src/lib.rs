//! The state of one process on RocksDB: typed keys, rows, one atomic batch,
//! position, digest, restore.
//!
//! # Nouns
//!
//! - [`StateDir`]: the directory a process keeps its state in. One process at
//!   a time; it holds the block cache and the write buffers all partitions
//!   share.
//! - [`PartitionStore`]: the state of one partition of the log, a RocksDB
//!   database of its own.
//! - **row**: a key of [`key`] and a value, one version byte and the row in
//!   postcard. An account is one *hot* row (changes with each event), one
//!   *history* row (changes when a day closes) and a *seat* row for each user.
//! - [`TaskRow`]: how far the rows have come: the position in the log and in
//!   the changelog, the clocks, and the digest that all rows must add up to.
//! - [`RowChange`]: a row put or deleted; what the changelog carries.
//! - [`Accounts`]: decoded accounts in front of a partition, and which of them
//!   changed since the last commit.
//!
//! # Flow
//!
//! ```text
//! assignment   StateDir::partition -> [restore ...] -> finish_restore   (behind the committed position)
//!                                  -> verify                            (at it)      both yield the dues
//!              an empty one in between: begin_bulk -> [restore ...] -> flush_bulk -> is_bulk_settled -> end_bulk
//! an event     Accounts::load_for_change -> core::apply
//! a commit     Accounts::changes -> PartitionStore::digest_after
//!                -> the Kafka transaction, elsewhere
//!                -> PartitionStore::commit -> Accounts::committed
//! an abort     Accounts::discard
//! revocation   drop the PartitionStore
//! ```
//!
//! # Decisions
//!
//! **One database per partition of the log**, so that hand-over, restore and
//! deletion each concern one directory. It costs a write buffer per partition:
//! the budget is divided among the open ones and capped for the process.
//!
//! **No write-ahead log.** The changelog is the log. What RocksDB has not
//! flushed when a process dies is read again from there. Everything lives in
//! one column family, whose write buffers are flushed whole and in order, so
//! what survives is always the state after *some* commit: rows and task row
//! agree. Write buffers are flushed by size and, by the loop, by age
//! ([`PartitionStore::flush_if_older_than`]), so the tail to read again is
//! bounded.
//!
//! **State proves itself.** The digest in the task row is the sum of a hash of
//! each row. It is carried forward from the values that are
//! *stored*, not from those a cache believes in, and counted afresh over all
//! rows at every assignment. A store that differs from what was committed is
//! found before it judges an account.
//!
//! **No table of due times.** `next_due` stands in the hot row; the scan that
//! verifies the digest hands out each account's due time, and the loop keeps
//! them in memory, an id and two bytes an account. A table on disk would cost a
//! delete and a put whenever a due time moves (a sixth to a third of the
//! throughput), and would have to be proven in step with the rows it repeats.
//!
//! **A written account always has a hot and a history row.**
//! [`Accounts::changes`] sees to it, so one absent key says that there is
//! nothing more to look for, and a lone row is known to be damage.

mod accounts;
mod digest;
mod dir;
mod error;
pub mod key;
mod options;
mod partition;
mod row;
mod show;
mod task;
#[cfg(test)]
mod testing;
mod version;

pub use accounts::{Accounts, CacheBounds};
pub use dir::StateDir;
pub use error::StoreError;
pub use options::{MemoryUse, StoreOptions};
pub use partition::{PartitionStore, RestoredRows, Scan};
pub use row::RowChange;
pub use show::{rewritten, show};
pub use task::TaskRow;
pub use version::StateVersion;
