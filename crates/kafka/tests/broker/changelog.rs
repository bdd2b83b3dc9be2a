//! Where the changelog begins and ends.

use std::time::{Duration, Instant};

use churnwatch_kafka::KafkaChangelog;
use churnwatch_pipeline::sink::Sink;
use churnwatch_pipeline::source::{Changelog, ChangelogRead, PartitionId, SourceError, Visit};

use crate::support::{LIMIT, World, epoch, read, read_to_end, start};

const P: PartitionId = PartitionId(0);

/// A changelog that ends in the markers of a commit and of an abort.
fn ends_in_markers() -> (World, Vec<i64>) {
    let world = World::new(2);
    world.produce(20);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    read(&mut source, 20);
    let marks = (1..=3)
        .map(|number| sink.commit(&epoch(P, number, number as i64)).unwrap()[0])
        .collect();
    let mut aborted = epoch(P, 4, 4);
    aborted.partitions[0]
        .rows
        .push((b"large".to_vec(), Some(vec![b'x'; 3 << 20])));
    sink.commit(&aborted).unwrap_err();
    (world, marks)
}

#[test]
fn the_end_is_reached_behind_transaction_markers() {
    let (world, marks) = ends_in_markers();
    let mut changelog = KafkaChangelog::new(&world.settings, 0, &world.reporting).unwrap();
    let (first, next) = changelog.begin(P, -1).unwrap();
    assert_eq!(first, 0);
    let rows = read_to_end(&mut changelog);
    assert_eq!(rows.len(), 9, "three epochs, each two rows and its record");
    assert_eq!(rows.last().unwrap().0, marks[2]);
    assert!(
        next > marks[2] + 1,
        "markers stand behind the last record: {next}"
    );
    // The end stays the end.
    let again = changelog
        .read(Duration::from_millis(1), &mut |_, _, _| Visit::More)
        .unwrap();
    assert_eq!(again, ChangelogRead::AtEnd);
}

#[test]
fn reading_starts_behind_an_offset_and_stops_where_told() {
    let (world, marks) = ends_in_markers();
    let mut changelog = KafkaChangelog::new(&world.settings, 0, &world.reporting).unwrap();
    changelog.begin(P, marks[0]).unwrap();
    let until = Instant::now() + LIMIT;
    let mut offsets = Vec::new();
    loop {
        let step = changelog.read(Duration::from_millis(100), &mut |offset, _, _| {
            offsets.push(offset);
            if offset == marks[1] {
                Visit::Stop
            } else {
                Visit::More
            }
        });
        match step.unwrap() {
            ChangelogRead::Stopped => break,
            ChangelogRead::More => assert!(Instant::now() < until),
            ChangelogRead::AtEnd => panic!("the wanted record was missed: {offsets:?}"),
        }
    }
    assert_eq!(offsets.len(), 3);
    assert!(offsets[0] > marks[0]);
    // What was stopped can be gone on with.
    let rest = read_to_end(&mut changelog);
    assert_eq!(rest.last().unwrap().0, marks[2]);
    assert_eq!(rest.len(), 3);
}

#[test]
fn nothing_behind_the_last_mark_is_the_end_at_once() {
    let (world, marks) = ends_in_markers();
    assert_eq!(world.changelog(P, marks[2]), []);
    // A position that this changelog never had: the caller sees it from the bounds.
    let mut changelog = KafkaChangelog::new(&world.settings, 0, &world.reporting).unwrap();
    let (_, next) = changelog.begin(P, 1_000_000).unwrap();
    assert!(next < 1_000_000);
    assert_eq!(read_to_end(&mut changelog), []);
}

#[test]
fn one_reader_reads_one_partition_after_the_other() {
    let (world, marks) = ends_in_markers();
    let mut changelog = KafkaChangelog::new(&world.settings, 0, &world.reporting).unwrap();
    // Left in the middle, with records fetched ahead.
    changelog.begin(P, -1).unwrap();
    let until = Instant::now() + LIMIT;
    while changelog
        .read(Duration::from_millis(100), &mut |_, _, _| Visit::Stop)
        .unwrap()
        != ChangelogRead::Stopped
    {
        assert!(Instant::now() < until);
    }
    assert_eq!(changelog.begin(PartitionId(1), -1).unwrap(), (0, 0));
    assert_eq!(read_to_end(&mut changelog), []);
    changelog.begin(P, marks[1]).unwrap();
    assert_eq!(read_to_end(&mut changelog).len(), 3);
    changelog.end();
    let ended = changelog.read(Duration::from_millis(1), &mut |_, _, _| Visit::More);
    assert!(matches!(ended, Err(SourceError::Fatal(_))));
}
