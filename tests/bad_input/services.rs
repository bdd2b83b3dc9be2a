//! `churnwatch run` without its broker, and with its state directory in use.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use churnwatch_testkit::cli::{self, Service};
use serde_json::Value;

use super::Bench;

/// Nothing listens there: port 1 is reserved.
const NOBODY: &str = "127.0.0.1:1";

fn configuration(bench: &Bench) -> std::path::PathBuf {
    let state = bench.path("state");
    let text = format!(
        "kafka: {{bootstrap_servers: \"{NOBODY}\"}}\nstate_dir: {}\nhttp: {{listen: \"127.0.0.1:0\"}}\n",
        state.display()
    );
    bench.write("churnwatch.yaml", text)
}

fn run(config: &Path) -> cli::Ran {
    cli::run([Path::new("run"), Path::new("--config"), config])
}

#[test]
fn a_service_without_its_broker_waits_says_so_and_ends_when_told() {
    let bench = Bench::new();
    let service = Service::start(&configuration(&bench));
    assert_eq!(service.get("/livez").0, 200, "it lives");
    let began = Instant::now();
    let cause = loop {
        let (status, body) = service.get("/readyz");
        assert_eq!(status, 503, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["causes"][0]["component"], "broker");
        let cause = body["causes"][0]["cause"]
            .as_str()
            .expect("a cause")
            .to_owned();
        if cause.contains(NOBODY) {
            break cause;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{cause}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(cause.starts_with("no broker answers at"), "{cause}");
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn a_second_process_on_the_same_state_directory_is_refused_with_its_holder_named() {
    let bench = Bench::new();
    let config = configuration(&bench);
    let first = Service::start(&config);
    let refusal = run(&config).failed(75);
    assert!(
        refusal.contains(&format!("(pid {})", first.id())),
        "{refusal}"
    );
    assert!(
        refusal.contains(&bench.path("state").display().to_string()),
        "{refusal}"
    );
    assert_eq!(first.get("/livez").0, 200, "the first one is not disturbed");
    assert_eq!(first.terminate(), Some(0));
    // The directory is free again: another one takes it.
    drop(Service::start(&config));
}

#[test]
fn an_address_in_use_is_refused_before_anything_starts() {
    let bench = Bench::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let text = format!(
        "kafka: {{bootstrap_servers: \"{NOBODY}\"}}\nstate_dir: {}\nhttp: {{listen: \"{address}\"}}\n",
        bench.path("state").display()
    );
    let refusal = run(&bench.write("churnwatch.yaml", text)).failed(78);
    assert!(refusal.contains(&address.to_string()), "{refusal}");
}

#[test]
fn commands_that_need_a_broker_fail_where_none_answers() {
    let bench = Bench::new();
    let config = configuration(&bench);
    let config = config.to_str().expect("a plain path");
    std::thread::scope(|scope| {
        for command in [vec!["validate"], vec!["topics", "create"]] {
            scope.spawn(move || {
                let args = command.into_iter().chain(["--config", config]);
                let refusal = cli::run(args).failed(69);
                assert!(refusal.contains(NOBODY), "{refusal}");
            });
        }
    });
    let offline = cli::run(["validate", "--offline", "--config", config]).succeeded();
    assert!(
        offline.stdout.contains("the configuration is valid"),
        "{}",
        offline.stdout
    );
}
