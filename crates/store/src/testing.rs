//! What the tests of this crate share: a throw-away store, accounts of a few
//! rows, and the commit as the loop makes it.

use churnwatch_core::{
    account::AccountState,
    breaker::Breaker,
    ids::{AccountId, UserId},
    time::{Day, EventTime},
    watermark::TaskTime,
};

use crate::{
    Accounts, PartitionStore, RowChange, StateDir, StateVersion, StoreError, StoreOptions, TaskRow,
};

/// An empty store in a directory of its own, which goes when both are dropped.
pub(crate) fn store() -> (StateDir, PartitionStore) {
    let state = StateDir::temporary(StoreOptions::default()).unwrap();
    let store = state.partition(0).unwrap();
    (state, store)
}

pub(crate) fn task(epoch: u64, digest: u128) -> TaskRow {
    TaskRow {
        partitions: 4,
        epoch,
        next_offset: epoch as i64 * 100,
        changelog_offset: -1,
        digest,
        time: TaskTime::default(),
        breaker: Breaker::default(),
    }
}

/// Changes every row of an account, as an event would.
pub(crate) fn change(account: &mut AccountState, due: i64) {
    if account.is_unseen() {
        *account = AccountState::begin(account.id.clone(), Day(0));
    }
    account.hot.last_event = Some(EventTime::from_millis(due - 1));
    account.hot.next_due = Some(EventTime::from_millis(due));
    account.touched.hot = true;
    account.touched.history = true;
    account.user_acts(&UserId::from("ada"), Day(0), 1);
}

/// Commits what is dirty, as the loop does; gives the rows.
pub(crate) fn commit(
    store: &mut PartitionStore,
    accounts: &mut Accounts,
) -> Result<Vec<RowChange>, StoreError> {
    let rows = accounts.changes(StateVersion::NEWEST)?;
    commit_rows(store, &rows)?;
    accounts.committed();
    Ok(rows)
}

/// Commits rows.
pub(crate) fn commit_rows(
    store: &mut PartitionStore,
    rows: &[RowChange],
) -> Result<(), StoreError> {
    let epoch = store.task().map_or(0, |task| task.epoch) + 1;
    let digest = store.digest_after(rows)?;
    store.commit(rows, &task(epoch, digest))
}

/// Every account and when it is due, after the digest was verified.
pub(crate) fn dues(
    store: &PartitionStore,
) -> Result<Vec<(AccountId, Option<EventTime>)>, StoreError> {
    let mut dues = Vec::new();
    store.verify(&mut |account, due| dues.push((account, due)))?;
    Ok(dues)
}
