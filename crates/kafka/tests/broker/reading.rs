//! What of the log reaches the visitor, and when.

use std::time::{Duration, Instant};

use churnwatch_kafka::{KafkaSettings, KafkaSource};
use churnwatch_pipeline::sink::Sink as _;
use churnwatch_pipeline::source::{PartitionId, Polled, Source};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{
    LIMIT, World, accept_assignment, next_rebalance, poll, read, reporting, start,
};

const P: PartitionId = PartitionId(0);

/// Polls for a while in which nothing may come.
#[track_caller]
fn nothing_comes(source: &mut KafkaSource) {
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert_eq!(poll(source, &mut Vec::new()).unwrap(), Polled::Idle);
    }
}

#[test]
fn nothing_comes_before_resume_and_then_from_the_offset_asked_for() {
    let world = World::new(1);
    world.produce(100);
    let mut source = world.source(0);
    assert_eq!(accept_assignment(&mut source), [P]);
    nothing_comes(&mut source);
    assert_eq!(source.bounds(P).unwrap(), (0, 100));
    source.resume(P, 40).unwrap();
    let seen = read(&mut source, 60);
    let offsets: Vec<_> = seen.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (40..100).collect::<Vec<_>>());
    assert_eq!(seen[0].key.as_deref(), Some(&b"account-40"[..]));
    assert_eq!(seen[0].value.as_deref(), Some(&b"event 40"[..]));
    assert!(
        seen.iter().all(|record| record.has_append_time),
        "the log has the broker's time"
    );
}

#[test]
fn a_paused_partition_is_silent_and_can_be_read_again_from_before() {
    let world = World::new(1);
    world.produce(5_000);
    let mut source = world.source(0);
    start(&mut source);
    // One batch; the rest is fetched ahead.
    let mut seen = Vec::new();
    let until = Instant::now() + LIMIT;
    while seen.is_empty() {
        poll(&mut source, &mut seen).unwrap();
        assert!(Instant::now() < until);
    }
    assert!(seen.len() < 5_000);
    source.pause(P).unwrap();
    nothing_comes(&mut source);
    // Back, as after an abort, and forward, as after a restore from elsewhere.
    for from in [1, 4_000] {
        source.resume(P, from).unwrap();
        let seen = read(&mut source, 5_000 - from as usize);
        assert!(
            seen.iter().map(|record| record.offset).eq(from..5_000),
            "in order and without a gap"
        );
    }
}

#[test]
fn a_poll_hands_over_a_bounded_batch() {
    let world = World::new(1);
    world.produce(5_000);
    let mut source = world.source(0);
    start(&mut source);
    let until = Instant::now() + LIMIT;
    let mut largest = 0;
    let mut total = 0;
    while total < 5_000 {
        if let Polled::Records(count) = poll(&mut source, &mut Vec::new()).unwrap() {
            largest = largest.max(count);
            total += count;
        }
        assert!(Instant::now() < until);
    }
    assert!(largest <= 2_000, "{largest}");
}

#[test]
fn tombstones_empty_values_and_headers_come_as_they_are() {
    let world = World::new(1);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.settings.bootstrap_servers)
        .create()
        .unwrap();
    let topic = world.settings.topics.events();
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some(&[0xff, 0x00][..]),
        })
        .insert(Header::<&[u8]> {
            key: "none",
            value: None,
        })
        .insert(Header {
            key: "trace",
            value: Some(&b"again"[..]),
        });
    producer
        .send(BaseRecord::to(&topic).key("k").payload("").headers(headers))
        .unwrap();
    producer
        .send(BaseRecord::<str, str>::to(&topic).key("k"))
        .unwrap();
    producer.flush(LIMIT).unwrap();

    let mut source = world.source(0);
    start(&mut source);
    let seen = read(&mut source, 2);
    assert_eq!(seen[0].value.as_deref(), Some(&b""[..]));
    assert_eq!(
        seen[0].headers,
        [
            ("trace".to_owned(), Some(vec![0xff, 0x00])),
            ("none".to_owned(), None),
            ("trace".to_owned(), Some(b"again".to_vec()))
        ]
    );
    assert_eq!(seen[1].value, None);
    assert_eq!(seen[1].headers, []);
}

#[test]
fn a_clock_is_read_from_the_partition_it_was_written_to() {
    let world = World::new(3);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    sink.write_clock(PartitionId(2), b"tick".to_vec());
    let seen = read(&mut source, 1);
    assert_eq!(
        (seen[0].partition, seen[0].value.as_deref()),
        (PartitionId(2), Some(&b"tick"[..]))
    );
    assert_eq!(seen[0].key, None);
}

#[test]
fn a_log_trimmed_under_the_reader_sends_it_back_to_the_committed_position() {
    let world = World::new(1);
    world.produce(100);
    let mut source = world.source(0);
    accept_assignment(&mut source);
    delete_records(&world.settings, 60);
    // Beyond what is left: librdkafka must not choose another place by itself.
    source.resume(P, 10).unwrap();
    assert_eq!(
        next_rebalance(&mut source),
        Polled::Revoked {
            partitions: vec![P],
            lost: true
        }
    );
    source.release(&[P], true).unwrap();
    assert_eq!(next_rebalance(&mut source), Polled::Assigned(vec![P]));
    source.accept(&[P]).unwrap();
    nothing_comes(&mut source);
    assert_eq!(source.bounds(P).unwrap(), (60, 100));
    source.resume(P, 60).unwrap();
    assert_eq!(read(&mut source, 40)[0].offset, 60);
}

fn delete_records(settings: &KafkaSettings, before: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &settings.bootstrap_servers)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&settings.topics.events(), 0, Offset::Offset(before))
        .unwrap();
    pollster::block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
}

#[test]
fn a_source_without_a_broker_is_idle_and_says_why_it_is_not_ready() {
    let settings = KafkaSettings {
        bootstrap_servers: "127.0.0.1:9".into(),
        instance_id: Some("a".into()),
        ..KafkaSettings::default()
    };
    let reporting = reporting();
    let mut source = KafkaSource::new(&settings, 0, reporting.clone()).unwrap();
    let until = Instant::now() + LIMIT;
    // Were it an error, the loop would go on waiting long after the broker is there.
    let is_told = || {
        let causes = reporting.health.readiness();
        causes.iter().any(|cause| cause.0 == "kafka-source-0")
    };
    while !is_told() {
        assert_eq!(poll(&mut source, &mut Vec::new()).unwrap(), Polled::Idle);
        assert!(Instant::now() < until, "nobody says why it is not ready");
    }
}

#[test]
fn the_ends_of_what_is_read_are_known_without_asking() {
    let world = World::new(2);
    world.produce(50);
    let mut source = world.source(0);
    let partitions = start(&mut source);
    read(&mut source, 50);
    let bounds = partitions
        .iter()
        .map(|partition| (*partition, source.bounds(*partition).unwrap().1))
        .collect();
    let until = Instant::now() + LIMIT;
    // Known with the next statistics.
    while source.ends() != bounds {
        poll(&mut source, &mut Vec::new()).unwrap();
        assert!(Instant::now() < until, "{:?}", source.ends());
    }
    source.close();
    assert!(source.ends().is_empty(), "what is not ours has no lag");
}
