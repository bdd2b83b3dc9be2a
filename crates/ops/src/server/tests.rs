//! The real server over loopback, spoken to in plain HTTP/1.1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::*;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Longest that a test waits for the network: only a broken server makes it wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a runtime of its own, stopped and awaited by [`Running::stop`].
struct Running {
    runtime: Runtime,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    fn start(settings: Settings, shown: Shown) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut server = runtime.block_on(Server::bind(settings, shown)).unwrap();
        server.drain = Duration::from_millis(20);
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(server.serve(async move {
            let _ = stopped.await;
        }));
        Self {
            runtime,
            address,
            stop,
            serving,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    /// Sends one request with `headers` (each ended by CRLF) and reads to the end of the answer.
    fn request(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Asks the server to stop and waits until it has.
    fn stop(self) {
        self.stop.send(()).unwrap();
        let serving = self.serving;
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, serving).await });
        ended.expect("the server should stop when asked").unwrap();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn settings() -> Settings {
    Settings {
        address: ANY_PORT,
        max_heartbeat_age: Duration::from_secs(30),
        token: None,
    }
}

fn shown() -> Shown {
    Shown {
        metrics: Arc::new(Metrics::new("1.2.3")),
        health: Health::new(),
        views: None,
    }
}

struct OneAccount;

impl Views for OneAccount {
    fn account(&self, account_id: &str) -> Option<Value> {
        match account_id {
            "acme/eu 1" => Some(json!({"account_id": account_id, "open_alerts": 1})),
            "broken" => panic!("a view that fails"),
            _ => None,
        }
    }

    fn alerts(&self) -> Vec<Value> {
        vec![json!({"signal": "usage_drop"})]
    }
}

#[test]
fn metrics_are_served_in_the_text_format() {
    let shown = shown();
    shown.metrics.duplicates_total.inc_by(41);
    let server = Running::start(settings(), shown.clone());
    shown.metrics.duplicates_total.inc();
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    assert!(
        answer.body.contains("\nchurnwatch_duplicates_total 42\n"),
        "{}",
        answer.body
    );
    server.stop();
}

#[test]
fn livez_fails_only_when_a_worker_stalls_and_names_it() {
    let shown = shown();
    shown
        .health
        .set_cause("kafka", Some("no broker answers".to_owned()));
    // With no age allowed, a beat of now is too old at once and one of the next hour is not.
    let settings = Settings {
        max_heartbeat_age: Duration::ZERO,
        ..settings()
    };
    let server = Running::start(settings, shown.clone());
    assert_eq!(server.get("/livez").status, 200);

    shown.health.beat("detect-1", Instant::now());
    let answer = server.get("/livez");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["stalled"][0]["worker"], "detect-1");

    let next_hour = Instant::now() + Duration::from_secs(3_600);
    shown.health.beat("detect-1", next_hour);
    assert_eq!(server.get("/livez").status, 200);
    server.stop();
}

#[test]
fn readyz_lists_the_causes_until_they_are_gone() {
    let shown = shown();
    shown
        .health
        .set_cause("kafka", Some("no broker answers".to_owned()));
    let server = Running::start(settings(), shown.clone());
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.head.contains("content-type: application/json"),
        "{}",
        answer.head
    );
    assert_eq!(
        answer.body,
        r#"{"ready":false,"causes":[{"component":"kafka","cause":"no broker answers"}]}"#
    );

    shown.health.set_cause("kafka", None);
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"ready":true,"causes":[]}"#);
    server.stop();
}

#[test]
fn the_index_links_to_every_page_that_has_no_parameter() {
    let server = Running::start(
        settings(),
        Shown {
            views: Some(Arc::new(OneAccount)),
            ..shown()
        },
    );
    let index = server.get("/");
    assert_eq!(index.status, 200);
    let links: Vec<&str> = index
        .body
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(links, ["/metrics", "/livez", "/readyz", "/alerts"]);
    for link in links {
        assert_eq!(server.get(link).status, 200, "{link}");
    }
    server.stop();
}

