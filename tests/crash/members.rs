//! Members that come and go.

use churnwatch_testkit::broker::{Deployment, Expected, Process, wait_for};
use serde_json::json;

use crate::feed::{Feed, PARTITIONS, PIECES, Run, owns, slow_to_commit, two_that_share_the_work};

#[test]
fn partitions_move_under_load_to_processes_that_join() {
    let deployment = Deployment::new("join", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    let mut running = vec![deployment.start("a", &slow_to_commit())];
    let mut revoked = 0.0;
    for instance in ["b", "c"] {
        feed.feed_and_wait_for_the_middle(&mut running.iter_mut().collect::<Vec<_>>());
        // Joining takes a while.
        feed.feed(2 * feed.log.len() / PIECES);
        let joins = deployment.start(instance, &slow_to_commit());
        wait_for("a share of the partitions", || {
            (joins.metric("churnwatch_partitions_assigned") > 0.0).then_some(())
        });
        feed.interrupted();
        running.push(joins);
        let now = running.iter().map(|process| {
            process.metric_where("churnwatch_rebalances_total", r#"event="revoked""#)
        });
        let now = now.sum();
        assert!(now > revoked, "a partition was given away");
        revoked = now;
    }
    feed.feed_the_rest(2);
    deployment.wait_until_read(&mut running.iter_mut().collect::<Vec<_>>());
    for process in running {
        process.stop();
    }
    let processes = ["a", "b", "c"].map(|instance| (instance, slow_to_commit()));
    Expected::real().verify(&deployment, "join", &processes);
}

#[test]
fn what_a_dead_process_owned_moves_to_the_others() {
    let deployment = Deployment::new("dead", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    let (mut dies, mut stays) = two_that_share_the_work(&deployment);
    feed.feed_and_wait_for_the_middle(&mut [&mut dies, &mut stays]);
    dies.kill();
    feed.interrupted();
    feed.feed_the_rest(1);
    deployment.wait_until_read(&mut [&mut stays]);
    assert_eq!(
        stays.metric("churnwatch_partitions_assigned"),
        f64::from(PARTITIONS)
    );
    stays.stop();
    Expected::real().verify(&deployment, "dead", &[("b", slow_to_commit())]);
}

#[test]
fn a_second_process_of_the_same_name_takes_the_place_of_the_first() {
    let deployment = Deployment::new("same-name", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    let mut first = deployment.start("a", &slow_to_commit());
    feed.feed_and_wait_for_the_middle(&mut [&mut first]);
    let mut settings = slow_to_commit();
    settings["state_dir"] = json!(deployment.dir().join("state-of-the-second"));
    let mut second = deployment.start("a", &settings);
    feed.interrupted();
    let ended = first.wait_for_end();
    assert_ne!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("give each process its own kafka.instance_id"),
        "{}",
        ended.log
    );
    feed.feed_the_rest(1);
    deployment.wait_until_read(&mut [&mut second]);
    second.stop();
    Expected::real().verify(&deployment, "same-name", &[("a", slow_to_commit())]);
}

/// No commit of this process failed, and every partition that it was given was
/// restored at most once: what stayed with it was never read again.
#[track_caller]
fn was_never_rewound(process: &Process) {
    let commits = |result: &str| process.metric_where("churnwatch_commits_total", result);
    let restored = process.metric("churnwatch_restore_seconds_count");
    let assigned = process.metric_where("churnwatch_rebalances_total", r#"event="assigned""#);
    let lost = process.metric_where("churnwatch_rebalances_total", r#"event="lost""#);
    let told = process.last_said();
    assert_eq!(commits(r#"result="aborted""#), 0.0, "{told}");
    assert_eq!(commits(r#"result="in_doubt""#), 0.0, "{told}");
    assert_eq!(lost, 0.0, "{told}");
    assert!(restored <= assigned, "{restored} of {assigned}\n{told}");
}

/// From one process to three and back to one: one leaves in good order, one is
/// killed.
fn one_three_one(with_names: bool) {
    let mut settings = slow_to_commit();
    settings["kafka"]["static_membership"] = with_names.into();
    let mut run = Run::start("one-three-one", 6_000);
    let mut a = run.deployment.start("a", &settings);
    run.wait_for_share(10, &mut [&mut a]);
    let b = run.deployment.start("b", &settings);
    let c = run.deployment.start("c", &settings);
    let shares = |process: &Process| process.metric("churnwatch_partitions_assigned");
    wait_for("each of three to have a share", || {
        let all = [&a, &b, &c].map(shares);
        (all.iter().all(|share| *share >= 1.0) && all.iter().sum::<f64>() == f64::from(PARTITIONS))
            .then_some(())
    });
    for process in [&a, &b, &c] {
        was_never_rewound(process);
    }
    b.stop();
    c.kill();
    owns(&a, PARTITIONS);
    run.finish(&mut [&mut a]);
    was_never_rewound(&a);
    a.stop();
    run.check();
}

#[test]
fn from_one_to_three_and_back_nothing_that_stays_is_rewound() {
    one_three_one(true);
}

#[test]
fn from_one_to_three_and_back_without_names_nothing_that_stays_is_rewound() {
    one_three_one(false);
}

/// With names, a restart within the session moves nothing.
#[test]
fn a_rolling_restart_of_all_moves_no_partition_and_restores_nothing() {
    let mut settings = slow_to_commit();
    settings["kafka"]["session_timeout"] = "20s".into();
    let mut run = Run::start("rolling", 5_000);
    let names = ["a", "b", "c"];
    let mut running = names.map(|name| Some(run.deployment.start(name, &settings)));
    let shares = |running: &[Option<Process>]| -> Vec<f64> {
        let all = running.iter().flatten();
        all.map(|process| process.metric("churnwatch_partitions_assigned"))
            .collect()
    };
    wait_for("all to have a share", || {
        let shares = shares(&running);
        (shares.iter().all(|share| *share >= 1.0)
            && shares.iter().sum::<f64>() == f64::from(PARTITIONS))
        .then_some(())
    });
    // A store whose restore is interrupted is behind, and may be.
    for process in running.iter().flatten() {
        process.wait_until_ready();
    }
    let revoked = |process: &Process| {
        process.metric_where("churnwatch_rebalances_total", r#"event="revoked""#)
    };
    for index in 0..names.len() {
        let others = |running: &[Option<Process>]| -> Vec<f64> {
            let all = running.iter().enumerate().filter(|(at, _)| *at != index);
            all.filter_map(|(_, process)| process.as_ref().map(revoked))
                .collect()
        };
        let (before, share) = (others(&running), shares(&running)[index]);
        running[index].take().expect("it runs").stop();
        let again = run.deployment.start(names[index], &settings);
        owns(&again, share as u32);
        again.wait_until_ready();
        let restored = again.metric("churnwatch_restore_rows_total");
        assert_eq!(restored, 0.0, "{}", again.last_said());
        running[index] = Some(again);
        assert_eq!(others(&running), before, "nothing moved");
    }
    let mut running = running.map(|process| process.expect("all run"));
    run.finish(&mut running.iter_mut().collect::<Vec<_>>());
    for process in running {
        process.stop();
    }
    run.check();
}

/// A process joins while the partitions of the other are being restored: the
/// restores of what goes are given up, those of what stays go on.
#[test]
fn a_rebalance_in_the_middle_of_a_restore_is_survived() {
    let mut settings = slow_to_commit();
    // Longer than the restore is held up.
    settings["kafka"]["session_timeout"] = "20s".into();
    let mut run = Run::start("restoring", 3_000);
    let mut first = run.deployment.start("a", &settings);
    run.wait_for_share(60, &mut [&mut first]);
    first.kill();
    let state = run.deployment.state_dir("a");
    std::fs::remove_dir_all(state).expect("the state can be deleted");

    let env = [("CHURNWATCH_FAULT", "stop@during_restore:1")];
    let mut a = run.deployment.start_with_faults("a", &settings, &env);
    wait_for("the restore to be held up", || a.is_stopped().then_some(()));
    let mut b = run.deployment.start("b", &settings);
    wait_for("the rebalance", || {
        (run.group.state().0 == "PreparingRebalance").then_some(())
    });
    a.signal("CONT");
    owns(&a, PARTITIONS / 2);
    owns(&b, PARTITIONS / 2);
    run.finish(&mut [&mut a, &mut b]);
    let ended = a.stop();
    // Small restores may be through before the member hears of it: what counts is what is left.
    let revoked = ended.log.contains(r#""event":"revoked""#);
    assert!(revoked, "something was asked back\n{}", ended.log);
    b.stop();
    run.check();
}

/// While it sleeps, it is thrown out, and so is the other that took over: when
/// it wakes up, the loss and the new assignment wait for it together.
#[test]
fn two_rebalances_that_come_together_are_survived() {
    let settings = slow_to_commit();
    let mut run = Run::start("together", 3_000);
    let mut a = run.deployment.start("a", &settings);
    run.wait_for_share(20, &mut [&mut a]);
    let env = [("CHURNWATCH_FAULT", "stop@during_revocation:1")];
    a.stop();
    let mut a = run.deployment.start_with_faults("a", &settings, &env);
    owns(&a, PARTITIONS);
    let b = run.deployment.start("b", &settings);
    wait_for("the fault", || a.is_stopped().then_some(()));
    owns(&b, PARTITIONS);
    b.kill();
    a.signal("CONT");
    owns(&a, PARTITIONS);
    run.finish(&mut [&mut a]);
    a.stop();
    run.check();
}
