//! What the tests have in common: one broker that is reached through proxies,
//! and a log that is fed in pieces.

use std::{
    ops::Deref,
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use churnwatch_core::{EventTime, Rules, time::DAY_MS};
use churnwatch_testkit::{
    broker::{self, Deployment, Group, LIMIT, Outgoing, Process},
    private_broker::{BrokerOptions, Listener, PrivateBroker},
    proxy::Proxy,
    world::World,
};
use serde_json::{Value, json};

/// Pieces in which the log is fed.
const PIECES: usize = 8;
const PARTITIONS: u32 = 2;

/// After this long the broker aborts a transaction, and within twice this long
/// a commit answers.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(2);

/// One deployment, and the log as far as it is fed.
pub(crate) struct Scene {
    pub(crate) deployment: Deployment,
    pub(crate) group: Group,
    log: Vec<Outgoing>,
    fed: usize,
    /// The broker, where it is this scene's own.
    broker: Option<PrivateBroker>,
}

impl Scene {
    /// On the broker that all suites share.
    pub(crate) fn on_the_shared_broker(name: &str) -> Self {
        Self::on(&broker::bootstrap(), name)
    }

    /// Makes its topics on the broker at `bootstrap`.
    pub(crate) fn on(bootstrap: &str, name: &str) -> Self {
        let deployment = Deployment::on(bootstrap, name, PARTITIONS);
        Self {
            group: deployment.group(),
            deployment,
            log: log(),
            fed: 0,
            broker: None,
        }
    }

    /// Keeps its broker until the end.
    pub(crate) fn hold(&mut self, broker: PrivateBroker) {
        self.broker = Some(broker);
    }

    /// Feeds the next piece of the log.
    pub(crate) fn feed(&mut self) {
        let until = (self.fed + self.log.len().div_ceil(PIECES)).min(self.log.len());
        assert!(self.fed < until, "the log is fed already");
        self.deployment.produce(&self.log[self.fed..until]);
        self.fed = until;
    }

    /// Feeds the next piece, and waits until it is committed.
    #[track_caller]
    pub(crate) fn feed_and_wait(&mut self, process: &mut Process) {
        self.feed();
        self.deployment.wait_until_read(&mut [process]);
    }

    /// Feeds what is left, stops the process, and compares all that is left
    /// behind with an undisturbed run.
    #[track_caller]
    pub(crate) fn conclude(mut self, mut process: Process, run: &str) {
        self.deployment.produce(&self.log[self.fed..]);
        self.fed = self.log.len();
        self.deployment.wait_until_read(&mut [&mut process]);
        process.wait_until_ready();
        let said = process.stop().log;
        let found = World::committed(&self.deployment);
        let expected = World::expected(&self.deployment, &Rules::default(), &found);
        let compared = found.check(&expected).unwrap_or_else(|difference| {
            println!("{said}");
            panic!("{run}: {difference}")
        });
        assert!(compared.alerts > 0, "{run}: no alert, which proves nothing");
        assert!(compared.dead_letters > 0, "{run}: no dead letter");
        println!("{run}: {compared}");
    }

    /// As [`Scene::conclude`], where something has to be wrong: gives what.
    #[track_caller]
    pub(crate) fn conclude_with_a_difference(mut self, mut process: Process) -> String {
        self.deployment.produce(&self.log[self.fed..]);
        self.fed = self.log.len();
        self.deployment.wait_until_read(&mut [&mut process]);
        process.stop();
        let found = World::committed(&self.deployment);
        let expected = World::expected(&self.deployment, &Rules::default(), &found);
        match found.check(&expected) {
            Ok(compared) => panic!("the check finds nothing wrong in {compared}"),
            Err(difference) => difference.what,
        }
    }
}

/// Settings of a detector that reaches its broker at `bootstrap`, makes many
/// small commits, and waits for nothing for long.
pub(crate) fn settings(bootstrap: &str) -> Value {
    json!({
        "kafka": {
            "bootstrap_servers": bootstrap,
            "session_timeout": "2s",
            "transaction_timeout": "2s",
        },
        "detect": {"max_records": 200, "commit_interval": "100ms", "min_commit_interval": "100ms"},
    })
}

/// The accounts of the log.
const ACCOUNTS: i64 = 24;

/// Accounts that work every day, fall silent one after the other and come back
/// later, with records in between that nobody can read. At the end time stands
/// still in both partitions.
fn log() -> Vec<Outgoing> {
    let first = EventTime::parse("2024-01-01T12:00:00Z").expect("a time");
    let mut log = Vec::new();
    for day in 0..150 {
        let time = first.plus_millis(day * DAY_MS);
        for account in 0..ACCOUNTS {
            let silent_from = 60 + 2 * account;
            if (silent_from..silent_from + 30).contains(&day) {
                continue;
            }
            for user in 0..3 {
                log.push(Outgoing::event(&format!(
                    r#"{{"kind":"usage","account_id":"account-{account}","time":"{time}","feature":"report","user_id":"u{user}"}}"#
                )));
            }
            if (day + account) % 8 == 0 {
                log.push(Outgoing {
                    key: Some(format!("account-{account}").into_bytes()),
                    value: Some(b"{broken".to_vec()),
                    ..Outgoing::default()
                });
            }
        }
    }
    let last = first.plus_millis(150 * DAY_MS);
    let partitions = i32::try_from(PARTITIONS).expect("few partitions");
    log.extend((0..partitions).map(|partition| Outgoing::clock(partition, last)));
    log
}

/// Waits until the process says that it is not ready, and why in one of these
/// words. It has to live on, and to say so.
#[track_caller]
pub(crate) fn wait_until_it_says(process: &mut Process, words: &[&str]) -> String {
    let mut last = (0, String::new());
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        process.expect_alive();
        assert_eq!(
            process.get("/livez").0,
            200,
            "a broker that is away is no reason for a restart"
        );
        last = process.get("/readyz");
        if last.0 == 503 && words.iter().any(|word| last.1.contains(word)) {
            return last.1;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!(
        "/readyz never said any of {words:?} but {last:?}\n{}",
        process.last_said()
    );
}

/// A way to the shared broker, to be made as bad as a test wants.
pub(crate) struct Way {
    proxy: Option<Proxy>,
}

/// The broker that all tests share which do it no harm itself.
struct Shared {
    broker: PrivateBroker,
    /// A listener of the broker leads through each of them.
    free: Mutex<Vec<Proxy>>,
    given_back: Condvar,
}

/// Tests beyond this number wait for each other.
const WAYS: usize = 6;

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let proxies: Vec<Proxy> = (0..WAYS).map(|_| Proxy::new()).collect();
        let listener = |(index, proxy): (usize, &Proxy)| Listener {
            name: format!("PROXY{index}"),
            protocol: "PLAINTEXT".to_owned(),
            advertised: Some(proxy.address()),
        };
        let settings = [
            ("num.network.threads", "1"),
            // Transactions that timed out stay open, so that a test can look at what hangs on them.
            (
                "transaction.abort.timed.out.transaction.cleanup.interval.ms",
                "600000",
            ),
        ];
        let broker = PrivateBroker::start(&BrokerOptions {
            listeners: proxies.iter().enumerate().map(listener).collect(),
            settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..BrokerOptions::default()
        });
        for (index, proxy) in proxies.iter().enumerate() {
            proxy.lead_to(broker.address(&format!("PROXY{index}")));
        }
        Shared {
            broker,
            free: Mutex::new(proxies),
            given_back: Condvar::new(),
        }
    })
}

impl Way {
    /// One that nobody else uses.
    pub(crate) fn new() -> Self {
        let shared = shared();
        let free = shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = shared.given_back.wait_while(free, |free| free.is_empty());
        let proxy = free.unwrap_or_else(PoisonError::into_inner).pop();
        Self { proxy }
    }

    /// A scene on the broker that it leads to.
    pub(crate) fn scene(&self, name: &str) -> Scene {
        Scene::on(shared().broker.bootstrap(), name)
    }

    /// Settings of a detector that goes this way.
    pub(crate) fn settings(&self) -> Value {
        settings(&self.address())
    }
}

impl Deref for Way {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        self.proxy.as_ref().expect("it is there until the end")
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let shared = shared();
        if let Some(proxy) = self.proxy.take() {
            proxy.restore();
            let free = shared.free.lock();
            free.unwrap_or_else(PoisonError::into_inner).push(proxy);
            shared.given_back.notify_one();
        }
    }
}
