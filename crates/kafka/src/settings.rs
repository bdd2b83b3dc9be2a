//! Everything a user can say about Kafka: the `kafka` section of the
//! configuration file. A field's doc comment is its manual entry.
//!
//! [`KafkaSettings`] is plain data. [`KafkaSettings::validate`] says what does
//! not go together before anything is started; the passwords behind
//! [`Security`] are read from their files only when a client is made, and are
//! never part of the settings.

mod properties;
mod security;
mod validate;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

pub use properties::ClientKind;
pub use security::{Protocol, Sasl, SaslMechanism, Secret, SecretError, Security, Tls};
pub use validate::Problem;

/// How to reach Kafka, and under which names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    /// Brokers to start from, `HOST:PORT`, separated by commas. The others are found from them.
    pub bootstrap_servers: String,
    /// The consumer group. All processes that share the work have the same; two detectors that
    /// must not know of each other have different ones.
    pub group_id: String,
    /// Name of this process within the group: letters, digits, `.`, `_` and `-`. Default: the
    /// host's name.
    ///
    /// It must be the same after a restart and different between processes. With it a restarted
    /// process gets its partitions back without a rebalance, and ends its own unfinished
    /// transaction at once instead of letting readers wait for the time-out. Two processes with
    /// the same name throw each other out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Whether the group keeps a process's partitions for it while it is away for less than
    /// `session_timeout`. Default `true`: a restart moves nothing.
    ///
    /// With `false` a process that ends in good order gives its partitions to the others at
    /// once; each start and end moves partitions. For processes that come and go, such as those
    /// of an autoscaler. `instance_id` must differ between processes all the same.
    pub static_membership: bool,
    /// Names of the topics.
    pub topics: Topics,
    /// Encryption and authentication.
    pub security: Security,
    /// How long a process may be silent before its partitions go to others. From 1 s to 30 min;
    /// the broker has bounds of its own (`group.min.session.timeout.ms`). Default 30 s: longer
    /// than a restart, so that a restart moves nothing.
    pub session_timeout: Span,
    /// How long a transaction may stay open before the broker aborts it. From 1 s to 15 min,
    /// and not longer than `session_timeout`, since who takes a dead process's partitions over
    /// has to wait for it. Default 15 s: longer than the worst pause of a broker, short enough
    /// that readers of committed data do not hang.
    pub transaction_timeout: Span,
    /// Properties of librdkafka for every client, by their own names. Those that would break
    /// what Churnwatch promises are refused.
    pub properties: BTreeMap<String, String>,
    /// Properties of librdkafka for consumers only; they win over `properties`.
    pub consumer_properties: BTreeMap<String, String>,
    /// Properties of librdkafka for producers only; they win over `properties`.
    pub producer_properties: BTreeMap<String, String>,
    /// Memory of the clients' queues: not configured, derived from the memory
    /// of the process.
    #[serde(skip)]
    pub queues: Queues,
}

/// Memory of the queues of each client, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Records fetched ahead by a consumer: that of the log, and that of the
    /// changelog. Default 32 MiB.
    pub fetched_bytes: usize,
    /// Records that a producer has not sent. Default 128 MiB.
    pub unsent_bytes: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            fetched_bytes: 32 << 20,
            unsent_bytes: 128 << 20,
        }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".into(),
            group_id: "churnwatch".into(),
            instance_id: None,
            static_membership: true,
            topics: Topics::default(),
            security: Security::default(),
            session_timeout: Span::from_secs(30),
            transaction_timeout: Span::from_secs(15),
            properties: BTreeMap::new(),
            consumer_properties: BTreeMap::new(),
            producer_properties: BTreeMap::new(),
            queues: Queues::default(),
        }
    }
}

impl KafkaSettings {
    /// The name of this process within the group: as given, else the host's.
    pub fn instance(&self) -> String {
        match &self.instance_id {
            Some(given) => given.clone(),
            None => host_name(),
        }
    }

