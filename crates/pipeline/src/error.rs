//! Why detecting stopped.

use churnwatch_store::StoreError;

use crate::{sink::CommitError, source::SourceError};

/// Why the loop ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The source cannot go on.
    #[error("reading: {0}")]
    Source(#[from] SourceError),
    /// The sink cannot go on.
    #[error("committing: {0}")]
    Commit(#[from] CommitError),
    /// The store cannot go on.
    #[error("state: {0}")]
    Store(#[from] StoreError),
    /// A source handed over a record that it had handed over before: going on
    /// would count it twice.
    #[error("partition {partition}: got offset {got} where {expected} or later was due")]
    OutOfOrder {
        /// The partition.
        partition: i32,
        /// The offset that came.
        got: i64,
        /// The least that may come.
        expected: i64,
    },
}
