//! A log that means harm, on a real broker: poison of every kind, half of all
//! events on one account of a hundred thousand users, two days of disorder,
//! repeats, wrong clocks, and kills in the middle of it.

use std::time::Instant;

use churnwatch_testkit::broker::{Deployment, Process, now, wait_for_work};
use churnwatch_testkit::hostile::{self, HostileLog, MARK, Random, Size};
use churnwatch_testkit::reference;
use churnwatch_testkit::world::World;
use serde_json::{Value, json};

const PARTITIONS: u32 = 4;
const SIZE: Size = Size {
    accounts: 60,
    users_of_the_giant: 100_000,
};
/// Pieces in which the log is written; each but the last ends in a kill.
const PIECES: usize = 3;
/// What one process may take, whatever stands in the log.
const MOST_RESIDENT: u64 = 600 << 20;

fn settings() -> Value {
    json!({
        "workers": 2,
        "rules": hostile::settings(),
        "detect": {
            "commit_interval": "100ms",
            "max_records": 2_000,
            "cached_accounts": 20,
            "flush_interval": "500ms",
        },
    })
}

#[test]
fn a_log_that_means_harm_gives_what_it_would_give_without_the_harm() {
    let mut random = Random::new();
    let partitions = i32::try_from(PARTITIONS).expect("few partitions");
    let log = HostileLog::new(&mut random, SIZE, partitions, now());
    println!(
        "{} records: {} poison, {} repeats, {} expired",
        log.records.len(),
        log.poison,
        log.repeats,
        log.expired
    );
    let deployment = Deployment::new("hostile", PARTITIONS);
    let (group, began) = (deployment.group(), Instant::now());
    let mut most_resident = 0;
    let mut fed = 0;
    for piece in log.records.chunks(log.records.len().div_ceil(PIECES)) {
        deployment.produce(piece);
        let goal = (fed + piece.len() / 2) as i64;
        fed += piece.len();
        let mut process = deployment.start("a", &settings());
        if fed < log.records.len() {
            wait_for_work("the middle of a piece", &mut [&mut process], || {
                (group.committed() >= goal).then_some(())
            });
            most_resident = most_resident.max(process.resident_bytes().unwrap_or_default());
            let committed = group.committed();
            println!("killed at {committed} of {fed} records");
            process.kill();
            continue;
        }
        deployment.wait_until_read(&mut [&mut process]);
        most_resident = most_resident.max(process.resident_bytes().unwrap_or_default());
        expect_counted(&process, &log);
        process.stop();
    }
    println!(
        "read in {:?}, {} MiB resident at most",
        began.elapsed(),
        most_resident >> 20
    );
    assert!(most_resident < MOST_RESIDENT, "{most_resident} bytes");

    let compared = World::check_committed(&deployment, &hostile::rules(), "hostile");
    println!("{compared}; checked after {:?}", began.elapsed());
    assert_eq!(compared.dead_letters, log.poison);
    assert!(compared.rows > SIZE.users_of_the_giant);
    expect_no_influence(&deployment);
    expect_reasons(&deployment, log.poison);
}

/// The last process of a run saw its share of everything.
fn expect_counted(process: &Process, log: &HostileLog) {
    for (metric, at_most) in [
        ("churnwatch_rejected_total", log.poison),
        ("churnwatch_duplicates_total", log.repeats),
        ("churnwatch_expired_total", log.expired),
    ] {
        let counted = process.metric(metric) as usize;
        assert!((1..=at_most).contains(&counted), "{metric}: {counted}");
    }
    assert!(process.metric("churnwatch_late_total") > 0.0);
}

/// What the marked records may change: nothing but the dead letters and the
/// position. The reference knows nothing of them here.
#[track_caller]
fn expect_no_influence(deployment: &Deployment) {
    let found = World::committed(deployment);
    let log = HostileLog::without_harm(&deployment.read("churn.events.v1"));
    let hash = found.config_hash();
    let expected = reference::run(&log, &hostile::rules(), &hash, &deployment.events());
    assert_eq!(expected.dead_letters.len(), 0);
    let harmless = World {
        dead_letters: expected.dead_letters.clone(),
        tasks: expected.tasks.clone(),
        ..found
    };
    match harmless.check(&expected) {
        Ok(compared) => println!("without the harm: {compared}"),
        Err(difference) => panic!("without the harm: {difference}"),
    }
}

/// Each poison record was put away once, under the reason it was made for.
#[track_caller]
fn expect_reasons(deployment: &Deployment, poison: usize) {
    let letters = deployment.read("churn.dead-letters.v1");
    assert_eq!(letters.len(), poison);
    for letter in letters {
        let why = letter.header("__connect.errors.exception.class.name");
        assert_eq!(why, letter.header(MARK));
    }
}
