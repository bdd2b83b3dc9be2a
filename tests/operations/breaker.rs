//! Too many bad records stop their partition, at the same record whatever
//! happens meanwhile; a record of the log lets it go on.

use churnwatch_core::Rules;
use churnwatch_testkit::broker::{Deployment, Process, wait_for};
use churnwatch_testkit::cli;
use churnwatch_testkit::world::World;
use serde_json::{Value, json};

use crate::tickets::{bad, tickets};

/// The partition that is stopped, and the one that is not.
const STOPS: i32 = 0;
const GOES_ON: i32 = 1;

/// Commits after few records, so that the window crosses many commits.
fn busy() -> Value {
    json!({"detect": {"max_records": 70}})
}

/// Waits until as many records of both partitions are committed.
fn wait_until_committed(deployment: &Deployment, process: &mut Process, records: [i64; 2]) {
    let group = deployment.group();
    wait_for("the group to have come so far", || {
        process.expect_alive();
        let committed = group.progress().into_iter().map(|(committed, _)| committed);
        committed.eq(records).then_some(())
    });
}

fn wait_until_stopped(process: &Process) {
    let stopped = r#"reason="error_rate""#;
    wait_for("the partition to stop", || {
        let stopped = process.metric_where("churnwatch_paused_partitions", stopped);
        (stopped == 1.0).then_some(())
    });
}

fn resume(deployment: &Deployment, partition: i32) -> cli::Ran {
    let config = deployment.config("operator", &json!({}));
    let partition = partition.to_string();
    let config = config.to_str().expect("a path of UTF-8");
    cli::run(["resume", "--partition", &partition, "--config", config])
}

/// 300 bad records, a process that is killed behind them, and 500 more.
struct Flood {
    deployment: Deployment,
    /// Records of each partition.
    written: [i64; 2],
}

impl Flood {
    fn new(name: &str, without: &str) -> (Self, Process) {
        let deployment = Deployment::new(name, 2);
        let without = [("CHURNWATCH_WITHOUT", without)];
        let start = || deployment.start_with_faults("a", &busy(), &without);
        let mut process = start();
        deployment.produce(&tickets(STOPS, 0, 150));
        deployment.produce(&tickets(GOES_ON, 0, 150));
        deployment.produce(&bad(STOPS, 300));
        wait_until_committed(&deployment, &mut process, [450, 150]);
        process.kill();
        let process = start();
        deployment.produce(&bad(STOPS, 500));
        deployment.produce(&tickets(STOPS, 150, 100));
        deployment.produce(&tickets(GOES_ON, 150, 100));
        let written = [1_050, 250];
        (
            Self {
                deployment,
                written,
            },
            process,
        )
    }
}

#[test]
fn too_many_bad_records_stop_their_partition_until_a_record_of_the_log_lets_it_go_on() {
    let (flood, mut process) = Flood::new("breaker", "");
    let deployment = &flood.deployment;
    wait_until_stopped(&process);
    // 150 tickets and 501 bad records, in spite of the kill; all of the other partition.
    wait_until_committed(deployment, &mut process, [651, 250]);
    let compared = World::check_committed(deployment, &Rules::default(), "stopped");
    assert_eq!(compared.dead_letters, 501);
    let (status, body) = process.get("/readyz");
    assert_eq!(status, 503);
    let told = "stopped at offset 651: 501 of 501 records could not be used";
    assert!(
        body.contains(told) && body.contains("resume --partition 0"),
        "{body}"
    );
    assert_eq!(process.get("/livez").0, 200);

    // It was said once, and a restart stands still at the same record.
    let ended = process.stop();
    assert_eq!(ended.log.matches(told).count(), 1, "{}", ended.log);
    let mut process = deployment.start("a", &busy());
    wait_until_stopped(&process);
    deployment.produce(&tickets(GOES_ON, 250, 50));
    wait_until_committed(deployment, &mut process, [651, 300]);

    // Only what is stopped can be let go on.
    let refused = resume(deployment, GOES_ON).failed(64);
    assert!(refused.contains("partition 1 is not stopped"), "{refused}");
    let said = resume(deployment, STOPS).succeeded().stdout;
    assert!(
        said.contains("goes on at offset 651; 399 records, up to offset 1050"),
        "{said}"
    );
    deployment.wait_until_read(&mut [&mut process]);
    process.wait_until_ready();
    assert_eq!(process.metric("churnwatch_paused_partitions"), 0.0);
    let compared = World::check_committed(deployment, &Rules::default(), "let go on");
    assert_eq!(compared.dead_letters, 800);

    // From there on records are counted again.
    deployment.produce(&bad(STOPS, 600));
    wait_until_stopped(&process);
    wait_until_committed(deployment, &mut process, [flood.written[0] + 1 + 501, 300]);
    process.stop();
    World::check_committed(deployment, &Rules::default(), "stopped again");
}

/// The defence switched off: the window begins anew with the process, and the
/// partition is not stopped where it has to be.
#[test]
fn a_window_that_a_restart_forgets_is_found_by_the_checker() {
    let (flood, mut process) = Flood::new("breaker-forgets", "breaker_window");
    let deployment = &flood.deployment;
    wait_until_committed(deployment, &mut process, flood.written);
    process.stop();
    let found = World::committed(deployment);
    let expected = World::expected(deployment, &Rules::default(), &found);
    let difference = found.check(&expected).expect_err("it read on");
    println!("found: {}", difference.what);
    assert_eq!(expected.dead_letters.len(), 501);
    assert_eq!(found.dead_letters.len(), 800);
}
