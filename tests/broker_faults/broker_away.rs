//! The broker itself goes: killed, stopped, paused for longer than transactions
//! live. Meanwhile `/readyz` says why nothing moves, and when it is back all
//! goes on without a restart.

use churnwatch_testkit::private_broker::{BrokerOptions, PrivateBroker};

use super::scene::{Scene, settings, wait_until_it_says};

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
