//! What is left after a process died: every row of some commit and its task
//! row, or a clear refusal; never wrong state taken for right.
//!
//! A test that needs a process to die starts this very test program again,
//! with the directory to work on in the environment.

#![allow(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use churnwatch_core::{
    account::AccountState,
    breaker::Breaker,
    ids::AccountId,
    time::{Day, EventTime},
    watermark::TaskTime,
};
use churnwatch_store::{
    Accounts, PartitionStore, RowChange, Scan, StateDir, StateVersion, StoreError, StoreOptions,
    TaskRow,
};

/// Set in the process that is to die: the state directory.
const DIR: &str = "CHURNWATCH_STORE_TEST_DIR";
/// Set in the process that is to die: after how many commits.
const COMMITS: &str = "CHURNWATCH_STORE_TEST_COMMITS";

/// Small write buffers, so that they fill up and are flushed in mid-course.
fn options() -> StoreOptions {
    StoreOptions {
        write_buffer_bytes: 512 << 10,
        ..StoreOptions::default()
    }
}

/// Commit `epoch`: forty accounts of two hundred get a new due time, which says
/// when they were written, and a seat more.
fn commit(store: &mut PartitionStore, accounts: &mut Accounts, epoch: u64) -> Vec<RowChange> {
    for n in 0..40 {
        let id = AccountId::from(&*format!("account-{}", (epoch * 7 + n * 5) % 200));
        let account = accounts.load_for_change(store, &id).unwrap();
        if account.is_unseen() {
            *account = AccountState::begin(id, Day(0));
        }
        account.hot.last_event = Some(EventTime::from_millis(0));
        account.hot.next_due = Some(EventTime::from_millis(epoch as i64));
        account.touched.hot = true;
        account.touched.history = true;
        account.user_acts(&format!("user-{epoch}").as_str().into(), Day(0), 1);
    }
    let rows = accounts.changes(StateVersion::NEWEST).unwrap();
    let task = TaskRow {
        partitions: 1,
        epoch,
        next_offset: epoch as i64 * 40,
        changelog_offset: -1,
        digest: store.digest_after(&rows).unwrap(),
        time: TaskTime::default(),
        breaker: Breaker::default(),
    };
    store.commit(&rows, &task).unwrap();
    accounts.committed();
    rows
}

/// Runs one test of this program in a process of its own.
fn child(test: &str, dir: &Path, commits: u64) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(COMMITS, commits.to_string())
        .output()
        .unwrap()
}

fn dir_of_child() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

