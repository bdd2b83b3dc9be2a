//! The broker itself goes: killed, stopped, paused for longer than transactions
//! live. Meanwhile `/readyz` says why nothing moves, and when it is back all
//! goes on without a restart.

use std::thread;

use churnwatch_testkit::{
    broker::{Process, wait_for},
    private_broker::{BrokerOptions, PrivateBroker},
};

use super::scene::{Scene, TRANSACTION_TIMEOUT, settings, wait_until_it_says};

/// What `/readyz` may say of a broker that is not there.
const AWAY: &[&str] = &["broker", "transaction", "in time", "timed out", "Timed out"];

#[test]
fn a_broker_that_dies_stops_or_sleeps_is_waited_for() {
    let mut broker = PrivateBroker::start(&BrokerOptions::default());
    let mut scene = Scene::on(broker.bootstrap(), "broker-away");
    let mut process = scene.deployment.start("a", &settings(broker.bootstrap()));
    scene.feed_and_wait(&mut process);

    scene.feed();
    broker.kill();
    println!("killed: {}", wait_until_it_says(&mut process, AWAY));
    broker.restart();
    scene.deployment.wait_until_read(&mut [&mut process]);
    process.wait_until_ready();

    scene.feed();
    broker.stop();
    println!("stopped: {}", wait_until_it_says(&mut process, AWAY));
    broker.restart();
    scene.deployment.wait_until_read(&mut [&mut process]);
    process.wait_until_ready();

    scene.feed();
    broker.pause();
    // A commit answers within twice the time-out of transactions, so that this is longer.
    println!("paused: {}", wait_until_it_says(&mut process, AWAY));
    broker.resume();
    scene.deployment.wait_until_read(&mut [&mut process]);
    process.wait_until_ready();

    scene.conclude(process, "a broker that goes and comes");
}

/// The broker is killed with a transaction open, which has timed out when it
/// starts again. It then takes the transaction for aborted, and tells nobody who
/// holds its records.
fn killed_with_a_transaction_open(name: &str, fault: &str, without: &str) -> (Scene, Process) {
    let mut broker = PrivateBroker::start(&BrokerOptions::default());
    let mut scene = Scene::on(broker.bootstrap(), name);
    let order = [("CHURNWATCH_FAULT", fault), ("CHURNWATCH_WITHOUT", without)];
    let settings = settings(broker.bootstrap());
    let mut process = scene.deployment.start_with_faults("a", &settings, &order);
    scene.feed();
    wait_for("the fault", || process.is_stopped().then_some(()));
    broker.kill();
    thread::sleep(2 * TRANSACTION_TIMEOUT);
    broker.restart();
    process.signal("CONT");
    scene.deployment.wait_until_read(&mut [&mut process]);
    scene.hold(broker);
    (scene, process)
}

#[test]
fn what_a_killed_broker_left_open_does_not_come_true_with_the_next_transaction() {
    for fault in ["after_produce", "after_offsets"] {
        let (scene, process) =
            killed_with_a_transaction_open("left-open", &format!("stop@{fault}:1"), "");
        scene.conclude(process, "a transaction that the broker left open");
    }
}

#[test]
fn without_closed_books_it_does() {
    let (scene, process) =
        killed_with_a_transaction_open("books-open", "stop@after_produce:1", "closed_books");
    println!("{}", scene.conclude_with_a_difference(process));
}
