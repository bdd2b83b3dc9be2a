//! The changelog, read back one partition at a time.
//!
//! Where it ends is not a sum: transaction markers and aborted records take
//! offsets too, so the last record may stand well below the end. librdkafka
//! says when a fetch found nothing behind its position up to the last stable
//! offset (`enable.partition.eof` with `read_committed`), and that is the end.

use std::time::{Duration, Instant};

use churnwatch_pipeline::source::{Changelog, ChangelogRead, PartitionId, SourceError, Visit};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{
    ClientError, Connection, Reporting, bounds_consumer_config, changelog_consumer_config, log_line,
};
use crate::native::PartitionQueue;
use crate::settings::KafkaSettings;

/// The header of an epoch record that names the log it belongs to, by its id.
pub(crate) const LOG_HEADER: &str = "churnwatch.log";

/// How long the bounds of a partition are waited for.
const BOUNDS_TIME: Duration = Duration::from_secs(5);
/// The clock is read once per this many records.
const RECORDS_PER_CLOCK: usize = 64;

/// One worker's reader of the changelog.
pub struct KafkaChangelog {
    settings: KafkaSettings,
    worker: usize,
    /// Before the consumer, which its queue must not outlive.
    reading: Option<Reading>,
    consumer: BaseConsumer<ChangelogContext>,
    topic: String,
    log_id: Option<String>,
}

struct Reading {
    partition: PartitionId,
    queue: PartitionQueue,
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
            settings: settings.clone(),
            worker,
            consumer,
            topic: settings.topics.changelog(),
            reading: None,
            log_id: None,
        })
    }

    fn judge(&self, code: Code, partition: PartitionId) -> Option<SourceError> {
        match code {
            // librdkafka reconnects by itself; when no broker is left, it says AllBrokersDown.
            Code::BrokerTransportFailure | Code::OperationTimedOut | Code::NoError => None,
            Code::AutoOffsetReset | Code::OffsetOutOfRange => Some(SourceError::Rejoin(format!(
                "the changelog of partition {partition} was trimmed while it was read"
            ))),
            Code::TopicAuthorizationFailed => Some(SourceError::Retry(format!(
                "topic {} may not be read: give the user the right to `Read` on it",
                self.topic
            ))),
            code => Some(SourceError::Retry(format!("topic {}: {code}", self.topic))),
        }
    }

    /// What concerns the client as a whole comes by the consumer's own queue,
    /// which holds no records.
    fn look_after_client(&self, partition: PartitionId) -> Result<(), SourceError> {
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            let Err(error) = polled else { continue };
            let code = error.rdkafka_error_code().unwrap_or(Code::NoError);
            if let Some(error) = self.judge(code, partition) {
                return Err(error);
            }
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "as the trait has it")]
    fn read_on(
        &mut self,
        reading: &mut Reading,
        timeout: Duration,
        visit: &mut dyn FnMut(i64, &[u8], Option<&[u8]>) -> Visit,
    ) -> Result<ChangelogRead, SourceError> {
        if reading.at_end {
            return Ok(ChangelogRead::AtEnd);
        }
        let partition = reading.partition;
        self.look_after_client(partition)?;
        let until = Instant::now() + timeout;
        let mut wait = timeout;
        let mut seen = 0;
        loop {
            match reading.queue.next(wait) {
                Some(Ok(record)) => {
                    seen += 1;
                    wait = Duration::ZERO;
                    // What was fetched for an earlier reading may linger.
                    if record.partition() != partition.0 || record.offset() < reading.next {
                        continue;
                    }
                    reading.next = record.offset() + 1;
                    for (name, value) in record.headers() {
                        if name == LOG_HEADER {
                            self.log_id = value.and_then(|id| String::from_utf8(id).ok());
                        }
                    }
                    let key = record.key().unwrap_or_default();
                    if visit(record.offset(), key, record.value()) == Visit::Stop {
                        return Ok(ChangelogRead::Stopped);
                    }
                    if seen % RECORDS_PER_CLOCK == 0 && Instant::now() >= until {
                        return Ok(ChangelogRead::More);
                    }
                }
                Some(Err(Code::PartitionEOF)) => {
                    reading.at_end = true;
                    return Ok(ChangelogRead::AtEnd);
                }
                Some(Err(code)) => {
                    if let Some(error) = self.judge(code, partition) {
                        return Err(error);
                    }
                }
                None => {
                    let now = Instant::now();
                    if now >= until {
                        return Ok(ChangelogRead::More);
                    }
                    wait = until - now;
                }
            }
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
        self.log_id = None;
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
        // Before the assignment, so that no record goes past it.
        let queue = PartitionQueue::of(self.consumer.client(), &self.topic, partition.0);
        let queue = queue.ok_or_else(|| {
            SourceError::Retry(format!(
                "reading the changelog of partition {partition}: it has no queue"
            ))
        })?;
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
            queue,
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
        let Some(mut reading) = self.reading.take() else {
            return Err(SourceError::Fatal(
                "the changelog was read before it was begun".into(),
            ));
        };
        let read = self.read_on(&mut reading, timeout, visit);
        self.reading = Some(reading);
        read
    }

    /// Asked rarely, and by a client of its own that is gone afterwards: what a
    /// consumer is told of the end depends on its isolation.
    fn is_held_back(&mut self, partition: PartitionId, offset: i64) -> Result<bool, SourceError> {
        let unknown = |error: &dyn std::fmt::Display| {
            SourceError::Retry(format!(
                "reading the end of the changelog of partition {partition}: {error}"
            ))
        };
        let config = bounds_consumer_config(&self.settings, self.worker)
            .map_err(|error| SourceError::Fatal(error.to_string()))?;
        let consumer: BaseConsumer = config.create().map_err(|error| unknown(&error))?;
        let bounds = consumer.fetch_watermarks(&self.topic, partition.0, BOUNDS_TIME);
        let (_, high) = bounds.map_err(|error| unknown(&error))?;
        Ok(high > offset)
    }

    fn log_id(&self) -> Option<String> {
        self.log_id.clone()
    }

    fn end(&mut self) {
        if self.reading.take().is_some()
            && let Err(error) = self.consumer.unassign()
        {
            tracing::debug!(%error, "the changelog stays assigned");
        }
    }
}
