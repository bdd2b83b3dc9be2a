//! What does not go together, said before anything is started.

use std::collections::BTreeMap;
use std::fmt;

use super::{KafkaSettings, Security, Topics, properties};
use crate::duration::Span;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its key, from the root of the configuration: `kafka.security.sasl`.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Kafka's own bound for the names of topics.
const MAX_NAME: usize = 249;

impl KafkaSettings {
    /// Everything that is wrong with these settings as far as can be told
    /// without a broker and without reading the secret files; empty if nothing.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        problems.bootstrap_servers(&self.bootstrap_servers);
        if self.group_id.trim().is_empty() {
            problems.add("group_id", "must not be empty");
        }
        if let Some(id) = &self.instance_id {
            problems.name("instance_id", id);
        }
        problems.timeouts(self.session_timeout, self.transaction_timeout);
        problems.topics(&self.topics);
        problems.security(&self.security);
        problems.properties("properties", &self.properties);
        problems.properties("consumer_properties", &self.consumer_properties);
        problems.properties("producer_properties", &self.producer_properties);
        problems.0
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Problem {
            key: format!("kafka.{key}"),
            message: message.into(),
        });
    }

    fn bootstrap_servers(&mut self, servers: &str) {
        for server in servers.split(',').map(str::trim) {
            // librdkafka takes `PROTOCOL://` before an address; `security.protocol` says it here.
            let port = server.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let valid =
                port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
            if !valid || server.contains("://") {
                self.add("bootstrap_servers", format!("not HOST:PORT: \"{server}\""));
            }
        }
    }

    fn timeouts(&mut self, session: Span, transaction: Span) {
        let second = Span::from_secs(1);
        if session < second || session > Span::from_secs(30 * 60) {
            self.add(
                "session_timeout",
                format!("must be from 1s to 30m: {session}"),
            );
        }
        if transaction < second || transaction > Span::from_secs(15 * 60) {
            self.add(
                "transaction_timeout",
                format!("must be from 1s to 15m: {transaction}"),
            );
        }
        if transaction > session {
            self.add(
                "transaction_timeout",
                format!(
                    "must not be longer than session_timeout: who takes over after {session} \
                     would have to wait for a transaction that may stay open for {transaction}"
                ),
            );
        }
    }

    fn topics(&mut self, topics: &Topics) {
        let named = [
            ("topics.events", topics.events()),
            ("topics.alerts", topics.alerts()),
            ("topics.current", topics.current()),
            ("topics.dead_letters", topics.dead_letters()),
            ("topics.changelog", topics.changelog()),
        ];
        let mut first_use: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, name) in &named {
            self.name(key, name);
            if let Some(other) = first_use.insert(name, key) {
                self.add(key, format!("the same topic as kafka.{other}: {name}"));
            }
        }
    }

    /// Topics and members are named by the same characters.
    fn name(&mut self, key: &str, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > MAX_NAME || matches!(name, "." | "..") {
            self.add(
                key,
                format!("must have 1 to {MAX_NAME} characters: \"{name}\""),
            );
        } else if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            self.add(
                key,
                format!(
                    "must not contain {bad:?}, only letters, digits, '.', '_', '-': \"{name}\""
                ),
            );
        }
    }

    fn security(&mut self, security: &Security) {
        let protocol = security.protocol;
        if security.tls.is_some() && !protocol.has_tls() {
            let message = format!(
                "has no effect with protocol {}: use ssl or sasl_ssl",
                protocol.as_str()
            );
            self.add("security.tls", message);
        }
        match (&security.sasl, protocol.has_sasl()) {
            (Some(_), false) => {
                let message = format!(
                    "has no effect with protocol {}: use sasl_ssl (or sasl_plaintext)",
                    protocol.as_str()
                );
                self.add("security.sasl", message);
            }
            (None, true) => {
                self.add(
                    "security.sasl",
                    format!("is needed by protocol {}", protocol.as_str()),
                );
            }
            (Some(sasl), true) if sasl.username.is_empty() => {
                self.add("security.sasl.username", "must not be empty");
            }
            _ => {}
        }
        let Some(tls) = &security.tls else { return };
        if tls.certificate_file.is_some() && tls.key_file.is_none() {
            self.add("security.tls.key_file", "is needed by certificate_file");
        }
        if tls.key_file.is_some() && tls.certificate_file.is_none() {
            self.add("security.tls.certificate_file", "is needed by key_file");
        }
        if tls.key_password_file.is_some() && tls.key_file.is_none() {
            self.add(
                "security.tls.key_password_file",
                "has no effect without key_file",
            );
        }
    }

    fn properties(&mut self, section: &str, given: &BTreeMap<String, String>) {
        for name in given.keys() {
            if let Some(reason) = properties::refusal(name) {
                // The value is left out: it may be a secret.
                self.add(
                    &format!("{section}.{name}"),
                    format!("cannot be set: {reason}"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Protocol, Sasl, SaslMechanism, Tls};

    fn problems(change: impl FnOnce(&mut KafkaSettings)) -> Vec<String> {
        let mut settings = KafkaSettings::default();
        change(&mut settings);
        settings.validate().iter().map(Problem::to_string).collect()
    }

    fn only(problems: Vec<String>) -> String {
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.into_iter().next().unwrap()
    }

    fn sasl() -> Sasl {
        Sasl {
            mechanism: SaslMechanism::ScramSha512,
            username: "churnwatch".into(),
            password_file: "/run/secrets/kafka".into(),
        }
    }

    #[test]
    fn the_defaults_have_no_problem() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn refused_properties_are_named_with_their_reason_and_without_their_value() {
        let found = only(problems(|s| {
            s.consumer_properties
                .insert("isolation.level".into(), "read_uncommitted".into());
        }));
        assert!(
            found.starts_with(
                "kafka.consumer_properties.isolation.level: cannot be set: only committed"
            ),
            "{found}"
        );
        let found = only(problems(|s| {
            s.properties
                .insert("sasl.password".into(), "hunter2".into());
        }));
        assert!(
            found.contains("files only") && !found.contains("hunter2"),
            "{found}"
        );
        assert_eq!(
            problems(|s| {
                s.producer_properties.insert("linger.ms".into(), "0".into());
            }),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_transaction_may_not_outlive_the_session() {
        let found = only(problems(|s| s.transaction_timeout = Span::from_secs(31)));
        assert!(
            found.starts_with("kafka.transaction_timeout: must not be longer than session_timeout"),
            "{found}"
        );
        assert_eq!(
            problems(|s| s.transaction_timeout = Span::from_secs(30)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn timeouts_have_bounds() {
        assert_eq!(
            problems(|s| {
                s.session_timeout = Span::from_millis(999);
                s.transaction_timeout = Span::from_millis(999);
            }),
            [
                "kafka.session_timeout: must be from 1s to 30m: 999ms",
                "kafka.transaction_timeout: must be from 1s to 15m: 999ms"
            ]
        );
    }

    #[test]
    fn protocol_and_credentials_must_agree() {
        assert_eq!(
            only(problems(|s| s.security.sasl = Some(sasl()))),
            "kafka.security.sasl: has no effect with protocol plaintext: use sasl_ssl (or sasl_plaintext)"
        );
        assert_eq!(
            only(problems(|s| s.security.protocol = Protocol::SaslSsl)),
            "kafka.security.sasl: is needed by protocol sasl_ssl"
        );
        assert_eq!(
            only(problems(|s| s.security.tls = Some(Tls::default()))),
            "kafka.security.tls: has no effect with protocol plaintext: use ssl or sasl_ssl"
        );
        let complete = problems(|s| {
            s.security = Security {
                protocol: Protocol::SaslSsl,
                tls: Some(Tls::default()),
                sasl: Some(sasl()),
            };
        });
        assert_eq!(complete, Vec::<String>::new());
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let tls = |tls: Tls| {
            only(problems(|s| {
                s.security.protocol = Protocol::Ssl;
                s.security.tls = Some(tls);
            }))
        };
        let found = tls(Tls {
            certificate_file: Some("c.pem".into()),
            ..Tls::default()
        });
        assert_eq!(
            found,
            "kafka.security.tls.key_file: is needed by certificate_file"
        );
        let found = tls(Tls {
            key_file: Some("k.pem".into()),
            ..Tls::default()
        });
        assert_eq!(
            found,
            "kafka.security.tls.certificate_file: is needed by key_file"
        );
        let found = tls(Tls {
            key_password_file: Some("p".into()),
            ..Tls::default()
        });
        assert_eq!(
            found,
            "kafka.security.tls.key_password_file: has no effect without key_file"
        );
    }

    #[test]
    fn brokers_are_host_and_port() {
        for servers in [
            "",
            "broker",
            "broker:",
            ":9092",
            "broker:0",
            "broker:70000",
            "a:1,,b:2",
            "ssl://a:1",
        ] {
            assert!(
                !problems(|s| s.bootstrap_servers = servers.into()).is_empty(),
                "{servers}"
            );
        }
        for servers in ["a:1", "a:1,b:2", "a:1, b:2", "[::1]:9092"] {
            assert_eq!(
                problems(|s| s.bootstrap_servers = servers.into()),
                Vec::<String>::new(),
                "{servers}"
            );
        }
    }

    #[test]
    fn names_are_what_kafka_takes() {
        assert!(
            only(problems(|s| s.instance_id = Some("node a".into())))
                .contains("must not contain ' '")
        );
        assert!(
            only(problems(|s| s.topics.events = "churn/events".into()))
                .contains("must not contain '/'")
        );
        assert!(only(problems(|s| s.group_id = " ".into())).contains("must not be empty"));
        let found = only(problems(|s| s.topics.alerts = s.topics.current.clone()));
        assert_eq!(
            found,
            "kafka.topics.current: the same topic as kafka.topics.alerts: churn.alerts.current.v1"
        );
    }
}
