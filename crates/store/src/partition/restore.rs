//! Reading a whole partition, and bringing it to a committed position.

use std::time::Instant;

use churnwatch_core::{account::Hot, ids::AccountId, time::EventTime};
use churnwatch_faults::{Defence, holds};
use rocksdb::{FlushOptions, ReadOptions, WriteBatch, properties};

use super::{LEVEL_0_FILES_STRAINED, PartitionStore, batch_of, last_of_each_key};
use crate::{
    digest::{self, Digest},
    dir::Mode,
    error::StoreError,
    key::{self, KeyParts, RowKey},
    row::{self, RowChange},
    task::TaskRow,
};

/// Read ahead of a scan, in bytes, over all files that it reads at a time, and
/// of one of them.
const READ_AHEAD: usize = 16 << 20;
const READ_AHEAD_OF_A_FILE: usize = 2 << 20;

/// Rows read from the changelog, on their way into the store.
#[derive(Default)]
pub struct RestoredRows(WriteBatch);

impl RestoredRows {
    /// Takes a row over (`None` deletes it).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a key that is none of an account's rows;
    /// `partition` is for the error only.
    pub fn push(
        &mut self,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            partition,
            what: "the changelog".to_owned(),
            reason,
        };
        match key::split(key) {
            Ok(KeyParts::Hot(_) | KeyParts::History(_) | KeyParts::Seat(..)) => {}
            Ok(KeyParts::Task) => {
                return Err(corrupt("it holds a task row among the rows".to_owned()));
            }
            Err(bad) => return Err(corrupt(bad.to_string())),
        }
        match value {
            Some(value) => self.0.put(key, value),
            None => self.0.delete(key),
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.0.size_in_bytes()
    }
}

/// What a scan counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// What the rows add up to.
    pub digest: u128,
    /// Accounts that have a hot row.
    pub accounts: u64,
    /// Rows of every table but the task row.
    pub rows: u64,
    /// Bytes of their keys and values, uncompressed.
    pub bytes: u64,
}

impl PartitionStore {
    /// Writes rows read from the changelog, as [`PartitionStore::restore_rows`]
    /// does; `rows` is empty afterwards.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn restore(&mut self, rows: &mut RestoredRows) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut options = rocksdb::WriteOptions::default();
        options.disable_wal(true);
        let batch = std::mem::take(&mut rows.0);
        self.db
            .write_opt(batch, &options)
            .map_err(|e| self.failed(e))?;
        self.unflushed_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Sets the store up for a restore of many rows. Nothing but
    /// [`PartitionStore::restore`] may follow, until
    /// [`PartitionStore::end_bulk`].
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn begin_bulk(self) -> Result<Self, StoreError> {
        self.reopened(Mode::Bulk)
    }

