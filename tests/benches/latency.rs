//! How long an alert takes, from the produce call of the ticket that raises it
//! to its arrival at a reader of committed records, on the broker that
//! `KAFKA_BOOTSTRAP` names:
//!
//! ```text
//! cargo bench --profile dev -p churnwatch-tests --bench latency
//! ```
//!
//! Two hundred accounts, one spike after the other, with the detector's default
//! commit settings; a spike is said to be one from the tenth ticket on. The
//! nine tickets before are on the log, and read, before the clock starts.

use std::time::{Duration, Instant};

use churnwatch_testkit::broker::{Deployment, LIMIT, Outgoing, Producer, now};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    topic_partition_list::Offset,
};
use serde_json::json;

const SPIKES: usize = 200;
const PARTITIONS: i32 = 4;
/// Spikes that are not counted: connections are made and pages are touched.
const WARM_UP: usize = 20;

fn main() {
    // `cargo test --all-targets` starts benchmarks too, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let deployment = Deployment::new("latency", PARTITIONS as u32);
    let accounts: Vec<String> = (0..WARM_UP + SPIKES)
        .map(|number| format!("a{number}"))
        .collect();
    let before: Vec<Outgoing> = (0..9)
        .flat_map(|number| accounts.iter().map(move |account| ticket(account, number)))
        .collect();
    deployment.produce(&before);
    let least = json!({"high": 10, "low": 10, "tech": 10});
    let rules = json!({"rules": {"signals": {"ticket_spike": {"min_tickets": least}}}});
    let mut process = deployment.start("a", &rules);
    deployment.wait_until_read(&mut [&mut process]);

    let producer = Producer::new(&deployment.bootstrap, &deployment.events());
    let reader = reader(&deployment);
    let mut took = Vec::with_capacity(accounts.len());
    for account in &accounts {
        let tenth = ticket(account, 9);
        let began = Instant::now();
        producer.send(&tenth);
        expect_alert_of(account, &reader);
        took.push(began.elapsed());
        producer.flush();
    }
    let committed = process.metric_where("churnwatch_commits_total", r#"result="committed""#);
    process.stop();

    let mut took = took.split_off(WARM_UP);
    took.sort_unstable();
    let at =
        |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!(
        "ticket to alert over {SPIKES} spikes, {committed} commits: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    );
}

fn ticket(account: &str, number: i64) -> Outgoing {
    let time = now().plus_millis((number - 9) * 1_000);
    Outgoing::event(&format!(
        r#"{{"kind":"ticket","account_id":"{account}","time":"{time}","ticket_id":"t{number}","action":"opened","severity":"P3"}}"#
    ))
}

/// A consumer of committed alerts that stands at the end.
fn reader(deployment: &Deployment) -> BaseConsumer {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &deployment.bootstrap)
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(
            &deployment.topic("churn.alerts.v1"),
            partition,
            Offset::Beginning,
        )
        .expect("an offset");
    }
    reader
        .assign(&list)
        .expect("partitions can be assigned by hand");
    reader
}

fn expect_alert_of(account: &str, reader: &BaseConsumer) {
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        if let Some(message) = reader.poll(Duration::from_millis(100)) {
            let message = message.expect("alerts can be read");
            assert_eq!(
                message.key(),
                Some(account.as_bytes()),
                "an alert of somebody else"
            );
            return;
        }
    }
    panic!("no alert of {account}");
}
