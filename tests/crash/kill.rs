//! Killed at random and at every moment that has a name.

use std::{path::Path, process::Command};

use churnwatch_faults::Moment;
use churnwatch_testkit::{
    broker::{Deployment, Expected},
    crash::Round,
    random,
};

use crate::feed::{Feed, PARTITIONS, PIECES, Run, busy};

#[test]
fn killed_again_and_again_it_goes_on_from_what_is_committed() {
    let deployment = Deployment::new("killed", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    // Leaves a store behind that is whole, and that the commits after it run away from.
    let mut process = deployment.start("a", &busy());
    feed.feed_and_wait_for_the_middle(&mut [&mut process]);
    process.stop();
    for _ in 1..PIECES {
        let mut process = deployment.start("a", &busy());
        feed.feed_and_wait_for_the_middle(&mut [&mut process]);
        process.kill();
        feed.interrupted();
    }
    let mut process = deployment.start("a", &busy());
    feed.feed_the_rest(PIECES - 1);
    deployment.wait_until_read(&mut [&mut process]);
    assert!(process.metric("churnwatch_restore_rows_total") > 0.0);
    process.stop();
    Expected::real().verify(&deployment, "killed", &[("a", busy())]);
}

#[test]
fn with_its_disk_lost_it_comes_back_from_the_changelog() {
    let deployment = Deployment::new("disk-lost", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    for _ in 1..PIECES {
        let mut process = deployment.start("a", &busy());
        feed.feed_and_wait_for_the_middle(&mut [&mut process]);
        process.kill();
        feed.interrupted();
        std::fs::remove_dir_all(deployment.state_dir("a")).expect("the state can be deleted");
    }
    let mut process = deployment.start("a", &busy());
    feed.feed_the_rest(PIECES - 1);
    deployment.wait_until_read(&mut [&mut process]);
    assert!(process.metric("churnwatch_restore_rows_total") > 0.0);
    process.stop();
    Expected::real().verify(&deployment, "disk-lost", &[("a", busy())]);
}

#[test]
fn an_old_copy_of_its_disk_catches_up_from_the_changelog() {
    let deployment = Deployment::new("old-copy", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    let copy = deployment.dir().join("copy");
    for round in 0..2 {
        let mut process = deployment.start("a", &busy());
        feed.feed_and_wait_for_the_middle(&mut [&mut process]);
        process.stop();
        feed.interrupted();
        if round == 0 {
            copy_directory(&deployment.state_dir("a"), &copy);
        }
    }
    std::fs::remove_dir_all(deployment.state_dir("a")).expect("the state can be deleted");
    std::fs::rename(&copy, deployment.state_dir("a")).expect("the copy can be put back");
    let mut process = deployment.start("a", &busy());
    feed.feed_the_rest(2);
    deployment.wait_until_read(&mut [&mut process]);
    assert!(process.metric("churnwatch_restore_rows_total") > 0.0);
    let ended = process.stop();
    assert!(!ended.log.contains("rebuilding"), "{}", ended.log);
    Expected::real().verify(&deployment, "old-copy", &[("a", busy())]);
}

fn copy_directory(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-r")
        .args([from, to])
        .status()
        .expect("cp runs");
    assert!(copied.success(), "{} was not copied", from.display());
}

/// Dies at each of them once, one after the other, and is brought back at once.
#[test]
fn killed_at_every_moment_of_a_commit_and_a_restore_it_goes_on_from_what_is_committed() {
    let mut run = Run::start("moments", 4_000);
    let moments = [
        Moment::BeforeBegin,
        Moment::AfterProduce,
        Moment::AfterOffsets,
        Moment::BeforeStore,
        Moment::DuringStore,
        Moment::DuringRestore,
        Moment::DuringAssignment,
    ];
    for moment in moments {
        let count = match moment {
            Moment::DuringRestore => {
                // Without a disk there is something to restore.
                let state = run.deployment.state_dir("a");
                std::fs::remove_dir_all(state).expect("the state can be deleted");
                1
            }
            Moment::DuringAssignment => 1,
            _ => 4,
        };
        let fault = format!("kill@{}:{count}", moment.name());
        let env = [("CHURNWATCH_FAULT", fault.as_str())];
        let process = run.deployment.start_with_faults("a", &busy(), &env);
        let ended = process.wait_for_end();
        assert_eq!(ended.code, None, "{fault} came true\n{}", ended.log);
    }
    let mut process = run.deployment.start("a", &busy());
    run.finish(&mut [&mut process]);
    process.stop();
    run.check();
}

#[test]
fn five_rounds_of_interruptions_leave_nothing_lost_or_twice_or_different() {
    let first = random::seed();
    println!("CHURNWATCH_TEST_SEED={first}");
    for seed in (0..5).map(|round| first.wrapping_add(round)) {
        let without = Vec::new();
        let report = Round { seed, without }.run();
        println!("{report}");
        if let Err(finding) = report.verdict {
            panic!("`cargo xtask crash --rounds 1 --seed {seed}`: {finding}");
        }
    }
}
