//! Partitions that cooperative assignment leaves without an owner.

use churnwatch_testkit::broker::{Process, wait_for};

use crate::feed::{PARTITIONS, Run, owns, slow_to_commit};

/// Partitions that the processes have together.
fn assigned(processes: &[&Process]) -> f64 {
    let of = |process: &&Process| process.metric("churnwatch_partitions_assigned");
    processes.iter().map(of).sum()
}

/// A restart in between the two rounds in which a partition changes hands: its
/// owner was told to let go of it, and died before it could ask for the second
/// round. It comes back before its session ends, and is given what the first
/// round had left it.
#[test]
fn a_restart_in_the_middle_of_a_rebalance_leaves_no_partition_without_an_owner() {
    let mut settings = slow_to_commit();
    // Longer than a restart takes.
    settings["kafka"]["session_timeout"] = "8s".into();
    let mut run = Run::start("between", 2_000);
    let env = [("CHURNWATCH_FAULT", "kill@during_revocation:1")];
    let dies = run.deployment.start_with_faults("a", &settings, &env);
    owns(&dies, PARTITIONS);
    let mut b = run.deployment.start("b", &settings);
    let ended = dies.wait_for_end();
    assert_eq!(ended.code, None, "{}", ended.log);
    let mut a = run.deployment.start("a", &settings);
    wait_for("all partitions to have an owner", || {
        (assigned(&[&a, &b]) == f64::from(PARTITIONS)).then_some(())
    });
    // It was the watch over the group that saw to it, and not the end of a session.
    let orphaned = [&a, &b].map(|process| process.metric("churnwatch_orphaned_partitions_total"));
    assert_eq!(orphaned.iter().sum::<f64>(), 2.0, "{}", a.last_said());
    run.finish(&mut [&mut a, &mut b]);
    a.stop();
    b.stop();
    run.check();
}
