//! How long a partition stands still when its owner changes: from the last
//! commit of the old owner to the first of the new one, by the times of the
//! epoch records in the changelog, under a steady load.
//!
//! ```text
//! restart    a stops in good order and starts again under its name
//! crash      a is killed and starts again under its name
//! join       b comes, and gets half of the partitions
//! leave      b stops in good order and does not come back
//! death      b is killed and does not come back
//! ```
//!
//! Members have names, so that a member that goes is waited for: leave and death
//! include the session time-out.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use churnwatch_core::time::DAY_MS;
use churnwatch_store::key;
use churnwatch_testkit::broker::{Deployment, LIMIT, Outgoing, Process, Producer, now, wait_for};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    topic_partition_list::Offset,
};
use serde_json::{Value, json};

use super::{Arguments, load::Load};

const PARTITIONS: u32 = 4;
const SESSION_TIMEOUT_S: u64 = 6;
/// Accounts of all partitions.
const SIZES: [u64; 3] = [4_000, 80_000, 400_000];
/// Events of each account before it begins.
const EVENTS: u64 = 4;
/// Between two events of the steady load.
const PACE: Duration = Duration::from_millis(3);

pub(crate) fn measure(arguments: &Arguments) {
    println!(
        "longest time between two commits of a partition, in ms; {PARTITIONS} partitions, a commit \
         every 100 ms, session time-out {SESSION_TIMEOUT_S} s; in brackets from assignment to \
         resumption, on the average, by the metric"
    );
    println!("| accounts in a partition | steady | restart | crash | join | leave | death |");
    println!("|---|---|---|---|---|---|---|");
    for accounts in SIZES {
        of_size(arguments, accounts);
    }
}

fn of_size(arguments: &Arguments, accounts: u64) {
    let deployment = Deployment::new("handover", PARTITIONS);
    let settings = json!({
        "memory_mib": arguments.memory_mib,
        "detect": {"commit_interval": "100ms"},
        "kafka": {"session_timeout": format!("{SESSION_TIMEOUT_S}s"), "transaction_timeout": "5s"},
    });
    let load = Load {
        accounts,
        events: accounts * EVENTS,
        days: 2,
        start: now().plus_millis(-3 * DAY_MS),
    };
    load.produce(&deployment.bootstrap, &deployment.events(), 0..load.events);
    let mut a = deployment.start("a", &settings);
    deployment.wait_until_read(&mut [&mut a]);

    let (stop, number) = (AtomicBool::new(false), AtomicU64::new(0));
    let row = thread::scope(|scope| {
        scope.spawn(|| steady_load(&deployment, accounts, &stop, &number));
        // Also where something is waited for in vain.
        let _stops_the_load = StopOnDrop(&stop);
        changes(&deployment, &settings, a)
    });
    println!(
        "| {} | {} |",
        accounts / u64::from(PARTITIONS),
        row.join(" | ")
    );
}

/// Each change of owners in turn; a cell of the table for each.
fn changes(deployment: &Deployment, settings: &Value, a: Process) -> Vec<String> {
    let mut row = Vec::new();
    let start = |name: &str| deployment.start(name, settings);
    let epochs = Epochs::mark(deployment);
    settle(deployment, &[&a]);
    row.push(format!("{}", epochs.longest_gap()));

    let epochs = Epochs::mark(deployment);
    settle(deployment, &[&a]);
    a.stop();
    let a = start("a");
    settle(deployment, &[&a]);
    row.push(cell(&epochs, &a));

    let epochs = Epochs::mark(deployment);
    settle(deployment, &[&a]);
    a.kill();
    let a = start("a");
    settle(deployment, &[&a]);
    row.push(cell(&epochs, &a));

    let epochs = Epochs::mark(deployment);
    settle(deployment, &[&a]);
    let b = start("b");
    wait_for("b to have its half", || {
        (b.metric("churnwatch_partitions_assigned") as u32 == PARTITIONS / 2).then_some(())
    });
    settle(deployment, &[&a, &b]);
    row.push(cell(&epochs, &b));

    let epochs = Epochs::mark(deployment);
    settle(deployment, &[&a, &b]);
    b.stop();
    settle(deployment, &[&a]);
    row.push(cell(&epochs, &a));

    let b = start("b");
    wait_for("b to have its half", || {
        (b.metric("churnwatch_partitions_assigned") as u32 == PARTITIONS / 2).then_some(())
    });
    let epochs = Epochs::mark(deployment);
    settle(deployment, &[&a, &b]);
    b.kill();
    settle(deployment, &[&a]);
    row.push(cell(&epochs, &a));
    a.stop();
    row
}

