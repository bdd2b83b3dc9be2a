//! The stored state of one partition of the log.

mod restore;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use churnwatch_core::{
    account::{AccountState, History, Hot, Seat},
    ids::{AccountId, UserId},
};
use churnwatch_faults::{Defence, Moment, holds, pass};
use rocksdb::{ColumnFamily, DB, FlushOptions, ReadOptions, WriteBatch, WriteOptions, properties};

pub use self::restore::{RestoredRows, Scan};
use crate::{
    digest::{self, Digest},
    dir::Registration,
    error::StoreError,
    key::{self, Table},
    row::{self, Row, RowChange},
    task::TaskRow,
    version::StateVersion,
};

/// Rows that are read together; bounds what is held in memory at a time.
const ROWS_AT_A_TIME: usize = 1024;

/// Level-0 files at which the loop should pause: RocksDB slows writes down at
/// 20 and stops them at 36.
const LEVEL_0_FILES_STRAINED: u64 = 16;

/// The store of one partition. Dropping it flushes and closes it.
pub struct PartitionStore {
    // Order matters: the database is closed before it counts as closed.
    db: Arc<DB>,
    registration: Registration,
    task: Option<TaskRow>,
    /// When the oldest commit was made that may not be on disk.
    unflushed_since: Option<Instant>,
    /// Flushes and compactions that have failed so far.
    failures: u64,
}

impl PartitionStore {
    pub(crate) fn new(db: Arc<DB>, registration: Registration) -> Result<Self, StoreError> {
        let mut store = Self {
            db,
            registration,
            task: None,
            unflushed_since: None,
            failures: 0,
        };
        store.task = store.read::<TaskRow>(&key::task(), None)?;
        Ok(store)
    }

    /// The partition of the log.
    pub fn partition(&self) -> i32 {
        self.registration.partition
    }

    /// The version in which its rows are written.
    pub fn state_version(&self) -> StateVersion {
        self.registration.shared.state_version()
    }

    /// How far the rows have come; `None` before the first commit.
    pub fn task(&self) -> Option<&TaskRow> {
        self.task.as_ref()
    }

    /// What the rows add up to, by the last commit.
    pub fn digest(&self) -> u128 {
        self.task.as_ref().map_or(digest::EMPTY, |task| task.digest)
    }

    /// Reads an account: hot and history row by key, seats by a range.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::NewerRow`] naming table and
    /// account, or an error of RocksDB.
    pub fn account(&self, id: &AccountId) -> Result<Option<AccountState>, StoreError> {
        // A written account always has both rows: see the crate's documentation.
        let Some(hot) = self.read::<Hot>(&key::hot(id), Some(id))? else {
            return Ok(None);
        };
        let Some(history) = self.read::<History>(&key::history(id), Some(id))? else {
            return Err(StoreError::Corrupt {
                partition: self.partition(),
                what: row::describe(Table::History, Some(id)),
                reason: "it is missing, while the hot row is there".to_owned(),
            });
        };
        Ok(Some(AccountState::from_rows(
            id.clone(),
            hot,
            history,
            self.seats(id)?,
        )))
    }

    /// What the digest will be after `changes`, by the values that are stored
    /// now: a value that is not what the last commit wrote shows here, or at
    /// the next [`PartitionStore::verify`].
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn digest_after(&self, changes: &[RowChange]) -> Result<u128, StoreError> {
        let mut digest = Digest::from(self.digest());
        let changes = last_of_each_key(changes);
        for changes in changes.chunks(ROWS_AT_A_TIME) {
            let keys = changes.iter().map(|change| &change.key);
            let stored = self.db.batched_multi_get_cf(self.rows(), keys, true);
            for (change, stored) in changes.iter().zip(stored) {
                if let Some(stored) = stored.map_err(|e| self.failed(e))? {
                    digest.subtract(&change.key, &stored);
                }
                if let Some(value) = &change.value {
                    digest.add(&change.key, value);
                }
            }
        }
        Ok(digest.value())
    }

