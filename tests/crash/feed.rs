//! The log of a test, fed while it is being read, and settings that make much
//! happen.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use churnwatch_testkit::broker::{
    Deployment, Expected, Group, Outgoing, Process, Producer, wait_for, wait_for_work,
};
use churnwatch_testkit::crash::{Load, Pace, Slice, verdict};
use churnwatch_testkit::random::Random;
use serde_json::{Value, json};

/// Pieces in which the log is fed; each but the last is interrupted.
pub(crate) const PIECES: usize = 7;
pub(crate) const PARTITIONS: u32 = 4;

/// The load: 25 records a millisecond.
const RECORDS_A_TICK: usize = 250;
const TICK: Duration = Duration::from_millis(10);
/// The load of a [`Run`].
const LOAD: Pace = Pace {
    records: 16,
    tick: Duration::from_millis(20),
    ahead: 150,
};

/// Many commits, many flushes, a cache that must evict.
pub(crate) fn busy() -> Value {
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
pub(crate) fn slow_to_commit() -> Value {
    json!({
        "kafka": {"session_timeout": "2s", "transaction_timeout": "2s"},
        "detect": {"commit_interval": "300ms", "min_commit_interval": "300ms"},
    })
}

/// The log of one test, fed piece by piece while it is being read.
pub(crate) struct Feed<'a> {
    deployment: &'a Deployment,
    group: Group,
    pub(crate) log: Arc<Vec<Outgoing>>,
    /// Records that were fed, or are on their way.
    fed: usize,
    on_its_way: Option<JoinHandle<()>>,
    /// Interruptions that came while there was something to interrupt.
    in_the_middle: usize,
    random: Random,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(deployment: &'a Deployment) -> Self {
        Self {
            deployment,
            group: deployment.group(),
            log: Arc::new(Expected::real().log(PARTITIONS).collect()),
            fed: 0,
            on_its_way: None,
            in_the_middle: 0,
            random: Random::told(),
        }
    }

    /// Feeds the next piece and comes back somewhere in the middle of it.
    pub(crate) fn feed_and_wait_for_the_middle(&mut self, processes: &mut [&mut Process]) {
        let from = self.fed;
        self.feed(self.log.len() / PIECES);
        let share = self.random.between(5, 40);
        let goal = (from + (self.fed - from) * share / 100) as i64;
        wait_for_work("the middle of a piece", processes, || {
            (self.group.committed() >= goal).then_some(())
        });
    }

    /// Takes note of an interruption.
    pub(crate) fn interrupted(&mut self) {
        self.in_the_middle += usize::from(self.group.committed() < self.fed as i64);
    }

    /// Feeds what is left. Says how many interruptions came in the middle of the
    /// work; on a slow machine some come too late to prove anything.
    ///
    /// # Panics
    /// None of several did.
    #[track_caller]
    pub(crate) fn feed_the_rest(&mut self, interruptions: usize) {
        let in_the_middle = self.in_the_middle;
        println!("{in_the_middle} of {interruptions} interruptions in the middle");
        assert!(
            in_the_middle > 0 || interruptions < 3,
            "none of {interruptions} in the middle"
        );
        self.feed(self.log.len() - self.fed);
        self.wait_for_the_producer();
    }

    pub(crate) fn feed(&mut self, count: usize) {
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

    pub(crate) fn wait_for_the_producer(&mut self) {
        if let Some(producer) = self.on_its_way.take() {
            producer.join().expect("the broker takes the records");
        }
    }
}

/// A few accounts of the bundled fleet, read while they are written; with
/// records in between that cannot be used, so that nearly every commit has
/// something to publish.
pub(crate) struct Run {
    pub(crate) deployment: Deployment,
    pub(crate) group: Group,
    count: usize,
    load: Load,
    /// What is not written yet.
    rest: Vec<Outgoing>,
}

impl Run {
    /// About `events` events, over a few seconds.
    pub(crate) fn start(name: &str, events: usize) -> Self {
        Self::start_up_to(name, events, 100)
    }

    /// As [`Run::start`], up to a share of the records; the rest follows when
    /// [`Run::go_on`] is called.
    pub(crate) fn start_up_to(name: &str, events: usize, percent: usize) -> Self {
        let deployment = Deployment::new(name, PARTITIONS);
        let mut records = Slice::draw(&mut Random::told(), events, PARTITIONS).records;
        let count = records.len();
        let rest = records.split_off(count * percent / 100);
        Self {
            group: deployment.group(),
            count,
            load: Load::start(&deployment, records.into_iter(), LOAD),
            rest,
            deployment,
        }
    }

    /// Writes the rest.
    pub(crate) fn go_on(&mut self) {
        self.load.wait();
        let rest = std::mem::take(&mut self.rest);
        self.load = Load::start(&self.deployment, rest.into_iter(), LOAD);
    }

    /// Waits until so many of a hundred records are committed.
    pub(crate) fn wait_for_share(&self, percent: usize, processes: &mut [&mut Process]) {
        let goal = (self.count * percent / 100) as i64;
        wait_for_work("a share of the records", processes, || {
            (self.group.committed() >= goal).then_some(())
        });
    }

    /// Waits until everything is written and committed.
    pub(crate) fn finish(&mut self, processes: &mut [&mut Process]) {
        self.load.wait();
        self.deployment.wait_until_read(processes);
    }

    /// Checks everything that is left behind.
    #[track_caller]
    pub(crate) fn check(&self) {
        match verdict(&self.deployment) {
            Ok((compared, owners)) => println!("the same: {compared}, {owners}"),
            Err(difference) => panic!("{difference}"),
        }
    }
}

/// Two processes, each with half of the partitions.
pub(crate) fn two_that_share_the_work(deployment: &Deployment) -> (Process, Process) {
    let a = deployment.start("a", &slow_to_commit());
    let b = deployment.start("b", &slow_to_commit());
    owns(&a, PARTITIONS / 2);
    owns(&b, PARTITIONS / 2);
    (a, b)
}

/// Waits until a process has this many partitions.
pub(crate) fn owns(process: &Process, partitions: u32) {
    wait_for("a share of the partitions", || {
        let assigned = process.metric("churnwatch_partitions_assigned");
        (assigned == f64::from(partitions)).then_some(())
    });
}
