//! The labels that metrics use, each with what bounds it.
//!
//! A label whose values this crate knows is an enum here. The others take `&'static str` from the
//! code that counts: kinds, reasons, signals and severities are defined where they are decided,
//! and this crate depends on none of those places.

use super::declaration::{Label, LabelValues};

macro_rules! label_values {
    ($(
        $(#[$doc:meta])+
        $name:ident { $($(#[$variant_doc:meta])+ $variant:ident = $text:literal,)+ }
    )+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])+ $variant,)+
        }

        impl $name {
            /// The text of every value, in the order of declaration.
            pub const VALUES: &'static [&'static str] = &[$($text),+];

            /// The label value.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    )+};
}

label_values! {
    /// How a commit ended: label `result` of `churnwatch_commits_total`.
    CommitResult {
        /// The transaction is committed and the local store written.
        Committed = "committed",
        /// The transaction was aborted; its input is read again.
        Aborted = "aborted",
        /// The broker did not say; the truth is read from the broker before going on.
        InDoubt = "in_doubt",
    }
    /// What happened to a partition: label `event` of `churnwatch_rebalances_total`.
    RebalanceEvent {
        /// It was given to this process.
        Assigned = "assigned",
        /// It was taken away in good order, after the open batch was ended.
        Revoked = "revoked",
        /// It was found to be gone already.
        Lost = "lost",
    }
    /// Where a latency is measured from: label `from` of `churnwatch_end_to_end_seconds`.
    LatencyFrom {
        /// When the event happened, as its producer says.
        EventTime = "event_time",
        /// When the broker appended the record to the log.
        AppendTime = "append_time",
    }
    /// What RocksDB holds memory for: label `part` of `churnwatch_rocksdb_memory_bytes`.
    MemoryPart {
        /// Cached blocks of table files.
        BlockCache = "block_cache",
        /// Writes not yet flushed.
        Memtables = "memtables",
        /// Indexes and filters outside the block cache.
        TableReaders = "table_readers",
        /// Blocks in use that cannot be evicted.
        Pinned = "pinned",
    }
}

const fn fixed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values: LabelValues::Fixed(values),
    }
}

const fn bounded(name: &'static str, by: &'static str) -> Label {
    Label {
        name,
        values: LabelValues::Bounded(by),
    }
}

pub(super) const SOURCE: Label = bounded(
    "source",
    "the event's source; the first 64 of a process, then `other`; `none` where the event has none",
);
pub(super) const EVENT_KIND: Label = bounded("kind", "the kinds of canonical events");
pub(super) const REJECT_REASON: Label = bounded("reason", "the reasons of dead letters");
pub(super) const RESET_REASON: Label = bounded("reason", "the reasons to replace a producer");
pub(super) const PAUSE_REASON: Label = bounded("reason", "the reasons to pause a partition");
pub(super) const SIGNAL: Label = bounded("signal", "the registered signals");
pub(super) const SEVERITY: Label = bounded("severity", "the severities of alerts");
pub(super) const TRANSITION: Label = bounded("transition", "the steps in the life of an alert");
pub(super) const PARTITION: Label = bounded(
    "partition",
    "the partitions assigned to this process; dropped when given away",
);
pub(super) const VERSION: Label = bounded("version", "the one version that runs");
pub(super) const RESULT: Label = fixed("result", CommitResult::VALUES);
pub(super) const REBALANCE_EVENT: Label = fixed("event", RebalanceEvent::VALUES);
pub(super) const LATENCY_FROM: Label = fixed("from", LatencyFrom::VALUES);
pub(super) const MEMORY_PART: Label = fixed("part", MemoryPart::VALUES);
