//! The world as it has to be: a log through the detector itself, on a source
//! and a sink in memory, without any broker and without any disturbance.
//!
//! The records keep their partitions, offsets and times, so that not only the
//! alerts but the rows and the dead letters come out as they must on a broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use churnwatch_core::{EventTime, Rules};
use churnwatch_pipeline::batch::Origin;
use churnwatch_pipeline::detect::Round;
use churnwatch_pipeline::files::NoChangelog;
use churnwatch_pipeline::scores::Scores;
use churnwatch_pipeline::source::Headers;
use churnwatch_pipeline::{
    Bound, CommitError, Committed, Detector, Epoch, PartitionId, Polled, RecordRef, Settings, Sink,
    Source, SourceError,
};
use churnwatch_store::{StateDir, StoreOptions};
use churnwatch_telemetry::{Health, Metrics};
use churnwatch_wire::Mode;

use crate::broker::Record;
use crate::world::{Letter, World};

/// The breaker as it is by default.
pub const BREAKER: Bound = Bound {
    percent: 50,
    records: 1_000,
};

/// Records handed over in one poll.
const AT_A_TIME: usize = 500;

/// What a run on this log has to leave behind. `config_hash` stands in every
/// alert, `topic` in every dead letter.
///
/// # Panics
/// The detector ends with an error.
pub fn run(log: &[Record], rules: &Rules, config_hash: &str, topic: &str) -> World {
    run_with(log, rules, config_hash, topic, Some(BREAKER))
}

/// As [`run`], with another breaker than the default one, or none.
///
/// # Panics
/// As [`run`].
pub fn run_with(
    log: &[Record],
    rules: &Rules,
    config_hash: &str,
    topic: &str,
    breaker: Option<Bound>,
) -> World {
    let partitions = log.iter().map(|record| record.partition + 1).max();
    let partitions = partitions.unwrap_or(1);
    let (read, world) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let stop = Arc::new(AtomicBool::new(false));
    let state = StateDir::temporary(StoreOptions::default()).expect("a directory for the state");
    let mut detector = Detector::new(
        LogSource::new(log, partitions, read.clone()),
        WorldSink(Arc::clone(&world)),
        NoChangelog,
        state,
        Arc::new(rules.clone()),
        settings(partitions, config_hash, topic, breaker),
        Scores::default(),
        Arc::new(Metrics::new("reference")),
        Health::new(),
        stop.clone(),
    );
    while let Round::GoOn = detector.step().expect("an undisturbed run") {
        stop.store(read.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    drop(detector);
    let world = Arc::into_inner(world).expect("the sink is gone");
    world.into_inner().expect("nobody panicked")
}

fn settings(partitions: i32, config_hash: &str, topic: &str, breaker: Option<Bound>) -> Settings {
    Settings {
        worker: "reference".to_owned(),
        origin: Origin {
            mode: Mode::Replay,
            topic: topic.to_owned(),
            with_input: false,
            config_hash: config_hash.to_owned(),
            detector_version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        partitions: partitions.try_into().expect("a number of partitions"),
        keyed: true,
        commit_interval: Duration::from_secs(3_600),
        min_commit_interval: Duration::from_secs(1),
        max_dirty_accounts: 10_000,
        max_records: 100_000,
        max_dirty_bytes: 256 << 20,
        cached_accounts: 50_000,
        account_bytes: 512 << 20,
        flush_interval: Duration::from_secs(3_600),
        idle_clock: None,
        breaker,
        until: None,
        max_backoff: Duration::ZERO,
        restore_retry: Duration::ZERO,
    }
}

/// A log that ends.
struct LogSource<'a> {
    records: BTreeMap<PartitionId, Vec<&'a Record>>,
    /// Of the next record to hand over, once the partition was resumed.
    next: BTreeMap<PartitionId, usize>,
    assigned: bool,
    /// Set once everything was handed over.
    read: Arc<AtomicBool>,
}

impl<'a> LogSource<'a> {
    fn new(log: &'a [Record], partitions: i32, read: Arc<AtomicBool>) -> Self {
        let mut records: BTreeMap<PartitionId, Vec<&Record>> = (0..partitions)
            .map(|partition| (PartitionId(partition), Vec::new()))
            .collect();
        for record in log {
            let partition = PartitionId(record.partition);
            records.entry(partition).or_default().push(record);
        }
        Self {
            records,
            next: BTreeMap::new(),
            assigned: false,
            read,
        }
    }
}

#[derive(Debug)]
struct RecordHeaders<'a>(&'a Record);

impl Headers for RecordHeaders<'_> {
    fn to_vec(&self) -> Vec<(String, Option<Vec<u8>>)> {
        self.0.headers.clone()
    }
}

