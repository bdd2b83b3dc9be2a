//! A broker that lets nobody in without a password over TLS, and nobody do what
//! they were not given the right to: the detector works with exactly the rights
//! that the documentation names, says what it lacks, and tells no secret.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use churnwatch_core::{Rules, time::DAY_MS};
use churnwatch_testkit::access::{self, Operation, Resource, Right};
use churnwatch_testkit::broker::{Deployment, Outgoing, Process, now, wait_for};
use churnwatch_testkit::certificates::{Certificate, STORE_PASSWORD};
use churnwatch_testkit::cli::{self, repository};
use churnwatch_testkit::private_broker::{BrokerOptions, Listener, PrivateBroker};
use churnwatch_testkit::world::World;
use serde_json::{Value, json};

const USER: &str = "detector";
const PASSWORD: &str = "pass-that-nobody-may-see";
const TOKEN: &str = "token-that-nobody-may-see";
const PARTITIONS: u32 = 2;
/// A process that has said nothing of a missing right for so long says nothing.
const UNTOLD: Duration = Duration::from_secs(45);

/// The broker, and what a client of it needs.
struct Fortress {
    broker: PrivateBroker,
    dir: tempfile::TempDir,
    /// Of the listener that bears its own name.
    ours: Certificate,
    /// Of the listener that bears another's.
    elsewhere: Certificate,
}

