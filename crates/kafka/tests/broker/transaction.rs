//! What a commit makes visible, and what it does not.

use std::time::{Duration, Instant};

use churnwatch_kafka::settings::KafkaSettings;
use churnwatch_kafka::{KafkaChangelog, KafkaSink, KafkaSource, Span, parse_position};
use churnwatch_pipeline::DeadLetter;
use churnwatch_pipeline::sink::{CommitError, Sink};
use churnwatch_pipeline::source::{Changelog, ChangelogMark, Committed, PartitionId, Source};

use churnwatch_wire::{RejectReason, Rejection};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{
    LIMIT, World, accept_assignment, epoch, next_offsets, read, reporting, start,
};

const P: PartitionId = PartitionId(0);

/// What the group has, asked by somebody who is no member.
fn committed(world: &World, partition: PartitionId) -> Option<Committed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.settings.bootstrap_servers)
        .set("group.id", &world.settings.group_id)
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(&world.settings.topics.events(), partition.0);
    let found = consumer.committed_offsets(list, LIMIT).unwrap();
    let element = &found.elements()[0];
    let Offset::Offset(next_offset) = element.offset() else {
        return None;
    };
    Some(Committed {
        next_offset,
        mark: parse_position(element.metadata()).unwrap(),
    })
}

#[test]
fn a_commit_makes_rows_and_position_visible_together() {
    let world = World::new(1);
    world.produce(10);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    read(&mut source, 10);
    assert_eq!(committed(&world, P), None);

    let epoch = epoch(P, 1, 10);
    let marks = sink.commit(&epoch).unwrap();

    let rows = world.changelog(P, -1);
    let keys: Vec<_> = rows
        .iter()
        .map(|(_, key, value)| (key.as_slice(), value.is_some()))
        .collect();
    assert_eq!(
        keys,
        [(&b"row 1"[..], true), (b"gone 1", false), (b"epoch", true)]
    );
    assert_eq!(marks, [rows[2].0], "the mark is the epoch record's offset");
    let mark = ChangelogMark {
        epoch: 1,
        changelog_offset: marks[0],
        digest: epoch.partitions[0].digest,
    };
    let position = Some(Committed {
        next_offset: 10,
        mark: Some(mark),
    });
    assert_eq!(committed(&world, P), position);
    assert_eq!(source.committed(&[P], LIMIT).unwrap(), [(P, position)]);
}

#[test]
fn every_partition_of_an_epoch_gets_its_own_mark() {
    let world = World::new(3);
    world.produce(60);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    let next = next_offsets(&read(&mut source, 60));
    assert_eq!(next.len(), 3, "60 accounts are spread over all partitions");

    let mut whole = epoch(P, 1, next[&P]);
    for (partition, number) in [(PartitionId(1), 5), (PartitionId(2), 9)] {
        whole
            .partitions
            .extend(epoch(partition, number, next[&partition]).partitions);
    }
    // In two steps, so that the marks of the second are not those of the first.
    for _ in 0..2 {
        let marks = sink.commit(&whole).unwrap();
        for (part, mark) in whole.partitions.iter().zip(&marks) {
            let last = world.changelog(part.partition, -1).pop().unwrap();
            assert_eq!((last.0, &last.1), (*mark, &part.epoch_record.0));
            let position = committed(&world, part.partition).unwrap();
            assert_eq!(position.mark.unwrap().epoch, part.epoch);
            assert_eq!(position.mark.unwrap().changelog_offset, *mark);
        }
    }
}

#[test]
fn what_is_not_committed_is_not_visible_and_the_next_epoch_is() {
    let world = World::new(1);
    world.produce(10);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    read(&mut source, 10);

    // The first row is written before the second turns out too large.
    let mut too_large = epoch(P, 1, 5);
    too_large.partitions[0]
        .rows
        .push((b"large".to_vec(), Some(vec![b'x'; 3 << 20])));
    let error = sink.commit(&too_large).unwrap_err();
    assert!(
        matches!(&error, CommitError::Fatal(text) if text.contains("churnwatch.state")),
        "{error}"
    );
    assert_eq!(world.changelog(P, -1), []);
    assert_eq!(committed(&world, P), None);

    let refused = sink.commit(&epoch(P, 1, 5)).unwrap_err();
    assert!(
        matches!(refused, CommitError::Aborted(_)),
        "a spoiled producer must be reset first: {refused}"
    );
    sink.reset().unwrap();
    sink.commit(&epoch(P, 1, 5)).unwrap();
    assert_eq!(world.changelog(P, -1).len(), 3);
    assert_eq!(committed(&world, P).unwrap().next_offset, 5);
}

#[test]
fn a_second_producer_with_the_same_id_fences_the_first() {
    let world = World::new(1);
    world.produce(10);
    let mut source = world.source(0);
    let mut first = world.sink(0, &source);
    start(&mut source);
    read(&mut source, 10);
    first.commit(&epoch(P, 1, 3)).unwrap();

    let mut second = world.sink(0, &source);
    second.reset().unwrap();
    let error = first.commit(&epoch(P, 2, 6)).unwrap_err();
    assert!(matches!(error, CommitError::Fenced(_)), "{error:?}");
    assert_eq!(committed(&world, P).unwrap().next_offset, 3);
    assert_eq!(world.changelog(P, -1).len(), 3);

    second.commit(&epoch(P, 2, 6)).unwrap();
    assert_eq!(committed(&world, P).unwrap().next_offset, 6);
}