    /// Begins to put all restored rows on disk.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn flush_bulk(&mut self) -> Result<(), StoreError> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        self.db.flush_opt(&options).map_err(|e| self.failed(e))?;
        self.unflushed_since = None;
        Ok(())
    }

    /// Whether all restored rows are on disk, and merged as far as commits need
    /// it in order not to wait.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn is_bulk_settled(&self) -> Result<bool, StoreError> {
        let waiting = self.property(properties::NUM_IMMUTABLE_MEM_TABLE)?
            + self.property(properties::MEM_TABLE_FLUSH_PENDING)?;
        Ok(waiting == 0 && self.level_0_files()? < LEVEL_0_FILES_STRAINED / 2)
    }

    /// Sets the store up for work again.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn end_bulk(self) -> Result<Self, StoreError> {
        self.reopened(Mode::Live)
    }

    fn reopened(self, mode: Mode) -> Result<Self, StoreError> {
        let Self {
            db, registration, ..
        } = self;
        let partition = registration.partition;
        let db = registration
            .shared
            .clone()
            .reopen_partition(partition, db, mode)?;
        Self::new(db, registration)
    }

    /// Writes rows read from the changelog, in their order, without moving the
    /// position: until [`PartitionStore::finish_restore`] the rows are ahead of
    /// the task row. A crash in between does no harm, since the same changes
    /// are read again and a change replaces what was there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a key that is none of ours; else those of
    /// RocksDB.
    pub fn restore_rows(&mut self, changes: &[RowChange]) -> Result<(), StoreError> {
        for change in changes {
            match key::parse(&change.key) {
                Ok(RowKey::Hot(_) | RowKey::History(_) | RowKey::Seat(..)) => {}
                Ok(RowKey::Task) => {
                    return Err(self.corrupt_changelog("it holds a task row among the rows"));
                }
                Err(bad) => return Err(self.corrupt_changelog(&bad.to_string())),
            }
        }
        // In the order of their keys, rows go to the end of the write buffer.
        self.write(batch_of(last_of_each_key(changes)))
    }

    /// Ends a restore: reads all rows, and if they add up to what was committed
    /// takes over `task` as the position. `each` gets every account and when
    /// it is due.
    ///
    /// # Errors
    /// [`StoreError::Digest`] where the rows differ; the position then stays
    /// where it was, and `each` must be forgotten.
    pub fn finish_restore(
        &mut self,
        task: &TaskRow,
        each: &mut dyn FnMut(AccountId, Option<EventTime>),
    ) -> Result<Scan, StoreError> {
        let scan = self.check(task.digest, each)?;
        self.commit(&[], task)?;
        Ok(scan)
    }

    /// Reads all rows and proves that they add up to the committed digest.
    /// `each` gets every account and when it is due.
    ///
    /// # Errors
    /// [`StoreError::Digest`] where the rows differ; `each` must then be
    /// forgotten.
    pub fn verify(
        &self,
        each: &mut dyn FnMut(AccountId, Option<EventTime>),
    ) -> Result<Scan, StoreError> {
        self.check(self.digest(), each)
    }

    /// Reads all rows in one sequential pass that leaves the block cache alone.
    /// `each` gets every account and when it is due, in the order of keys.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the row, or an error of RocksDB.
    pub fn scan(
        &self,
        each: &mut dyn FnMut(AccountId, Option<EventTime>),
    ) -> Result<Scan, StoreError> {
        match self.scan_all(each)? {
            (scan, None) => Ok(scan),
            (_, Some(unreadable)) => Err(unreadable),
        }
    }

    /// As [`PartitionStore::scan`], to the end even where a row cannot be read;
    /// gives the first such error beside what was counted.
    fn scan_all(
        &self,
        each: &mut dyn FnMut(AccountId, Option<EventTime>),
    ) -> Result<(Scan, Option<StoreError>), StoreError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        // One at a time of each deeper level.
        let files = usize::try_from(self.level_0_files()?).unwrap_or(usize::MAX);
        let ahead = READ_AHEAD / files.saturating_add(4);
        options.set_readahead_size(ahead.min(READ_AHEAD_OF_A_FILE));
        let mut scan = Scan::default();
        let mut digest = Digest::from(digest::EMPTY);
        let mut unreadable = None;
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            match key::split(key) {
                Ok(KeyParts::Task) => {}
                Ok(KeyParts::Hot(account)) => {
                    let account = AccountId::from(account);
                    scan.accounts += 1;
                    scan.count(&mut digest, key, value);
                    match row::decode::<Hot>(value, Some(&account), self.partition()) {
                        Ok(hot) => each(account, hot.next_due),
                        Err(error) => unreadable = unreadable.or(Some(error)),
                    }
                }
                Ok(KeyParts::History(_) | KeyParts::Seat(..)) => {
                    scan.count(&mut digest, key, value);
                }
                Err(bad) => unreadable = unreadable.or(Some(self.corrupt_key(&bad))),
            }
            rows.next();
        }
        rows.status().map_err(|e| self.failed(e))?;
        scan.digest = digest.value();
        Ok((scan, unreadable))
    }

    /// Deletes everything and gives the empty store.
    ///
    /// # Errors
    /// Those of the file system and of RocksDB.
    pub fn wipe(self) -> Result<Self, StoreError> {
        let Self {
            db, registration, ..
        } = self;
        let (shared, partition) = (registration.shared.clone(), registration.partition);
        drop(db);
        drop(registration);
        shared.remove_partition(partition)?;
        shared.open_partition(partition)
    }

    fn check(
        &self,
        committed: u128,
        each: &mut dyn FnMut(AccountId, Option<EventTime>),
    ) -> Result<Scan, StoreError> {
        let (scan, unreadable) = self.scan_all(each)?;
        if scan.digest != committed && holds(Defence::Digest) {
            // Said first: a flipped version byte is damage, and no newer version's row.
            return Err(StoreError::Digest {
                partition: self.partition(),
                committed,
                stored: scan.digest,
            });
        }
        match unreadable {
            None => Ok(scan),
            Some(unreadable) => Err(unreadable),
        }
    }

    fn corrupt_changelog(&self, reason: &str) -> StoreError {
        StoreError::Corrupt {
            partition: self.partition(),
            what: "the changelog".to_owned(),
            reason: reason.to_owned(),
        }
    }
}

