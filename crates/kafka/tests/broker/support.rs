//! A world of its own for each test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use churnwatch_kafka::settings::Topics;
use churnwatch_kafka::{
    EventProducer, KafkaChangelog, KafkaSettings, KafkaSink, KafkaSource, Reporting, Span, topics,
};
use churnwatch_pipeline::sink::{Epoch, PartitionEpoch};
use churnwatch_pipeline::source::{
    Changelog, ChangelogRead, PartitionId, Polled, RecordRef, Source, SourceError, TopicIds, Visit,
};
use churnwatch_telemetry::{Health, Metrics};

/// How long anything may take that a broker does in well under a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Key, value and offset of a changelog record.
pub(crate) type Row = (i64, Vec<u8>, Option<Vec<u8>>);

pub(crate) fn bootstrap() -> String {
    std::env::var("KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
        panic!(
            "these tests need a Kafka broker: start one with `cargo xtask kafka up` and set the \
             KAFKA_BOOTSTRAP that it prints"
        )
    })
}

/// Topics and a group that no other test and no other run has.
pub(crate) struct World {
    pub(crate) settings: KafkaSettings,
    pub(crate) reporting: Reporting,
}

impl World {
    pub(crate) fn new(partitions: i32) -> Self {
        let world = Self::without_topics();
        topics::create(&world.settings, partitions, 1, false).unwrap();
        world
    }

    pub(crate) fn without_topics() -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_micros();
        let name = format!("test-{now}-{}", WORLDS.fetch_add(1, Ordering::Relaxed));
        let settings = KafkaSettings {
            bootstrap_servers: bootstrap(),
            group_id: name.clone(),
            instance_id: Some("a".into()),
            topics: Topics {
                prefix: format!("{name}."),
                ..Topics::default()
            },
            session_timeout: Span::from_secs(6),
            transaction_timeout: Span::from_secs(5),
            ..KafkaSettings::default()
        };
        Self {
            settings,
            reporting: reporting(),
        }
    }

    pub(crate) fn source(&self, worker: usize) -> KafkaSource {
        KafkaSource::new(&self.settings, worker, self.reporting.clone()).unwrap()
    }

    pub(crate) fn sink(&self, worker: usize, source: &KafkaSource) -> KafkaSink {
        KafkaSink::new(&self.settings, worker, source.membership(), &self.reporting).unwrap()
    }

    pub(crate) fn events(&self) -> EventProducer {
        EventProducer::new(&self.settings, &self.reporting).unwrap()
    }

    /// Writes events 0..count, for as many accounts as there are events.
    pub(crate) fn produce(&self, count: usize) {
        let mut events = self.events();
        for number in 0..count {
            events
                .send(
                    &format!("account-{number}"),
                    format!("event {number}").as_bytes(),
                )
                .unwrap();
        }
        assert_eq!(events.flush(LIMIT).unwrap(), count as u64);
    }

    /// Everything committed in a partition of the changelog behind `after`.
    pub(crate) fn changelog(&self, partition: PartitionId, after: i64) -> Vec<Row> {
        let mut changelog = KafkaChangelog::new(&self.settings, 0, &self.reporting).unwrap();
        changelog.begin(partition, after).unwrap();
        read_to_end(&mut changelog)
    }
}

pub(crate) fn reporting() -> Reporting {
    Reporting {
        metrics: Arc::new(Metrics::new("test")),
        health: Health::new(),
    }
}

pub(crate) fn read_to_end(changelog: &mut KafkaChangelog) -> Vec<Row> {
    let until = Instant::now() + LIMIT;
    let mut rows = Vec::new();
    loop {
        let read = changelog.read(Duration::from_millis(200), &mut |offset, key, value| {
            rows.push((offset, key.to_vec(), value.map(<[u8]>::to_vec)));
            Visit::More
        });
        if read.unwrap() == ChangelogRead::AtEnd {
            return rows;
        }
        assert!(Instant::now() < until, "the changelog has no end");
    }
}

/// A record as a visitor saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: PartitionId,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) has_append_time: bool,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Seen {
    fn new(record: RecordRef<'_>) -> Self {
        Self {
            partition: record.partition,
            offset: record.offset,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            has_append_time: record.appended_at.is_some(),
            headers: record.headers.to_vec(),
        }
    }
}

/// Polls once; records are added to `seen`.
pub(crate) fn poll(source: &mut KafkaSource, seen: &mut Vec<Seen>) -> Result<Polled, SourceError> {
    source.poll(Duration::from_millis(50), &mut |record| {
        seen.push(Seen::new(record))
    })
}

/// Polls until there is a rebalance for the loop; no record may come before.
pub(crate) fn next_rebalance(source: &mut KafkaSource) -> Polled {
    let until = Instant::now() + LIMIT;
    loop {
        let polled = poll(source, &mut Vec::new()).unwrap();
        if matches!(polled, Polled::Assigned(_) | Polled::Revoked { .. }) {
            return polled;
        }
        assert!(Instant::now() < until, "no rebalance came");
    }
}

/// Takes the first assignment, paused.
pub(crate) fn accept_assignment(source: &mut KafkaSource) -> Vec<PartitionId> {
    let Polled::Assigned(partitions) = next_rebalance(source) else {
        panic!("revoked before assigned")
    };
    source.accept(&partitions).unwrap();
    partitions
}

/// Takes the first assignment and reads it from the start.
pub(crate) fn start(source: &mut KafkaSource) -> Vec<PartitionId> {
    let partitions = accept_assignment(source);
    source.committed(&partitions, LIMIT).unwrap();
    for partition in &partitions {
        source.resume(*partition, 0).unwrap();
    }
    partitions
}

/// Reads until `count` records came.
pub(crate) fn read(source: &mut KafkaSource, count: usize) -> Vec<Seen> {
    let until = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    while seen.len() < count {
        poll(source, &mut seen).unwrap();
        assert!(
            Instant::now() < until,
            "{} of {count} records came",
            seen.len()
        );
    }
    assert_eq!(seen.len(), count);
    seen
}

/// The next offset of each partition.
pub(crate) fn next_offsets(seen: &[Seen]) -> BTreeMap<PartitionId, i64> {
    let mut next = BTreeMap::new();
    for record in seen {
        let offset = next.entry(record.partition).or_insert(0);
        *offset = record.offset + 1;
    }
    next
}

/// An epoch of one partition with one row and its epoch record.
pub(crate) fn epoch(partition: PartitionId, number: u64, next_offset: i64) -> Epoch {
    let row = |text: &str| format!("{text} {number}").into_bytes();
    Epoch {
        partitions: vec![PartitionEpoch {
            partition,
            epoch: number,
            next_offset,
            digest: u128::from(number) << 64 | 7,
            rows: vec![(row("row"), Some(row("value"))), (row("gone"), None)],
            epoch_record: (b"epoch".to_vec(), row("epoch")),
            topics: TopicIds::default(),
        }],
        ..Epoch::default()
    }
}