#[test]
fn what_was_not_read_in_this_stay_is_not_committed() {
    let world = World::new(1);
    world.produce(10);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    let refused = |sink: &mut KafkaSink, number, offset| {
        let error = sink.commit(&epoch(P, number, offset)).unwrap_err();
        assert!(matches!(error, CommitError::Fenced(_)), "{error:?}");
        sink.reset().unwrap();
    };
    refused(&mut sink, 1, 5);
    accept_assignment(&mut source);
    refused(&mut sink, 1, 5);
    source.committed(&[P], LIMIT).unwrap();
    source.resume(P, 4).unwrap();
    read(&mut source, 6);
    refused(&mut sink, 1, 3);
    refused(&mut sink, 1, 11);
    sink.commit(&epoch(P, 1, 10)).unwrap();
    source.close();
    let error = sink.commit(&epoch(P, 2, 10)).unwrap_err();
    assert!(matches!(error, CommitError::Fenced(_)), "{error:?}");
}

#[test]
fn a_new_sink_ends_the_transaction_of_a_producer_that_vanished() {
    let mut world = World::new(1);
    // If it had to wait for the time-out, this test would take a minute.
    world.settings.session_timeout = Span::from_secs(60);
    world.settings.transaction_timeout = Span::from_secs(60);
    world.produce(10);
    let mut source = world.source(0);
    start(&mut source);
    read(&mut source, 10);
    vanish_within_a_transaction(&world.settings);

    // By being there: the loop asks for the committed position before it ever commits.
    let sink = world.sink(0, &source);
    let started = Instant::now();
    assert_eq!(world.changelog(P, -1), []);
    let end = || {
        let mut changelog = KafkaChangelog::new(&world.settings, 0, &world.reporting).unwrap();
        changelog.begin(P, -1).unwrap().1
    };
    while end() == 0 {
        assert!(
            started.elapsed() < LIMIT,
            "the open transaction holds the readers back"
        );
    }
    drop(sink);
}

/// Leaves a record in the changelog and its transaction open.
fn vanish_within_a_transaction(settings: &KafkaSettings) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &settings.bootstrap_servers)
        .set("transactional.id", settings.transactional_id(0))
        .set("transaction.timeout.ms", "60000")
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    let topic = settings.topics.changelog();
    producer
        .send(BaseRecord::to(&topic).key("k").payload("v").partition(0))
        .unwrap();
    producer.flush(LIMIT).unwrap();
}

#[test]
fn a_sink_without_a_broker_says_so_within_its_time() {
    let settings = KafkaSettings {
        // Nothing listens on the discard port.
        bootstrap_servers: "127.0.0.1:9".into(),
        instance_id: Some("a".into()),
        transaction_timeout: Span::from_secs(1),
        ..KafkaSettings::default()
    };
    let reporting = reporting();
    let source = KafkaSource::new(&settings, 0, reporting.clone()).unwrap();
    let mut sink = KafkaSink::new(&settings, 0, source.membership(), &reporting).unwrap();
    let started = Instant::now();
    let error = sink.reset().unwrap_err();
    assert!(matches!(error, CommitError::Retry(_)), "{error:?}");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    let causes = reporting.health.readiness();
    assert!(
        causes
            .iter()
            .any(|(component, _)| component == "kafka-sink-0"),
        "{causes:?}"
    );
}

#[test]
fn a_dead_letter_stands_as_it_came_and_one_too_large_is_cut() {
    let world = World::new(1);
    world.produce(10);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    read(&mut source, 10);
    let letter = |offset, bytes| DeadLetter {
        topic: world.settings.topics.events(),
        partition: 0,
        offset,
        timestamp_ms: Some(1_700_000_000_000 + offset),
        key: Some(b"acme\xff".to_vec()),
        value: Some(vec![b'{'; bytes]),
        headers: vec![
            ("trace".to_owned(), Some(vec![0xff, 0x00])),
            ("none".to_owned(), None),
        ],
        rejection: Rejection::new(RejectReason::NotJson, "it is not JSON"),
    };
    let mut epoch = epoch(P, 1, 10);
    // The largest that the log takes, and one that only compression got into it.
    let sizes = [7, 1 << 20, 3 << 20];
    epoch.dead_letters = (0..)
        .zip(sizes)
        .map(|(offset, bytes)| letter(offset, bytes))
        .collect();
    sink.commit(&epoch).unwrap();

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.settings.bootstrap_servers)
        .set("group.id", "nobody")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let topic = world.settings.topics.dead_letters();
    list.add_partition_offset(&topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&list).unwrap();
    for (offset, bytes) in (0..).zip(sizes) {
        let record = consumer.poll(LIMIT).unwrap().unwrap();
        assert_eq!(record.key(), Some(&b"acme\xff"[..]));
        assert_eq!(
            record.timestamp().to_millis(),
            Some(1_700_000_000_000 + offset)
        );
        let headers = record.headers().unwrap();
        let header = |name: &str| {
            headers
                .iter()
                .find(|header| header.key == name)
                .map(|header| header.value)
        };
        let text = offset.to_string();
        assert_eq!(
            header("__connect.errors.offset"),
            Some(Some(text.as_bytes()))
        );
        let value = record.payload().unwrap();
        if bytes < 2 << 20 {
            assert_eq!(value.len(), bytes);
            assert_eq!(header("trace"), Some(Some(&[0xff, 0x00][..])));
            assert_eq!(header("none"), Some(None));
        } else {
            assert!(value.len() < bytes && !value.is_empty());
            assert_eq!(
                header("churnwatch.value.bytes"),
                Some(Some(bytes.to_string().as_bytes()))
            );
            assert_eq!(header("trace"), None);
        }
    }
}