#[test]
fn accounts_and_alerts_are_shown_when_a_view_is_wired() {
    let server = Running::start(
        settings(),
        Shown {
            views: Some(Arc::new(OneAccount)),
            ..shown()
        },
    );
    let account = server.get("/accounts/acme%2Feu%201");
    assert_eq!(account.status, 200);
    assert_eq!(
        account.json(),
        json!({"account_id": "acme/eu 1", "open_alerts": 1})
    );
    assert_eq!(
        server.get("/alerts").json(),
        json!({"alerts": [{"signal": "usage_drop"}]})
    );

    let unknown = server.get("/accounts/nobody");
    assert_eq!(unknown.status, 404);
    assert_eq!(
        unknown.json(),
        json!({"error": "this process holds no account of that id"})
    );
    assert_eq!(server.get("/accounts/%FF").status, 400);
    server.stop();
}

#[test]
fn without_a_view_accounts_and_alerts_say_so() {
    let server = Running::start(settings(), shown());
    for path in ["/accounts/acme", "/alerts"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(
            answer.json(),
            json!({"error": "this process shows no accounts and no alerts"}),
            "{path}"
        );
    }
    server.stop();
}

#[test]
fn a_view_that_panics_is_an_error_of_that_request_alone() {
    let server = Running::start(
        settings(),
        Shown {
            views: Some(Arc::new(OneAccount)),
            ..shown()
        },
    );
    assert_eq!(server.get("/accounts/broken").status, 500);
    assert_eq!(server.get("/alerts").status, 200);
    server.stop();
}

#[test]
fn unknown_pages_and_methods_that_change_things_are_refused() {
    let server = Running::start(settings(), shown());
    let answer = server.get("/nothing");
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json(),
        json!({"error": "no such page; / lists them"})
    );
    for path in ["/metrics", "/livez", "/readyz", "/alerts", "/accounts/acme"] {
        for method in ["POST", "PUT", "DELETE"] {
            let answer = server.request(method, path, "Content-Length: 0\r\n");
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    server.stop();
}

#[test]
fn with_a_token_only_the_probes_are_open() {
    let token = BearerToken::new("s3cret\n").unwrap();
    let settings = Settings {
        token: Some(token),
        ..settings()
    };
    let server = Running::start(
        settings,
        Shown {
            views: Some(Arc::new(OneAccount)),
            ..shown()
        },
    );
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/", "/metrics", "/alerts", "/accounts/nobody", "/nothing"] {
        let refused = server.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(
            refused.head.contains("www-authenticate: bearer"),
            "{}",
            refused.head
        );
        let wrong = server.request("GET", path, "Authorization: Bearer s3creT\r\n");
        assert_eq!(wrong.status, 401, "{path}");
        assert_eq!(
            server.request("POST", path, "Content-Length: 0\r\n").status,
            401,
            "{path}"
        );
    }
    for (path, status) in [
        ("/", 200),
        ("/metrics", 200),
        ("/alerts", 200),
        ("/nothing", 404),
    ] {
        let answer = server.request("GET", path, "Authorization: Bearer s3cret\r\n");
        assert_eq!(answer.status, status, "{path}");
    }
    server.stop();
}

#[test]
fn a_taken_port_is_refused_with_the_address() {
    let first = Running::start(settings(), shown());
    let settings = Settings {
        address: first.address,
        ..settings()
    };
    let second = first.runtime.block_on(Server::bind(settings, shown()));
    let Err(error) = second else {
        panic!("two servers on one port");
    };
    assert!(matches!(error, OpsError::AddressTaken { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot serve metrics and health, the address is taken; stop what listens there or choose another: {}",
            first.address
        )
    );
    first.stop();
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let runtime = Runtime::new().unwrap();
    // From the block that is reserved for documentation.
    let address = SocketAddr::from(([192, 0, 2, 1], 9464));
    let bound = runtime.block_on(Server::bind(
        Settings {
            address,
            ..settings()
        },
        shown(),
    ));
    let Err(error) = bound else {
        panic!("bound an address that is not ours");
    };
    assert!(matches!(error, OpsError::Bind { .. }), "{error:?}");
    assert!(error.to_string().ends_with(": 192.0.2.1:9464"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn after_a_stop_the_port_is_free_again() {
    let first = Running::start(settings(), shown());
    let address = first.address;
    assert_eq!(first.get("/livez").status, 200);
    first.stop();
    let second = Running::start(
        Settings {
            address,
            ..settings()
        },
        shown(),
    );
    assert_eq!(second.get("/livez").status, 200);
    second.stop();
}

#[test]
fn a_client_that_never_ends_its_request_does_not_hold_up_the_stop() {
    let server = Running::start(settings(), shown());
    let mut half = server.connect();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
    // Answered after the half request was accepted, so that one is really under way.
    assert_eq!(server.get("/livez").status, 200);
    server.stop();
}