    /// Writes rows and the task row in one batch: after a crash either all of
    /// them are there or none. Call it only once the transaction that carries
    /// them is committed; `task.digest` is [`PartitionStore::digest_after`] of
    /// the same changes.
    ///
    /// # Errors
    /// Those of RocksDB. What is written is then not known: drop the store and
    /// open it again.
    pub fn commit(&mut self, changes: &[RowChange], task: &TaskRow) -> Result<(), StoreError> {
        let mut batch = batch_of(changes);
        if !holds(Defence::OneBatch) {
            // The position first, and what it stands for behind it, if it comes to that.
            let mut position = WriteBatch::default();
            position.put(key::task(), task.encode(self.state_version())?);
            self.write(position)?;
            self.flush()?;
            pass(Moment::DuringStore);
        }
        batch.put(key::task(), task.encode(self.state_version())?);
        self.write(batch)?;
        self.task = Some(task.clone());
        Ok(())
    }

    /// Puts all that is committed on disk, and waits for it.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(|e| self.failed(e))?;
        self.unflushed_since = None;
        Ok(())
    }

    /// Begins to put all that is committed on disk, where some of it has
    /// waited for `age`; does not wait for the end. Called by the loop, this
    /// bounds what must be read from the changelog after a crash.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn flush_if_older_than(&mut self, age: Duration, now: Instant) -> Result<bool, StoreError> {
        let due = self
            .unflushed_since
            .is_some_and(|since| now.saturating_duration_since(since) >= age);
        if due {
            let mut options = FlushOptions::default();
            options.set_wait(false);
            self.db.flush_opt(&options).map_err(|e| self.failed(e))?;
            self.unflushed_since = None;
        }
        Ok(due)
    }

    /// Finds out whether a flush or a compaction has failed that nobody waits
    /// for; the next write would tell, but a quiet partition has none.
    ///
    /// # Errors
    /// What it failed of. The store then takes nothing any more: drop it and
    /// open it again.
    pub fn check_background(&mut self) -> Result<(), StoreError> {
        let failures = self.property(properties::BACKGROUND_ERRORS)?;
        if failures > self.failures {
            self.failures = failures;
            // RocksDB counts them only; what it was, a flush tells.
            self.db.flush().map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// Whether RocksDB slows writes down, or soon will: pause the partition
    /// before a commit stalls for longer than a transaction lives.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn is_strained(&self) -> Result<bool, StoreError> {
        Ok(self.level_0_files()? >= LEVEL_0_FILES_STRAINED
            || self.property(properties::ACTUAL_DELAYED_WRITE_RATE)? > 0
            || self.property(properties::IS_WRITE_STOPPED)? > 0)
    }

    /// Bytes on disk and in write buffers, roughly.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn approximate_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.property(properties::LIVE_SST_FILES_SIZE)?
            + self.property(properties::CUR_SIZE_ALL_MEM_TABLES)?)
    }

    /// Rows, roughly; a [`Scan`] has the exact number.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn approximate_rows(&self) -> Result<u64, StoreError> {
        self.property(properties::ESTIMATE_NUM_KEYS)
    }

    /// The rows of an account as they are stored, with their keys: the hot and
    /// the history row, then the seats. None where there is no such account.
    ///
    /// # Errors
    /// Those of RocksDB; damaged values are given as they are.
    #[expect(clippy::type_complexity, reason = "keys and values, named above")]
    pub fn rows_of(&self, id: &AccountId) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        for key in [key::hot(id), key::history(id)] {
            let value = self.db.get(&key).map_err(|e| self.failed(e))?;
            found.extend(value.map(|value| (key, value)));
        }
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(key::seats(id)));
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            found.push((key.to_vec(), value.to_vec()));
            rows.next();
        }
        rows.status().map_err(|e| self.failed(e))?;
        Ok(found)
    }

    /// Every row but the task row and those of `changes`, in the order of keys,
    /// as a change that puts it where it is.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn rows_but(&self, changes: &[RowChange]) -> Result<Vec<RowChange>, StoreError> {
        let changed: BTreeSet<&[u8]> = changes.iter().map(|change| &*change.key).collect();
        let mut found = Vec::new();
        let mut rows = self.db.raw_iterator();
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            if key != key::task() && !changed.contains(key) {
                found.push(RowChange {
                    key: key.to_vec(),
                    value: Some(value.to_vec()),
                });
            }
            rows.next();
        }
        rows.status().map_err(|e| self.failed(e))?;
        Ok(found)
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(batch, &options)
            .map_err(|e| self.failed(e))?;
        self.unflushed_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn read<R: Row>(
        &self,
        key: &[u8],
        account: Option<&AccountId>,
    ) -> Result<Option<R>, StoreError> {
        let value = self.db.get_pinned(key).map_err(|e| self.failed(e))?;
        value
            .map(|value| row::decode(&value, account, self.partition()))
            .transpose()
    }

    fn seats(&self, id: &AccountId) -> Result<BTreeMap<UserId, Seat>, StoreError> {
        let prefix = key::seats(id);
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(&*prefix));
        let mut seats = BTreeMap::new();
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            let user = key::user_of_seat(key, &prefix).map_err(|bad| self.corrupt_key(&bad))?;
            seats.insert(
                UserId::from(user),
                row::decode(value, Some(id), self.partition())?,
            );
            rows.next();
        }
        rows.status().map_err(|e| self.failed(e))?;
        Ok(seats)
    }

    fn rows(&self) -> &ColumnFamily {
        self.db
            .cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
            .expect("every database is opened with its default column family")
    }

    fn property(&self, name: &rocksdb::properties::PropName) -> Result<u64, StoreError> {
        let value = self
            .db
            .property_int_value(name)
            .map_err(|e| self.failed(e))?;
        Ok(value.unwrap_or_default())
    }

    fn level_0_files(&self) -> Result<u64, StoreError> {
        let files = self
            .db
            .property_value(properties::num_files_at_level(0))
            .map_err(|e| self.failed(e))?;
        Ok(files.and_then(|files| files.parse().ok()).unwrap_or(0))
    }

    fn failed(&self, source: rocksdb::Error) -> StoreError {
        StoreError::rocksdb(self.partition(), self.db.path(), source)
    }

    fn corrupt_key(&self, bad: &key::BadKey) -> StoreError {
        StoreError::Corrupt {
            partition: self.partition(),
            what: "a key".to_owned(),
            reason: bad.to_string(),
        }
    }
}

