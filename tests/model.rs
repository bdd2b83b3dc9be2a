//! The commit protocol on a model of the broker: random schedules of crashes,
//! sleeps, rebalances, lost answers, late requests, lost disks and compaction,
//! after each of which everything has to be as if nothing had happened. And the
//! other way round: with one of its defences off, a fault has to be found.
//!
//! ```text
//! CHURNWATCH_MODEL_SCHEDULES=100000 cargo test -p churnwatch-tests --test model every_schedule -- --nocapture
//! CHURNWATCH_TEST_SEED=1764108000000000 cargo test -p churnwatch-tests --test model every_schedule -- --nocapture
//! ```

use std::time::Instant;

use churnwatch_testkit::model::{Defence, Faults, Misfortune, Setup, search};

/// Schedules with every defence on, unless `CHURNWATCH_MODEL_SCHEDULES` says
/// otherwise.
const SCHEDULES: u64 = 3_000;
/// Schedules within which a fault has to be found with a defence off.
const WITHIN: u64 = 3_000;

#[test]
fn every_schedule_leaves_what_an_undisturbed_run_leaves() {
    let schedules = std::env::var("CHURNWATCH_MODEL_SCHEDULES").map_or(SCHEDULES, |number| {
        number
            .parse()
            .expect("CHURNWATCH_MODEL_SCHEDULES is a number")
    });
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let began = Instant::now();
    let found = search(schedules, threads, &Setup::default());
    println!("{} in {:.1?}", found.counts, began.elapsed());
    if let Some(fault) = found.fault {
        panic!("{fault}");
    }
    assert!(found.counts.alerts > 0, "no alert, which proves nothing");
}

/// Without these defences, and with these misfortunes only, a fault is found.
#[track_caller]
fn finds_a_fault_without(defences: &[Defence], misfortunes: &[Misfortune]) {
    finds_a_fault(&Setup {
        without: defences.iter().copied().collect(),
        only: Some(misfortunes.to_vec()),
        ..Setup::default()
    });
}

/// Without these defences a fault is found where some things go wrong often.
#[track_caller]
fn finds_a_fault_under_pressure(defences: &[Defence], press: fn(&mut Faults)) {
    finds_a_fault(&Setup {
        without: defences.iter().copied().collect(),
        only: Some(Vec::new()),
        press: Some(press),
        ..Setup::default()
    });
}

#[track_caller]
fn finds_a_fault(setup: &Setup) {
    let found = search(WITHIN, 1, setup);
    let names: Vec<&str> = setup.without.iter().map(|defence| defence.name()).collect();
    let names = names.join(" and ");
    let Some(fault) = found.fault else {
        panic!("no fault without {names}: {}", found.counts);
    };
    println!(
        "without {names}: found in schedule {} of {WITHIN}: {}",
        found.counts.schedules, fault.what
    );
}

// Where a second defence stands behind the first, both are off: then the first
// is what keeps the second from being needed.

#[test]
fn a_store_written_before_its_transaction_is_found_out() {
    finds_a_fault_under_pressure(
        &[Defence::StoreAfterCommit, Defence::StoreAhead],
        |faults| {
            faults.cut = 400;
        },
    );
}

#[test]
fn a_position_written_before_its_rows_is_found_out() {
    finds_a_fault_without(&[Defence::OneBatch, Defence::Digest], &[]);
}

#[test]
fn going_on_after_a_doubt_is_found_out() {
    finds_a_fault_without(&[Defence::RollBack], &[]);
}

#[test]
fn a_record_counted_twice_is_found_out() {
    finds_a_fault_without(&[Defence::OrderedOffsets], &[]);
}

#[test]
fn a_restore_to_the_end_of_the_changelog_is_found_out() {
    finds_a_fault_under_pressure(&[Defence::ExactEpoch], |faults| {
        faults.sleep = 150;
        faults.expire = 800;
        faults.crash = 0;
    });
}

#[test]
fn rows_that_do_not_add_up_are_found_out() {
    finds_a_fault_under_pressure(&[Defence::Digest], |faults| {
        faults.crash = 15;
        faults.damage = 60;
    });
}

#[test]
fn a_store_ahead_of_what_is_committed_is_found_out() {
    finds_a_fault_without(&[Defence::StoreAhead], &[Misfortune::ClusterRewound]);
}

#[test]
fn forgotten_offsets_taken_for_a_first_start_are_found_out() {
    finds_a_fault_without(&[Defence::EpochRecord], &[Misfortune::OffsetsForgotten]);
}

#[test]
fn a_trimmed_log_taken_as_it_is_is_found_out() {
    finds_a_fault_without(&[Defence::Bounds], &[Misfortune::LogTrimmed]);
}

#[test]
fn an_offset_of_somebody_else_taken_as_it_is_is_found_out() {
    finds_a_fault_without(&[Defence::ForeignOffset], &[Misfortune::OffsetReset]);
}

#[test]
fn offsets_read_before_their_transaction_is_over_are_found_out() {
    finds_a_fault_without(&[Defence::StableOffsets], &[]);
}

#[test]
fn aborted_rows_read_from_the_changelog_are_found_out() {
    finds_a_fault_without(&[Defence::CommittedChangelog], &[]);
}

#[test]
fn offsets_committed_beside_the_transaction_are_found_out() {
    finds_a_fault_without(&[Defence::OffsetsInTransaction], &[]);
}

#[test]
fn a_batch_of_the_stay_before_is_found_out() {
    finds_a_fault_under_pressure(&[Defence::Ownership], |faults| {
        faults.sleep = 100;
        faults.expire = 800;
        faults.untold = 800;
    });
}

#[test]
fn a_producer_that_goes_on_after_an_error_is_found_out() {
    finds_a_fault_under_pressure(&[Defence::FreshProducer], |faults| {
        faults.doubt = 300;
        faults.sleep = 100;
    });
}

/// Nothing comes true twice without fencing, as long as offsets are waited for;
/// but nobody ends what a dead process has left open.
#[test]
fn a_transaction_that_nobody_ends_is_found_out() {
    finds_a_fault(&Setup {
        without: [Defence::Fencing].into(),
        only: Some(Vec::new()),
        patient: true,
        ..Setup::default()
    });
}
