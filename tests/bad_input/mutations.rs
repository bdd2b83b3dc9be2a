//! Good records of every kind with something wrong in them: by system, and at
//! random.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use churnwatch_testkit::cli::repository;
use serde_json::{Map, Value, json};

use super::{Bench, good_log, strewn};

/// One full record of each kind.
fn samples() -> Vec<String> {
    let path = repository().join("crates/wire/samples/events.v1.ndjson");
    let text = fs::read_to_string(path).expect("the samples");
    text.lines().map(str::to_owned).collect()
}

fn objects() -> Vec<Map<String, Value>> {
    samples()
        .iter()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

fn line(fields: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(fields).expect("JSON")
}

/// The fields without which a record of the kind means nothing.
fn is_required(record: &Map<String, Value>, field: &str) -> bool {
    let more: &[&str] = match record["kind"].as_str() {
        Some("usage") => &["feature"],
        Some("ticket") => &["ticket_id", "action"],
        Some("seat") => &["user_id", "action"],
        Some("contact") => &["contact_id", "action"],
        // The sample is a snooze, which has to say until when.
        Some("command") => &["action", "alert_key", "by", "until"],
        Some("clock") => &["source", "shard", "shards"],
        Some("resume") => &["offset", "until", "by"],
        Some("erase") => &["by"],
        _ => &[],
    };
    ["kind", "account_id", "time"].contains(&field) || more.contains(&field)
}

/// Holds a strewn log of records that have to be refused to its promises.
fn check_refused(refused: &[(Vec<u8>, String)]) {
    let bench = Bench::new();
    let good = good_log();
    let lines: Vec<Vec<u8>> = refused.iter().map(|(line, _)| line.clone()).collect();
    let (log, places) = strewn(&good, &lines);
    let mixed = bench.replay(&bench.write("mixed.ndjson", log));
    assert_eq!(mixed.dead_letters.len(), refused.len());
    for (letter, ((line, reason), place)) in
        mixed.dead_letters.iter().zip(refused.iter().zip(places))
    {
        let record = String::from_utf8_lossy(line);
        assert_eq!(&letter.reason, reason, "{}\n{record}", letter.message);
        assert_eq!(letter.offset, place, "{record}");
        let value = letter.value.as_ref().and_then(|value| value.bytes());
        assert_eq!(value.as_ref(), Some(line), "{record}");
    }
    let clean = bench.replay(&bench.write("good.ndjson", good));
    assert_eq!(mixed.alerts, clean.alerts);
}

#[test]
fn a_record_without_a_required_field_is_kept_and_one_without_another_is_used() {
    let (mut refused, mut used) = (Vec::new(), Vec::new());
    for sample in objects() {
        for field in sample.keys() {
            let mut mutated = sample.clone();
            mutated.remove(field);
            if is_required(&sample, field) {
                refused.push((line(&mutated), "missing_field".to_owned()));
            } else {
                used.push(line(&mutated));
            }
        }
    }
    assert!(
        refused.len() > 30 && used.len() > 30,
        "{} and {}",
        refused.len(),
        used.len()
    );
    check_refused(&refused);
    let bench = Bench::new();
    let replayed = bench.replay(&bench.write("used.ndjson", used.join(&b'\n')));
    assert!(
        replayed.dead_letters.is_empty(),
        "{:?}",
        replayed.dead_letters
    );
}

#[test]
fn a_field_of_another_type_is_kept_as_such() {
    let mut refused = Vec::new();
    for sample in objects() {
        for (field, value) in &sample {
            for other in [
                json!(true),
                json!(5),
                json!("no word"),
                json!([5]),
                json!({"a": 5}),
            ] {
                if std::mem::discriminant(value) == std::mem::discriminant(&other) {
                    continue;
                }
                // The one null of the samples stands for a time.
                let reason = if value.is_null() && other.is_string() {
                    "bad_time"
                } else {
                    "wrong_type"
                };
                let mut mutated = sample.clone();
                mutated.insert(field.clone(), other);
                refused.push((line(&mutated), reason.to_owned()));
            }
        }
    }
    assert!(refused.len() > 200, "{}", refused.len());
    check_refused(&refused);
}

#[test]
fn a_record_cut_short_is_not_json() {
    let cut = samples().into_iter().flat_map(|sample| {
        (1..sample.len())
            .step_by(7)
            .map(move |end| (sample.as_bytes()[..end].to_vec(), "not_json".to_owned()))
    });
    check_refused(&cut.collect::<Vec<_>>());
}

/// A random number generator that anybody can run again (xorshift64).
struct Random(u64);

impl Random {
    /// Seeded by `CHURNWATCH_TEST_SEED`, else by the clock; says by what.
    fn new() -> Self {
        let given = std::env::var("CHURNWATCH_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            now.as_nanos() as u64 | 1
        });
        println!("CHURNWATCH_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// The decoder says what each record is worth; the binary has to do so too.
#[test]
fn bytes_changed_at_random_harm_nothing_but_their_own_record() {
    let mut random = Random::new();
    let samples = samples();
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    while all.len() < 2_000 {
        let mut bytes = samples[random.below(samples.len())].clone().into_bytes();
        for _ in 0..=random.below(3) {
            let place = random.below(bytes.len());
            bytes[place] ^= 1 << random.below(8);
        }
        // A line break would make two lines of it, or belong to its end.
        if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            continue;
        }
        if let Err(rejection) = churnwatch_wire::decode(&bytes) {
            refused.push((bytes.clone(), rejection.reason.as_str().to_owned()));
        }
        all.push(bytes);
    }
    assert!(
        refused.len() > 500,
        "{} of {} are refused",
        refused.len(),
        all.len()
    );
    check_refused(&refused);
    let bench = Bench::new();
    let log = bench.write("all.ndjson", all.join(&b'\n'));
    let ahead = |letter: &&churnwatch_wire::DeadLetterLine| letter.reason == "time_ahead";
    let replayed = bench.replay(&log);
    let kept: Vec<_> = replayed
        .dead_letters
        .iter()
        .filter(|letter| !ahead(letter))
        .collect();
    assert_eq!(kept.len(), refused.len());
    for (letter, (_, reason)) in kept.into_iter().zip(&refused) {
        assert_eq!(&letter.reason, reason, "{}", letter.message);
    }
}
