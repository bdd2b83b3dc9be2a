//! Decoded accounts in front of a partition's store.
//!
//! Decoding an account costs far more than applying an event to it, and a few
//! accounts bring most of the events. So accounts stay decoded between events
//! and between commits, and each changed row is written once a commit,
//! however often it changed.
//!
//! An account is **dirty** from the moment it is handed out for change until
//! the next commit. Dirty accounts are kept in the order in which they were
//! first handed out, so the rows of a commit, and the records of the changelog,
//! come in an order that depends on the log alone. Clean accounts may be
//! dropped at any time: the store has them. The least recently used go first.
//!
//! What is kept is bounded by number and by bytes: an account of ten users and
//! one of a hundred thousand are not the same. Dirty accounts are never dropped;
//! whoever fills the cache commits when [`Accounts::dirty_bytes`] is too much.
//!
//! ```text
//!          load_for_change            changes, then committed
//!   clean ----------------> dirty -----------------------------> clean -> evicted
//!                             |  discard
//!                             +---------> gone, with all others
//! ```

use std::collections::HashMap;

use churnwatch_core::{
    account::{AccountState, Touched},
    ids::AccountId,
};
use foldhash::fast::RandomState;

use crate::{
    error::StoreError,
    key,
    partition::PartitionStore,
    row::{self, RowChange},
};

/// How much is kept decoded in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBounds {
    /// Number of accounts; an eighth more between clearings.
    pub accounts: usize,
    /// Their memory in bytes, roughly; more only by what is dirty.
    pub bytes: usize,
}

/// What a slot takes beside the account: its place in the index and in the
/// lists, in bytes.
const SLOT_BYTES: usize = 128;

/// Decoded accounts of one partition, with what changed since the last commit.
pub struct Accounts {
    bounds: CacheBounds,
    /// Memory of all slots, and of the dirty ones, in bytes, roughly.
    bytes: usize,
    dirty_bytes: usize,
    /// Where in `slots` an account is. Its order is random, and never shows.
    index: HashMap<AccountId, usize, RandomState>,
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<usize>,
    /// Slots of dirty accounts, in the order in which they became dirty.
    dirty: Vec<usize>,
    /// Counts loads: the clock of "recently".
    loads: u64,
}

struct Slot {
    state: AccountState,
    /// Whether the store has it.
    stored: bool,
    dirty: bool,
    last_load: u64,
    /// Its memory as of the last load or commit, in bytes, roughly.
    bytes: usize,
}

impl Accounts {
    /// Keeps up to `accounts` accounts decoded (an eighth more between
    /// clearings), and as many as are dirty, whatever their size.
    pub fn new(accounts: usize) -> Self {
        Self {
            bounds: CacheBounds {
                accounts,
                bytes: usize::MAX,
            },
            bytes: 0,
            dirty_bytes: 0,
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            loads: 0,
        }
    }

    /// Keeps so much from now on.
    pub fn set_bounds(&mut self, bounds: CacheBounds) {
        self.bounds = bounds;
        self.make_room();
    }

    /// An account to look at; one that was never seen if the store has none.
    ///
    /// # Errors
    /// Those of [`PartitionStore::account`].
    pub fn load(
        &mut self,
        store: &PartitionStore,
        id: &AccountId,
    ) -> Result<&AccountState, StoreError> {
        let at = self.slot_of(store, id)?;
        Ok(&self.slot(at).state)
    }

    /// An account to change; what is touched of it is written at the next
    /// commit. One that was never seen if the store has none.
    ///
    /// # Errors
    /// Those of [`PartitionStore::account`].
    pub fn load_for_change(
        &mut self,
        store: &PartitionStore,
        id: &AccountId,
    ) -> Result<&mut AccountState, StoreError> {
        let at = self.slot_of(store, id)?;
        if !self.slot(at).dirty {
            self.slot(at).dirty = true;
            self.dirty_bytes += self.slot(at).bytes;
            self.dirty.push(at);
        }
        Ok(&mut self.slot(at).state)
    }

    /// The rows that differ from what is stored, in the order in which their
    /// accounts were first handed out for change.
    ///
    /// # Errors
    /// [`StoreError::Encode`].
    pub fn changes(&self) -> Result<Vec<RowChange>, StoreError> {
        let mut changes = Vec::with_capacity(self.dirty.len() * 2);
        for slot in self
            .dirty
            .iter()
            .filter_map(|&at| self.slots[at].as_deref())
        {
            changes_of(&slot.state, slot.stored, &mut changes)?;
        }
        Ok(changes)
    }

