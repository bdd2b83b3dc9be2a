//! Partitions that come and go between members.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use churnwatch_kafka::{KafkaSink, KafkaSource, Span};
use churnwatch_pipeline::sink::{CommitError, Sink};
use churnwatch_pipeline::source::{PartitionId, Polled, Source, SourceError};

use crate::support::{LIMIT, World, epoch, next_offsets, next_rebalance, poll, read, start};

/// Polls both until one of them has something to do; `true`: the second.
fn next_of_two(first: &mut KafkaSource, second: &mut KafkaSource) -> (bool, Polled) {
    let until = Instant::now() + LIMIT;
    loop {
        for (is_second, source) in [(false, &mut *first), (true, &mut *second)] {
            let polled = poll(source, &mut Vec::new()).unwrap();
            if matches!(polled, Polled::Assigned(_) | Polled::Revoked { .. }) {
                return (is_second, polled);
            }
        }
        assert!(Instant::now() < until, "no rebalance came");
    }
}

#[test]
fn a_second_member_takes_its_share_after_the_first_has_committed() {
    let world = World::new(4);
    world.produce(200);
    let mut first = world.source(0);
    let mut sink = world.sink(0, &first);
    assert_eq!(start(&mut first).len(), 4);
    let next = next_offsets(&read(&mut first, 200));

    let mut second = world.source(1);
    let (is_second, polled) = next_of_two(&mut first, &mut second);
    let Polled::Revoked {
        partitions: going,
        lost: false,
    } = polled
    else {
        panic!("{polled:?}")
    };
    assert!(!is_second);
    assert_eq!(going.len(), 2);

    // The open epoch is finished inside the revocation, for what goes and for what stays.
    let staying = *next
        .keys()
        .find(|partition| !going.contains(partition))
        .unwrap();
    let mut last = epoch(going[0], 1, next[&going[0]]);
    last.partitions
        .extend(epoch(staying, 1, next[&staying]).partitions);
    sink.commit(&last).unwrap();
    first.release(&going, false).unwrap();
    // Behind the release, what went is not ours any more.
    let late = sink
        .commit(&epoch(going[1], 1, next[&going[1]]))
        .unwrap_err();
    assert!(matches!(late, CommitError::Fenced(_)), "{late:?}");
    sink.reset().unwrap();

    let (is_second, polled) = next_of_two(&mut first, &mut second);
    let Polled::Assigned(mut coming) = polled else {
        panic!("{polled:?}")
    };
    assert!(is_second);
    coming.sort();
    let mut gone = going.clone();
    gone.sort();
    assert_eq!(coming, gone);
    second.accept(&coming).unwrap();
    let committed = second.committed(&[going[0]], LIMIT).unwrap();
    assert_eq!(
        committed[0].1.as_ref().unwrap().next_offset,
        next[&going[0]]
    );

    // What stayed was owned without interruption and goes on; each reads its own.
    for partition in &coming {
        second.resume(*partition, next[partition]).unwrap();
    }
    world.produce(40);
    let (mut by_first, mut by_second) = (Vec::new(), Vec::new());
    let until = Instant::now() + LIMIT;
    while by_first.len() + by_second.len() < 40 {
        poll(&mut first, &mut by_first).unwrap();
        poll(&mut second, &mut by_second).unwrap();
        assert!(Instant::now() < until);
    }
    assert!(
        by_second
            .iter()
            .all(|record| coming.contains(&record.partition))
    );
    assert!(
        by_first
            .iter()
            .all(|record| !coming.contains(&record.partition))
    );
    let still = next_offsets(&by_first);
    sink.commit(&epoch(staying, 2, still[&staying])).unwrap();
}

#[test]
fn a_restarted_member_gets_its_partitions_back_without_a_rebalance() {
    let world = World::new(4);
    let mut first = world.source(0);
    start(&mut first);
    let mut second = world.source(1);
    let (_, polled) = next_of_two(&mut first, &mut second);
    let Polled::Revoked { partitions, .. } = polled else {
        panic!("{polled:?}")
    };
    first.release(&partitions, false).unwrap();
    let (_, polled) = next_of_two(&mut first, &mut second);
    let Polled::Assigned(of_second) = polled else {
        panic!("{polled:?}")
    };
    second.accept(&of_second).unwrap();

    first.close();
    let mut first = world.source(0);
    let Polled::Assigned(of_first) = next_rebalance(&mut first) else {
        panic!("revoked before assigned")
    };
    first.accept(&of_first).unwrap();
    let all: BTreeSet<_> = of_first.iter().chain(&of_second).copied().collect();
    assert_eq!(all.len(), 4, "{of_first:?} {of_second:?}");
    assert_eq!(of_first.len(), 2);
    assert_eq!(poll(&mut second, &mut Vec::new()).unwrap(), Polled::Idle);
}