    /// `group.instance.id` of a worker: static membership, kept over a restart.
    pub fn member_name(&self, worker: usize) -> String {
        format!("{}-{worker}", self.instance())
    }

    /// `transactional.id` of a worker. It is fixed per worker slot, so that a
    /// new incarnation fences the old one.
    pub fn transactional_id(&self, worker: usize) -> String {
        format!("{}-{}-{worker}", self.group_id, self.instance())
    }
}

/// The host's name, with what Kafka would not take in a name replaced.
fn host_name() -> String {
    let name = gethostname::gethostname();
    let name: String = name
        .to_string_lossy()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    if name.is_empty() {
        "localhost".into()
    } else {
        name
    }
}

/// Names of the topics. The full name is `prefix` followed by the topic's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Put before every name, such as `staging.`. Default: nothing.
    pub prefix: String,
    /// The log of canonical events, keyed by account.
    pub events: String,
    /// Every transition of every alert.
    pub alerts: String,
    /// What is open now, compacted.
    pub current: String,
    /// Records that could not be used, as they came.
    pub dead_letters: String,
    /// The state's changelog, compacted; with as many partitions as `events`.
    pub changelog: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            events: "churn.events.v1".into(),
            alerts: "churn.alerts.v1".into(),
            current: "churn.alerts.current.v1".into(),
            dead_letters: "churn.dead-letters.v1".into(),
            changelog: "churnwatch.state".into(),
        }
    }
}

impl Topics {
    /// Full name of the log of events.
    pub fn events(&self) -> String {
        self.full(&self.events)
    }

    /// Full name of the alerts' history.
    pub fn alerts(&self) -> String {
        self.full(&self.alerts)
    }

    /// Full name of the topic of open alerts.
    pub fn current(&self) -> String {
        self.full(&self.current)
    }

    /// Full name of the dead letters' topic.
    pub fn dead_letters(&self) -> String {
        self.full(&self.dead_letters)
    }

    /// Full name of the changelog.
    pub fn changelog(&self) -> String {
        self.full(&self.changelog)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error =
            serde_json::from_str::<KafkaSettings>(r#"{"bootstrap_server": "a:1"}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("unknown field `bootstrap_server`"),
            "{error}"
        );
        let error =
            serde_json::from_str::<KafkaSettings>(r#"{"topics": {"event": "x"}}"#).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `event`"),
            "{error}"
        );
    }

    #[test]
    fn names_are_derived_from_group_instance_and_worker() {
        let settings = KafkaSettings {
            group_id: "cw".into(),
            instance_id: Some("node-a".into()),
            ..KafkaSettings::default()
        };
        assert_eq!(settings.member_name(2), "node-a-2");
        assert_eq!(settings.transactional_id(2), "cw-node-a-2");
    }

    #[test]
    fn without_an_instance_id_the_host_names_the_process() {
        let settings = KafkaSettings::default();
        assert!(!settings.instance().is_empty());
        assert_eq!(settings.instance(), settings.instance());
        assert_eq!(settings.validate(), []);
    }

    #[test]
    fn the_prefix_stands_before_every_topic() {
        let topics = Topics {
            prefix: "staging.".into(),
            ..Topics::default()
        };
        assert_eq!(topics.events(), "staging.churn.events.v1");
        assert_eq!(topics.alerts(), "staging.churn.alerts.v1");
        assert_eq!(topics.current(), "staging.churn.alerts.current.v1");
        assert_eq!(topics.dead_letters(), "staging.churn.dead-letters.v1");
        assert_eq!(topics.changelog(), "staging.churnwatch.state");
    }

    #[test]
    fn what_is_written_reads_back() {
        let settings = KafkaSettings {
            session_timeout: Span::from_secs(45),
            properties: [("client.rack".to_owned(), "a".to_owned())].into(),
            ..KafkaSettings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<KafkaSettings>(&text).unwrap(),
            settings
        );
    }
}
