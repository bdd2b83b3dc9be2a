//! Silence is noticed without any further event: the worker writes the time
//! into a partition that is idle.

use churnwatch_core::{EventTime, time::DAY_MS};
use churnwatch_testkit::broker::{Deployment, Outgoing, Record, now, wait_for};
use serde_json::{Value, json};

/// Two months of use on every day, which ended 40 days ago.
fn two_months_of_use(account: &str, now: EventTime) -> Vec<Outgoing> {
    (40..100)
        .rev()
        .map(|days_ago| {
            let time = now.plus_millis(-days_ago * DAY_MS);
            Outgoing::event(&format!(
                r#"{{"kind":"usage","account_id":"{account}","time":"{time}","feature":"f","user_id":"u"}}"#
            ))
        })
        .collect()
}

#[test]
fn an_idle_partition_gets_the_time_once_and_the_silence_of_its_account_is_noticed() {
    let deployment = Deployment::new("idle", 2);
    let began = now();
    deployment.produce(&two_months_of_use("acme", began));
    let last_event = deployment.read("churn.events.v1").pop().expect("events");
    let process = deployment.start("a", &json!({"detect": {"idle_clock": "1s"}}));

    let alerts = wait_for("an alert", || {
        let alerts = deployment.read("churn.alerts.v1");
        (!alerts.is_empty()).then_some(alerts)
    });
    let alert: Value = json_of(&alerts[0]);
    assert_eq!(alert["data"]["signal"], "usage_silent", "{alert}");
    assert_eq!(alert["type"], "churnwatch.alert.opened", "{alert}");

    // The clock stands behind the last event, says what is true, and bears no key.
    let records = deployment.read("churn.events.v1");
    let clocks: Vec<&Record> = records
        .iter()
        .filter(|record| record.key.is_none())
        .collect();
    // One is enough: nobody is due before tomorrow.
    let [clock] = clocks[..] else {
        panic!("one clock was to be written: {clocks:?}")
    };
    assert_eq!(
        (clock.partition, clock.offset),
        (last_event.partition, last_event.offset + 1)
    );
    let value = json_of(clock);
    assert_eq!(value["kind"], "clock");
    assert_eq!(value["source"], "log");
    assert_eq!(
        (value["shard"].as_u64(), value["shards"].as_u64()),
        (Some(0), Some(1))
    );
    let time = EventTime::parse(value["time"].as_str().expect("a time")).expect("a time");
    let disorder_ms = 600_000;
    let earliest = began.plus_millis(-disorder_ms);
    assert!(
        time >= earliest && time <= now().plus_millis(-disorder_ms),
        "{time}"
    );

    process.stop();
}

#[test]
fn with_the_idle_clock_off_only_events_move_time() {
    let deployment = Deployment::new("no-clock", 1);
    deployment.produce(&two_months_of_use("acme", now()));
    let mut process = deployment.start("a", &json!({"detect": {"idle_clock": "off"}}));
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();
    assert_eq!(deployment.read("churn.alerts.v1"), []);
}

fn json_of(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_ref().expect("a value")).expect("JSON")
}