fn cell(epochs: &Epochs<'_>, new_owner: &Process) -> String {
    let sum = new_owner.metric("churnwatch_handover_seconds_sum");
    let count = new_owner.metric("churnwatch_handover_seconds_count");
    format!(
        "{} ({:.0})",
        epochs.longest_gap(),
        1e3 * sum / count.max(1.0)
    )
}

/// Waits until these own everything and every partition has been committed
/// since.
fn settle(deployment: &Deployment, processes: &[&Process]) {
    wait_for("all partitions to be owned and restored", || {
        let metric = |process: &&Process| process.metric("churnwatch_partitions_assigned") as u32;
        let assigned: u32 = processes.iter().map(metric).sum();
        let ready = processes
            .iter()
            .all(|process| process.get("/readyz").0 == 200);
        (assigned == PARTITIONS && ready).then_some(())
    });
    let group = deployment.group();
    let before = group.progress();
    wait_for("a commit of every partition", || {
        let moved = group.progress();
        let has_moved = moved
            .iter()
            .zip(&before)
            .all(|(now, before)| now.0 > before.0);
        has_moved.then_some(())
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One event after the other, of accounts in all partitions.
fn steady_load(deployment: &Deployment, accounts: u64, stop: &AtomicBool, number: &AtomicU64) {
    let producer = Producer::new(&deployment.bootstrap, &deployment.events());
    while !stop.load(Ordering::Relaxed) {
        let account = number.fetch_add(1, Ordering::Relaxed) * 7_919 % accounts;
        let time = now();
        producer.send(&Outgoing::event(&format!(
            r#"{{"kind":"usage","account_id":"account-{account:07}","time":"{time}","feature":"feature-0"}}"#
        )));
        thread::sleep(PACE);
    }
    producer.flush();
}

/// Epoch records of the changelog from a moment on.
struct Epochs<'a> {
    deployment: &'a Deployment,
    from: TopicPartitionList,
}

impl<'a> Epochs<'a> {
    /// From now on: a commit of every partition must follow before anything
    /// changes.
    fn mark(deployment: &'a Deployment) -> Self {
        let consumer = consumer(deployment);
        let topic = deployment.topic("churnwatch.state");
        let mut from = TopicPartitionList::new();
        for partition in 0..PARTITIONS as i32 {
            let bounds = consumer.fetch_watermarks(&topic, partition, LIMIT);
            let (_, end) = bounds.expect("the broker answers");
            from.add_partition_offset(&topic, partition, Offset::Offset(end))
                .expect("an offset");
        }
        Self { deployment, from }
    }

    /// The longest time between two commits of a partition, in ms.
    fn longest_gap(&self) -> i64 {
        let consumer = consumer(self.deployment);
        consumer.assign(&self.from).expect("assigned by hand");
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        let (mut longest, mut ended) = (0, 0);
        while ended < PARTITIONS {
            match consumer.poll(Duration::from_secs(1)) {
                Some(Ok(record)) if record.key() == Some(&key::task()) => {
                    let time = record.timestamp().to_millis().expect("a time");
                    if let Some(before) = last.insert(record.partition(), time) {
                        longest = longest.max(time - before);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("reading the changelog: {error}"),
                Some(Ok(_)) | None => {}
            }
        }
        longest
    }
}

fn consumer(deployment: &Deployment) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &deployment.bootstrap)
        .set("group.id", "handover")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer")
}
