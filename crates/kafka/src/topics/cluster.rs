//! Looking topics up on the brokers, and making them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::spec::TopicSpec;
use crate::client::{ClientError, admin_config, explained, log_line};
use crate::settings::KafkaSettings;

/// How long one question to the brokers may take. A process that waits for its
/// broker asks again and again, and must end soon when it is told to.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long a broker that does not answer may take to say that we are not let in.
const KNOCK_TIME: Duration = Duration::from_secs(2);

/// Why topics could not be looked up or made.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// A setting or a secret file cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody answers at the addresses given.
    #[error("no broker answers at {servers}: {reason}")]
    Unreachable {
        /// `kafka.bootstrap_servers`.
        servers: String,
        /// librdkafka's words.
        reason: String,
    },
    /// A broker answers, and says no.
    #[error("topic {topic}: {doing}: {reason}")]
    Refused {
        /// The topic's full name.
        topic: String,
        /// What was asked.
        doing: &'static str,
        /// librdkafka's words.
        reason: String,
    },
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) partitions: i32,
    /// Copies of the partition that has the fewest.
    pub(super) replication: i32,
    /// Copies in step of the partition that has the fewest; 0 for one without a
    /// leader.
    pub(super) in_step: i32,
    /// Every setting in force, by Kafka's names.
    pub(super) config: BTreeMap<String, String>,
}

#[cfg(test)]
impl Found {
    /// As specified.
    pub(super) fn like(spec: &TopicSpec) -> Self {
        Self {
            partitions: spec.partitions,
            replication: spec.replication,
            in_step: spec.replication,
            config: spec
                .config
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        }
    }
}

/// A connection for looking after topics.
pub(super) struct Cluster {
    admin: AdminClient<AdminContext>,
    servers: String,
    settings: KafkaSettings,
}

/// The name under which the clients of this file log.
const CLIENT: &str = "kafka-admin";

struct AdminContext;

impl ClientContext for AdminContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(CLIENT, level, facility, message);
    }
}

/// Keeps why the brokers do not let us in: a question that gets no answer does
/// not say it, and an admin client hands on no errors. A consumer does.
#[derive(Default)]
struct DoorContext {
    not_let_in: Mutex<Option<String>>,
}

impl ClientContext for DoorContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(CLIENT, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code @ (Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)) =
            error.rdkafka_error_code()
        {
            *self.kept() = Some(explained(code, reason));
        }
    }
}

impl ConsumerContext for DoorContext {}

impl DoorContext {
    fn kept(&self) -> MutexGuard<'_, Option<String>> {
        self.not_let_in
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knocks, and gives why we are not let in; `None` where nobody says so.
fn why_not_let_in(settings: &KafkaSettings) -> Option<String> {
    let config = admin_config(settings).ok()?;
    let consumer: BaseConsumer<DoorContext> =
        config.create_with_context(DoorContext::default()).ok()?;
    let until = Instant::now() + KNOCK_TIME;
    while Instant::now() < until {
        // No topic is subscribed to: only what is wrong with the connection can come.
        let _ = consumer.poll(Duration::from_millis(50));
        let said = consumer.context().kept().take();
        if said.is_some() {
            return said;
        }
    }
    None
}

impl Cluster {
    pub(super) fn connect(settings: &KafkaSettings) -> Result<Self, TopicsError> {
        let admin = admin_config(settings)?
            .create_with_context(AdminContext)
            .map_err(ClientError::from)?;
        Ok(Self {
            admin,
            servers: settings.bootstrap_servers.clone(),
            settings: settings.clone(),
        })
    }

