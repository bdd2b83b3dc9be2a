//! Moments at which a test may break a process, and defences that it may
//! switch off.
//!
//! A promise such as "exactly once" is worth what was tried against it. So the
//! code names the moments at which a process would die most awkwardly
//! ([`Moment`], passed by [`pass`]), and the checks that keep the promise
//! ([`Defence`], asked by [`holds`]). Tests kill at the former, and switch the
//! latter off to see that the damage is then found: a check that finds nothing
//! when there is something to find is none.
//!
//! Without the feature `inject` all of this is nothing: [`pass`] is empty and
//! [`holds`] is `true` for the compiler. With it, a process takes its orders
//! from the environment, and a test within the process from [`plan`].
//!
//! ```text
//! CHURNWATCH_FAULT=kill@after_produce:3       dies by SIGKILL at the third passing
//! CHURNWATCH_FAULT=stop@after_offsets:1       stops itself by SIGSTOP there
//! CHURNWATCH_WITHOUT=digest,exact_epoch       goes without these defences
//! ```

#[cfg(feature = "inject")]
mod inject;

#[cfg(feature = "inject")]
pub use inject::{Crash, Plan, plan};

/// Declares an enum whose variants have names for the command line.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name by which tests call it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The one of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A moment between two steps of the commit protocol, of a restore or of a
    /// rebalance.
    Moment {
        /// The epoch is made, no transaction is begun.
        BeforeBegin = "before_begin",
        /// Every record of the epoch is with the broker, the offsets are not.
        AfterProduce = "after_produce",
        /// The offsets are in the transaction, the commit is not asked for.
        AfterOffsets = "after_offsets",
        /// The transaction is committed, the store has nothing of it.
        BeforeStore = "before_store",
        /// The store of one partition of the epoch is written; of the others not.
        DuringStore = "during_store",
        /// Rows of the changelog are in the store, the position is not.
        DuringRestore = "during_restore",
        /// Partitions were assigned, nothing of them is restored.
        DuringAssignment = "during_assignment",
        /// Partitions are asked back, the open epoch is not finished.
        DuringRevocation = "during_revocation",
    }
}

named! {
    /// Something that keeps the promise of "exactly once". The name says what
    /// is there; switching it off is what others do, or what was once wrong.
    Defence {
        /// The store is written behind the transaction, not before it.
        StoreAfterCommit = "store_after_commit",
        /// Rows and position go into the store in one batch.
        OneBatch = "one_batch",
        /// What is not committed is dropped after any doubt.
        RollBack = "roll_back",
        /// A record below the next one due ends the work instead of being
        /// counted twice.
        OrderedOffsets = "ordered_offsets",
        /// A restore reads the changelog to exactly the committed epoch, not
        /// to its end.
        ExactEpoch = "exact_epoch",
        /// Rows must add up to the committed digest.
        Digest = "digest",
        /// A store that is ahead of what is committed is rebuilt.
        StoreAhead = "store_ahead",
        /// Where the group has forgotten its offsets, the newest epoch record
        /// tells the position.
        EpochRecord = "epoch_record",
        /// A position outside of the log stops the partition.
        Bounds = "bounds",
        /// An offset without a mark of ours stops the partition.
        ForeignOffset = "foreign_offset",
        /// A position counts only in the very topics in which it was committed.
        SameTopics = "same_topics",
        /// Committed offsets are waited for until no transaction hangs on them.
        StableOffsets = "stable_offsets",
        /// The changelog is read without the rows of aborted transactions.
        CommittedChangelog = "committed_changelog",
        /// Offsets are committed by the transaction, not beside it.
        OffsetsInTransaction = "offsets_in_transaction",
        /// One transactional id for each worker slot, so that a successor
        /// fences its predecessor.
        Fencing = "fencing",
        /// A batch is committed only in the stay in the group in which it was read.
        Ownership = "ownership",
        /// A producer is thrown away after an error.
        FreshProducer = "fresh_producer",
        /// What a failed transaction may have left open is closed before the next.
        ClosedBooks = "closed_books",
        /// Calls of librdkafka that do not come back are given up.
        Watchdog = "watchdog",
        /// Rows of the newest version are read. Without it a process is as one
        /// of the version before.
        NewestRows = "newest_rows",
        /// The window of the breaker is part of the state.
        BreakerWindow = "breaker_window",
    }
}

/// Passes a moment: nothing, unless a test has asked for something here.
#[cfg(not(feature = "inject"))]
#[inline(always)]
pub const fn pass(_: Moment) {}

/// Whether a defence is on: always, unless a test has switched it off.
#[cfg(not(feature = "inject"))]
#[inline(always)]
pub const fn holds(_: Defence) -> bool {
    true
}

/// Passes a moment: nothing, unless a test has asked for something here.
#[cfg(feature = "inject")]
pub fn pass(moment: Moment) {
    inject::pass(moment);
}

/// Whether a defence is on: always, unless a test has switched it off.
#[cfg(feature = "inject")]
pub fn holds(defence: Defence) -> bool {
    inject::holds(defence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_lead_back() {
        for (index, defence) in Defence::ALL.iter().enumerate() {
            assert_eq!(Defence::named(defence.name()), Some(*defence), "{index}");
        }
        for moment in Moment::ALL {
            assert_eq!(Moment::named(moment.name()), Some(*moment));
        }
        assert_eq!(Moment::named("never"), None);
    }

    #[cfg(not(feature = "inject"))]
    #[test]
    fn a_normal_build_has_every_defence() {
        assert!(Defence::ALL.iter().all(|defence| holds(*defence)));
    }
}