    /// Takes note that the store has all changes.
    pub fn committed(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            let slot = self.slot(at);
            slot.dirty = false;
            let before = slot.bytes;
            if is_touched(&slot.state.touched) {
                slot.stored = !is_gone(&slot.state);
                for user in std::mem::take(&mut slot.state.touched).seats {
                    if let Some(seat) = slot.state.seats.get_mut(&user) {
                        seat.touched = false;
                    }
                }
                slot.bytes = slot.state.memory_bytes() + SLOT_BYTES;
            }
            let after = slot.bytes;
            self.bytes = self.bytes + after - before;
        }
        self.dirty_bytes = 0;
        self.make_room();
    }

    /// Forgets every account, after an abort: what was applied since the last
    /// commit never happened.
    pub fn discard(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.free.clear();
        self.dirty.clear();
        self.bytes = 0;
        self.dirty_bytes = 0;
    }

    /// Accounts that are decoded.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no account is decoded.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Memory of what is decoded, in bytes, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of the accounts handed out for change since the last commit, as
    /// it was then, in bytes, roughly.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Accounts handed out for change since the last commit.
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// The slot of an account, which is read where it is not there.
    fn slot_of(&mut self, store: &PartitionStore, id: &AccountId) -> Result<usize, StoreError> {
        let at = match self.index.get(id) {
            Some(&at) => at,
            None => {
                self.make_room();
                self.insert(id, store.account(id)?)
            }
        };
        self.loads += 1;
        let loads = self.loads;
        self.slot(at).last_load = loads;
        Ok(at)
    }

    fn insert(&mut self, id: &AccountId, stored: Option<AccountState>) -> usize {
        let is_stored = stored.is_some();
        let state = stored.unwrap_or_else(|| AccountState::unseen(id.clone()));
        let bytes = state.memory_bytes() + SLOT_BYTES;
        self.bytes += bytes;
        // Boxed, since the list of slots takes twice its size while it grows.
        let slot = Some(Box::new(Slot {
            state,
            stored: is_stored,
            dirty: false,
            last_load: self.loads,
            bytes,
        }));
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.index.insert(id.clone(), at);
        at
    }

    fn slot(&mut self, at: usize) -> &mut Slot {
        self.slots[at]
            .as_mut()
            .expect("the index and the dirty list name filled slots only")
    }

    /// Drops the least recently used clean accounts beyond the bounds, an
    /// eighth of it at a time: finding them takes a pass over all.
    fn make_room(&mut self) {
        let (too_many, too_large) = (self.too_many(), self.too_large());
        if too_many == 0 && too_large == 0 {
            return;
        }
        let slots = self.slots.iter().flatten().filter(|slot| !slot.dirty);
        let mut by_load: Vec<(u64, usize)> =
            slots.map(|slot| (slot.last_load, slot.bytes)).collect();
        by_load.sort_unstable();
        let mut newest_to_drop = 0;
        let mut freed = 0;
        for (dropped, (load, bytes)) in by_load.into_iter().enumerate() {
            if dropped >= too_many && freed >= too_large {
                break;
            }
            freed += bytes;
            newest_to_drop = load;
        }
        for (at, place) in self.slots.iter_mut().enumerate() {
            if place
                .as_ref()
                .is_some_and(|slot| !slot.dirty && slot.last_load <= newest_to_drop)
                && let Some(slot) = place.take()
            {
                self.bytes -= slot.bytes;
                self.index.remove(&slot.state.id);
                self.free.push(at);
            }
        }
    }

    /// How many clean accounts must go by their number.
    fn too_many(&self) -> usize {
        let most = self.bounds.accounts;
        let clean = self.len() - self.dirty.len();
        let beyond = self.len().saturating_sub(most).min(clean);
        if beyond < most / 8 { 0 } else { beyond }
    }

    /// How many bytes of clean accounts must go: down to seven eighths, so that
    /// it is not begun again at once.
    fn too_large(&self) -> usize {
        let most = self.bounds.bytes;
        if self.bytes <= most {
            return 0;
        }
        let clean = self.bytes - self.dirty_bytes.min(self.bytes);
        let beyond = (self.bytes - most / 8 * 7).min(clean);
        if beyond < most / 8 { 0 } else { beyond }
    }
}

