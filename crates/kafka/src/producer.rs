//! A plain producer of canonical events, for generators and demos.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};

use crate::client::{ClientError, Connection, Reporting, event_producer_config, log_line};
use crate::group::lock;
use crate::outgoing::Outgoing;
use crate::settings::KafkaSettings;
use crate::transaction::Tag;

/// How long delivery reports are waited for while the queue is full.
const FULL_WAIT: Duration = Duration::from_millis(10);
/// How long a full queue is waited for.
const FULL_LIMIT: Duration = Duration::from_secs(30);

/// Writes events to the log, keyed by account, each once and in order.
pub struct EventProducer {
    producer: BaseProducer<EventContext>,
    topic: String,
    sent: u64,
}

/// An event did not reach the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("events could not be written to {topic}: {reason}")]
pub struct ProduceError {
    /// The log.
    pub topic: String,
    /// Why, in librdkafka's words.
    pub reason: String,
}

struct EventContext {
    connection: Connection,
    failure: Mutex<Option<String>>,
}

impl ClientContext for EventContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(self.connection.name(), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.error(&error, reason);
    }
}

impl ProducerContext for EventContext {
    type DeliveryOpaque = Tag;

    fn delivery(&self, result: &DeliveryResult<'_>, _: Tag) {
        match result {
            Ok(_) => self.connection.works(),
            Err((error, _)) => {
                lock(&self.failure).get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl EventProducer {
    /// Connects in the background.
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(settings: &KafkaSettings, reporting: &Reporting) -> Result<Self, ClientError> {
        let connection = Connection::new("kafka-events".into(), reporting.health.clone());
        let context = EventContext {
            connection,
            failure: Mutex::default(),
        };
        let producer = event_producer_config(settings)?.create_with_context(context)?;
        Ok(Self {
            producer,
            topic: settings.topics.events(),
            sent: 0,
        })
    }

    /// Takes an event over; it is on its way when this returns. Waits while
    /// the queue is full.
    ///
    /// # Errors
    /// When the queue stays full for 30 s, or an earlier event was not delivered.
    pub fn send(&mut self, account_id: &str, value: &[u8]) -> Result<(), ProduceError> {
        let record = Outgoing {
            topic: &self.topic,
            key: Some(account_id.as_bytes()),
            value: Some(value),
            ..Outgoing::default()
        };
        let until = Instant::now() + FULL_LIMIT;
        let wait = || {
            self.producer.poll(FULL_WAIT);
            Instant::now() < until
        };
        record
            .send(&self.producer, wait)
            .map_err(|error| self.failed(error.to_string()))?;
        self.sent += 1;
        // Reports are taken now and then, so that they do not pile up.
        if self.sent.is_multiple_of(256) {
            self.producer.poll(Duration::ZERO);
            self.check()?;
        }
        Ok(())
    }

    /// Waits until every event is on the brokers, and gives their number since
    /// the start.
    ///
    /// # Errors
    /// When one was not delivered, or not all were within `timeout`.
    pub fn flush(&mut self, timeout: Duration) -> Result<u64, ProduceError> {
        self.producer
            .flush(timeout)
            .map_err(|error| self.failed(error.to_string()))?;
        self.check()?;
        Ok(self.sent)
    }

    fn check(&self) -> Result<(), ProduceError> {
        match lock(&self.producer.context().failure).clone() {
            Some(reason) => Err(self.failed(reason)),
            None => Ok(()),
        }
    }

    fn failed(&self, reason: String) -> ProduceError {
        ProduceError {
            topic: self.topic.clone(),
            reason,
        }
    }
}
