//! The largest state that accepted records can make: every row of it has to fit
//! a record of the changelog, or one account would stop its partition for good.

use churnwatch_core::{
    AccountState, FleetDay, Input, Rules, apply, breaker::Breaker, event::Clock, time::DAY_MS,
    watermark::TaskTime,
};
use churnwatch_store::{Accounts, StateDir, StateVersion, StoreOptions, TaskRow};
use churnwatch_testkit::timeline;
use churnwatch_wire::{Record, decode};

/// What our producers take for one record, less its framing.
const FITS: usize = 2 * 1024 * 1024 - 1_024;

/// A name of the greatest length that ends with a number.
fn long(number: usize) -> String {
    format!("{number:0>512}")
}

fn event(kind: &str, time: &str, fields: &str) -> Record {
    let line = format!(
        r#"{{"kind":"{kind}","account_id":"{}","time":"{time}",{fields}}}"#,
        long(0)
    );
    decode(line.as_bytes()).unwrap_or_else(|rejection| panic!("{rejection}"))
}

/// Everything that an account remembers, as much of it as is accepted.
fn events() -> Vec<Record> {
    let day = |day: usize| timeline::noon(i32::try_from(day).expect("few days")).to_string();
    let mut events = Vec::new();
    let names = (0..1_000).map(|number| format!("{:?}", long(number)));
    let names = names.collect::<Vec<_>>().join(",");
    for list in ["core_features", "advanced_features"] {
        events.push(event("account", &day(0), &format!(r#""{list}":[{names}]"#)));
    }
    for field in ["name", "plan", "region", "owner", "parent_id"] {
        events.push(event(
            "account",
            &day(0),
            &format!(r#""{field}":"{}""#, long(1)),
        ));
    }
    for number in 0..2_000 {
        let name = long(number);
        let used = format!(r#""id":"{number}","feature":"{name}","user_id":"{name}""#);
        events.push(event("usage", &day(number / 100), &used));
        let ticket = format!(
            r#""id":"t{number}","ticket_id":"{name}","action":"escalated","severity":"P1","area":"{name}""#
        );
        events.push(event("ticket", &day(20), &ticket));
        // A champion who leaves two mails unanswered, and then the company: an alert each.
        let contact = |action| {
            let fields = format!(
                r#""contact_id":"{name}","user_id":"{name}","role":"sponsor","action":"{action}""#
            );
            event("contact", &day(20), &fields)
        };
        events.extend(["mail_sent", "mail_sent", "left"].map(contact));
    }
    events
}

#[test]
fn no_records_make_a_row_that_does_not_fit_into_the_changelog() {
    let mut rules = Rules::default();
    rules.time.dedupe_ids = 10_000;
    rules.time.dedupe_seconds = 604_800;
    rules.check().expect("rules that can be");
    let state = StateDir::temporary(StoreOptions::default()).expect("a directory");
    let store = state.partition(0).expect("a store");
    let mut accounts = Accounts::new(1);
    let mut alerts = 0;
    for record in events() {
        let Record::Event(event) = record else {
            unreachable!("no clocks")
        };
        let account = accounts
            .load_for_change(&store, &event.account)
            .expect("an account");
        close_days(account, &rules, &event);
        let outcome = apply(account, &rules, Input::Event(&event));
        alerts += outcome.transitions.len();
    }
    assert!(alerts > 100, "{alerts}");
    let rows = accounts.changes(StateVersion::NEWEST).expect("rows");
    let of =
        |row: &churnwatch_store::RowChange| row.value.as_ref().map_or(0, Vec::len) + row.key.len();
    let largest = rows.iter().map(of).max().expect("rows");
    assert!(largest > FITS / 8, "the rows are large: {largest}");
    assert!(largest < FITS, "{largest}");
}

fn close_days(account: &mut AccountState, rules: &Rules, event: &churnwatch_core::Event) {
    while let Some(due) = account.next_due().filter(|due| *due <= event.time) {
        let fleet = FleetDay::calendar(due.plus_millis(-DAY_MS).utc_day());
        apply(account, rules, Input::Close(&fleet));
    }
}

#[test]
fn no_clocks_make_a_position_that_does_not_fit_into_the_changelog() {
    let mut time = TaskTime::default();
    for source in 0..300 {
        for shard in (0..4_096).step_by(7) {
            time.clock(&Clock {
                source: long(source).as_str().into(),
                shard,
                shards: 4_096,
                time: timeline::noon(3_000),
            });
        }
    }
    let row = TaskRow {
        partitions: 1,
        epoch: u64::MAX,
        next_offset: i64::MAX,
        changelog_offset: i64::MAX,
        digest: u128::MAX,
        time,
        breaker: Breaker::default(),
    };
    let bytes = row.encode(StateVersion::NEWEST).expect("a row").len();
    assert!(bytes < FITS, "{bytes}");
}
