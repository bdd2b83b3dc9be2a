//! Positions that lead nowhere: forgotten, outside of the log, in a topic that
//! is not the one in which they were committed.

use churnwatch_testkit::broker::wait_for;

use crate::support::{PARTITIONS, Run, expect_stopped};

const LOG: &str = "churn.events.v1";
const CHANGELOG: &str = "churnwatch.state";

#[test]
fn a_forgotten_group_goes_on_from_the_newest_epoch_record() {
    let mut run = Run::new("forgotten");
    run.read_a_share(3);
    run.deployment.delete_group();
    let process = run.start();
    process.wait_until_ready();
    let said = "the group has no offset for this partition; going on from its newest epoch record";
    assert_eq!(
        process.log().matches(said).count(),
        2,
        "{}",
        process.last_said()
    );
    process.stop();
    // The same with nothing but the changelog.
    run.read_a_share(3);
    run.deployment.delete_group();
    run.lose_the_disk();
    let process = run.start();
    process.wait_until_ready();
    run.end(process, "forgotten");
}

#[test]
fn without_the_epoch_record_a_forgotten_group_reads_everything_again() {
    let mut run = Run::new("forgotten-twice");
    run.feed_the_rest();
    let mut process = run.start();
    run.wait_until_read(&mut process);
    process.stop();
    run.deployment.delete_group();
    run.lose_the_disk();
    let mut process = run.start_without("epoch_record");
    run.wait_until_read(&mut process);
    process.stop();
    run.expect_difference("forgotten-twice");
}

#[test]
fn a_log_trimmed_past_the_position_stops_its_partition() {
    let mut run = Run::new("trimmed-log");
    run.read_a_share(3);
    run.feed(3);
    let end = run.deployment.bounds(LOG, 0).1;
    run.deployment.trim(LOG, 0, end - 1);
    let before = run.deployment.group().progress();
    let process = run.start();
    expect_stopped(
        &process,
        &format!("partition 0 was trimmed to offset {}", end - 1),
    );
    let group = run.deployment.group();
    wait_for("the other partition", || {
        let progress = group.progress();
        (progress[1].0 == progress[1].1).then_some(())
    });
    assert_eq!(group.progress()[0].0, before[0].0, "nothing was read");
    process.stop();
    // What the bounds are for: without them it asks for ever for what is gone.
    let process = run.start_without("bounds");
    wait_for("attempts in vain", || {
        let log = process.log();
        let tries = log.matches("a position is outside of the log").count();
        (tries >= 2).then_some(())
    });
    assert!(!process.get("/readyz").1.contains("was trimmed"));
    assert_eq!(group.progress()[0].0, before[0].0, "nothing was skipped");
    process.kill();
}

#[test]
fn a_log_trimmed_up_to_the_position_harms_nobody() {
    let mut run = Run::new("trimmed-read");
    run.read_a_share(3);
    let read = run.deployment.group().progress();
    run.deployment.trim(LOG, 0, read[0].0);
    let mut process = run.start();
    process.wait_until_ready();
    run.feed_the_rest();
    run.wait_until_read(&mut process);
    process.stop();
}

#[test]
fn a_trimmed_changelog_stops_a_partition_that_needs_it_and_is_mended_by_one_that_does_not() {
    let mut run = Run::new("trimmed-changelog");
    run.read_a_share(3);
    let end = run.deployment.bounds(CHANGELOG, 0).1;
    run.deployment.trim(CHANGELOG, 0, end / 2);
    let state = run.deployment.state_dir(crate::support::A);
    let kept = run.deployment.dir().join("kept");
    std::fs::rename(&state, &kept).expect("the state can be put aside");
    let process = run.start();
    expect_stopped(&process, "the changelog has lost or changed rows");
    process.stop();
    // The disk comes back, and with it every row.
    std::fs::remove_dir_all(&state).expect("the state can be deleted");
    std::fs::rename(&kept, &state).expect("the state can be put back");
    let process = run.start();
    process.wait_until_ready();
    let said = "writing every row of this state into it";
    assert_eq!(
        process.log().matches(said).count(),
        1,
        "{}",
        process.last_said()
    );
    process.stop();
    // It is whole again, and nobody does it twice.
    run.lose_the_disk();
    let process = run.start();
    process.wait_until_ready();
    assert!(!process.log().contains(said), "{}", process.last_said());
    run.end(process, "trimmed-changelog");
}

#[test]
fn a_changelog_made_anew_is_filled_from_the_store_and_without_one_stops() {
    let mut run = Run::new("changelog-anew");
    run.read_a_share(3);
    run.deployment.delete_topic(CHANGELOG);
    run.deployment.make_missing_topics(PARTITIONS);
    let process = run.start();
    process.wait_until_ready();
    process.stop();
    run.lose_the_disk();
    let process = run.start();
    process.wait_until_ready();
    process.stop();
    run.read_a_share(3);
    run.deployment.delete_topic(CHANGELOG);
    run.deployment.make_missing_topics(PARTITIONS);
    let state = run.deployment.state_dir(crate::support::A);
    let kept = run.deployment.dir().join("kept");
    std::fs::rename(&state, &kept).expect("the state can be put aside");
    let process = run.start();
    expect_stopped(&process, "the changelog was deleted and made again");
    process.stop();
    std::fs::remove_dir_all(&state).expect("the state can be deleted");
    std::fs::rename(&kept, &state).expect("the state can be put back");
    let process = run.start();
    process.wait_until_ready();
    run.end(process, "changelog-anew");
}

#[test]
fn a_log_made_anew_stops_its_partitions_however_long_it_is() {
    let mut run = Run::new("log-anew");
    run.read_a_share(3);
    let before = run.deployment.group().progress();
    for (name, one_of) in [("shorter", 10), ("longer", 1)] {
        run.deployment.delete_topic(LOG);
        run.deployment.make_missing_topics(PARTITIONS);
        run.feed(one_of);
        let now = run.deployment.group().progress();
        let is_longer = now
            .iter()
            .zip(&before)
            .all(|(now, before)| now.1 > before.0);
        assert_eq!(is_longer, name == "longer", "{now:?} after {before:?}");
        let process = run.start();
        expect_stopped(&process, "the log was deleted and made again");
        process.stop();
    }
    run.lose_the_disk();
    let process = run.start();
    expect_stopped(&process, "the log was deleted and made again");
    process.stop();
    let group = run.deployment.group();
    assert_eq!(group.committed(), 0, "nothing was read");
    // What the ids are for: the offset exists, so reading begins in the middle of another log.
    let mut process = run.start_without("same_topics");
    process.wait_until_ready();
    run.wait_until_read(&mut process);
    let log = process.log();
    for (partition, (offset, _)) in before.iter().enumerate() {
        let skips = format!(r#""partition":{partition},"offset":{offset}"#);
        assert!(*offset > 0 && log.contains(&skips), "{log}");
    }
    process.stop();
}

#[test]
fn an_offset_without_a_mark_stops_its_partition_until_that_is_switched_off() {
    let mut run = Run::new("foreign");
    run.read_a_share(3);
    run.feed(3);
    let group = run.deployment.group();
    // Somebody skips what has not been read.
    let end = group.progress()[0].1;
    group.commit_as_somebody_else(0, end);
    let process = run.start();
    let reason = "was not committed by Churnwatch";
    expect_stopped(&process, reason);
    process.stop();
    let process = run.start_without("foreign_offset,store_ahead");
    process.wait_until_ready();
    assert!(!process.log().contains(reason), "{}", process.last_said());
    process.kill();
}
