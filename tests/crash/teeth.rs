//! Each defence switched off: the check must find what comes of it, or it would
//! find nothing else either.
//!
//! Some defences stand behind others, and only together let a fault through.
//! Where that is so, each is also switched off alone, and nothing must come of
//! it.

use churnwatch_faults::Defence;
use churnwatch_testkit::{
    broker::{Process, wait_for},
    crash::verdict,
    world::Difference,
};
use serde_json::{Value, json};

use crate::feed::{PARTITIONS, Run, busy, owns, slow_to_commit};

const FAULT: &str = "CHURNWATCH_FAULT";
const WITHOUT: &str = "CHURNWATCH_WITHOUT";

fn names(without: &[Defence]) -> String {
    let names: Vec<_> = without.iter().map(|defence| defence.name()).collect();
    names.join(",")
}

/// What is left behind differs: says how.
#[track_caller]
fn expect_found(run: &Run, without: &[Defence]) {
    match verdict(&run.deployment) {
        Ok((compared, _)) => panic!("without {}: {compared} are the same", names(without)),
        Err(difference) => {
            let Difference { what, .. } = *difference;
            println!("without {}: {what}", names(without));
        }
    }
}

/// One worker, so that orders given to the process are given to it.
fn one_worker() -> Value {
    let mut settings = busy();
    settings["workers"] = json!(1);
    settings["kafka"] = json!({"session_timeout": "30s", "transaction_timeout": "5s"});
    settings["detect"]["commit_interval"] = json!("200ms");
    settings
}

/// A process sleeps until the broker has ended its transaction, and goes on as
/// a member of the group.
fn transaction_times_out(name: &str, without: &[Defence]) -> (Run, String) {
    let mut run = Run::start(name, 2_000);
    let without = names(without);
    let env = [(FAULT, "stop@after_produce:7"), (WITHOUT, without.as_str())];
    let mut process = run.deployment.start_with_faults("a", &one_worker(), &env);
    wait_for("the fault", || process.is_stopped().then_some(()));
    let is_open = || run.deployment.has_open_transaction("churnwatch.state");
    wait_for("the transaction", || is_open().then_some(()));
    wait_for("the end of the transaction", || (!is_open()).then_some(()));
    process.signal("CONT");
    run.finish(&mut [&mut process]);
    let ended = process.stop();
    assert!(ended.log.contains("dropping what is not"), "{}", ended.log);
    (run, ended.log)
}

#[test]
fn with_every_defence_a_transaction_that_timed_out_leaves_no_trace() {
    let (run, log) = transaction_times_out("all-defences", &[]);
    run.check();
    assert!(!log.contains("rebuilding"), "{log}");
}

#[test]
fn without_the_roll_back_what_was_aborted_is_lost() {
    let without = [Defence::RollBack];
    let (run, _) = transaction_times_out("no-roll-back", &without);
    expect_found(&run, &without);
}

/// What would come of it without that, the suite `model` shows.
#[test]
fn a_store_written_before_the_commit_is_found_ahead_and_rebuilt() {
    let (run, log) = transaction_times_out("store-first", &[Defence::StoreAfterCommit]);
    run.check();
    let rebuilt = "the store has another history than the group; rebuilding it";
    assert!(log.contains(rebuilt), "{log}");
}

/// Dies with a transaction open, and restores on an empty disk.
fn restores_over_an_aborted_epoch(name: &str, without: &[Defence]) -> Run {
    let mut run = Run::start(name, 1_500);
    let dies = [(FAULT, "kill@after_produce:7")];
    let process = run.deployment.start_with_faults("a", &one_worker(), &dies);
    let ended = process.wait_for_end();
    assert_eq!(ended.code, None, "{}", ended.log);
    let state = run.deployment.state_dir("a");
    std::fs::remove_dir_all(state).expect("the state can be deleted");
    let without = names(without);
    let env = [(WITHOUT, without.as_str())];
    let mut process = run.deployment.start_with_faults("a", &one_worker(), &env);
    run.finish(&mut [&mut process]);
    process.stop();
    run
}

#[test]
fn a_restore_of_aborted_rows_to_the_end_of_the_changelog_loses_what_was_aborted() {
    for alone in [Defence::CommittedChangelog, Defence::ExactEpoch] {
        restores_over_an_aborted_epoch("aborted-rows", &[alone]).check();
    }
    let without = [Defence::CommittedChangelog, Defence::ExactEpoch];
    let run = restores_over_an_aborted_epoch("aborted-rows", &without);
    expect_found(&run, &without);
}

/// A process sleeps with its offsets sent; another takes its name and its
/// place, and the first one wakes up.
fn takes_the_place_of_one_asleep(name: &str, without: &[Defence]) -> Run {
    let mut settings = one_worker();
    settings["kafka"]["transaction_timeout"] = json!("20s");
    let mut run = Run::start(name, 2_000);
    let without = names(without);
    let env = [(FAULT, "stop@after_offsets:7"), (WITHOUT, without.as_str())];
    let sleeps = run.deployment.start_with_faults("a", &settings, &env);
    wait_for("the fault", || sleeps.is_stopped().then_some(()));
    let at = run.group.committed();
    settings["state_dir"] = json!(run.deployment.dir().join("state-of-the-second"));
    let env = [(WITHOUT, without.as_str())];
    let mut second = run.deployment.start_with_faults("a", &settings, &env);
    wait_for("the second to commit", || {
        (run.group.committed() > at).then_some(())
    });
    sleeps.signal("CONT");
    let ended = sleeps.wait_for_end();
    assert_ne!(ended.code, Some(0), "{}", ended.log);
    run.finish(&mut [&mut second]);
    second.stop();
    run
}

#[test]
fn without_fencing_and_stable_offsets_a_sleeper_s_transaction_comes_true_behind_its_successor_s() {
    takes_the_place_of_one_asleep("stable-off", &[Defence::StableOffsets]).check();
    let without = [Defence::Fencing, Defence::StableOffsets];
    let run = takes_the_place_of_one_asleep("fencing-off", &without);
    expect_found(&run, &without);
}

/// A member sleeps while it is asked for partitions and has nothing open. It is
/// thrown out, another works on and dies, and it comes back to what it held.
fn comes_back_to_what_it_held(without: &[Defence]) -> (Run, String) {
    let settings = slow_to_commit();
    let mut run = Run::start_up_to("held", 3_000, 40);
    let without = names(without);
    let env = [
        (FAULT, "stop@during_revocation:1"),
        (WITHOUT, without.as_str()),
    ];
    let mut sleeps = run.deployment.start_with_faults("a", &settings, &env);
    run.finish(&mut [&mut sleeps]);
    let mut other: Process = run.deployment.start("b", &settings);
    wait_for("the fault", || sleeps.is_stopped().then_some(()));
    owns(&other, PARTITIONS);
    run.go_on();
    run.wait_for_share(70, &mut [&mut other]);
    other.kill();
    sleeps.signal("CONT");
    run.finish(&mut [&mut sleeps]);
    let ended = sleeps.stop();
    (run, ended.log)
}

#[test]
fn a_member_that_comes_back_to_what_others_had_meanwhile_does_no_harm() {
    let (run, _) = comes_back_to_what_it_held(&[]);
    run.check();
}
