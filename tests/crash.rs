//! Interruptions of every kind, on a real broker: afterwards nothing is lost,
//! nothing is there twice and nothing differs from a replay of the same events.
//!
//! Each test feeds the log in pieces and interrupts while a piece is being
//! read, at a moment drawn from a seed that is printed. Commits are made after
//! few records, so that there are many moments between any two of their steps.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use churnwatch_testkit::broker::{
    Deployment, Expected, Group, Outgoing, Process, Producer, wait_for, wait_for_work,
};
use serde_json::{Value, json};

/// Pieces in which the log is fed; each but the last is interrupted.
const PIECES: usize = 7;
const PARTITIONS: u32 = 4;

/// The load: 25 records a millisecond.
const RECORDS_A_TICK: usize = 250;
const TICK: Duration = Duration::from_millis(10);

/// Many commits, many flushes, a cache that must evict.
fn busy() -> Value {
    json!({
        "workers": 2,
        "detect": {
            "max_records": 250,
            "max_dirty_accounts": 40,
            "cached_accounts": 20,
            "flush_interval": "300ms",
        },
    })
}

/// Few commits, so that much is open when a partition goes, and a place in the
/// group that is soon given away.
fn slow_to_commit() -> Value {
    json!({
        "kafka": {"session_timeout": "2s", "transaction_timeout": "2s"},
        "detect": {"commit_interval": "300ms", "min_commit_interval": "300ms"},
    })
}

/// The log of one test, fed piece by piece while it is being read.
struct Feed<'a> {
    deployment: &'a Deployment,
    group: Group,
    log: Arc<Vec<Outgoing>>,
    /// Records that were fed, or are on their way.
    fed: usize,
    on_its_way: Option<JoinHandle<()>>,
    /// Interruptions that came while there was something to interrupt.
    in_the_middle: usize,
    random: Random,
}

impl<'a> Feed<'a> {
    fn new(deployment: &'a Deployment) -> Self {
        Self {
            deployment,
            group: deployment.group(),
            log: Arc::new(Expected::real().log(PARTITIONS).collect()),
            fed: 0,
            on_its_way: None,
            in_the_middle: 0,
            random: Random::new(),
        }
    }

    /// Feeds the next piece and comes back somewhere in the middle of it.
    fn feed_and_wait_for_the_middle(&mut self, processes: &mut [&mut Process]) {
        let from = self.fed;
        self.feed(self.log.len() / PIECES);
        let share = self.random.between(5, 40);
        let goal = (from + (self.fed - from) * share / 100) as i64;
        wait_for_work("the middle of a piece", processes, || {
            (self.group.committed() >= goal).then_some(())
        });
    }

    /// Takes note of an interruption.
    fn interrupted(&mut self) {
        self.in_the_middle += usize::from(self.group.committed() < self.fed as i64);
    }

    /// Feeds what is left. Says how many interruptions came in the middle of the
    /// work; on a slow machine some come too late to prove anything.
    ///
    /// # Panics
    /// None of several did.
    #[track_caller]
    fn feed_the_rest(&mut self, interruptions: usize) {
        let in_the_middle = self.in_the_middle;
        println!("{in_the_middle} of {interruptions} interruptions in the middle");
        assert!(
            in_the_middle > 0 || interruptions < 3,
            "none of {interruptions} in the middle"
        );
        self.feed(self.log.len() - self.fed);
        self.wait_for_the_producer();
    }

    fn feed(&mut self, count: usize) {
        self.wait_for_the_producer();
        let piece = self.fed..(self.fed + count).min(self.log.len());
        self.fed = piece.end;
        let producer = Producer::new(&self.deployment.bootstrap, &self.deployment.events());
        let log = self.log.clone();
        self.on_its_way = Some(thread::spawn(move || {
            // A steady load: a backlog would be read before anybody can interrupt it.
            for records in log[piece].chunks(RECORDS_A_TICK) {
                records.iter().for_each(|record| producer.send(record));
                thread::sleep(TICK);
            }
            producer.flush();
        }));
    }

    fn wait_for_the_producer(&mut self) {
        if let Some(producer) = self.on_its_way.take() {
            producer.join().expect("the broker takes the records");
        }
    }
}

/// Draws moments; says from which seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("CHURNWATCH_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = given.unwrap_or(since_epoch.expect("a clock after 1970").as_micros() as u64);
        println!("CHURNWATCH_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// A number from `low` up to and without `high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        // xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (self.0 % (high - low) as u64) as usize
    }
}

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

#[test]
fn stopped_under_load_it_ends_in_time_and_has_nothing_to_restore_afterwards() {
    let deployment = Deployment::new("stopped", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    for _ in 1..PIECES {
        let mut process = deployment.start("a", &busy());
        process.wait_until_ready();
        assert_eq!(
            process.metric("churnwatch_restore_rows_total"),
            0.0,
            "{}",
            process.last_said()
        );
        feed.feed_and_wait_for_the_middle(&mut [&mut process]);
        let ended = process.stop();
        assert!(
            ended.took < Duration::from_secs(10),
            "it took {:?}",
            ended.took
        );
        feed.interrupted();
    }
    let mut process = deployment.start("a", &busy());
    feed.feed_the_rest(PIECES - 1);
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();
    Expected::real().verify(&deployment, "stopped", &[("a", busy())]);
}

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
fn a_process_that_slept_while_others_took_over_does_no_harm_when_it_wakes_up() {
    let deployment = Deployment::new("slept", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    let (mut sleeps, mut stays) = two_that_share_the_work(&deployment);
    for _ in 0..2 {
        feed.feed_and_wait_for_the_middle(&mut [&mut sleeps, &mut stays]);
        sleeps.signal("STOP");
        feed.interrupted();
        owns(&stays, PARTITIONS);
        feed.feed_and_wait_for_the_middle(&mut [&mut stays]);
        sleeps.signal("CONT");
        owns(&sleeps, PARTITIONS / 2);
    }
    feed.feed_the_rest(2);
    deployment.wait_until_read(&mut [&mut sleeps, &mut stays]);
    sleeps.stop();
    stays.stop();
    let processes = [("a", slow_to_commit()), ("b", slow_to_commit())];
    Expected::real().verify(&deployment, "slept", &processes);
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

/// Two processes, each with half of the partitions.
fn two_that_share_the_work(deployment: &Deployment) -> (Process, Process) {
    let a = deployment.start("a", &slow_to_commit());
    let b = deployment.start("b", &slow_to_commit());
    owns(&a, PARTITIONS / 2);
    owns(&b, PARTITIONS / 2);
    (a, b)
}

/// Waits until a process has this many partitions.
fn owns(process: &Process, partitions: u32) {
    wait_for("a share of the partitions", || {
        let assigned = process.metric("churnwatch_partitions_assigned");
        (assigned == f64::from(partitions)).then_some(())
    });
}
