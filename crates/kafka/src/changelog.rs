//! The changelog, read back one partition at a time.
//!
//! Where it ends is not a sum: transaction markers and aborted records take
//! offsets too, so the last record may stand well below the end. librdkafka
//! says when a fetch found nothing behind its position up to the last stable
//! offset (`enable.partition.eof` with `read_committed`), and that is the end.

use std::time::{Duration, Instant};

use churnwatch_pipeline::source::{Changelog, ChangelogRead, PartitionId, SourceError, Visit};
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{ClientError, Connection, Reporting, changelog_consumer_config, log_line};
use crate::settings::KafkaSettings;

/// How long the bounds of a partition are waited for.
const BOUNDS_TIME: Duration = Duration::from_secs(5);
/// The clock is read once per this many records.
const RECORDS_PER_CLOCK: usize = 64;

/// One worker's reader of the changelog.
pub struct KafkaChangelog {
    consumer: BaseConsumer<ChangelogContext>,
    topic: String,
    reading: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    partition: PartitionId,
    /// The next offset that may come.
    next: i64,
    at_end: bool,
}

struct ChangelogContext {
    connection: Connection,
}

impl ClientContext for ChangelogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(self.connection.name(), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.error(&error, reason);
    }
}

// Assigned by hand: there are no rebalances.
impl ConsumerContext for ChangelogContext {}

impl KafkaChangelog {
    /// Connects in the background.
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(
        settings: &KafkaSettings,
        worker: usize,
        reporting: &Reporting,
    ) -> Result<Self, ClientError> {
        let connection = Connection::new(
            format!("kafka-changelog-{worker}"),
            reporting.health.clone(),
        );
        let consumer = changelog_consumer_config(settings, worker)?
            .create_with_context(ChangelogContext { connection })?;
        Ok(Self {
            consumer,
            topic: settings.topics.changelog(),
            reading: None,
        })
    }

    fn judge(&self, error: &KafkaError, partition: PartitionId) -> Option<SourceError> {
        match error.rdkafka_error_code() {
            // librdkafka reconnects by itself; when no broker is left, it says AllBrokersDown.
            Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::NoError) | None => {
                None
            }
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Some(SourceError::Rejoin(
                format!("the changelog of partition {partition} was trimmed while it was read"),
            )),
            Some(Code::TopicAuthorizationFailed) => Some(SourceError::Retry(format!(
                "topic {} may not be read: give the user the right to `Read` on it",
                self.topic
            ))),
            Some(code) => Some(SourceError::Retry(format!("topic {}: {code}", self.topic))),
        }
    }
}

impl Changelog for KafkaChangelog {
    /// The caller must compare: if the first offset that exists is above
    /// `after + 1`, what stood between was deleted; if the next one to be
    /// written is not above `after`, the changelog is not the one that `after`
    /// belongs to. Reading starts at the nearest offset that exists.
    fn begin(&mut self, partition: PartitionId, after: i64) -> Result<(i64, i64), SourceError> {
        self.end();
        // For a consumer of committed records librdkafka asks for the last stable offset.
        let (first, next) = self
            .consumer
            .fetch_watermarks(&self.topic, partition.0, BOUNDS_TIME)
            .map_err(|error| {
                SourceError::Retry(format!(
                    "reading the bounds of the changelog of partition {partition}: {error}"
                ))
            })?;
        let from = after.saturating_add(1).clamp(first, next.max(first));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition.0, Offset::Offset(from))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| {
                SourceError::Retry(format!(
                    "reading the changelog of partition {partition}: {error}"
                ))
            })?;
        self.consumer.context().connection.works();
        self.reading = Some(Reading {
            partition,
            next: from,
            at_end: false,
        });
        Ok((first, next))
    }

    fn read(
        &mut self,
        timeout: Duration,
        visit: &mut dyn FnMut(i64, &[u8], Option<&[u8]>) -> Visit,
    ) -> Result<ChangelogRead, SourceError> {
        let Some(mut reading) = self.reading else {
            return Err(SourceError::Fatal(
                "the changelog was read before it was begun".into(),
            ));
        };
        if reading.at_end {
            return Ok(ChangelogRead::AtEnd);
        }
        let partition = reading.partition;
        let until = Instant::now() + timeout;
        let mut wait = timeout;
        let mut seen = 0;
        let read = loop {
            match self.consumer.poll(wait) {
                Some(Ok(record)) => {
                    seen += 1;
                    wait = Duration::ZERO;
                    // What was fetched for an earlier reading may linger.
                    if record.partition() != partition.0 || record.offset() < reading.next {
                        continue;
                    }
                    reading.next = record.offset() + 1;
                    let key = record.key().unwrap_or_default();
                    if visit(record.offset(), key, record.payload()) == Visit::Stop {
                        break ChangelogRead::Stopped;
                    }
                    if seen % RECORDS_PER_CLOCK == 0 && Instant::now() >= until {
                        break ChangelogRead::More;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(ended))) => {
                    if ended == partition.0 {
                        reading.at_end = true;
                        break ChangelogRead::AtEnd;
                    }
                }
                Some(Err(error)) => {
                    if let Some(error) = self.judge(&error, partition) {
                        self.reading = Some(reading);
                        return Err(error);
                    }
                }
                None => {
                    let now = Instant::now();
                    if now >= until {
                        break ChangelogRead::More;
                    }
                    wait = until - now;
                }
            }
        };
        self.reading = Some(reading);
        Ok(read)
    }

    fn end(&mut self) {
        if self.reading.take().is_some()
            && let Err(error) = self.consumer.unassign()
        {
            tracing::debug!(%error, "the changelog stays assigned");
        }
    }
}