fn is_touched(touched: &Touched) -> bool {
    let Touched {
        hot,
        history,
        seats,
        removed_seats,
        erased,
    } = touched;
    *hot || *history || !seats.is_empty() || *erased || !removed_seats.is_empty()
}

fn changes_of(
    state: &AccountState,
    stored: bool,
    changes: &mut Vec<RowChange>,
) -> Result<(), StoreError> {
    let (id, touched) = (&state.id, &state.touched);
    // An account's first rows are its hot and its history row, whatever was
    // touched; after it was erased they are its first again.
    let gone = is_gone(state);
    let first = is_touched(touched) && !gone && (!stored || touched.erased);
    if gone && stored {
        changes.extend([key::hot(id), key::history(id)].map(deleted));
    }
    if touched.hot || first {
        changes.push(put(key::hot(id), row::encode(&state.hot)?));
    }
    if touched.history || first {
        changes.push(put(key::history(id), row::encode(&state.history)?));
    }
    for user in &touched.seats {
        // A seat may be forgotten after it was touched.
        if let Some(seat) = state.seats.get(user) {
            changes.push(put(key::seat(id, user), row::encode(seat)?));
        }
    }
    for user in &touched.removed_seats {
        // A seat may be taken away and come back between two commits.
        if !state.seats.contains_key(user) {
            changes.push(deleted(key::seat(id, user)));
        }
    }
    Ok(())
}

/// Whether it was erased, and nothing has come since.
fn is_gone(state: &AccountState) -> bool {
    state.touched.erased && state.is_unseen()
}

fn deleted(key: Vec<u8>) -> RowChange {
    RowChange { key, value: None }
}

fn put(key: Vec<u8>, value: Vec<u8>) -> RowChange {
    RowChange {
        key,
        value: Some(value),
    }
}

#[cfg(test)]
mod tests {
    use churnwatch_core::{
        ids::UserId,
        time::{Day, EventTime},
    };

    use super::*;
    use crate::testing::*;

    #[test]
    fn changes_come_in_the_order_of_the_first_change_and_only_of_touched_rows() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        for name in ["b", "a"] {
            change(accounts.load_for_change(&store, &name.into()).unwrap(), 1);
        }
        let (a, b, ada) = ("a".into(), "b".into(), "ada".into());
        let keys: Vec<Vec<u8>> = commit(&mut store, &mut accounts)
            .unwrap()
            .into_iter()
            .map(|row| row.key)
            .collect();
        let of = |id| [key::hot(id), key::history(id), key::seat(id, &ada)];
        assert_eq!(keys, [of(&b), of(&a)].concat());

