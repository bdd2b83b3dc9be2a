//! Clock records for idle partitions.
//!
//! They are written outside of any transaction: a transaction that stays open
//! on the log would hold back every reader of it.

use churnwatch_pipeline::source::PartitionId;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use crate::client::{Connection, Reporting, clock_producer_config, log_line};
use crate::outgoing::Outgoing;
use crate::settings::KafkaSettings;
use crate::transaction::{Tag, undelivered};

use std::time::Duration;

/// Writes clock records without waiting for them. One that gets lost does no
/// harm: the next says the same and more.
pub(crate) struct ClockProducer {
    settings: KafkaSettings,
    worker: usize,
    reporting: Reporting,
    /// Made with the first record: where there is an ingest there are none.
    producer: Option<BaseProducer<ClockContext>>,
}

struct ClockContext {
    connection: Connection,
}

impl ClientContext for ClockContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(self.connection.name(), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.error(&error, reason);
    }
}

impl ProducerContext for ClockContext {
    type DeliveryOpaque = Tag;

    fn delivery(&self, result: &DeliveryResult<'_>, _: Tag) {
        match result {
            Ok(_) => self.connection.works(),
            Err((error, record)) => {
                let error = undelivered(record.topic(), error);
                tracing::warn!(partition = record.partition(), %error, "no clock was written");
            }
        }
    }
}

impl ClockProducer {
    pub(crate) fn new(settings: &KafkaSettings, worker: usize, reporting: &Reporting) -> Self {
        Self {
            settings: settings.clone(),
            worker,
            reporting: reporting.clone(),
            producer: None,
        }
    }

    pub(crate) fn write(&mut self, topic: &str, partition: PartitionId, value: &[u8]) {
        if self.producer.is_none() {
            match self.connect() {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => {
                    tracing::error!(%error, "no clock records can be written");
                    return;
                }
            }
        }
        let Some(producer) = &self.producer else {
            return;
        };
        let record = Outgoing {
            topic,
            partition: Some(partition.0),
            value: Some(value),
            ..Outgoing::default()
        };
        if let Err(error) = record.send(producer, || false) {
            tracing::warn!(%partition, %error, "a clock record was not taken");
        }
        // Takes the reports of earlier ones.
        producer.poll(Duration::ZERO);
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::warn!(?code, reason, "the producer of clock records is made anew");
            self.producer = None;
        }
    }

    fn connect(&self) -> Result<BaseProducer<ClockContext>, crate::client::ClientError> {
        let name = format!("kafka-clock-{}", self.worker);
        let connection = Connection::new(name, self.reporting.health.clone());
        Ok(clock_producer_config(&self.settings, self.worker)?
            .create_with_context(ClockContext { connection })?)
    }
}
