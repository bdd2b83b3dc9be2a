//! Defences switched off: then the check must find what they defend against,
//! or the bound that they keep must be broken.

use std::time::Instant;

use churnwatch_testkit::{
    broker::{Process, wait_for},
    proxy::Api,
};
use serde_json::json;

use super::scene::{TRANSACTION_TIMEOUT, Way, wait_until_it_says};

/// A commit is sent twice, since its connection broke, and the first one
/// arrives in the middle of the next transaction, whose process then dies.
fn commit_sent_twice(name: &str, without: &str) -> String {
    let way = Way::new();
    let mut scene = way.scene(name);
    let without = [("CHURNWATCH_WITHOUT", without)];
    let mut settings = way.settings();
    // Time enough for the second try.
    settings["kafka"]["transaction_timeout"] = json!("10s");
    settings["kafka"]["session_timeout"] = json!("10s");
    let start =
        |scene: &super::scene::Scene| scene.deployment.start_with_faults("a", &settings, &without);
    let mut process = start(&scene);
    scene.feed_and_wait(&mut process);
    let late = way.hold_requests(Api::END_TXN, 1);
    scene.feed();
    late.wait_until_caught();
    let next = way.hold_requests(Api::TXN_OFFSET_COMMIT, 1);
    scene.feed();
    late.sever_client();
    next.wait_until_caught();
    late.release();
    assert_eq!(late.end_txn_error(), 0, "the broker takes a late commit");
    process.kill();
    drop(next);
    let mut process = start(&scene);
    scene.deployment.wait_until_read(&mut [&mut process]);
    scene.conclude_with_a_difference(process)
}

#[test]
fn without_a_fresh_producer_a_late_commit_ends_the_next_transaction_in_its_middle() {
    println!("{}", commit_sent_twice("stale", "fresh_producer"));
}

/// Process `a` dies with its commit under way; `b` takes over, before the
/// broker has looked for transactions that timed out. Gives the process that is
/// left.
fn take_over_with_a_commit_under_way(
    way: &Way,
    scene: &mut super::scene::Scene,
    without: &str,
    when_to_release: impl Fn(&super::scene::Scene, &mut Process),
) -> Process {
    let without = [("CHURNWATCH_WITHOUT", without)];
    let mut settings = way.settings();
    let mut a = scene.deployment.start("a", &settings);
    scene.feed_and_wait(&mut a);
    let under_way = way.hold_requests(Api::END_TXN, 1);
    scene.feed();
    under_way.wait_until_caught();
    a.kill();
    settings["kafka"]["bootstrap_servers"] = json!(scene.deployment.bootstrap);
    let mut b = scene.deployment.start_with_faults("b", &settings, &without);
    when_to_release(scene, &mut b);
    under_way.release();
    assert_eq!(under_way.end_txn_error(), 0, "the commit arrives in time");
    b
}

#[test]
fn offsets_with_a_transaction_hanging_on_them_are_waited_for() {
    let way = Way::new();
    let mut scene = way.scene("stable");
    let process = take_over_with_a_commit_under_way(&way, &mut scene, "", |_, b| {
        wait_until_it_says(b, &["committed offset"]);
    });
    scene.conclude(
        process,
        "a commit under way while another process takes over",
    );
}

#[test]
fn without_stable_offsets_the_work_of_a_commit_under_way_is_done_twice() {
    let way = Way::new();
    let mut scene = way.scene("unstable");
    let process =
        take_over_with_a_commit_under_way(&way, &mut scene, "stable_offsets", |scene, b| {
            scene.deployment.wait_until_read(&mut [b]);
        });
    println!("{}", scene.conclude_with_a_difference(process));
}

#[test]
fn offsets_committed_beside_the_transaction_let_a_death_in_between_repeat_it() {
    let way = Way::new();
    let mut scene = way.scene("beside");
    let without = [("CHURNWATCH_WITHOUT", "offsets_in_transaction")];
    let mut process = scene
        .deployment
        .start_with_faults("a", &way.settings(), &without);
    scene.feed_and_wait(&mut process);
    let beside = way.drop_requests(Api::OFFSET_COMMIT, 1);
    scene.feed();
    beside.wait_until_caught();
    process.kill();
    let mut process = scene
        .deployment
        .start_with_faults("a", &way.settings(), &without);
    scene.deployment.wait_until_read(&mut [&mut process]);
    println!("{}", scene.conclude_with_a_difference(process));
}

#[test]
fn without_a_watchdog_a_coordinator_that_is_away_is_waited_for_beyond_all_bounds() {
    let way = Way::new();
    let mut scene = way.scene("no-watchdog");
    let without = [("CHURNWATCH_WITHOUT", "watchdog")];
    let mut process = scene
        .deployment
        .start_with_faults("a", &way.settings(), &without);
    // The first commit asks who coordinates the group.
    process.wait_until_ready();
    let away = way.drop_replies(Api::FIND_COORDINATOR, usize::MAX);
    scene.feed();
    away.wait_until_caught();
    // With it, the call is given up within twice the time-out of transactions.
    let began = Instant::now();
    wait_for("a bound to be broken", || {
        let resets = process.metric("churnwatch_producer_resets_total");
        assert_eq!(resets, 0.0, "given up after {:?}", began.elapsed());
        (began.elapsed() > 3 * TRANSACTION_TIMEOUT).then_some(())
    });
    process.expect_alive();
    process.kill();
}
