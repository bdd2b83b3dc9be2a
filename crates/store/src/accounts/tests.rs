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
    let changes = accounts.changes(StateVersion::NEWEST).unwrap();
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
    assert_eq!(
        accounts.changes(StateVersion::NEWEST).unwrap().len(),
        1,
        "once is enough"
    );
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
    assert_eq!(
        accounts.changes(StateVersion::NEWEST).unwrap(),
        [],
        "flags are cleared"
    );
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
    assert_eq!(
        accounts.changes(StateVersion::NEWEST).unwrap(),
        [],
        "once is enough"
    );
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
    assert_eq!(accounts.changes(StateVersion::NEWEST).unwrap(), []);
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
