//! What is checked before anything starts, and what is waited for.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use churnwatch_testkit::{
    broker::{Deployment, Outgoing, Process, now, wait_for},
    cli,
};
use serde_json::json;

/// Exit codes, after BSD's `sysexits.h`.
const UNAVAILABLE: Option<i32> = Some(69);
const CONFIG: Option<i32> = Some(78);

fn usage(account: &str) -> Outgoing {
    let time = now();
    Outgoing::event(&format!(
        r#"{{"kind":"usage","account_id":"{account}","time":"{time}","feature":"f"}}"#
    ))
}

#[test]
fn missing_topics_are_named_with_the_command_that_makes_them() {
    let deployment = Deployment::without_topics("missing");
    let ended = deployment.start_in_vain("a", &json!({}));
    assert_eq!(ended.code, UNAVAILABLE, "{}", ended.log);
    for topic in [
        "churn.events.v1",
        "churn.alerts.v1",
        "churn.alerts.current.v1",
        "churn.dead-letters.v1",
        "churnwatch.state",
    ] {
        let said = format!("topic {}: does not exist, or ", deployment.topic(topic));
        assert!(ended.log.contains(&said), "{said}\n{}", ended.log);
    }
    let create = "create it with `churnwatch topics create`";
    assert!(ended.log.contains(create), "{}", ended.log);
}

#[test]
fn a_changelog_that_does_not_match_the_log_is_refused() {
    let deployment = Deployment::new("mismatch", 2);
    deployment.grow("churn.events.v1", 4);
    let ended = deployment.start_in_vain("a", &json!({}));
    assert_eq!(ended.code, UNAVAILABLE, "{}", ended.log);
    assert!(
        ended.log.contains("churnwatch.state: has 2 partitions and"),
        "{}",
        ended.log
    );
}

#[test]
fn state_of_another_number_of_partitions_is_refused_with_both_numbers() {
    let deployment = Deployment::new("changed", 2);
    deployment.produce(&[usage("a"), usage("b"), usage("c"), usage("d"), usage("e")]);
    let mut process = deployment.start("a", &json!({}));
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();

    deployment.grow("churn.events.v1", 4);
    deployment.grow("churnwatch.state", 4);
    let before = deployment.group().progress();
    let ended = deployment.start_in_vain("a", &json!({}));
    assert_eq!(ended.code, CONFIG, "{}", ended.log);
    let said = "begun with 2 partitions of the log, which now has 4";
    assert!(ended.log.contains(said), "{}", ended.log);
    // An empty disk knows nothing of it, but the changelog does.
    std::fs::remove_dir_all(deployment.state_dir("a")).expect("the state can be deleted");
    let ended = deployment.start_in_vain("a", &json!({}));
    assert_eq!(ended.code, CONFIG, "{}", ended.log);
    assert!(ended.log.contains(said), "{}", ended.log);
    assert_eq!(deployment.group().progress(), before, "nothing was read");
}

#[test]
fn a_log_that_grows_under_a_running_process_ends_it() {
    let deployment = Deployment::new("grows", 2);
    let settings = json!({"kafka": {"properties": {"topic.metadata.refresh.interval.ms": "500"}}});
    let process = deployment.start("a", &settings);
    process.wait_until_ready();
    deployment.grow("churn.events.v1", 4);
    let ended = process.wait_for_end();
    assert_eq!(ended.code, CONFIG, "{}", ended.log);
    let said = "begun with 2 partitions of the log, which now has 4";
    assert!(ended.log.contains(said), "{}", ended.log);
}

#[test]
fn state_that_belongs_to_other_topics_stops_its_partition_and_says_so() {
    let former = Deployment::new("former", 1);
    former.produce(&[usage("a")]);
    let mut process = former.start("a", &json!({}));
    former.wait_until_read(&mut [&mut process]);
    process.stop();

    let deployment = Deployment::new("anew", 1);
    deployment.produce(&[usage("b")]);
    let process = deployment.start("a", &json!({"state_dir": former.state_dir("a")}));
    expect_stopped(&process, "neither the group nor the changelog knows of it");
    assert_eq!(deployment.group().committed(), 0);
    process.stop();
}

#[test]
fn an_offset_that_somebody_else_committed_stops_its_partition_and_says_so() {
    let deployment = Deployment::new("foreign-offset", 2);
    deployment.produce(&[usage("a"), usage("b"), usage("c"), usage("d"), usage("e")]);
    deployment.group().commit_as_somebody_else(0, 1);
    let process = deployment.start("a", &json!({}));
    expect_stopped(
        &process,
        "offset 1 of partition 0 was not committed by Churnwatch",
    );
    // The other partition goes on.
    let end = deployment.group().progress()[1].1;
    wait_for("the other partition", || {
        (deployment.group().progress()[1].0 == end).then_some(())
    });
    assert_eq!(deployment.group().progress()[0].0, 1);
    process.stop();
}

