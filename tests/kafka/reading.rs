//! What a subscriber reads, record by record, as `kcat` would show it.

use churnwatch_core::time::DAY_MS;
use churnwatch_testkit::broker::{Deployment, Outgoing, Record, now};
use serde_json::{Value, json};

const KEY: &str = "acme|ticket_spike|";

/// A spike that a person takes note of, that gets worse, calms down by itself,
/// comes back two weeks later and is then resolved by hand.
fn story() -> Vec<Outgoing> {
    let start = now().plus_millis(-20 * DAY_MS);
    let mut number = 0;
    let mut event = |day: i64, fields: &str| {
        number += 1;
        let time = start.plus_millis(day * DAY_MS + number * 60_000);
        Outgoing::event(&format!(
            r#"{{"account_id":"acme","time":"{time}",{fields}}}"#
        ))
    };
    let ticket = |severity: &str, id: i64| {
        format!(r#""kind":"ticket","ticket_id":"{id}","action":"opened","severity":"{severity}""#)
    };
    let command = |action: &str| {
        format!(r#""kind":"command","action":"{action}","alert_key":"{KEY}","by":"jo""#)
    };
    let mut story = Vec::new();
    story.extend((0..3).map(|id| event(0, &ticket("P3", id))));
    story.push(event(0, &command("acknowledge")));
    story.extend((3..5).map(|id| event(0, &ticket("P1", id))));
    story.extend((5..14).map(|id| event(14, &ticket("P3", id))));
    story.push(event(14, &command("resolve")));
    story
}

fn envelope(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_ref().expect("a value")).expect("JSON")
}

#[test]
fn each_step_of_an_alert_is_a_cloud_event_and_what_is_open_is_compacted() {
    let deployment = Deployment::new("reading", 3);
    let story = story();
    deployment.produce(&story);
    let mut process = deployment.start("a", &json!({}));
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();

    let events = deployment.read("churn.events.v1");
    let history = deployment.read("churn.alerts.v1");
    let types: Vec<&str> = history
        .iter()
        .map(|record| record.header("ce_type"))
        .collect();
    assert_eq!(
        types,
        [
            "churnwatch.alert.opened",
            "churnwatch.alert.updated",
            "churnwatch.alert.escalated",
            "churnwatch.alert.resolved",
            "churnwatch.alert.reopened",
            "churnwatch.alert.resolved",
        ]
    );
    // The third ticket, the command, the second of the worst, the first event by which days have
    // passed, one of the tickets after it, and the last command.
    let reopened_by = 6 + position_of_input(&history[4], &events[6..]);
    let causes = [2, 3, 5, 6, reopened_by, story.len() - 1];
    let severities = [
        "warning", "warning", "critical", "critical", "warning", "warning",
    ];
    for (index, record) in history.iter().enumerate() {
        let cause = &events[causes[index]];
        assert_eq!(record.key(), "acme");
        assert_eq!(
            record.partition, cause.partition,
            "an account stays in its partition"
        );
        let envelope = envelope(record);
        let data = &envelope["data"];
        assert_eq!(envelope["specversion"], "1.0");
        assert_eq!(envelope["source"], "churnwatch");
        assert_eq!(envelope["subject"], "acme");
        assert_eq!(envelope["partitionkey"], "acme");
        assert_eq!(envelope["datacontenttype"], "application/json");
        assert_eq!(
            envelope["dataschema"],
            "urn:churnwatch:schema:alert.body.v1"
        );
        assert_eq!(envelope["sequence"], format!("{:020}", index + 1));
        if index != 3 {
            assert_eq!(
                envelope["time"],
                time_of(&story[causes[index]]),
                "the time of the cause"
            );
        }

        // The headers say the same, so that a filter needs no parser.
        let attributes = [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "sequence",
            "partitionkey",
        ];
        for attribute in attributes {
            let header = record.header(&format!("ce_{attribute}"));
            assert_eq!(envelope[attribute], header, "{attribute}");
        }
        assert_eq!(
            record.header("content-type"),
            "application/cloudevents+json"
        );
        assert_eq!(record.header("signal"), "ticket_spike");
        assert_eq!(record.header("severity"), severities[index]);
        assert_eq!(record.headers.len(), attributes.len() + 3, "{record:?}");

        assert_eq!(data["id"], envelope["id"]);
        assert_eq!(data["alert_key"], KEY);
        assert_eq!(data["mode"], "live");
        assert_eq!(data["severity"], severities[index]);
        assert_eq!(
            data["input"],
            json!({"partition": cause.partition, "offset": cause.offset})
        );
    }
    let ids: std::collections::BTreeSet<String> = history
        .iter()
        .map(|record| record.header("ce_id").to_owned())
        .collect();
    assert_eq!(ids.len(), history.len(), "every step has an id of its own");

    // One record of the compacted topic for each step: the body, or a tombstone.
    let current = deployment.read("churn.alerts.current.v1");
    assert_eq!(current.len(), history.len());
    for (record, step) in current.iter().zip(&history) {
        assert_eq!(record.key(), KEY);
        let body = record
            .value
            .as_ref()
            .map(|value| serde_json::from_slice::<Value>(value).expect("JSON"));
        let over = step.header("ce_type") == "churnwatch.alert.resolved";
        assert_eq!(body, (!over).then(|| envelope(step)["data"].clone()));
    }
}

fn time_of(event: &Outgoing) -> Value {
    let event: Value =
        serde_json::from_slice(event.value.as_ref().expect("a value")).expect("JSON");
    event["time"].clone()
}

/// Which of the records a step of an alert names as its input.
fn position_of_input(step: &Record, records: &[Record]) -> usize {
    let input = envelope(step)["data"]["input"].clone();
    let named =
        |record: &Record| input == json!({"partition": record.partition, "offset": record.offset});
    records
        .iter()
        .position(named)
        .expect("the input is one of the records")
}
