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
    version::StateVersion,
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
    /// accounts were first handed out for change, in the form of this version.
    ///
    /// # Errors
    /// [`StoreError::Encode`].
    pub fn changes(&self, version: StateVersion) -> Result<Vec<RowChange>, StoreError> {
        let mut changes = Vec::with_capacity(self.dirty.len() * 2);
        for slot in self
            .dirty
            .iter()
            .filter_map(|&at| self.slots[at].as_deref())
        {
            changes_of(&slot.state, slot.stored, version, &mut changes)?;
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
    version: StateVersion,
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
        changes.push(put(key::hot(id), row::encode(&state.hot, version)?));
    }
    if touched.history || first {
        changes.push(put(key::history(id), row::encode(&state.history, version)?));
    }
    for user in &touched.seats {
        // A seat may be forgotten after it was touched.
        if let Some(seat) = state.seats.get(user) {
            changes.push(put(key::seat(id, user), row::encode(seat, version)?));
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
mod tests;
