//! State proves itself: rows that are not those that were committed are never
//! taken for them, wherever they were changed.

use std::collections::BTreeMap;

use churnwatch_core::time::DAY_MS;
use churnwatch_store::{key, show};
use churnwatch_testkit::broker::{Process, wait_for};
use serde_json::json;

use crate::support::{A, Run, expect_stopped, settings};

/// What a partition says that its changelog cannot bring back.
const BEYOND_REPAIR: &str = "the changelog has lost or changed rows";

/// A row: its key and its value.
type Row = (Vec<u8>, Vec<u8>);

/// Rows of a partition as the changelog has them at its end.
fn rows(run: &Run, partition: i32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    for record in run.deployment.read("churnwatch.state") {
        let key = record.key.expect("a row has a key");
        if record.partition != partition || key == key::task() {
            continue;
        }
        match record.value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
    rows
}

/// A row of the first table with one bit inverted, such that it can still be
/// read and says something else.
fn flipped(rows: &BTreeMap<Vec<u8>, Vec<u8>>, partition: i32) -> Row {
    let hot = |key: &[u8]| matches!(key::parse(key), Ok(key::RowKey::Hot(_)));
    let mut found = rows
        .iter()
        .filter(|(key, _)| hot(key))
        .flat_map(|(key, value)| {
            // Not the first byte, which is the version.
            (1..value.len()).rev().map(move |at| {
                let mut flipped = value.clone();
                flipped[at] ^= 1;
                (key.clone(), flipped)
            })
        });
    found
        .find(|(key, value)| show(key, value, partition).is_ok())
        .expect("a bit that can be flipped")
}

/// Puts a row into the store of a process that is stopped.
fn put_into_the_store(run: &Run, partition: i32, (key, value): &Row) {
    let path = run.database(partition);
    let db = rocksdb::DB::open(&rocksdb::Options::default(), path).expect("a database");
    assert!(
        db.get(key)
            .expect("a row can be read")
            .is_some_and(|now| now != *value)
    );
    db.put(key, value).expect("a row can be written");
    db.flush().expect("a database can be flushed");
}

#[test]
fn a_flipped_bit_in_a_row_of_the_store_is_caught_and_healed() {
    let mut run = Run::new("flipped-row");
    run.read_a_share(2);
    let row = flipped(&rows(&run, 0), 0);
    put_into_the_store(&run, 0, &row);
    // As a byte that no version ever wrote: not taken for a newer version's row.
    let (version, _) = rows(&run, 1).pop_first().expect("a row");
    let mut value = rows(&run, 1).remove(&version).expect("a row");
    value[0] ^= 0x40;
    put_into_the_store(&run, 1, &(version, value));
    let process = run.start();
    process.wait_until_ready();
    let log = process.log();
    assert_eq!(log.matches("rows add up to").count(), 2, "{log}");
    run.end(process, "flipped-row");
}

#[test]
fn without_the_digest_a_flipped_bit_in_the_store_is_found_by_the_check() {
    let mut run = Run::new("no-digest");
    run.read_a_share(2);
    let row = flipped(&rows(&run, 0), 0);
    put_into_the_store(&run, 0, &row);
    let mut process = run.start_without("digest");
    process.wait_until_ready();
    run.feed_the_rest();
    // A day on, so that every account is looked at and written.
    run.feed_clocks(run.last().plus_millis(2 * DAY_MS));
    run.wait_until_read(&mut process);
    assert!(
        !process.log().contains("rows add up to"),
        "{}",
        process.last_said()
    );
    process.stop();
    run.expect_difference("no-digest");
}

/// Reads all, then lets `meddle` write to the changelog of partition 0, moves
/// the epoch behind that, and loses the disk.
fn with_a_changelog_meddled_with(
    name: &str,
    meddle: impl FnOnce(&Run, &BTreeMap<Vec<u8>, Vec<u8>>),
) -> Run {
    let mut run = Run::new(name);
    run.feed_the_rest();
    let mut process = run.start();
    run.wait_until_read(&mut process);
    process.stop();
    let whole = rows(&run, 0);
    meddle(&run, &whole);
    // Clocks of a time that was before: the position moves on, and no row.
    run.feed_clocks(run.last());
    let mut process = run.start();
    run.wait_until_read(&mut process);
    let log = process.stop().log;
    assert!(!log.contains("rebuilding"), "the store has it right: {log}");
    run.lose_the_disk();
    run
}

/// Partition 0 is stopped for good, and 1 goes on.
fn expect_beyond_repair(run: &Run) {
    let before = run.deployment.group().progress();
    let process: Process = run.start();
    expect_stopped(&process, BEYOND_REPAIR);
    let cause = process.get("/readyz").1;
    assert!(
        cause.contains("partition 0") && !cause.contains("partition 1:"),
        "{cause}"
    );
    run.feed_clocks(run.last().plus_millis(2 * DAY_MS));
    let group = run.deployment.group();
    wait_for("the other partition", || {
        let progress = group.progress();
        (progress[1].0 == progress[1].1).then_some(())
    });
    assert_eq!(group.progress()[0].0, before[0].0, "nothing was read");
    process.stop();
}

#[test]
fn a_flipped_bit_in_a_record_of_the_changelog_stops_its_partition() {
    let run = with_a_changelog_meddled_with("flipped-record", |run, rows| {
        let (key, value) = flipped(rows, 0);
        run.deployment
            .meddle("churnwatch.state", 0, &key, Some(&value));
    });
    expect_beyond_repair(&run);
}

#[test]
fn a_lost_record_of_the_changelog_stops_its_partition() {
    let run = with_a_changelog_meddled_with("lost-record", |run, rows| {
        let (key, _) = rows.last_key_value().expect("a row");
        run.deployment.meddle("churnwatch.state", 0, key, None);
    });
    expect_beyond_repair(&run);
}

/// Reads half, leaves a row of an aborted transaction in the changelog, reads a
/// little more and loses the disk.
fn with_an_aborted_row(name: &str) -> Run {
    let mut run = Run::new(name);
    run.read_a_share(2);
    let (key, value) = flipped(&rows(&run, 0), 0);
    run.deployment
        .meddle_and_abort("churnwatch.state", 0, &key, &value);
    run.feed_clocks(run.last().plus_millis(-4_000 * DAY_MS));
    let mut process = run.start();
    run.wait_until_read(&mut process);
    process.stop();
    run.lose_the_disk();
    run
}

#[test]
fn rows_of_an_aborted_transaction_are_not_taken_up() {
    let run = with_an_aborted_row("aborted");
    let process = run.start();
    process.wait_until_ready();
    run.end(process, "aborted");
}

#[test]
fn a_resumed_abort_is_caught_by_the_digest_and_without_it_by_the_check() {
    let mut run = with_an_aborted_row("resumed-abort");
    let process = run.start_without("committed_changelog");
    expect_stopped(&process, BEYOND_REPAIR);
    process.stop();
    run.lose_the_disk();
    let mut process = run.start_without("committed_changelog,digest");
    process.wait_until_ready();
    run.feed_the_rest();
    run.feed_clocks(run.last().plus_millis(2 * DAY_MS));
    run.wait_until_read(&mut process);
    process.stop();
    run.expect_difference("resumed-abort");
}

#[test]
fn a_store_ahead_of_what_is_committed_is_given_up() {
    let mut run = Run::new("ahead");
    run.read_a_share(2);
    with_a_store_ahead(&mut run);
    let process = run.start();
    process.wait_until_ready();
    let log = process.log();
    assert!(
        log.contains("the store has another history than the group"),
        "{log}"
    );
    run.end(process, "ahead");
}

#[test]
fn without_the_look_at_a_store_ahead_the_check_finds_what_is_lost() {
    let mut run = Run::new("taken-ahead");
    run.read_a_share(2);
    with_a_store_ahead(&mut run);
    let mut process = run.start_without("store_ahead,digest");
    process.wait_until_ready();
    run.feed_the_rest();
    run.wait_until_read(&mut process);
    process.stop();
    run.expect_difference("taken-ahead");
}

/// A process that puts its position on disk before the transaction, and is
/// killed in between.
fn with_a_store_ahead(run: &mut Run) {
    let mut settings = settings();
    settings["detect"]["commit_interval"] = json!("500ms");
    settings["detect"]["min_commit_interval"] = json!("500ms");
    let faults = [
        ("CHURNWATCH_WITHOUT", "store_after_commit,one_batch"),
        ("CHURNWATCH_FAULT", "kill@before_begin:1"),
    ];
    run.feed(4);
    let process = run.deployment.start_with_faults(A, &settings, &faults);
    let ended = process.wait_for_end();
    assert_eq!(ended.code, None, "{}", ended.log);
}