        accounts.load(&store, &b).unwrap();
        accounts.load_for_change(&store, &a).unwrap().touched.hot = true;
        let changes = accounts.changes().unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].key, key::hot(&a));
    }

    #[test]
    fn the_first_rows_of_an_account_are_hot_and_history_whatever_was_touched() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let id = AccountId::from("a");
        let account = accounts.load_for_change(&store, &id).unwrap();
        *account = AccountState::begin(id.clone(), Day(0));
        account.user_acts(&"ada".into(), Day(0), 1);
        let rows = commit(&mut store, &mut accounts).unwrap();
        assert_eq!(rows.len(), 3);
        assert!(store.account(&id).unwrap().is_some());

        accounts
            .load_for_change(&store, &id)
            .unwrap()
            .user_acts(&"ada".into(), Day(0), 1);
        assert_eq!(accounts.changes().unwrap().len(), 1, "once is enough");
    }

    #[test]
    fn an_account_that_was_loaded_but_not_touched_is_not_written() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        accounts.load_for_change(&store, &"a".into()).unwrap();
        assert_eq!((accounts.dirty_len(), accounts.len()), (1, 1));
        assert_eq!(commit(&mut store, &mut accounts).unwrap(), []);
        assert_eq!(accounts.dirty_len(), 0);
        assert_eq!(store.account(&"a".into()).unwrap(), None);
    }

    #[test]
    fn a_removed_seat_is_deleted_unless_it_came_back() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let id = AccountId::from("a");
        let account = accounts.load_for_change(&store, &id).unwrap();
        change(account, 1);
        account.user_acts(&"bob".into(), Day(0), 1);
        commit(&mut store, &mut accounts).unwrap();

        let account = accounts.load_for_change(&store, &id).unwrap();
        for user in ["ada", "bob"] {
            account.seats.remove(user);
            account.touched.removed_seats.push(user.into());
        }
        account.user_acts(&"bob".into(), Day(0), 1);
        let rows = commit(&mut store, &mut accounts).unwrap();
        assert_eq!(rows.len(), 2);
        dues(&store).unwrap();
        let read = store.account(&id).unwrap().unwrap();
        assert_eq!(read.seats.into_keys().collect::<Vec<_>>(), ["bob".into()]);
        assert_eq!(accounts.changes().unwrap(), [], "flags are cleared");
    }

    #[test]
    fn an_erased_account_leaves_no_row_behind() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let (id, other) = (AccountId::from("a"), AccountId::from("ab"));
        for id in [&id, &other] {
            change(accounts.load_for_change(&store, id).unwrap(), 1);
        }
        commit(&mut store, &mut accounts).unwrap();
        let account = accounts.load_for_change(&store, &id).unwrap();
        account.user_acts(&"bob".into(), Day(0), 1);
        account.erase();
        let rows = commit(&mut store, &mut accounts).unwrap();
        assert!(rows.iter().all(|row| row.value.is_none()), "{rows:?}");
        assert_eq!(store.account(&id).unwrap(), None);
        assert_eq!(dues(&store).unwrap().len(), 1);
        assert_eq!(store.scan(&mut |_, _| {}).unwrap().rows, 3);
        assert_eq!(accounts.changes().unwrap(), [], "once is enough");
        // One that is not known leaves nothing behind either.
        accounts
            .load_for_change(&store, &"b".into())
            .unwrap()
            .erase();
        assert_eq!(commit(&mut store, &mut accounts).unwrap(), []);
    }

    #[test]
    fn what_comes_after_an_erasure_begins_the_account_whatever_batch_it_is_in() {
        let rows = |commits_between: bool| {
            let (_state, mut store) = store();
            let mut accounts = Accounts::new(10);
            let id = AccountId::from("a");
            let account = accounts.load_for_change(&store, &id).unwrap();
            change(account, 1);
            account.user_acts(&"bob".into(), Day(0), 1);
            commit(&mut store, &mut accounts).unwrap();
            accounts.load_for_change(&store, &id).unwrap().erase();
            if commits_between {
                commit(&mut store, &mut accounts).unwrap();
            }
            let account = accounts.load_for_change(&store, &id).unwrap();
            // As an event would.
            let touched = std::mem::take(&mut account.touched);
            *account = AccountState::begin(id.clone(), Day(7));
            account.touched = touched;
            account.hot.last_event = Some(EventTime::from_millis(8));
            account.touched.hot = true;
            account.user_acts(&"bob".into(), Day(7), 1);
            commit(&mut store, &mut accounts).unwrap();
            dues(&store).unwrap();
            let read = store.account(&id).unwrap().unwrap();
            assert_eq!(read.seats.keys().collect::<Vec<_>>(), [&"bob".into()]);
            (read, store.digest())
        };
        assert_eq!(rows(true), rows(false));
    }

    #[test]
    fn a_user_of_an_account_of_very_many_is_written_alone() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let id = AccountId::from("a");
        let account = accounts.load_for_change(&store, &id).unwrap();
        change(account, 1);
        for user in 0..5_000 {
            account.user_acts(&UserId::from(&*format!("u{user}")), Day(0), 1);
        }
        assert_eq!(commit(&mut store, &mut accounts).unwrap().len(), 5_003);
        for round in 0..2 {
            let account = accounts.load_for_change(&store, &id).unwrap();
            for user in ["u4999", "u7", "u4999"] {
                account.user_acts(&user.into(), Day(0), 1);
            }
            let rows = commit(&mut store, &mut accounts).unwrap();
            let keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
            let seat = |user: &str| key::seat(&id, &user.into());
            assert_eq!(keys, [seat("u4999"), seat("u7")], "{round}");
        }
    }

    #[test]
    fn an_abort_forgets_what_was_applied() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let id = AccountId::from("a");
        change(accounts.load_for_change(&store, &id).unwrap(), 1);
        commit(&mut store, &mut accounts).unwrap();
        change(accounts.load_for_change(&store, &id).unwrap(), 2);
        accounts.discard();
        assert_eq!((accounts.len(), accounts.dirty_len()), (0, 0));
        assert_eq!(accounts.changes().unwrap(), []);
        let account = accounts.load(&store, &id).unwrap();
        assert_eq!(account.hot.next_due.unwrap().as_millis(), 1);
    }

    #[test]
    fn the_least_recently_used_clean_accounts_make_room() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(16);
        let id = |n: usize| AccountId::from(&*format!("account-{n}"));
        for n in 0..16 {
            change(accounts.load_for_change(&store, &id(n)).unwrap(), 1);
        }
        commit(&mut store, &mut accounts).unwrap();
        // The oldest two are used again; four others come.
        for n in [0, 1, 16, 17, 18, 19] {
            accounts.load(&store, &id(n)).unwrap();
        }
        let kept = |accounts: &Accounts, n| accounts.index.contains_key(&id(n));
        assert!(kept(&accounts, 0) && kept(&accounts, 1) && kept(&accounts, 19));
        assert!(
            !kept(&accounts, 2) && !kept(&accounts, 3),
            "least recently used"
        );
        assert!(accounts.len() <= 18, "{}", accounts.len());
        for n in 20..200 {
            accounts.load(&store, &id(n)).unwrap();
        }
        assert!(
            accounts.len() <= 18 && accounts.slots.len() <= 19,
            "slots are used again"
        );
        assert_eq!(
            accounts
                .load(&store, &id(5))
                .unwrap()
                .hot
                .next_due
                .unwrap()
                .as_millis(),
            1
        );
    }

    #[test]
    fn large_accounts_make_room_by_their_bytes() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(1_000);
        let id = |n: usize| AccountId::from(&*format!("account-{n}"));
        for n in 0..50 {
            let account = accounts.load_for_change(&store, &id(n)).unwrap();
            change(account, 1);
            for user in 0..if n == 0 { 500 } else { 1 } {
                account.user_acts(&(&*format!("user-{user}")).into(), Day(0), 1);
            }
        }
        commit(&mut store, &mut accounts).unwrap();
        let all = accounts.bytes();
        accounts.load(&store, &id(0)).unwrap();
        let large = accounts.slots[accounts.index[&id(0)]]
            .as_ref()
            .unwrap()
            .bytes;
        assert!(large > 500 * 100, "{large}");

        let bytes = large + (all - large) / 2;
        accounts.set_bounds(CacheBounds {
            accounts: 1_000,
            bytes,
        });
        assert!(accounts.bytes() <= bytes, "{} of {bytes}", accounts.bytes());
        assert!(accounts.index.contains_key(&id(0)), "it was used last");
        for n in 1..50 {
            accounts.load(&store, &id(n)).unwrap();
            assert!(accounts.bytes() <= bytes + bytes / 8);
        }
        assert!(!accounts.index.contains_key(&id(0)));
        let sum: usize = accounts.slots.iter().flatten().map(|slot| slot.bytes).sum();
        assert_eq!(accounts.bytes(), sum);
    }

    #[test]
    fn what_is_dirty_is_counted_in_bytes_until_the_commit() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        for name in ["a", "b"] {
            change(accounts.load_for_change(&store, &name.into()).unwrap(), 1);
            change(accounts.load_for_change(&store, &name.into()).unwrap(), 2);
        }
        assert_eq!(accounts.dirty_bytes(), accounts.bytes());
        commit(&mut store, &mut accounts).unwrap();
        assert_eq!(accounts.dirty_bytes(), 0);
        assert!(accounts.bytes() > 0);
        accounts.load_for_change(&store, &"a".into()).unwrap();
        assert!(accounts.dirty_bytes() > 0 && accounts.dirty_bytes() < accounts.bytes());
        accounts.discard();
        assert_eq!((accounts.bytes(), accounts.dirty_bytes()), (0, 0));
    }

    #[test]
    fn dirty_accounts_are_never_dropped_before_a_commit() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(2);
        for n in 0..50 {
            let id = AccountId::from(&*n.to_string());
            change(accounts.load_for_change(&store, &id).unwrap(), n);
        }
        assert_eq!((accounts.len(), accounts.dirty_len()), (50, 50));
        // Others that are only looked at come and go.
        for n in 0..50 {
            let id = AccountId::from(&*format!("other-{n}"));
            accounts.load(&store, &id).unwrap();
        }
        assert!((50..=53).contains(&accounts.len()), "{}", accounts.len());
        commit(&mut store, &mut accounts).unwrap();
        assert!(accounts.len() <= 3, "{}", accounts.len());
        assert_eq!(dues(&store).unwrap().len(), 50);
    }

    #[test]
    fn accounts_and_stores_can_move_to_a_worker() {
        fn is_send<T: Send>() {}
        is_send::<Accounts>();
        is_send::<PartitionStore>();
    }
}
