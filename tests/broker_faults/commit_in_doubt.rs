//! The answer to a commit does not come, or the commit comes late: the producer
//! is thrown away, the truth is read back, and nothing is repeated.

use std::time::{Duration, Instant};

use churnwatch_testkit::{
    broker::{Process, wait_for, wait_for_work},
    proxy::Api,
};
use serde_json::json;

use super::scene::{Scene, TRANSACTION_TIMEOUT, Way, settings, wait_until_it_says};

/// What a broker and a busy machine may take on top of our own bounds.
const GENEROUS: Duration = Duration::from_secs(30);

fn commits(process: &Process, result: &str) -> f64 {
    let label = format!(r#"result="{result}""#);
    process.metric_where("churnwatch_commits_total", &label)
}

fn resets(process: &Process) -> f64 {
    process.metric("churnwatch_producer_resets_total")
}

/// Waits until more is committed than was.
#[track_caller]
fn wait_for_progress(scene: &Scene, process: &mut Process, was: i64) {
    wait_for_work("progress", &mut [process], || {
        (scene.group.committed() > was).then_some(())
    });
}

#[test]
fn a_commit_whose_answer_was_lost_is_found_done_and_not_done_again() {
    let way = Way::new();
    let mut scene = way.scene("answer-lost");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    for _ in 0..2 {
        let before = commits(&process, "in_doubt");
        let fault = way.drop_replies(Api::END_TXN, 1);
        scene.feed();
        fault.wait_until_caught();
        wait_for("doubt", || {
            (commits(&process, "in_doubt") > before).then_some(())
        });
        scene.deployment.wait_until_read(&mut [&mut process]);
        assert_eq!(commits(&process, "in_doubt"), before + 1.0);
    }
    scene.conclude(process, "the answer to a commit lost");
}

#[test]
fn a_commit_that_did_not_arrive_is_found_undone_and_done_again() {
    let way = Way::new();
    let mut scene = way.scene("commit-lost");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    for _ in 0..2 {
        let before = commits(&process, "in_doubt");
        let fault = way.drop_requests(Api::END_TXN, 1);
        scene.feed();
        fault.wait_until_caught();
        wait_for("doubt", || {
            (commits(&process, "in_doubt") > before).then_some(())
        });
        scene.deployment.wait_until_read(&mut [&mut process]);
        assert_eq!(commits(&process, "in_doubt"), before + 1.0);
    }
    scene.conclude(process, "a commit lost");
}

#[test]
fn a_commit_that_arrives_after_its_successor_has_begun_is_void() {
    let way = Way::new();
    let mut scene = way.scene("commit-late");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    // Behind the successor's introduction, and in the middle of its first transaction.
    for api in [Api::INIT_PRODUCER_ID, Api::TXN_OFFSET_COMMIT] {
        let late = way.hold_requests(Api::END_TXN, 1);
        let introduced = way.requests(Api::INIT_PRODUCER_ID);
        scene.feed();
        late.wait_until_caught();
        let successor = match api {
            Api::INIT_PRODUCER_ID => {
                wait_for("the successor", || {
                    (way.requests(api) > introduced).then_some(())
                });
                way.hold_replies(Api::TXN_OFFSET_COMMIT, 1)
            }
            _ => way.hold_requests(api, 1),
        };
        successor.wait_until_caught();
        late.release();
        assert_ne!(late.end_txn_error(), 0, "the broker took a late commit");
        successor.release();
        scene.deployment.wait_until_read(&mut [&mut process]);
    }
    assert!(commits(&process, "in_doubt") >= 2.0);
    scene.conclude(process, "a commit that arrives late");
}

/// librdkafka sends an `EndTxn` again when its connection breaks, and says
/// nothing of it. The first one may still arrive.
#[test]
fn a_commit_that_was_sent_twice_does_not_end_the_transaction_after_it() {
    let way = Way::new();
    let mut scene = way.scene("commit-twice");
    let mut settings = way.settings();
    // Time enough for the second try.
    settings["kafka"]["transaction_timeout"] = json!("10s");
    settings["kafka"]["session_timeout"] = json!("10s");
    let mut process = scene.deployment.start("a", &settings);
    scene.feed_and_wait(&mut process);
    let late = way.hold_requests(Api::END_TXN, 1);
    scene.feed();
    late.wait_until_caught();
    let next = way.hold_requests(Api::TXN_OFFSET_COMMIT, 1);
    scene.feed();
    late.sever_client();
    next.wait_until_caught();
    late.release();
    assert_ne!(late.end_txn_error(), 0, "the broker took a late commit");
    process.kill();
    drop(next);
    let mut process = scene.deployment.start("a", &settings);
    scene.deployment.wait_until_read(&mut [&mut process]);
    scene.conclude(process, "a commit that was sent twice");
}

#[test]
fn a_coordinator_that_does_not_take_the_offsets_is_given_up_and_tried_anew() {
    let way = Way::new();
    let mut scene = way.scene("offsets-away");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    for api in [Api::ADD_OFFSETS_TO_TXN, Api::TXN_OFFSET_COMMIT] {
        for replies in [false, true] {
            let (was, resets_before) = (scene.group.committed(), resets(&process));
            let fault = if replies {
                way.drop_replies(api, 1)
            } else {
                way.drop_requests(api, 1)
            };
            scene.feed();
            fault.wait_until_caught();
            let began = Instant::now();
            wait_for("the producer to be given up", || {
                (resets(&process) > resets_before).then_some(())
            });
            let took = began.elapsed();
            assert!(took < 2 * TRANSACTION_TIMEOUT + GENEROUS, "{took:?}");
            wait_for_progress(&scene, &mut process, was);
        }
    }
    scene.deployment.wait_until_read(&mut [&mut process]);
    assert_eq!(commits(&process, "in_doubt"), 0.0, "nothing was in doubt");
    scene.conclude(process, "offsets that nobody takes");
}

#[test]
fn while_no_coordinator_is_found_nothing_moves_and_afterwards_all_goes_on() {
    let way = Way::new();
    let mut scene = way.scene("no-coordinator");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    let unfound = way.drop_replies(Api::FIND_COORDINATOR, usize::MAX);
    let untaken = way.drop_requests(Api::TXN_OFFSET_COMMIT, usize::MAX);
    scene.feed();
    untaken.wait_until_caught();
    unfound.wait_until_caught();
    wait_until_it_says(&mut process, &["transaction", "did not answer"]);
    let was = scene.group.committed();
    drop((unfound, untaken));
    wait_for_progress(&scene, &mut process, was);
    scene.deployment.wait_until_read(&mut [&mut process]);
    scene.conclude(process, "no coordinator");
}

#[test]
fn a_transaction_that_the_broker_has_ended_by_its_time_out_is_done_again() {
    let mut scene = Scene::on_the_shared_broker("timed-out");
    let mut settings = settings(&scene.deployment.bootstrap);
    // It stays in the group while it sleeps: only the transaction ends.
    settings["kafka"]["session_timeout"] = json!("30s");
    // Else the other worker's progress could be taken for that of the one that is judged.
    settings["workers"] = json!(1);
    let order = [("CHURNWATCH_FAULT", "stop@after_offsets:1")];
    let mut process = scene.deployment.start_with_faults("a", &settings, &order);
    scene.feed();
    wait_for("the fault", || process.is_stopped().then_some(()));
    let is_open = || scene.deployment.has_open_transaction("churnwatch.state");
    wait_for("the transaction", || is_open().then_some(()));
    wait_for("the end of the transaction by its time-out", || {
        (!is_open()).then_some(())
    });
    let was = scene.group.committed();
    process.signal("CONT");
    let began = Instant::now();
    wait_for("the producer to be given up", || {
        (resets(&process) >= 1.0).then_some(())
    });
    wait_for_progress(&scene, &mut process, was);
    let took = began.elapsed();
    assert!(took < 2 * TRANSACTION_TIMEOUT + GENEROUS, "{took:?}");
    scene.deployment.wait_until_read(&mut [&mut process]);
    scene.conclude(process, "a transaction that timed out");
}
