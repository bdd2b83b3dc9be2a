//! The same events give the same alerts, byte by byte, on a file and on Kafka,
//! for any number of partitions, workers and processes.

use churnwatch_testkit::broker::{Deployment, Expected, Process};
use serde_json::{Value, json};

/// Puts the events on a log, lets the processes read it to its end, and
/// compares everything that they leave behind with a replay.
#[track_caller]
fn run(name: &str, expected: &Expected, partitions: u32, processes: &[(&str, Value)]) {
    let deployment = Deployment::new(name, partitions);
    deployment.produce(&expected.log(partitions).collect::<Vec<_>>());
    let mut running: Vec<Process> = processes
        .iter()
        .map(|(instance, settings)| deployment.start(instance, settings))
        .collect();
    deployment.wait_until_read(&mut running.iter_mut().collect::<Vec<_>>());
    for process in running {
        process.stop();
    }
    expected.verify(&deployment, name, processes);
}

#[test]
fn one_partition_and_one_worker() {
    run(
        "one-of-one",
        Expected::real(),
        1,
        &[("a", json!({"workers": 1}))],
    );
}

#[test]
fn four_partitions_and_two_workers() {
    run(
        "two-of-four",
        Expected::real(),
        4,
        &[("a", json!({"workers": 2}))],
    );
}

#[test]
fn eight_partitions_and_three_workers() {
    run(
        "three-of-eight",
        Expected::real(),
        8,
        &[("a", json!({"workers": 3}))],
    );
}

#[test]
fn eight_partitions_and_two_processes() {
    let processes = [("a", json!({"workers": 1})), ("b", json!({"workers": 2}))];
    run("two-processes", Expected::real(), 8, &processes);
}

#[test]
fn every_signal_with_commits_after_few_records() {
    let settings = json!({"workers": 2, "detect": {"max_records": 500, "cached_accounts": 10}});
    run("every-signal", Expected::fleet(), 4, &[("a", settings)]);
}
