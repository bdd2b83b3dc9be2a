//! A new release takes over from an old one: its state directory, its
//! changelog, and its place in a running fleet.
//!
//! The old release is this one with the newest version of rows taken away
//! (defence `newest_rows`), writing the version before. What it really wrote
//! is in `state-v1.tar.gz`, made by the last release that knew nothing of
//! state version 2.

use std::process::Command;

use churnwatch_core::Rules;
use churnwatch_store::{StateVersion, key};
use churnwatch_testkit::broker::{Deployment, Outgoing, Process, produce, wait_for};
use churnwatch_testkit::{cli::repository, world::World};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};
use serde_json::{Value, json};

use crate::tickets::tickets;

const PARTITIONS: u32 = 2;

/// A place in the group that is soon given away.
fn settings(state_version: u8) -> Value {
    json!({
        "kafka": {"session_timeout": "2s", "transaction_timeout": "2s"},
        "detect": {"max_records": 70},
        "store": {"state_version": state_version},
    })
}

/// A member of the old release: it cannot read what is newer.
fn start_old(deployment: &Deployment, instance: &str) -> Process {
    let without = [("CHURNWATCH_WITHOUT", "newest_rows")];
    deployment.start_with_faults(instance, &settings(1), &without)
}

fn owns(process: &mut Process, partitions: u32) {
    let wanted = f64::from(partitions);
    wait_for("a share of the partitions", || {
        process.expect_alive();
        let assigned = process.metric("churnwatch_partitions_assigned");
        (assigned == wanted && process.get("/readyz").0 == 200).then_some(())
    });
}

/// Feeds the log, a piece at a time.
struct Feed<'a> {
    deployment: &'a Deployment,
    fed: usize,
}

impl Feed<'_> {
    /// As many tickets into each partition, without waiting for anybody.
    fn feed(&mut self) {
        const PIECE: usize = 150;
        for partition in 0..PARTITIONS as i32 {
            self.deployment
                .produce(&tickets(partition, self.fed, PIECE));
        }
        self.fed += PIECE;
    }
}

/// The versions of the epoch records of each partition, in their order, runs
/// of one version told once.
fn versions(deployment: &Deployment) -> Vec<Vec<u8>> {
    let mut versions = vec![Vec::new(); PARTITIONS as usize];
    for record in deployment.read("churnwatch.state") {
        if record.key.as_deref() == Some(&key::task()) {
            let version = record.value.expect("a row")[0];
            versions[record.partition as usize].push(version);
        }
    }
    versions.iter_mut().for_each(|versions| versions.dedup());
    versions
}

#[test]
fn a_fleet_is_upgraded_member_by_member_and_writes_the_new_version_only_at_the_end() {
    let deployment = Deployment::new("rolling", PARTITIONS);
    let mut feed = Feed {
        deployment: &deployment,
        fed: 0,
    };
    let mut members = [start_old(&deployment, "a"), start_old(&deployment, "b")];
    members.iter_mut().for_each(|member| owns(member, 1));
    // Twice round: first the new release with the old version, then with its own.
    for version in [1, 2] {
        for (index, instance) in ["a", "b"].into_iter().enumerate() {
            let [a, b] = members;
            let (leaves, mut stays) = if index == 0 { (a, b) } else { (b, a) };
            feed.feed();
            leaves.stop();
            // The other takes over what that one has written, and gives it back.
            owns(&mut stays, PARTITIONS);
            feed.feed();
            if version == 2 && index == 0 {
                assert_eq!(versions(&deployment), [[1], [1]], "nobody writes 2 yet");
            }
            let mut joins = deployment.start(instance, &settings(version));
            owns(&mut joins, 1);
            feed.feed();
            members = if index == 0 {
                [joins, stays]
            } else {
                [stays, joins]
            };
        }
    }
    let [mut a, mut b] = members;
    deployment.wait_until_read(&mut [&mut a, &mut b]);
    assert!(
        a.log()
            .lines()
            .all(|line| !line.contains("older state version"))
    );
    a.stop();
    let ended = b.stop();
    assert!(!ended.log.contains("rebuilding"), "{}", ended.log);
    let newest = versions(&deployment);
    assert!(
        newest.iter().all(|versions| versions.last() == Some(&2)),
        "{newest:?}"
    );
    World::check_committed(&deployment, &Rules::default(), "rolling upgrade");
}

/// What the setting is for: without it the new release writes what the old one
/// cannot read, and the old one can only go.
#[test]
fn a_member_that_cannot_read_the_newest_version_ends_and_does_no_harm() {
    let deployment = Deployment::new("too-new", PARTITIONS);
    let mut feed = Feed {
        deployment: &deployment,
        fed: 0,
    };
    let mut new = deployment.start("new", &settings(2));
    feed.feed();
    deployment.wait_until_read(&mut [&mut new]);
    let before = World::committed(&deployment);
    let old = start_old(&deployment, "old");
    let ended = old.wait_for_end();
    assert_eq!(ended.code, Some(70), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("task row has version 2, this version reads up to 1"),
        "{}",
        ended.log
    );
    assert_eq!(World::committed(&deployment), before, "it wrote something");
    feed.feed();
    owns(&mut new, PARTITIONS);
    deployment.wait_until_read(&mut [&mut new]);
    new.stop();
    World::check_committed(&deployment, &Rules::default(), "beside an old member");

    // Nor does it touch a state directory of the newer version.
    let shown = || {
        let state = deployment.state_dir("new");
        let options = churnwatch_store::StoreOptions::default();
        let state = churnwatch_store::StateDir::open(state, options).expect("it opens");
        let partitions = state.partitions().expect("its partitions");
        let stores = partitions
            .iter()
            .map(|partition| state.partition(*partition));
        stores
            .map(|store| {
                let store = store.expect("it opens");
                let scan = store.verify(&mut |_, _| {}).expect("it adds up");
                (store.task().cloned(), scan)
            })
            .collect::<Vec<_>>()
    };
    let before = shown();
    let ended = start_old(&deployment, "new").wait_for_end();
    assert_eq!(ended.code, Some(70), "{}", ended.log);
    assert_eq!(shown(), before);
}

