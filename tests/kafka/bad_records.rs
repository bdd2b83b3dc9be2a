//! Records that cannot be used, through Kafka: put away as they came, with
//! where they stood and why, while everything around them goes on unharmed.

use churnwatch_core::{EventTime, time::DAY_MS};
use churnwatch_testkit::broker::{Alerts, Dataset, Deployment, Expected, Outgoing, Record, now};
use serde_json::json;

/// One bad record, and what has to be said about it.
struct Bad {
    record: Outgoing,
    stage: &'static str,
    reason: &'static str,
}

/// Every kind of rejection. The keys are those of good accounts, so that the
/// good records of the same partition have to survive.
fn bad_records(now: EventTime) -> Vec<Bad> {
    let usage = |fields: &str| format!(r#"{{"kind":"usage","time":"{now}",{fields}}}"#);
    let good = usage(r#""account_id":"a0","feature":"f""#);
    let ahead = now.plus_millis(3_653 * DAY_MS);
    let mut bad = Vec::new();
    let mut add = |key: Option<&str>, value: Option<Vec<u8>>, stage, reason| {
        let record = Outgoing {
            // Without a key it could lie anywhere.
            partition: key.is_none().then_some(0),
            key: key.map(|key| key.as_bytes().to_vec()),
            value,
            headers: vec![
                ("trace".to_owned(), Some(b"\x004bf9\xff".to_vec())),
                ("__connect.errors.offset".to_owned(), Some(b"7".to_vec())),
                ("none".to_owned(), None),
            ],
        };
        bad.push(Bad {
            record,
            stage,
            reason,
        });
    };
    let texts = [
        ("not json".to_owned(), "decode", "not_json"),
        (
            usage(r#""account_id":"a0","feature":"f","quantity":NaN"#),
            "decode",
            "not_json",
        ),
        (r#"["usage"]"#.to_owned(), "decode", "not_an_object"),
        (good.replace("usage", "usurp"), "decode", "unknown_kind"),
        (usage(r#""feature":"f""#), "decode", "missing_field"),
        (
            usage(r#""account_id":5,"feature":"f""#),
            "decode",
            "wrong_type",
        ),
        (
            usage(r#""account_id":"","feature":"f""#),
            "validate",
            "account_id_empty",
        ),
        (
            good.replace("a0", &"x".repeat(10_000)),
            "validate",
            "account_id_too_long",
        ),
        (
            usage(r#""account_id":"a0","feature":"""#),
            "validate",
            "bad_name",
        ),
        (
            good.replace(r#""f""#, &format!("{:?}", "f".repeat(513))),
            "validate",
            "name_too_long",
        ),
        (
            good.replace(&now.to_string(), "yesterday"),
            "validate",
            "bad_time",
        ),
        (
            usage(r#""account_id":"a0","feature":"f","quantity":-1"#),
            "validate",
            "out_of_range",
        ),
        (
            usage(r#""account_id":"a0","feature":"f","quantity":1e300"#),
            "validate",
            "out_of_range",
        ),
        (
            usage(r#""account_id":"a0","feature":"f","actor":"ghost""#),
            "validate",
            "unknown_value",
        ),
        (
            good.replace(&now.to_string(), &ahead.to_string()),
            "skew",
            "time_ahead",
        ),
    ];
    for (text, stage, reason) in texts {
        add(Some("a0"), Some(text.into_bytes()), stage, reason);
    }
    add(Some("a0"), None, "decode", "null_value");
    add(
        Some("a0"),
        Some(vec![b' '; 1_048_577]),
        "decode",
        "too_large",
    );
    add(
        Some("a0"),
        Some(b"{\"kind\":\"usage\xff\"}".to_vec()),
        "decode",
        "not_utf8",
    );
    add(Some("a0"), Some(Vec::new()), "decode", "not_json");
    add(
        None,
        Some(good.clone().into_bytes()),
        "validate",
        "key_missing",
    );
    add(
        Some("a1"),
        Some(good.into_bytes()),
        "validate",
        "key_mismatch",
    );
    bad
}

/// Tickets that pile up at a few accounts, in order of time.
fn good_events(now: EventTime) -> Vec<Outgoing> {
    (0..200)
        .map(|number| {
            let time = now.plus_millis((number - 200) * 60_000);
            let account = number % 5;
            Outgoing::event(&format!(
                r#"{{"kind":"ticket","account_id":"a{account}","time":"{time}","id":"e{number}","ticket_id":"t{number}","action":"opened","severity":"P3"}}"#
            ))
        })
        .collect()
}

fn text(record: &Outgoing) -> &str {
    std::str::from_utf8(record.value.as_ref().expect("a value")).expect("UTF-8")
}

#[test]
fn every_kind_of_bad_record_is_put_away_as_it_came_and_harms_nobody() {
    let deployment = Deployment::new("bad", 2);
    let now = now();
    let (good, bad) = (good_events(now), bad_records(now));

    // What the good events give by themselves.
    let file = deployment.dir().join("good.ndjson");
    let lines: Vec<&str> = good.iter().map(text).collect();
    std::fs::write(&file, lines.join("\n")).expect("a file can be written");
    let expected = Expected::of(Dataset::read(&file));

    // A bad record after every few good ones.
    let mut log = Vec::new();
    for (index, event) in good.iter().enumerate() {
        log.push(event.clone());
        if index % 5 == 0
            && let Some(bad) = bad.get(index / 5)
        {
            log.push(bad.record.clone());
        }
    }
    deployment.produce(&log);
    let mut process = deployment.start("a", &json!({}));
    deployment.wait_until_read(&mut [&mut process]);
    let rejected = process.metric("churnwatch_rejected_total");
    process.stop();
    assert_eq!(rejected as usize, bad.len());

    let history = deployment.read("churn.alerts.v1");
    Alerts::of_history(&history).expect_same_as(&expected.alerts, "among bad records");
    let events = deployment.read("churn.events.v1");
    let letters = deployment.read("churn.dead-letters.v1");
    assert_eq!(letters.len(), bad.len());
    for bad in &bad {
        expect_put_away(bad, &events, &letters);
    }
}

/// The dead letter of a record tells where that stands, and is its copy.
#[track_caller]
fn expect_put_away(bad: &Bad, events: &[Record], letters: &[Record]) {
    let Bad {
        record,
        stage,
        reason,
    } = bad;
    let same = |found: &&Record| found.key == record.key && found.value == record.value;
    let original = events.iter().find(same).expect("it was written");
    let letter = letters
        .iter()
        .find(same)
        .unwrap_or_else(|| panic!("no dead letter: {reason}"));
    let said = |name: &str| {
        letter
            .header(&format!("__connect.errors.{name}"))
            .to_owned()
    };
    assert_eq!(said("exception.class.name"), *reason);
    assert_eq!(said("stage"), *stage, "{reason}");
    assert!(said("topic").ends_with("churn.events.v1"), "{reason}");
    assert_eq!(
        said("partition"),
        original.partition.to_string(),
        "{reason}"
    );
    assert_eq!(said("offset"), original.offset.to_string(), "{reason}");
    assert!(!said("exception.message").is_empty(), "{reason}");
    assert_eq!(letter.timestamp_ms, original.timestamp_ms, "{reason}");
    assert_eq!(
        Some(said("timestamp")),
        original.timestamp_ms.map(|ms| ms.to_string()),
        "{reason}"
    );
    // The original headers follow, but for what a former dead letter said of itself.
    let kept: Vec<_> = letter
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("__connect."))
        .collect();
    let sent: Vec<_> = record
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("__connect."))
        .collect();
    assert_eq!(kept, sent, "{reason}");
}

#[test]
fn what_is_too_old_or_comes_twice_is_counted_and_not_put_away() {
    let deployment = Deployment::new("old", 1);
    let now = now();
    let usage = |id: &str, time: EventTime| {
        Outgoing::event(&format!(
            r#"{{"kind":"usage","account_id":"a","time":"{time}","id":"{id}","feature":"f"}}"#
        ))
    };
    deployment.produce(&[
        usage("new", now),
        usage("new", now),
        // Later than the disorder of ten minutes allows, and within the grace period.
        usage("late", now.plus_millis(-DAY_MS)),
        usage("expired", now.plus_millis(-8 * DAY_MS)),
    ]);
    let mut process = deployment.start("a", &json!({}));
    deployment.wait_until_read(&mut [&mut process]);
    assert_eq!(process.metric("churnwatch_events_total"), 2.0);
    assert_eq!(process.metric("churnwatch_duplicates_total"), 1.0);
    assert_eq!(process.metric("churnwatch_late_total"), 1.0);
    assert_eq!(process.metric("churnwatch_expired_total"), 1.0);
    process.stop();
    assert_eq!(deployment.read("churn.dead-letters.v1"), []);
}
