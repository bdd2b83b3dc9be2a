//! What the store costs: a commit by the number of dirty accounts, a load that
//! finds the account decoded or not, the scan at an assignment; and the bytes
//! an account takes.
//!
//! `cargo bench -p churnwatch-store`; the accounts have half a year of daily
//! use by 25 users.

use std::{cell::RefCell, sync::OnceLock};

use churnwatch_core::{
    account::AccountState,
    breaker::Breaker,
    ids::{AccountId, UserId},
    time::{Day, EventTime},
    watermark::TaskTime,
};
use churnwatch_store::{Accounts, PartitionStore, StateDir, StateVersion, StoreOptions, TaskRow};
use divan::{Bencher, counter::ItemsCount};

/// Accounts in the store.
const ACCOUNTS: usize = 10_000;
const USERS: usize = 25;
const DAYS: i32 = 182;

fn main() {
    let (store, _) = filled();
    let scan = store
        .verify(&mut |_, _| {})
        .expect("a store that was just written");
    // No bytes on disk: these accounts are alike, and compress as no real ones do.
    println!(
        "{} accounts of {USERS} users: {} bytes and {} rows each, before compression",
        scan.accounts,
        scan.bytes / scan.accounts,
        scan.rows / scan.accounts,
    );
    drop(store);
    divan::main();
}

/// The commit after each of some accounts closed a day on which one user came:
/// its hot row, its history row and a seat.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 20, sample_size = 1)]
fn commit_a_day(bencher: Bencher, dirty: usize) {
    commit_after(bencher, dirty, |account| {
        let day = account.history.closed_through.plus(1);
        account.open_day(day).core += 1;
        account.touched.hot = true;
        account.user_acts(&user(3), day, 1);
        account.close_day(1.0);
    });
}

/// The commit after each of some accounts had an event that changed its hot
/// row only: what most events do.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 20, sample_size = 1)]
fn commit_hot_rows(bencher: Bencher, dirty: usize) {
    commit_after(bencher, dirty, |account| {
        account.hot.sequence += 1;
        account.touched.hot = true;
    });
}

/// All that a commit is here: rows, digest, batch, and the flags cleared.
fn commit_after(bencher: Bencher, dirty: usize, change: impl Fn(&mut AccountState)) {
    let filled = RefCell::new(filled());
    bencher
        .counter(ItemsCount::new(dirty))
        .with_inputs(|| {
            let (store, accounts) = &mut *filled.borrow_mut();
            for id in &ids()[..dirty] {
                change(accounts.load_for_change(store, id).expect("an open store"));
            }
        })
        .bench_local_values(|()| {
            let (store, accounts) = &mut *filled.borrow_mut();
            commit_dirty(store, accounts);
        });
}

#[divan::bench]
fn load_hit(bencher: Bencher) {
    let (store, mut accounts) = filled();
    let mut n = 0;
    bencher
        .counter(ItemsCount::new(1_000_usize))
        .bench_local(|| {
            for _ in 0..1_000 {
                n = (n + 7_919) % ACCOUNTS;
                divan::black_box(accounts.load(&store, &ids()[n]).expect("an open store"));
            }
        });
}

#[divan::bench]
fn load_miss(bencher: Bencher) {
    let (store, _) = filled();
    let mut n = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        n = (n + 7_919) % ACCOUNTS;
        divan::black_box(store.account(&ids()[n]).expect("an open store"))
    });
}

#[divan::bench(sample_count = 10)]
fn scan(bencher: Bencher) {
    let (store, _) = filled();
    bencher.counter(ItemsCount::new(ACCOUNTS)).bench_local(|| {
        store
            .verify(&mut |_, _| {})
            .expect("a store that was just written")
    });
}

/// A store on disk with all accounts, and all of them decoded.
fn filled() -> (PartitionStore, Accounts) {
    let state = StateDir::temporary(StoreOptions::default()).expect("space for a temporary store");
    let mut store = state.partition(0).expect("a new store");
    let mut accounts = Accounts::new(ACCOUNTS);
    let used = used_account();
    for id in ids() {
        let account = accounts.load_for_change(&store, id).expect("an open store");
        *account = used.clone();
        account.id = id.clone();
        if accounts.dirty_len() == 1_000 {
            commit_dirty(&mut store, &mut accounts);
        }
    }
    commit_dirty(&mut store, &mut accounts);
    store.flush().expect("space for a temporary store");
    (store, accounts)
}

/// Half a year of use by all users, each on every third day.
fn used_account() -> AccountState {
    let mut account = AccountState::begin("template".into(), Day(0));
    account.hot.last_event = Some(EventTime::from_millis(0));
    account.touched.hot = true;
    for day in 0..DAYS {
        account.open_day(Day(day)).core += 20;
        for n in 0..USERS {
            if (n as i32 + day) % 3 == 0 {
                account.user_acts(&user(n), Day(day), 1);
            }
        }
        account.close_day(1.0);
    }
    account
}

fn commit_dirty(store: &mut PartitionStore, accounts: &mut Accounts) {
    let rows = accounts
        .changes(StateVersion::NEWEST)
        .expect("rows can be encoded");
    let task = TaskRow {
        partitions: 1,
        epoch: store.task().map_or(0, |task| task.epoch) + 1,
        next_offset: 0,
        changelog_offset: -1,
        digest: store.digest_after(&rows).expect("an open store"),
        time: TaskTime::default(),
        breaker: Breaker::default(),
    };
    store
        .commit(&rows, &task)
        .expect("space for a temporary store");
    accounts.committed();
}

fn ids() -> &'static [AccountId] {
    static IDS: OnceLock<Vec<AccountId>> = OnceLock::new();
    IDS.get_or_init(|| {
        (0..ACCOUNTS)
            .map(|n| AccountId::from(&*format!("account-{n:08}")))
            .collect()
    })
}

fn user(n: usize) -> UserId {
    UserId::from(&*format!("user-{n:04}@example.com"))
}
