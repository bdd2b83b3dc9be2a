//! Somebody's transaction is left open: every reader of committed records waits
//! behind it. It is seen, said, and everything goes on after its end.

use std::time::Duration;

use churnwatch_testkit::broker::{Deployment, LIMIT, Outgoing, Process, now, wait_for};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;

/// Where the metric has to get to, in seconds.
const AGE: f64 = 3.0;

/// A producer of somebody else that has begun a transaction with one record.
struct Foreign(BaseProducer);

impl Foreign {
    fn begin(deployment: &Deployment, topic: &str) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &deployment.bootstrap)
            .set("transactional.id", format!("foreign-{topic}"))
            .set("transaction.timeout.ms", "120000")
            .create()
            .expect("a producer");
        producer.init_transactions(LIMIT).expect("it is ready");
        producer.begin_transaction().expect("it begins");
        let record = BaseRecord::to(topic)
            .partition(0)
            .key("foreign")
            .payload("left open");
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("taken");
        // On the broker, and open.
        producer.flush(LIMIT).expect("delivered");
        Self(producer)
    }

    fn abort(self) {
        self.0.abort_transaction(LIMIT).expect("aborted");
    }
}

fn usage(account: &str) -> Outgoing {
    let time = now();
    Outgoing::event(&format!(
        r#"{{"kind":"usage","account_id":"{account}","time":"{time}","feature":"f"}}"#
    ))
}

fn age_is(process: &Process, metric: &str, is_so: impl Fn(f64) -> bool) {
    wait_for(&format!("{metric} to say so"), || {
        is_so(process.metric(metric)).then_some(())
    });
}

#[test]
fn a_transaction_left_open_in_the_log_is_measured_and_its_end_sets_the_log_free() {
    const METRIC: &str = "churnwatch_stable_offset_age_seconds";
    let deployment = Deployment::new("open-log", 1);
    deployment.produce(&[usage("a")]);
    let mut process = deployment.start("a", &json!({}));
    deployment.wait_until_read(&mut [&mut process]);
    assert_eq!(process.metric(METRIC), 0.0);
    let before = deployment.group().committed();

    let foreign = Foreign::begin(&deployment, &deployment.events());
    deployment.produce(&[usage("b")]);
    age_is(&process, METRIC, |age| age > AGE);
    assert_eq!(deployment.group().committed(), before, "it cannot be read");
    assert_eq!(process.get("/livez").0, 200, "a restart would not help");

    foreign.abort();
    age_is(&process, METRIC, |age| age == 0.0);
    wait_for("the event behind it", || {
        (process.metric("churnwatch_events_total") == 2.0).then_some(())
    });
    assert_eq!(process.metric("churnwatch_rejected_total"), 0.0);
    process.stop();
}

#[test]
fn a_transaction_left_open_in_the_changelog_is_waited_for_and_named() {
    const METRIC: &str = "churnwatch_changelog_stable_offset_age_seconds";
    let deployment = Deployment::new("open-changelog", 1);
    let changelog = deployment.topic("churnwatch.state");
    deployment.produce(&[usage("a")]);
    let mut process = deployment.start("a", &json!({}));
    deployment.wait_until_read(&mut [&mut process]);
    // What is committed from now on stands behind it.
    let foreign = Foreign::begin(&deployment, &changelog);
    deployment.produce(&[usage("b")]);
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();
    std::fs::remove_dir_all(deployment.state_dir("a")).expect("the state can be deleted");

    let process = deployment.start("a", &json!({}));
    let cause = wait_for("the cause on /readyz", || {
        let (_, body) = process.get("/readyz");
        body.contains("a transaction left open").then_some(body)
    });
    assert!(cause.contains("the changelog of partition 0"), "{cause}");
    age_is(&process, METRIC, |age| age > AGE);
    assert_eq!(process.get("/livez").0, 200, "a restart would not help");

    foreign.abort();
    process.wait_until_ready();
    assert_eq!(process.metric(METRIC), 0.0);
    assert!(process.metric("churnwatch_restore_rows_total") > 0.0);
    // The hand-over took as long as the wait.
    assert_eq!(process.metric("churnwatch_handover_seconds_count"), 1.0);
    assert!(process.metric("churnwatch_handover_seconds_sum") > AGE);
    let ended = process.stop();
    assert!(!ended.log.contains("rebuilding"), "{}", ended.log);
    assert!(ended.took < Duration::from_secs(30));
}