#[test]
fn a_state_directory_of_a_newer_format_is_refused_and_nothing_in_it_is_touched() {
    let deployment = Deployment::without_topics("newer-format");
    let dir = deployment.state_dir("a");
    std::fs::create_dir_all(dir.join("p-00000")).expect("a directory");
    std::fs::write(dir.join("FORMAT"), "churnwatch state, format 9\n").expect("a file");
    std::fs::write(dir.join("p-00000/CURRENT"), "what nobody knows yet").expect("a file");
    let ended = deployment.start_in_vain("a", &json!({}));
    assert_eq!(ended.code, Some(78), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("has format 9, this version reads up to 1"),
        "{}",
        ended.log
    );
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
    assert_eq!(read("FORMAT"), "churnwatch state, format 9\n");
    assert_eq!(read("p-00000/CURRENT"), "what nobody knows yet");
    let inside = std::fs::read_dir(dir.join("p-00000")).expect("a directory");
    assert_eq!(inside.count(), 1);
}

/// What an old release has left behind, taken out of its archive.
struct Left {
    dir: tempfile::TempDir,
}

impl Left {
    fn behind() -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let archive = repository().join("tests/operations/state-v1.tar.gz");
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(dir.path())
            .status()
            .expect("tar runs");
        assert!(unpacked.success(), "{}", archive.display());
        Self { dir }
    }

    /// The lines of a file, each a JSON object.
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join(name)).expect(name);
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    let hex = hex.as_str()?;
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    Some((0..hex.len()).step_by(2).map(byte).collect())
}

/// Puts an old deployment up again: its changelog, the log as far as it was
/// read, and the group's offset with its mark.
fn bring_back(left: &Left, deployment: &Deployment) {
    let changelog: Vec<Outgoing> = left
        .lines("changelog.ndjson")
        .iter()
        .map(|row| Outgoing {
            partition: Some(0),
            key: bytes(&row["key"]),
            value: bytes(&row["value"]),
            ..Outgoing::default()
        })
        .collect();
    let is_epoch = |row: &Outgoing| row.key.as_deref() == Some(&key::task());
    let epoch_at = changelog
        .iter()
        .rposition(is_epoch)
        .expect("an epoch record");
    assert_eq!(changelog[epoch_at].value.as_ref().expect("a row")[0], 1);
    produce(
        &deployment.bootstrap,
        &deployment.topic("churnwatch.state"),
        &changelog,
    );
    deployment.produce(&log(left, "read.ndjson"));
    let committed = &left.lines("committed.ndjson")[0];
    let old = committed["metadata"].as_str().expect("a mark");
    // It stands elsewhere now: the old topic had the ends of transactions in it, too.
    let mark: Vec<String> = old
        .split(';')
        .map(|part| match part.split_once('=') {
            Some(("changelog", _)) => format!("changelog={epoch_at}"),
            _ => part.to_owned(),
        })
        .collect();
    let mut list = TopicPartitionList::new();
    let mut place = list.add_partition(&deployment.events(), 0);
    let offset = committed["offset"].as_i64().expect("an offset");
    place.set_offset(Offset::Offset(offset)).expect("an offset");
    place.set_metadata(mark.join(";"));
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &deployment.bootstrap)
        .set("group.id", deployment.prefix.trim_end_matches('.'))
        .create()
        .expect("a consumer");
    consumer
        .commit(&list, CommitMode::Sync)
        .expect("it is committed");
}

fn log(left: &Left, name: &str) -> Vec<Outgoing> {
    let events = left.lines(name);
    let events = events.iter().map(|event| Outgoing {
        partition: Some(0),
        ..Outgoing::event(&event.to_string())
    });
    events.collect()
}

#[test]
fn the_state_of_the_release_before_is_read_and_goes_on_with_its_directory_or_without() {
    let left = Left::behind();
    for with_directory in [true, false] {
        let deployment = Deployment::new("from-v1", 1);
        bring_back(&left, &deployment);
        if with_directory {
            let copied = Command::new("cp")
                .arg("-r")
                .arg(left.dir.path().join("state"))
                .arg(deployment.state_dir("a"))
                .status();
            assert!(copied.expect("cp runs").success());
        }
        let mut process = deployment.start("a", &json!({}));
        process.wait_until_ready();
        let restored = process.metric("churnwatch_restore_rows_total");
        assert_eq!(restored == 0.0, with_directory, "{restored} rows restored");
        deployment.produce(&log(&left, "unread.ndjson"));
        deployment.wait_until_read(&mut [&mut process]);
        let ended = process.stop();
        assert!(!ended.log.contains("rebuilding"), "{}", ended.log);
        // Nothing was raised before, so all of the history is new.
        World::check_committed(&deployment, &Rules::default(), "from version 1");
        let newest = versions(&deployment);
        assert_eq!(newest[0], [1, StateVersion::NEWEST.number()]);
    }
}
