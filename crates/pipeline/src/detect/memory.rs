//! What a worker holds in memory, and what bounds it.
//!
//! - What is changed and not yet committed ([`Dirty`]), over all partitions of
//!   the worker, since they commit together: when there is no more room, the
//!   epoch is committed.
//! - Due times and decoded accounts share one budget. A due time is needed for
//!   every account there is, so the accounts get what the due times leave.

use churnwatch_store::CacheBounds;

use super::*;

/// Alerts and dead letters at which an epoch is committed.
const MOST_ALERTS: usize = 2_000;
/// The least share of the budget that decoded accounts get, however many due
/// times there are: one part in so many.
const LEAST_SHARE: usize = 4;

/// What is changed and not yet committed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dirty {
    accounts: usize,
    /// Their memory, roughly.
    bytes: usize,
}

impl Dirty {
    pub(super) fn of<'a>(tasks: impl Iterator<Item = &'a Task>) -> Self {
        let mut dirty = Self::default();
        tasks.for_each(|task| dirty.with(task));
        dirty
    }

    pub(super) fn with(&mut self, task: &Task) {
        self.accounts += task.dirty_accounts();
        self.bytes += task.dirty_bytes();
    }

    pub(super) fn without(&mut self, task: &Task) {
        self.accounts -= task.dirty_accounts();
        self.bytes -= task.dirty_bytes();
    }

    /// How many accounts may be looked at before this is asked again; none
    /// when the epoch is full.
    pub(super) fn room(&self, settings: &Settings, batch: &Batch) -> usize {
        let is_full = self.bytes >= settings.max_dirty_bytes
            || batch.alerts.len() + batch.dead_letters.len() >= MOST_ALERTS;
        if is_full {
            return 0;
        }
        let accounts = settings.max_dirty_accounts.saturating_sub(self.accounts);
        accounts.min(LOOKS_AT_A_TIME)
    }
}

impl<S: Source, K: Sink, C: Changelog> Detector<S, K, C> {
    /// Divides the budget of the accounts among the partitions.
    pub(super) fn share_memory(&mut self) {
        let budget = self.settings.account_bytes;
        let dues: usize = self.tasks.values().map(Task::due_bytes).sum();
        let left = budget.saturating_sub(dues).max(budget / LEAST_SHARE);
        let bounds = CacheBounds {
            accounts: self.settings.cached_accounts,
            bytes: left / self.tasks.len().max(1),
        };
        for task in self.tasks.values_mut() {
            task.set_cache(bounds);
        }
        self.shares
            .due_bytes
            .set(dues.try_into().unwrap_or(i64::MAX));
    }
}