impl Fortress {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ours = Certificate::new(dir.path(), "ours", "dns:localhost,ip:127.0.0.1");
        let elsewhere = Certificate::new(dir.path(), "elsewhere", "dns:elsewhere.example");
        let mut settings = vec![
            (
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            // Whoever comes without a name, by the listeners in plain text, is the test itself.
            ("super.users", "User:ANONYMOUS".to_owned()),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<Vec<_>>();
        for (listener, certificate) in [("secure", &ours), ("elsewhere", &elsewhere)] {
            let store = certificate.key_store.display().to_string();
            for (key, value) in [
                ("ssl.keystore.location", store.as_str()),
                ("ssl.keystore.type", "PKCS12"),
                ("ssl.keystore.password", STORE_PASSWORD),
                ("ssl.key.password", STORE_PASSWORD),
                ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
                (
                    "scram-sha-512.sasl.jaas.config",
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;",
                ),
            ] {
                settings.push((format!("listener.name.{listener}.{key}"), value.to_owned()));
            }
        }
        let listener = |name: &str| Listener {
            name: name.to_owned(),
            protocol: "SASL_SSL".to_owned(),
            advertised: None,
        };
        let broker = PrivateBroker::start(&BrokerOptions {
            listeners: vec![listener("SECURE"), listener("ELSEWHERE")],
            settings,
            users: vec![format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")],
        });
        Self {
            broker,
            dir,
            ours,
            elsewhere,
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Settings of a detector that comes in at `listener`.
    fn settings(&self, listener: &str, trusted: &Certificate, password: &str) -> Value {
        json!({
            "kafka": {
                "bootstrap_servers": self.broker.address(listener),
                "security": {
                    "protocol": "sasl_ssl",
                    "tls": {"ca_file": trusted.certificate},
                    "sasl": {
                        "mechanism": "SCRAM-SHA-512",
                        "username": USER,
                        // Each password has its file: tests share the folder.
                        "password_file": self.file(&format!("password-{}", password.len()), password),
                    },
                },
            },
        })
    }

    fn right_settings(&self) -> Value {
        self.settings("SECURE", &self.ours, PASSWORD)
    }
}

/// The rights that `docs/operations.md` names, in the names of this deployment.
fn documented_rights(deployment: &Deployment) -> Vec<Right> {
    let page = repository().join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page can be read");
    let (_, section) = page.split_once("### Rights").expect("a section on rights");
    let section = section.split("\n#").next().expect("a section");
    let mut rights = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (resource, name) = match (cells[1], cells[2].trim_matches('`')) {
            ("topic", name) => (Resource::Topic, deployment.topic(name)),
            ("group", _) => (Resource::Group, group(deployment)),
            ("transactional ids", _) => (
                Resource::TransactionalIds,
                format!("{}-", group(deployment)),
            ),
            _ => continue,
        };
        for operation in cells[3]
            .split(',')
            .map(|word| word.trim().trim_matches('`'))
        {
            rights.push(Right {
                user: USER.to_owned(),
                resource,
                name: name.clone(),
                operation: match operation {
                    "Read" => Operation::Read,
                    "Write" => Operation::Write,
                    "DescribeConfigs" => Operation::DescribeConfigs,
                    other => panic!("{other} is no right we know"),
                },
            });
        }
    }
    assert!(rights.len() > 10, "{rights:?}");
    rights
}

fn group(deployment: &Deployment) -> String {
    deployment.prefix.trim_end_matches('.').to_owned()
}

/// Tests that run at the same time share one.
fn fortress() -> Arc<Fortress> {
    static SHARED: Mutex<Weak<Fortress>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let fortress = Arc::new(Fortress::new());
        *shared = Arc::downgrade(&fortress);
        fortress
    })
}

/// Settings of a detector that comes in as it should.
fn with(settings: &Value, more: &Value) -> Value {
    let mut settings = settings.clone();
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    settings
}

/// Tickets that pile up, long enough ago for the day's look to be due, and a
/// record that cannot be used.
fn log() -> Vec<Outgoing> {
    let begin = now().plus_millis(-3 * DAY_MS);
    let mut log: Vec<Outgoing> = (0..200)
        .map(|number: i64| {
            let (time, account) = (begin.plus_millis(number * 60_000), number % 5);
            Outgoing::event(&format!(
                r#"{{"kind":"ticket","account_id":"a{account}","time":"{time}","id":"e{number}","ticket_id":"t{number}","action":"opened","severity":"P3"}}"#
            ))
        })
        .collect();
    log.push(Outgoing {
        key: Some(b"a0".to_vec()),
        value: Some(b"not json".to_vec()),
        ..Outgoing::default()
    });
    log
}

#[test]
fn the_documented_rights_are_enough_and_whichever_is_missing_is_named() {
    let fortress = fortress();
    let deployment = Deployment::on(fortress.broker.bootstrap(), "rights", PARTITIONS);
    let rights = documented_rights(&deployment);
    access::give(&deployment.bootstrap, &rights);
    let clocks = json!({"idle_clock": "500ms"});
    let settings = with(&fortress.right_settings(), &json!({"detect": clocks}));
    deployment.produce(&log());
    // Without the right to write clocks everything else goes on: that comes last.
    let is_for_clocks =
        |right: &&Right| right.name == deployment.events() && right.operation == Operation::Write;
    let (last, first): (Vec<_>, Vec<_>) = rights.iter().partition(|right| is_for_clocks(right));
    assert_eq!(last.len(), 1);
    let mut untold = Vec::new();
    for right in first.into_iter().chain(last) {
        access::take(&deployment.bootstrap, right);
        let process = deployment.start("a", &settings);
        match told(&process, right) {
            Some(line) => println!("{line}"),
            None => untold.push(format!("{right:?}\n{}", process.last_said())),
        }
        drop(process);
        access::give(&deployment.bootstrap, std::slice::from_ref(right));
    }
    assert!(untold.is_empty(), "not told: {}", untold.join("\n"));
    let mut process = deployment.start("a", &settings);
    wait_for("the clocks of idle partitions", || {
        let log = deployment.read("churn.events.v1");
        log.iter().any(|record| record.key.is_none()).then_some(())
    });
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();
    let compared = World::check_committed(&deployment, &Rules::default(), "rights");
    assert_eq!(compared.dead_letters, 1);
}

/// What a process says of a right that it lacks: a line of its log that names
/// the right and what it is on. `None` where it says nothing for a long time.
fn told(process: &Process, right: &Right) -> Option<String> {
    let what = match right.resource {
        Resource::Topic => right.name.as_str(),
        Resource::Group => "group",
        Resource::TransactionalIds => "transactional ids",
    };
    let needed = format!("`{:?}`", right.operation);
    let began = Instant::now();
    while began.elapsed() < UNTOLD {
        let log = process.log();
        let line = log
            .lines()
            .find(|line| line.contains(what) && line.contains(&needed));
        if let Some(line) = line {
            return Some(line.to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

#[test]
fn who_may_not_come_in_is_told_which_setting_to_look_at_and_nobody_is_told_a_secret() {
    let fortress = fortress();
    let deployment = Deployment::on(fortress.broker.bootstrap(), "secrets", PARTITIONS);
    access::give(&deployment.bootstrap, &documented_rights(&deployment));
    let wrong = "wrong-pass-that-nobody-may-see";
    for (what, settings, setting) in [
        (
            "password",
            fortress.settings("SECURE", &fortress.ours, wrong),
            "kafka.security.sasl.password_file",
        ),
        (
            "authority",
            fortress.settings("SECURE", &fortress.elsewhere, PASSWORD),
            "kafka.security.tls.ca_file",
        ),
        (
            "name",
            fortress.settings("ELSEWHERE", &fortress.elsewhere, PASSWORD),
            "kafka.security.tls.verify_hostname",
        ),
    ] {
        let process = deployment.start("a", &settings);
        let cause = wait_for(&format!("a word about the wrong {what}"), || {
            let (status, body) = process.get("/readyz");
            assert_eq!(status, 503, "{what}: {body}");
            body.contains(setting).then_some(body)
        });
        println!("wrong {what}: {cause}");
        let ended = process.stop();
        assert!(ended.log.contains(setting), "{}", ended.log);
        for secret in [wrong, PASSWORD] {
            assert!(
                !cause.contains(secret) && !ended.log.contains(secret),
                "{cause}\n{}",
                ended.log
            );
        }
    }
    deployment.produce(&log());
    expect_no_secret(&fortress, &deployment);
}

/// A run that says everything it can, with every secret that there is.
fn expect_no_secret(fortress: &Fortress, deployment: &Deployment) {
    let token_file = fortress.file("token", TOKEN);
    let http = json!({"listen": "127.0.0.1:0", "token_file": token_file});
    let mut settings = with(&fortress.right_settings(), &json!({"http": http}));
    settings["kafka"]["properties"] = json!({"debug": "all"});
    let config = deployment.config("a", &settings);
    let process =
        Process::start_saying_everything(&config, &deployment.dir().join("everything.log"));
    assert_eq!(process.get("/metrics").0, 401);
    let token = format!("Authorization: Bearer {TOKEN}");
    wait_for("a process that is ready", || {
        (process.get("/readyz").0 == 200).then_some(())
    });
    let pages = ["/", "/metrics", "/livez", "/readyz", "/alerts"]
        .map(|page| process.get_with(page, &token).1);
    assert!(pages[1].contains("churnwatch_events_total"), "{}", pages[1]);
    let ended = process.stop();
    assert!(
        ended.log.contains("TRACE") && ended.log.contains("SASL"),
        "it says everything"
    );
    let shown = cli::run([
        "config".as_ref(),
        "show".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
    ])
    .succeeded();
    let valid = cli::run([
        "validate".as_ref(),
        "-vv".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
    ])
    .succeeded();
    let told = [
        &ended.log,
        &shown.stdout,
        &shown.stderr,
        &valid.stdout,
        &valid.stderr,
    ];
    for text in told.into_iter().chain(&pages) {
        for secret in [PASSWORD, TOKEN] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "a secret is told");
        }
    }
}