impl Source for LogSource<'_> {
    fn poll(
        &mut self,
        _timeout: Duration,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<Polled, SourceError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Polled::Assigned(self.records.keys().copied().collect()));
        }
        if self.next.len() < self.records.len() {
            return Ok(Polled::Idle);
        }
        let mut handed = 0;
        for (&partition, next) in &mut self.next {
            let left = self.records[&partition].iter().skip(*next);
            for record in left.take(AT_A_TIME) {
                handed += 1;
                *next += 1;
                visit(RecordRef {
                    partition,
                    offset: record.offset,
                    appended_at: record.timestamp_ms.map(EventTime::from_millis),
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers: &RecordHeaders(record),
                });
            }
        }
        if handed == 0 {
            self.read.store(true, Ordering::Relaxed);
            return Ok(Polled::Idle);
        }
        Ok(Polled::Records(handed))
    }

    fn accept(&mut self, _partitions: &[PartitionId]) -> Result<(), SourceError> {
        Ok(())
    }

    fn committed(
        &mut self,
        partitions: &[PartitionId],
        _timeout: Duration,
    ) -> Result<Vec<(PartitionId, Option<Committed>)>, SourceError> {
        Ok(partitions
            .iter()
            .map(|&partition| (partition, None))
            .collect())
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<(i64, i64), SourceError> {
        let records = &self.records[&partition];
        let first = records.first().map_or(0, |record| record.offset);
        let end = records.last().map_or(0, |record| record.offset + 1);
        Ok((first, end))
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), SourceError> {
        let records = &self.records[&partition];
        let next = records.partition_point(|record| record.offset < offset);
        self.next.insert(partition, next);
        Ok(())
    }

    fn pause(&mut self, _partition: PartitionId) -> Result<(), SourceError> {
        Ok(())
    }

    fn release(&mut self, _partitions: &[PartitionId], _lost: bool) -> Result<(), SourceError> {
        Ok(())
    }

    fn close(&mut self) {}
}

/// Writes down what is committed.
struct WorldSink(Arc<Mutex<World>>);

impl Sink for WorldSink {
    fn commit(&mut self, epoch: &Epoch) -> Result<Vec<i64>, CommitError> {
        let mut world = self.0.lock().expect("nobody panicked");
        for emission in &epoch.alerts {
            let body = String::from_utf8(emission.body.to_json()).expect("a body is UTF-8");
            world.take_alert(emission.transition.alert.account_id.as_str(), &body);
            let (key, open) = emission.current();
            let open = open.map(|open| String::from_utf8(open).expect("a body is UTF-8"));
            world.take_current(&key, open.as_deref());
        }
        for letter in &epoch.dead_letters {
            let place = (letter.partition, letter.offset);
            let letters = world.dead_letters.entry(place).or_default();
            letters.push(Letter::of(letter));
        }
        for part in &epoch.partitions {
            let partition = part.partition.0;
            for (key, value) in &part.rows {
                world.take_row(partition, key.clone(), value.clone());
            }
            let (key, value) = &part.epoch_record;
            world.take_row(partition, key.clone(), Some(value.clone()));
        }
        Ok(vec![-1; epoch.partitions.len()])
    }

    fn reset(&mut self) -> Result<(), CommitError> {
        Ok(())
    }

    fn write_clock(&mut self, _partition: PartitionId, _value: Vec<u8>) {}
}