fn expect_stopped(process: &Process, reason: &str) {
    wait_for("the cause on /readyz", || {
        let (status, body) = process.get("/readyz");
        (status == 503 && body.contains(reason)).then_some(())
    });
    assert_eq!(process.get("/livez").0, 200, "a restart would not help");
}

#[test]
fn without_a_broker_it_waits_and_says_so_and_goes_on_once_there_is_one() {
    let deployment = Deployment::new("no-broker", 1);
    // A port that nobody listens on, until a relay to the broker does.
    let reserved = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = reserved.local_addr().expect("an address");
    drop(reserved);
    let settings = json!({"kafka": {"bootstrap_servers": address.to_string()}});
    let process = deployment.start("a", &settings);
    let body = wait_for("the cause on /readyz", || {
        let (status, body) = process.get("/readyz");
        assert_eq!(status, 503, "{body}");
        body.contains("no broker answers at").then_some(body)
    });
    assert!(body.contains(&address.to_string()), "{body}");
    assert_eq!(
        process.get("/livez").0,
        200,
        "a broker that is away is no reason for a restart"
    );
    relay(address, deployment.bootstrap.clone());
    process.wait_until_ready();
    process.stop();
}

#[test]
fn a_process_that_waits_for_a_broker_can_be_stopped() {
    let deployment = Deployment::without_topics("stop-waiting");
    // Nobody has port 9 on the loopback address: "discard" is long out of use.
    let settings = json!({"kafka": {"bootstrap_servers": "127.0.0.1:9"}});
    let process = deployment.start("a", &settings);
    wait_for("the cause on /readyz", || {
        process
            .get("/readyz")
            .1
            .contains("no broker answers at")
            .then_some(())
    });
    process.stop();
}

/// Passes connections on to the broker.
fn relay(from: SocketAddr, to: String) {
    let listener = TcpListener::bind(from).expect("the port is still free");
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || io::copy(&mut from, &mut to))
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(broker) = TcpStream::connect(&to) else {
                continue;
            };
            if let (Ok(client_too), Ok(broker_too)) = (client.try_clone(), broker.try_clone()) {
                pass(client, broker);
                pass(broker_too, client_too);
            }
        }
    });
}

#[test]
fn validate_says_what_is_fit_and_warns_of_what_may_hurt() {
    let deployment = Deployment::new("validate", 3);
    let config = deployment.config("a", &json!({}));
    let config = config.to_str().expect("a path of UTF-8");
    let said = cli::run(["validate", "--config", config])
        .succeeded()
        .stdout;
    assert!(said.contains("the topics are fit: 3 partitions"), "{said}");
    let warning = format!(
        "warning: topic {}: its replication factor is 1: use 3",
        deployment.events()
    );
    assert!(said.contains(&warning), "{said}");
    let said = cli::run(["validate", "--dev", "--config", config])
        .succeeded()
        .stdout;
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn topics_that_can_never_work_are_refused() {
    let deployment = Deployment::new("never", 1);
    deployment.set("churn.dead-letters.v1", "min.insync.replicas", "2");
    deployment.set("churn.alerts.v1", "cleanup.policy", "compact");
    let ended = deployment.start_in_vain("a", &json!({}));
    assert_eq!(ended.code, UNAVAILABLE, "{}", ended.log);
    for said in [
        "churn.dead-letters.v1: min.insync.replicas is 2 and its replication factor is 1",
        "churn.alerts.v1: cleanup.policy has compact",
    ] {
        assert!(ended.log.contains(said), "{said}\n{}", ended.log);
    }
}

#[test]
fn too_little_memory_is_refused_with_what_would_be_enough() {
    let deployment = Deployment::without_topics("memory");
    let ended = deployment.start_in_vain("a", &json!({"memory_mib": 100, "workers": 2}));
    assert_eq!(ended.code, CONFIG, "{}", ended.log);
    let said = "memory_mib: is 100, too little for 2 workers: give at least";
    assert!(ended.log.contains(said), "{}", ended.log);
}

#[test]
fn validate_fails_where_a_start_would() {
    let deployment = Deployment::without_topics("validate-missing");
    let config = deployment.config("a", &json!({}));
    let said = cli::run([
        "validate",
        "--config",
        config.to_str().expect("a path of UTF-8"),
    ])
    .failed(69);
    assert!(said.contains("does not exist"), "{said}");
}