#[test]
fn after_a_crash_rows_and_position_are_those_of_one_commit() {
    if let Some(dir) = dir_of_child() {
        let commits: u64 = env::var(COMMITS).unwrap().parse().unwrap();
        let mut store = StateDir::open(dir, options())
            .unwrap()
            .partition(0)
            .unwrap();
        let mut accounts = Accounts::new(100);
        let done = store.task().map_or(0, |task| task.epoch);
        for epoch in done + 1..=done + commits {
            commit(&mut store, &mut accounts, epoch);
        }
        // Dies without unwinding: nothing is flushed, nothing is closed.
        std::process::abort();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for commits in [3, 61, 20, 143, 97, 55] {
        let before = found.last().copied().unwrap_or(0);
        let output = child(
            "after_a_crash_rows_and_position_are_those_of_one_commit",
            dir.path(),
            commits,
        );
        assert!(!output.status.success(), "it was to die");

        let store = StateDir::open(dir.path(), options())
            .unwrap()
            .partition(0)
            .unwrap();
        let mut last_due = None;
        store
            .verify(&mut |_, due| last_due = last_due.max(due))
            .unwrap();
        let epoch = store.task().map_or(0, |task| task.epoch);
        // Every commit writes its number into due times: no row is ahead of the task row.
        let last_due = last_due.map_or(0, |due| due.as_millis() as u64);
        assert_eq!(last_due, epoch);
        assert!(
            (before..=before + commits).contains(&epoch),
            "{epoch} after {before}"
        );
        found.push(epoch);
    }
    // The test proves something only if some was on disk and some was lost.
    let (made, kept) = (3 + 61 + 20 + 143 + 97 + 55, *found.last().unwrap());
    assert!(kept > 0 && kept < made, "{found:?}");
}

#[test]
fn a_clean_end_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = StateDir::open(dir.path(), options())
        .unwrap()
        .partition(0)
        .unwrap();
    commit(&mut store, &mut Accounts::new(100), 1);
    drop(store);
    let store = StateDir::open(dir.path(), options())
        .unwrap()
        .partition(0)
        .unwrap();
    assert_eq!(store.task().map(|task| task.epoch), Some(1));
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().accounts, 40);
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_directory() {
    if let Some(dir) = dir_of_child() {
        match StateDir::open(dir, options()) {
            Ok(_) => println!("opened"),
            Err(error) => println!("{error}"),
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let held = StateDir::open(dir.path(), options()).unwrap();
    let test = "a_second_process_is_refused_and_told_who_holds_the_directory";
    let said = String::from_utf8(child(test, dir.path(), 0).stdout).unwrap();
    let holder = format!("(pid {}) on host ", std::process::id());
    assert!(
        said.contains("is in use by recovery") && said.contains(&holder),
        "{said}"
    );
    drop(held);
    let said = String::from_utf8(child(test, dir.path(), 0).stdout).unwrap();
    assert!(said.contains("opened"), "{said}");
}

#[test]
fn a_flipped_byte_on_disk_is_refused_or_harmless_and_the_partition_can_be_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path(), StoreOptions::default()).unwrap();
    let mut changelog = Vec::new();
    let mut store = state.partition(0).unwrap();
    let mut accounts = Accounts::new(100);
    for epoch in 1..=20 {
        changelog.extend(commit(&mut store, &mut accounts, epoch));
    }
    store.flush().unwrap();
    let committed = store.task().unwrap().clone();
    let sound = store.verify(&mut |_, _| {}).unwrap();
    drop((store, state));
    let sound_accounts = read_accounts(dir.path());

    let table = fs::read_dir(dir.path().join("p-00000"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "sst"))
        .unwrap();
    let bytes = fs::read(&table).unwrap();
    let mut refused = 0;
    for part in 0..40 {
        let mut flipped = bytes.clone();
        flipped[bytes.len() * part / 40] ^= 0x10;
        fs::write(&table, &flipped).unwrap();
        match read_all(dir.path()) {
            Ok(scan) => assert_eq!(scan, sound, "wrong state was taken for right"),
            Err(error) => {
                // Each block has a checksum, so it is found before rows are added up.
                assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                refused += 1;
            }
        }
        for (read, sound) in read_accounts(dir.path()).into_iter().zip(&sound_accounts) {
            match (read, sound) {
                (Ok(read), Ok(sound)) => assert_eq!(read, *sound, "a wrong account was read"),
                (Err(error), _) => assert!(error.wants_rebuild(), "{error}"),
                (Ok(_), Err(error)) => panic!("{error}"),
            }
        }
    }
    fs::write(&table, &bytes).unwrap();
    assert!(
        refused >= 20,
        "most of a table is rows, and each is checked: {refused} of 40"
    );

    let state = StateDir::open(dir.path(), StoreOptions::default()).unwrap();
    state.remove_partition(0).unwrap();
    let mut store = state.partition(0).unwrap();
    for rows in changelog.chunks(500) {
        store.restore_rows(rows).unwrap();
    }
    assert_eq!(
        store.finish_restore(&committed, &mut |_, _| {}).unwrap(),
        sound
    );
}

/// With a block cache of its own, in which no sound block is left.
fn read_all(dir: &Path) -> Result<Scan, StoreError> {
    let state = StateDir::open(dir, StoreOptions::default())?;
    state.partition(0)?.verify(&mut |_, _| {})
}

/// As [`read_all`], account by account; one error if the store does not open.
fn read_accounts(dir: &Path) -> Vec<Result<Option<AccountState>, StoreError>> {
    let state = StateDir::open(dir, StoreOptions::default()).unwrap();
    match state.partition(0) {
        Ok(store) => (0..200)
            .map(|n| store.account(&AccountId::from(&*format!("account-{n}"))))
            .collect(),
        Err(error) => vec![Err(error)],
    }
}
