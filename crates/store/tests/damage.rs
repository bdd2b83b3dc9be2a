//! Damage to the files of a database, closed or open: it is refused as damage
//! that a rebuild heals, or harmless; never a panic, and never another answer.

#![allow(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use churnwatch_core::{
    account::AccountState,
    ids::AccountId,
    time::{Day, EventTime},
    watermark::TaskTime,
};
use churnwatch_store::{
    Accounts, PartitionStore, Scan, StateDir, StateVersion, StoreError, StoreOptions, TaskRow,
};

const ACCOUNTS: u64 = 400;

fn id(n: u64) -> AccountId {
    AccountId::from(&*format!("account-{n}"))
}

/// No block stays in memory, so that every read is one of the disk.
fn options() -> StoreOptions {
    StoreOptions {
        block_cache_bytes: 0,
        ..StoreOptions::default()
    }
}

fn commit(store: &mut PartitionStore, epoch: u64) {
    let mut accounts = Accounts::new(0);
    for n in 0..ACCOUNTS {
        let account = accounts.load_for_change(store, &id(n)).unwrap();
        if account.is_unseen() {
            *account = AccountState::begin(id(n), Day(0));
        }
        account.hot.last_event = Some(EventTime::from_millis(0));
        account.hot.next_due = Some(EventTime::from_millis((epoch * n) as i64));
        account.touched.hot = true;
        account.touched.history = true;
        account.user_acts(&format!("user-{epoch}").as_str().into(), Day(0), 1);
    }
    let rows = accounts.changes(StateVersion::NEWEST).unwrap();
    let task = TaskRow {
        partitions: 1,
        epoch,
        next_offset: epoch as i64,
        changelog_offset: -1,
        digest: store.digest_after(&rows).unwrap(),
        time: TaskTime::default(),
        breaker: Default::default(),
    };
    store.commit(&rows, &task).unwrap();
    store.flush().unwrap();
}

/// Three flushed commits; what a scan of them gives.
fn filled(dir: &Path) -> Scan {
    let state = StateDir::open(dir, options()).unwrap();
    let mut store = state.partition(0).unwrap();
    for epoch in 1..=3 {
        commit(&mut store, epoch);
    }
    store.verify(&mut |_, _| {}).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("p-00000"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_gone_cut_or_flipped_is_damage_that_a_rebuild_heals_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let sound = filled(dir.path());
    let whole: Vec<(PathBuf, Vec<u8>)> = files(dir.path())
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect();
    let mut refused = 0;
    for (file, bytes) in &whole {
        let mut damages = vec![
            None,
            Some(Vec::new()),
            Some(bytes[..bytes.len() / 2].to_vec()),
        ];
        for part in 0..8 {
            let mut flipped = bytes.clone();
            if let Some(byte) = flipped.get_mut(bytes.len() * part / 8) {
                *byte ^= 0x04;
            }
            damages.push(Some(flipped));
        }
        for damage in damages {
            match &damage {
                Some(bytes) => fs::write(file, bytes).unwrap(),
                None => fs::remove_file(file).unwrap(),
            }
            let state = StateDir::open(dir.path(), options()).unwrap();
            let read = state
                .partition(0)
                .and_then(|store| store.verify(&mut |_, _| {}));
            match read {
                // A manifest cut short gives the state after an earlier commit, whole and proven
                // by its own digest: a store that is behind, which a restore brings on.
                Ok(scan) => assert!(
                    scan == sound || scan.rows < sound.rows,
                    "{}: {scan:?}",
                    file.display()
                ),
                Err(error) => {
                    assert!(error.wants_rebuild(), "{}: {error}", file.display());
                    assert_eq!(error.partition(), Some(0), "{error}");
                    refused += 1;
                }
            }
            drop(state);
            fs::remove_dir_all(dir.path().join("p-00000")).unwrap();
            fs::create_dir(dir.path().join("p-00000")).unwrap();
            for (file, bytes) in &whole {
                fs::write(file, bytes).unwrap();
            }
        }
    }
    println!("{refused} of {} damages were refused", whole.len() * 11);
    assert!(refused >= 3 * 5, "tables, manifest and CURRENT: {refused}");
}

#[test]
fn damage_under_an_open_database_is_found_by_every_way_of_reading() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let state = StateDir::open(dir.path(), options()).unwrap();
    let store = state.partition(0).unwrap();
    let before: Vec<Option<AccountState>> = (0..ACCOUNTS)
        .map(|n| store.account(&id(n)).unwrap())
        .collect();
    for file in files(dir.path()) {
        if file.extension().is_none_or(|ending| ending != "sst") {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        let open = OpenOptions::new().write(true).open(&file).unwrap();
        for at in (0..bytes.len()).step_by(256) {
            open.write_all_at(&[bytes[at] ^ 0x04], at as u64).unwrap();
        }
    }
    let mut found = 0;
    for (n, before) in (0..ACCOUNTS).zip(&before) {
        match store.account(&id(n)) {
            Ok(account) => assert_eq!(account, *before, "another answer"),
            Err(error) => {
                assert!(error.wants_rebuild(), "{error}");
                found += 1;
            }
        }
    }
    assert!(found > ACCOUNTS / 2, "{found} of {ACCOUNTS}");
    let error = store.verify(&mut |_, _| {}).unwrap_err();
    assert!(error.wants_rebuild(), "{error}");
    let mut accounts = Accounts::new(10);
    let unreadable = (0..ACCOUNTS).find_map(|n| accounts.load(&store, &id(n)).err());
    assert!(unreadable.is_some_and(|error| error.wants_rebuild()));
    let rows: Vec<_> = (0..ACCOUNTS)
        .map(|n| churnwatch_store::RowChange {
            key: churnwatch_store::key::hot(&id(n)),
            value: None,
        })
        .collect();
    let error = store.digest_after(&rows).unwrap_err();
    assert!(error.wants_rebuild(), "{error}");
    drop(store);
    // What it was good for: begun anew, it takes everything again.
    state.remove_partition(0).unwrap();
    let mut store = state.partition(0).unwrap();
    commit(&mut store, 1);
    let scan: Result<Scan, StoreError> = store.verify(&mut |_, _| {});
    assert_eq!(scan.unwrap().accounts, ACCOUNTS);
}