#[test]
fn a_member_that_fell_silent_has_lost_its_partitions_and_commits_nothing() {
    let mut world = World::new(2);
    world.settings.session_timeout = Span::from_secs(2);
    world.settings.transaction_timeout = Span::from_secs(2);
    // librdkafka's own thread goes on with heartbeats, but gives up a member that does not poll.
    world
        .settings
        .consumer_properties
        .insert("max.poll.interval.ms".into(), "2000".into());
    world.produce(50);
    let mut silent = world.source(0);
    let mut sink = world.sink(0, &silent);
    start(&mut silent);
    let next = next_offsets(&read(&mut silent, 50));

    let mut other = world.source(1);
    let until = Instant::now() + LIMIT;
    let mut taken = BTreeSet::new();
    while taken.len() < 2 {
        match poll(&mut other, &mut Vec::new()).unwrap() {
            Polled::Assigned(partitions) => {
                other.accept(&partitions).unwrap();
                taken.extend(partitions);
            }
            Polled::Idle => assert!(
                Instant::now() < until,
                "the silent member kept its partitions"
            ),
            polled => panic!("{polled:?}"),
        }
    }

    // Before it has even heard of its loss.
    let refusal = |sink: &mut KafkaSink, partition: PartitionId| {
        let error = sink
            .commit(&epoch(partition, 1, next[&partition]))
            .unwrap_err();
        sink.reset().unwrap();
        let CommitError::Fenced(reason) = error else {
            panic!("{error:?}")
        };
        reason
    };
    let all = [PartitionId(0), PartitionId(1)];
    for partition in all {
        refusal(&mut sink, partition);
    }
    assert_eq!(
        other.committed(&all, LIMIT).unwrap(),
        all.map(|partition| (partition, None))
    );

    // What it hears first may be a revocation in good order, of one partition only, from before
    // it fell silent; and of the other, which was not its own meanwhile, it may never hear.
    // Neither may be committed, also when the silent one is back in the group.
    let until = Instant::now() + LIMIT;
    loop {
        match poll(&mut silent, &mut Vec::new()).unwrap() {
            Polled::Revoked { partitions, lost } => {
                for partition in all {
                    refusal(&mut sink, partition);
                }
                silent.release(&partitions, lost).unwrap();
            }
            Polled::Assigned(partitions) => silent.accept(&partitions).unwrap(),
            _ => {}
        }
        match poll(&mut other, &mut Vec::new()).unwrap() {
            Polled::Revoked { partitions, lost } => other.release(&partitions, lost).unwrap(),
            Polled::Assigned(partitions) => other.accept(&partitions).unwrap(),
            _ => {}
        }
        let reasons = all.map(|partition| refusal(&mut sink, partition));
        let outside =
            |reason: &String| reason.contains("not in the group") || reason.contains("thrown out");
        if !reasons.iter().any(outside) {
            break;
        }
        assert!(Instant::now() < until, "it did not come back: {reasons:?}");
    }
}

#[test]
fn a_second_process_with_the_same_name_stops_the_first() {
    let world = World::new(1);
    let mut first = world.source(0);
    start(&mut first);
    let mut second = world.source(0);
    let until = Instant::now() + LIMIT;
    let error = loop {
        let _ = poll(&mut second, &mut Vec::new());
        match poll(&mut first, &mut Vec::new()) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < until, "both go on"),
        }
    };
    assert!(
        matches!(&error, SourceError::Fatal(text) if text.contains("\"a-0\"") && text.contains("instance_id")),
        "{error:?}"
    );
}

#[test]
fn closing_in_the_middle_of_a_rebalance_does_not_hang() {
    let world = World::new(2);
    // Assigned, and told nobody.
    let mut unanswered = world.source(0);
    next_rebalance(&mut unanswered);
    let started = Instant::now();
    unanswered.close();
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    // Never polled at all.
    let mut fresh = world.source(1);
    let started = Instant::now();
    fresh.close();
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert!(matches!(
        poll(&mut fresh, &mut Vec::new()),
        Err(SourceError::Fatal(_))
    ));
}
