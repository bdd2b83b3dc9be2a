//! Processes that sleep while the group gives their partitions away, and wake
//! up again.

use churnwatch_faults::Moment;
use churnwatch_testkit::broker::{Deployment, Expected, wait_for};

use serde_json::json;

use crate::feed::{Feed, PARTITIONS, Run, owns, slow_to_commit, two_that_share_the_work};

#[test]
fn a_process_that_slept_while_others_took_over_does_no_harm_when_it_wakes_up() {
    let deployment = Deployment::new("slept", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    let (mut sleeps, mut stays) = two_that_share_the_work(&deployment);
    for _ in 0..2 {
        feed.feed_and_wait_for_the_middle(&mut [&mut sleeps, &mut stays]);
        sleeps.signal("STOP");
        feed.interrupted();
        owns(&stays, PARTITIONS);
        feed.feed_and_wait_for_the_middle(&mut [&mut stays]);
        sleeps.signal("CONT");
        owns(&sleeps, PARTITIONS / 2);
    }
    feed.feed_the_rest(2);
    deployment.wait_until_read(&mut [&mut sleeps, &mut stays]);
    sleeps.stop();
    stays.stop();
    let processes = [("a", slow_to_commit()), ("b", slow_to_commit())];
    Expected::real().verify(&deployment, "slept", &processes);
}

/// Its transaction is open while it sleeps, and the group waits for no one: the
/// other goes on, and what the sleeper holds must never come true.
fn sleeps_in_a_transaction(moment: Moment) {
    let mut run = Run::start("sleeper", 3_000);
    let mut settings = slow_to_commit();
    settings["kafka"] = json!({"session_timeout": "6s", "transaction_timeout": "5s"});
    let fault = format!("stop@{}:4", moment.name());
    let env = [("CHURNWATCH_FAULT", fault.as_str())];
    let mut sleeps = run.deployment.start_with_faults("a", &settings, &env);
    wait_for("the fault", || sleeps.is_stopped().then_some(()));
    let mut stays = run.deployment.start("b", &settings);
    owns(&stays, PARTITIONS);
    run.wait_for_share(60, &mut [&mut stays]);
    sleeps.signal("CONT");
    // The same process: it was fenced, and needs no restart.
    owns(&sleeps, PARTITIONS / 2);
    run.finish(&mut [&mut sleeps, &mut stays]);
    let ended = sleeps.stop();
    stays.stop();
    let dropped = "dropping what is not committed";
    assert!(ended.log.contains(dropped), "{}", ended.log);
    run.check();
}

#[test]
fn asleep_before_its_offsets_are_sent_it_is_fenced_and_rejoins_without_a_restart() {
    sleeps_in_a_transaction(Moment::AfterProduce);
}

#[test]
fn asleep_before_its_commit_is_asked_for_it_is_fenced_and_rejoins_without_a_restart() {
    sleeps_in_a_transaction(Moment::AfterOffsets);
}