impl Scan {
    fn count(&mut self, digest: &mut Digest, key: &[u8], value: &[u8]) {
        digest.add(key, value);
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{Accounts, testing::*};

    /// Changes of a few rows, so that they are put over one another and
    /// deleted, there or not.
    fn changes() -> impl Strategy<Value = Vec<Vec<RowChange>>> {
        let key = (0..3_u8, "[ab]{0,2}", "[uv]?").prop_map(|(table, account, user)| {
            let account = AccountId::from(&*account);
            match table {
                0 => key::history(&account),
                1 => key::seat(&account, &(&*user).into()),
                _ => key::seat(&account, &"x".into()),
            }
        });
        let value = proptest::option::weighted(0.7, vec(any::<u8>(), 0..8));
        let change = (key, value).prop_map(|(key, value)| RowChange { key, value });
        vec(vec(change, 0..6), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_digest_carried_forward_is_that_of_the_rows(commits in changes()) {
            let (_state, mut store) = store();
            for (at, changes) in commits.iter().enumerate() {
                commit_rows(&mut store, changes).unwrap();
                if at == 2 {
                    store.flush().unwrap();
                }
                let scan = store.scan(&mut |_, _| {}).unwrap();
                prop_assert_eq!(scan.digest, store.digest());
            }
        }

        #[test]
        fn restoring_the_changes_gives_the_same_rows(
            commits in changes(), at_once in any::<bool>(),
        ) {
            let (_state, mut store) = store();
            for changes in &commits {
                commit_rows(&mut store, changes).unwrap();
            }
            let (_other_state, mut restored) = self::store();
            if at_once {
                restored.restore_rows(&commits.concat()).unwrap();
            } else {
                for changes in &commits {
                    restored.restore_rows(changes).unwrap();
                }
            }
            let committed = store.task().unwrap();
            let scan = restored.finish_restore(committed, &mut |_, _| {}).unwrap();
            prop_assert_eq!(scan, store.scan(&mut |_, _| {}).unwrap());
            prop_assert_eq!(restored.task(), Some(committed));
        }
    }

    #[test]
    fn a_bulk_load_keeps_the_last_of_each_key_and_is_a_store_like_any_other() {
        let (_state, mut store) = store();
        let (_other_state, loaded) = self::store();
        let mut loaded = loaded.begin_bulk().unwrap();
        let mut rows = RestoredRows::default();
        for round in 0..3_u8 {
            let mut changes = Vec::new();
            for number in (0..500_u32).rev() {
                let gone = round == 2 && number % 7 == 0;
                changes.push(RowChange {
                    key: key::history(&AccountId::from(&*format!("account-{number}"))),
                    value: (!gone).then(|| vec![round; 100]),
                });
            }
            commit_rows(&mut store, &changes).unwrap();
            for RowChange { key, value } in &changes {
                rows.push(0, key, value.as_deref()).unwrap();
            }
            assert!(rows.len() == 500 && rows.bytes() > 0);
            loaded.restore(&mut rows).unwrap();
            assert!(rows.is_empty());
        }
        loaded.flush_bulk().unwrap();
        let began = Instant::now();
        while !loaded.is_bulk_settled().unwrap() {
            assert!(began.elapsed().as_secs() < 60);
        }
        let mut loaded = loaded.end_bulk().unwrap();
        let committed = store.task().unwrap();
        let scan = loaded.finish_restore(committed, &mut |_, _| {}).unwrap();
        assert_eq!(scan, store.scan(&mut |_, _| {}).unwrap());
        commit_rows(&mut loaded, &[]).unwrap();
        loaded.verify(&mut |_, _| {}).unwrap();
    }

    #[test]
    fn a_bulk_load_cut_short_leaves_a_store_without_position() {
        let dir = tempfile::tempdir().unwrap();
        let open = || crate::StateDir::open(dir.path(), crate::StoreOptions::default()).unwrap();
        let state = open();
        let mut loading = state.partition(0).unwrap().begin_bulk().unwrap();
        let mut rows = RestoredRows::default();
        let key = key::history(&"a".into());
        rows.push(0, &key, Some(&[1])).unwrap();
        loading.restore(&mut rows).unwrap();
        assert!(
            matches!(state.partition(0), Err(StoreError::PartitionOpen { .. })),
            "it is open all the same"
        );
        drop((loading, state));
        let store = open().partition(0).unwrap();
        assert_eq!(store.task(), None);
    }

    #[test]
    fn a_scan_gives_every_account_and_when_it_is_due() {
        let (_state, mut store) = store();
        let mut accounts = Accounts::new(10);
        for (name, due) in [("b", 20), ("a", 10)] {
            change(accounts.load_for_change(&store, &name.into()).unwrap(), due);
        }
        accounts
            .load_for_change(&store, &"b".into())
            .unwrap()
            .hot
            .next_due = None;
        let rows = commit(&mut store, &mut accounts).unwrap();

        assert_eq!(
            dues(&store).unwrap(),
            [
                ("a".into(), Some(EventTime::from_millis(10))),
                ("b".into(), None)
            ]
        );
        let scan = store.scan(&mut |_, _| {}).unwrap();
        assert_eq!((scan.accounts, scan.rows), (2, rows.len() as u64));
        let bytes: usize = rows
            .iter()
            .map(|row| row.key.len() + row.value.as_ref().map_or(0, Vec::len))
            .sum();
        assert_eq!(scan.bytes, bytes as u64);
    }

    #[test]
    fn a_restore_that_differs_is_refused_and_does_not_move_the_position() {
        let (_state, mut store) = store();
        let row = RowChange {
            key: key::history(&"a".into()),
            value: Some(vec![1]),
        };
        store.restore_rows(&[row]).unwrap();
        let error = store
            .finish_restore(&task(7, 12345), &mut |_, _| {})
            .unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Digest {
                    committed: 12345,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.wants_rebuild());
        assert_eq!(store.task(), None);
    }

    #[test]
    fn rows_changed_behind_the_digests_back_are_found() {
        let (_state, mut store) = store();
        let key = key::history(&"a".into());
        commit_rows(
            &mut store,
            &[RowChange {
                key: key.clone(),
                value: Some(vec![1]),
            }],
        )
        .unwrap();
        store.db.put(&key, [2]).unwrap();
        assert!(matches!(
            store.verify(&mut |_, _| {}),
            Err(StoreError::Digest { .. })
        ));
    }

    #[test]
    fn a_changelog_with_foreign_keys_is_refused() {
        let (_state, mut store) = store();
        for key in [key::task().to_vec(), b"\x09\x00\x01a".to_vec(), Vec::new()] {
            let mut rows = RestoredRows::default();
            rows.push(0, &key, None).unwrap_err();
            let error = store
                .restore_rows(&[RowChange { key, value: None }])
                .unwrap_err();
            assert!(
                error.to_string().contains("the changelog is corrupt"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_wiped_store_is_empty_and_usable() {
        let (_state, mut store) = store();
        let row = RowChange {
            key: key::history(&"a".into()),
            value: Some(vec![1]),
        };
        commit_rows(&mut store, std::slice::from_ref(&row)).unwrap();
        let mut store = store.wipe().unwrap();
        assert_eq!(store.task(), None);
        assert_eq!(store.verify(&mut |_, _| {}).unwrap(), Scan::default());
        commit_rows(&mut store, &[row]).unwrap();
        store.verify(&mut |_, _| {}).unwrap();
    }
}