/// In the order of keys; of several changes of one key, the last.
fn last_of_each_key(changes: &[RowChange]) -> Vec<&RowChange> {
    let mut sorted: Vec<&RowChange> = changes.iter().rev().collect();
    // Stable and reversed, so the last change of a key comes first and stays.
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.dedup_by(|later, earlier| later.key == earlier.key);
    sorted
}

fn batch_of<'c>(changes: impl IntoIterator<Item = &'c RowChange>) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for change in changes {
        match &change.value {
            Some(value) => batch.put(&change.key, value),
            None => batch.delete(&change.key),
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use churnwatch_core::time::EventTime;

    use super::*;
    use crate::{Accounts, testing::*};

    fn put(key: Vec<u8>, value: &[u8]) -> RowChange {
        RowChange {
            key,
            value: Some(value.to_vec()),
        }
    }

    #[test]
    fn an_account_reads_back_as_it_was_committed() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let id = AccountId::from("acme");
        assert_eq!(store.account(&id).unwrap(), None);
        assert_eq!(store.task(), None);

        change(accounts.load_for_change(&store, &id).unwrap(), 5_000);
        commit(&mut store, &mut accounts).unwrap();

        let read = store.account(&id).unwrap().unwrap();
        assert_eq!(&read, accounts.load(&store, &id).unwrap());
        assert_eq!(read.hot.next_due, Some(EventTime::from_millis(5_000)));
        assert_eq!(read.seats.len(), 1);
        assert_eq!(store.task().map(|task| task.epoch), Some(1));
    }

    #[test]
    fn seats_of_accounts_whose_names_begin_alike_are_kept_apart() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        for name in ["a", "ab", "b"] {
            let account = accounts.load_for_change(&store, &name.into()).unwrap();
            change(account, 1);
            account.user_acts(&UserId::from(name), churnwatch_core::time::Day(0), 1);
        }
        commit(&mut store, &mut accounts).unwrap();
        let read = store.account(&"a".into()).unwrap().unwrap();
        assert_eq!(
            read.seats.into_keys().collect::<Vec<_>>(),
            ["a".into(), "ada".into()]
        );
    }

    #[test]
    fn damage_names_table_and_account_and_never_panics() {
        let (_state, mut store) = store();
        let id = AccountId::from("acme");
        let cases: [(&[u8], &str); 3] = [
            (b"", "no bytes"),
            (b"\x00", "version 0"),
            (b"\x01\xff\xff\xff", ""),
        ];
        for (value, reason) in cases {
            commit_rows(&mut store, &[put(key::hot(&id), value)]).unwrap();
            let error = store.account(&id).unwrap_err();
            assert!(error.wants_rebuild(), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("hot row of account \"acme\"") && text.contains(reason),
                "{text}"
            );
        }
    }

    #[test]
    fn a_hot_row_without_a_history_is_damage() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        let id = AccountId::from("acme");
        change(accounts.load_for_change(&store, &id).unwrap(), 1);
        commit(&mut store, &mut accounts).unwrap();
        commit_rows(
            &mut store,
            &[RowChange {
                key: key::history(&id),
                value: None,
            }],
        )
        .unwrap();
        let error = store.account(&id).unwrap_err().to_string();
        assert!(error.contains("history row of account \"acme\""), "{error}");
    }

    #[test]
    fn a_row_of_a_newer_version_is_refused_with_both_numbers() {
        let (_state, mut store) = store();
        let id = AccountId::from("acme");
        commit_rows(&mut store, &[put(key::hot(&id), b"\xc8whatever")]).unwrap();
        let error = store.account(&id).unwrap_err();
        assert!(
            matches!(error, StoreError::NewerRow { found: 200, .. }) && !error.wants_rebuild(),
            "{error}"
        );
    }

    #[test]
    fn the_digest_counts_the_last_of_several_changes_of_a_row() {
        let (_state, mut store) = store();
        let key = key::history(&"acme".into());
        let twice = [put(key.clone(), b"one"), put(key.clone(), b"two")];
        let once = [put(key.clone(), b"two")];
        assert_eq!(
            store.digest_after(&twice).unwrap(),
            store.digest_after(&once).unwrap()
        );
        commit_rows(&mut store, &twice).unwrap();
        store.verify(&mut |_, _| {}).unwrap();
        let gone = [RowChange { key, value: None }];
        assert_eq!(store.digest_after(&gone).unwrap(), digest::EMPTY);
    }

    #[test]
    fn a_flush_by_age_waits_for_the_age_of_the_oldest_commit() {
        let (_state, mut store) = store();
        let age = Duration::from_secs(60);
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        assert!(
            !store.flush_if_older_than(age, now + hour).unwrap(),
            "nothing to flush"
        );
        commit_rows(&mut store, &[put(key::history(&"a".into()), b"x")]).unwrap();
        assert!(!store.flush_if_older_than(age, now).unwrap(), "too young");
        assert!(store.flush_if_older_than(age, now + hour).unwrap());
        assert!(
            !store.flush_if_older_than(age, now + hour).unwrap(),
            "begun already"
        );
    }

    #[test]
    fn a_quiet_store_is_not_strained_and_grows_with_its_rows() {
        let (_state, mut store) = store();
        assert!(!store.is_strained().unwrap());
        let before = store.approximate_bytes().unwrap();
        commit_rows(&mut store, &[put(key::history(&"a".into()), &[7; 100_000])]).unwrap();
        assert!(store.approximate_bytes().unwrap() >= before + 100_000);
        // The history row and the task row.
        assert_eq!(store.approximate_rows().unwrap(), 2);
    }
}