    /// Those of the named topics that exist.
    pub(super) fn describe<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<BTreeMap<String, Found>, TopicsError> {
        // All topics, because asking for one by its name can bring it into being.
        let metadata = self
            .admin
            .inner()
            .fetch_metadata(None, ANSWER_TIME)
            .map_err(|error| self.unreachable(&error))?;
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for topic in metadata.topics() {
            if topic.error().is_some() || !names.clone().any(|name| name == topic.name()) {
                continue;
            }
            let copies = topic
                .partitions()
                .iter()
                .map(|partition| partition.replicas().len());
            let in_step = topic.partitions().iter().map(|partition| {
                let has_leader = partition.leader() >= 0 && partition.error().is_none();
                if has_leader { partition.isr().len() } else { 0 }
            });
            let topic_found = Found {
                partitions: topic.partitions().len() as i32,
                replication: copies.min().unwrap_or(0) as i32,
                in_step: in_step.min().unwrap_or(0) as i32,
                config: BTreeMap::new(),
            };
            found.insert(topic.name().to_owned(), topic_found);
        }
        if found.is_empty() {
            return Ok(found);
        }
        // The brokers' own topics have settings that we need no right to read.
        let asked: Vec<String> = found
            .keys()
            .filter(|name| !name.starts_with("__"))
            .cloned()
            .collect();
        let resources: Vec<_> = asked
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        if resources.is_empty() {
            return Ok(found);
        }
        let configs = pollster::block_on(self.admin.describe_configs(&resources, &options()))
            .map_err(|error| self.unreachable(&error))?;
        for (topic, config) in asked.into_iter().zip(configs) {
            let unseen = |reason: String| TopicsError::Refused {
                topic: topic.clone(),
                doing: "reading its settings",
                reason,
            };
            let config = config.map_err(|code| unseen(code.to_string()))?;
            // rdkafka drops the broker's refusal of a single topic: what is left has no entries.
            if config.entries.is_empty() {
                let reason = "give the user the right to `DescribeConfigs` on it";
                return Err(unseen(reason.to_owned()));
            }
            // Answers stand in the order of the questions; named all the same.
            let OwnedResourceSpecifier::Topic(name) = config.specifier else {
                continue;
            };
            if let Some(topic) = found.get_mut(&name) {
                let entries = config.entries.into_iter();
                topic.config = entries
                    .filter_map(|entry| Some((entry.name, entry.value?)))
                    .collect();
            }
        }
        Ok(found)
    }

    /// Settings of a broker, by Kafka's names; none where we may not ask.
    pub(super) fn broker_settings(&self) -> Result<BTreeMap<String, String>, TopicsError> {
        let metadata = self
            .admin
            .inner()
            .fetch_metadata(None, ANSWER_TIME)
            .map_err(|error| self.unreachable(&error))?;
        let Some(broker) = metadata.brokers().first() else {
            return Ok(BTreeMap::new());
        };
        let broker = ResourceSpecifier::Broker(broker.id());
        let configs = pollster::block_on(self.admin.describe_configs([&broker], &options()))
            .map_err(|error| self.unreachable(&error))?;
        let entries = configs.into_iter().filter_map(|config| match config {
            Ok(config) => Some(config.entries),
            Err(code) => {
                tracing::debug!(%code, "the settings of the brokers cannot be read");
                None
            }
        });
        let entries = entries.flatten();
        Ok(entries
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect())
    }

    /// Makes a topic, or asks whether it could be made.
    pub(super) fn create(&self, spec: &TopicSpec, dry_run: bool) -> Result<(), TopicsError> {
        let replication = TopicReplication::Fixed(spec.replication);
        let mut topic = NewTopic::new(&spec.name, spec.partitions, replication);
        for (setting, value) in &spec.config {
            topic = topic.set(setting, value);
        }
        let options = options().validate_only(dry_run);
        let results =
            pollster::block_on(self.admin.create_topics([&topic], &options)).map_err(|error| {
                match error {
                    // librdkafka does not even ask.
                    KafkaError::AdminOpCreation(reason) => TopicsError::Refused {
                        topic: spec.name.clone(),
                        doing: "creating it",
                        reason,
                    },
                    error => self.unreachable(&error),
                }
            })?;
        for result in results {
            result.map_err(|(topic, code)| TopicsError::Refused {
                topic,
                doing: "creating it",
                reason: code.to_string(),
            })?;
        }
        Ok(())
    }

    fn unreachable(&self, error: &KafkaError) -> TopicsError {
        let not_let_in = why_not_let_in(&self.settings);
        TopicsError::Unreachable {
            servers: self.servers.clone(),
            reason: not_let_in.unwrap_or_else(|| error.to_string()),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER_TIME))
        .operation_timeout(Some(ANSWER_TIME))
}
