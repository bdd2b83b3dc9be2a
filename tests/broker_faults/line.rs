//! A network that breaks: progress stops, `/readyz` says why, and when it is
//! whole again everything goes on without a restart.

use std::time::Duration;

use churnwatch_testkit::{
    broker::{Process, wait_for_work},
    proxy::{Api, Direction, Proxy},
};

use super::scene::{Scene, Way, wait_until_it_says};

/// What `/readyz` may say of a broker that cannot be reached or does not answer.
const AWAY: &[&str] = &["broker", "transaction", "timed out", "Timed out", "in time"];

/// Breaks the line under load, and makes it whole again once the process says
/// that it is broken.
#[track_caller]
fn break_and_restore(way: &Way, scene: &mut Scene, process: &mut Process, fault: fn(&Proxy)) {
    fault(way);
    scene.feed();
    let said = wait_until_it_says(process, AWAY);
    println!("{said}");
    let was = scene.group.committed();
    way.restore();
    scene.deployment.wait_until_read(&mut [process]);
    process.wait_until_ready();
    assert!(scene.group.committed() > was);
}

#[test]
fn a_cut_line_stops_the_work_until_it_is_restored() {
    let way = Way::new();
    let mut scene = way.scene("cut");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    for _ in 0..2 {
        break_and_restore(&way, &mut scene, &mut process, Proxy::cut);
    }
    scene.conclude(process, "a line cut");
}

#[test]
fn a_black_hole_stops_the_work_until_it_is_gone() {
    let way = Way::new();
    let mut scene = way.scene("black-hole");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    break_and_restore(&way, &mut scene, &mut process, Proxy::black_hole);
    scene.conclude(process, "a black hole");
}

#[test]
fn a_line_that_is_open_in_one_direction_only_stops_the_work_until_it_is_whole() {
    let way = Way::new();
    let mut scene = way.scene("half-open");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    break_and_restore(&way, &mut scene, &mut process, |line| {
        line.stop_direction(Direction::ToBroker);
    });
    break_and_restore(&way, &mut scene, &mut process, |line| {
        line.stop_direction(Direction::ToClient);
    });
    scene.conclude(process, "a line half open");
}

#[test]
fn resets_and_latency_lose_nothing() {
    let way = Way::new();
    let mut scene = way.scene("resets");
    let mut process = scene.deployment.start("a", &way.settings());
    scene.feed_and_wait(&mut process);
    // Between any two steps of a transaction.
    for api in [
        Api::PRODUCE,
        Api::ADD_OFFSETS_TO_TXN,
        Api::TXN_OFFSET_COMMIT,
        Api::END_TXN,
    ] {
        let step = way.hold_replies(api, 1);
        scene.feed();
        step.wait_until_caught();
        way.reset();
        drop(step);
        scene.deployment.wait_until_read(&mut [&mut process]);
    }
    way.latency(Duration::from_millis(60));
    let asked = way.requests(Api::END_TXN);
    scene.feed_and_wait(&mut process);
    wait_for_work("commits over the slow line", &mut [&mut process], || {
        (way.requests(Api::END_TXN) > asked).then_some(())
    });
    assert_eq!(process.get("/livez").0, 200);
    scene.conclude(process, "resets and latency");
}
