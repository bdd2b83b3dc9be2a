//! The same without a broker: what the log alone makes of stops and erasures.

use churnwatch_core::Rules;
use churnwatch_core::event::Resume;
use churnwatch_pipeline::Bound;
use churnwatch_store::key;
use churnwatch_testkit::broker::{Outgoing, Record};
use churnwatch_testkit::reference;
use churnwatch_testkit::world::World;

use crate::tickets::{bad, tickets};

/// Records as they would stand in the one partition of a log.
fn log(records: impl IntoIterator<Item = Outgoing>) -> Vec<Record> {
    (0..)
        .zip(records)
        .map(|(offset, record)| Record {
            partition: 0,
            offset,
            timestamp_ms: None,
            key: record.key,
            value: record.value,
            headers: record.headers,
        })
        .collect()
}

fn run(records: &[Record]) -> World {
    reference::run(records, &Rules::default(), "", "log")
}

fn resume(offset: i64, until: i64) -> Outgoing {
    Outgoing {
        partition: Some(0),
        value: Some(churnwatch_wire::encode_resume(
            Resume { offset, until },
            "jo",
        )),
        ..Outgoing::default()
    }
}

#[test]
fn a_partition_stops_at_the_first_bad_record_too_many_and_loses_nothing_by_it() {
    let flood = || [bad(0, 800), tickets(0, 0, 100)].concat();
    let stopped = run(&log(flood()));
    assert_eq!(stopped.tasks[&0].next_offset, 501);
    assert_eq!(stopped.dead_letters.len(), 501);
    assert!(stopped.history.is_empty());
    assert!(stopped.tasks[&0].breaker.tripped().is_some());

    // The end of the stop stands behind all that waits, and names its place.
    let elsewhere = log(flood().into_iter().chain([resume(500, 900)]));
    assert_eq!(run(&elsewhere).tasks[&0].next_offset, 501);
    let ended = run(&log(flood().into_iter().chain([resume(501, 900)])));
    assert_eq!(ended.tasks[&0].next_offset, 901);
    assert_eq!(ended.dead_letters.len(), 800);
    let undisturbed = reference::run_with(&log(flood()), &Rules::default(), "", "log", None);
    assert!(!ended.history.is_empty());
    assert_eq!(ended.history, undisturbed.history);
    assert_eq!(ended.rows, undisturbed.rows);
}

#[test]
fn what_comes_behind_the_records_let_through_can_stop_the_partition_again() {
    let first = bad(0, 700);
    let records = first
        .into_iter()
        .chain([resume(501, 700)])
        .chain(bad(0, 600))
        .chain([resume(1_202, 1_301)]);
    let records = log(records);
    let twice = run(&records);
    // 700 and a resume, and 501 of the 600; then the rest and the second resume.
    assert_eq!(twice.dead_letters.len(), 1_300);
    assert_eq!(twice.tasks[&0].next_offset, 1_302);
    let once = run(&records[..1_301]);
    assert_eq!(once.tasks[&0].next_offset, 1_202);
}

#[test]
fn a_breaker_that_is_off_never_stops() {
    let records = log(bad(0, 3_000));
    let world = reference::run_with(&records, &Rules::default(), "", "log", None);
    assert_eq!(world.dead_letters.len(), 3_000);
    let bound = Bound {
        percent: 10,
        records: 100,
    };
    let world = reference::run_with(&records, &Rules::default(), "", "log", Some(bound));
    assert_eq!(world.dead_letters.len(), 11);
}

#[test]
fn an_erased_account_leaves_no_row_and_no_open_alert_and_its_neighbours_stay() {
    let erase = |account: &str| Outgoing {
        partition: Some(0),
        key: Some(account.as_bytes().to_vec()),
        value: Some(churnwatch_wire::encode_erase(
            &account.into(),
            churnwatch_core::EventTime::from_millis(1_780_000_000_000),
            "jo",
        )),
        ..Outgoing::default()
    };
    let whole = run(&log(tickets(0, 0, 400)));
    let records = tickets(0, 0, 400)
        .into_iter()
        .chain([erase("p0-a0"), erase("p0-nobody")]);
    let erased = run(&log(records));
    let id = "p0-a0".into();
    assert!(whole.rows[&0].contains_key(&key::hot(&id)));
    let is_of = |key: &Vec<u8>| *key == key::hot(&id) || *key == key::history(&id);
    assert!(!erased.rows[&0].keys().any(is_of));
    let open = |world: &World| {
        world
            .open
            .keys()
            .filter(|key| key.starts_with("p0-a0|"))
            .count()
    };
    assert!(open(&whole) > 0);
    assert_eq!(open(&erased), 0);
    let others = |world: &World| {
        let mut rows = world.rows[&0].clone();
        rows.retain(|key, _| !is_of(key));
        rows
    };
    assert_eq!(others(&erased), others(&whole));
    assert!(erased.dead_letters.is_empty());
    let last = erased.history["p0-a0"].last().expect("it had alerts");
    assert!(last.contains(r#""resolve_reason":"erased""#), "{last}");
    assert_eq!(erased.tasks[&0].time, whole.tasks[&0].time, "no time moved");
}
