//! The world as it has to be: a log through the detector itself, on a source
//! and a sink in memory, without any broker and without any disturbance.
//!
//! The records keep their partitions, offsets and times, so that not only the
//! alerts but the rows and the dead letters come out as they must on a broker.

use std::collections::{BTreeMap, VecDeque};
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
    CommitError, Committed, Detector, Epoch, PartitionId, Polled, RecordRef, Settings, Sink,
    Source, SourceError,
};
use churnwatch_store::{StateDir, StoreOptions};
use churnwatch_telemetry::{Health, Metrics};
use churnwatch_wire::Mode;

use crate::broker::Record;
use crate::world::{Letter, World};

/// Records handed over in one poll.
const AT_A_TIME: usize = 500;

/// What a run on this log has to leave behind. `config_hash` stands in every
/// alert, `topic` in every dead letter.
///
/// # Panics
/// The detector ends with an error.
pub fn run(log: &[Record], rules: &Rules, config_hash: &str, topic: &str) -> World {
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
        settings(partitions, config_hash, topic),
        Scores::default(),
        Arc::new(Metrics::new("reference")),
        Health::new(),
        stop.clone(),
    );
    loop {
        match detector.step().expect("an undisturbed run") {
            Round::GoOn => stop.store(read.load(Ordering::Relaxed), Ordering::Relaxed),
            Round::Done => break,
        }
    }
    drop(detector);
    let world = Arc::into_inner(world).expect("the sink is gone");
    world.into_inner().expect("nobody panicked")
}

fn settings(partitions: i32, config_hash: &str, topic: &str) -> Settings {
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
        until: None,
        max_backoff: Duration::ZERO,
    }
}

/// A log that ends.
struct LogSource<'a> {
    left: BTreeMap<PartitionId, VecDeque<&'a Record>>,
    bounds: BTreeMap<PartitionId, (i64, i64)>,
    assigned: bool,
    resumed: usize,
    /// Set once everything was handed over.
    read: Arc<AtomicBool>,
}

impl<'a> LogSource<'a> {
    fn new(log: &'a [Record], partitions: i32, read: Arc<AtomicBool>) -> Self {
        let mut left: BTreeMap<PartitionId, VecDeque<&Record>> = (0..partitions)
            .map(|partition| (PartitionId(partition), VecDeque::new()))
            .collect();
        let mut bounds: BTreeMap<PartitionId, (i64, i64)> =
            left.keys().map(|partition| (*partition, (0, 0))).collect();
        for record in log {
            let partition = PartitionId(record.partition);
            left.entry(partition).or_default().push_back(record);
            let bounds = bounds
                .entry(partition)
                .or_insert((record.offset, record.offset));
            bounds.1 = record.offset + 1;
        }
        Self {
            left,
            bounds,
            assigned: false,
            resumed: 0,
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
            return Ok(Polled::Assigned(self.left.keys().copied().collect()));
        }
        if self.resumed < self.left.len() {
            return Ok(Polled::Idle);
        }
        let mut handed = 0;
        for (&partition, left) in &mut self.left {
            for record in left.drain(..left.len().min(AT_A_TIME)) {
                handed += 1;
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
        Ok(self.bounds.get(&partition).copied().unwrap_or((0, 0)))
    }

    fn resume(&mut self, _partition: PartitionId, _offset: i64) -> Result<(), SourceError> {
        self.resumed += 1;
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
            world.dead_letters.entry(place).or_default().push(Letter {
                key: letter.key.clone(),
                value: letter.value.clone(),
                headers: letter.headers(),
                timestamp_ms: letter.timestamp_ms,
            });
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
