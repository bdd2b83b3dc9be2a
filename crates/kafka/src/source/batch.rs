//! Reading: one batch of records per poll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use churnwatch_pipeline::EventTime;
use churnwatch_pipeline::source::{PartitionId, Polled, RecordRef, SourceError};
use rdkafka::Message;
use rdkafka::Timestamp;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{KafkaSource, Reading};
use crate::group::{GroupConsumer, lock};
use crate::native::MessageHeaders;

/// A poll hands over at most this many records...
const BATCH_RECORDS: usize = 2_000;
/// ...and takes at most this long from its first record on.
const BATCH_TIME: Duration = Duration::from_millis(50);
/// The clock is read once per this many records.
const RECORDS_PER_CLOCK: usize = 64;
/// How late the answer to a former request of ours may take effect.
const LATE: Duration = Duration::from_secs(10);

/// What to do about an error of librdkafka's.
enum Verdict {
    GoOn,
    /// Join the group anew, for this reason.
    Rejoin(&'static str),
    Tell(SourceError),
}

impl KafkaSource {
    /// Reads until the batch is full, the time is up, or something else comes.
    pub(super) fn read(
        &mut self,
        timeout: Duration,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<Polled, SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let started = Instant::now();
        let mut until = started + timeout;
        let (mut visited, mut seen) = (0, 0);
        let mut wait = timeout;
        let mut verdict = Verdict::GoOn;
        // An error of this sort is told in a poll, once, and was seen to be told nobody while
        // partitions were being restored.
        if let Some(ended) = self.end(&consumer) {
            verdict = ended;
        }
        while visited < BATCH_RECORDS && matches!(verdict, Verdict::GoOn) {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    if seen == 0 {
                        until = Instant::now() + BATCH_TIME;
                        wait = Duration::ZERO;
                    }
                    seen += 1;
                    visited += usize::from(self.visit(&message, visit));
                    if seen % RECORDS_PER_CLOCK == 0 && Instant::now() >= until {
                        break;
                    }
                }
                Some(Err(error)) => {
                    verdict = self.judge(&consumer, &error);
                }
                // Either there is nothing, or a rebalance or the like was served in its place.
                None => {
                    let now = Instant::now();
                    if seen > 0 || now >= until || consumer.context().has_rebalance() {
                        break;
                    }
                    wait = until - now;
                }
            }
        }
        // Or else we would be the last to hold it, and close it here.
        drop(consumer);
        let told = match verdict {
            Verdict::GoOn => None,
            Verdict::Tell(error) => Some(Err(error)),
            Verdict::Rejoin(reason) => Some(self.rejoin(reason)),
        };
        match (told, visited) {
            (Some(told), 0) => told,
            (None, 0) => Ok(Polled::Idle),
            (told, visited) => {
                self.deferred = told;
                Ok(Polled::Records(visited))
            }
        }
    }

    /// Hands a record to the visitor, if it is ours and its turn.
    fn visit(
        &mut self,
        message: &BorrowedMessage<'_>,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> bool {
        let partition = PartitionId(message.partition());
        let offset = message.offset();
        match self.partitions.get_mut(&partition) {
            Some(Reading::From(next)) if offset >= *next => *next = offset + 1,
            // Fetched before a pause or a seek.
            Some(_) => return false,
            None => {
                self.reporting.metrics.unowned_records_total.inc();
                return false;
            }
        }
        let appended_at = match message.timestamp() {
            Timestamp::LogAppendTime(millis) => Some(EventTime::from_millis(millis)),
            Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
        };
        visit(RecordRef {
            partition,
            offset,
            appended_at,
            key: message.key(),
            value: message.payload(),
            headers: &MessageHeaders(message),
        });
        true
    }

    /// Tells the sink how far we have read.
    pub(super) fn note_read(&self) {
        let mut ownership = lock(&self.ownership);
        for (partition, reading) in &self.partitions {
            if let Reading::From(next) = reading {
                ownership.read(*partition, *next);
            }
        }
    }

    /// What an error of librdkafka's means for us.
    fn judge(&self, consumer: &GroupConsumer, error: &KafkaError) -> Verdict {
        let Some(code) = error.rdkafka_error_code() else {
            return Verdict::GoOn;
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                Verdict::Rejoin("a position is outside of the log")
            }
            Code::FencedInstanceId => self.fenced_instance(consumer),
            Code::Fatal => self
                .end(consumer)
                .unwrap_or_else(|| Verdict::Tell(SourceError::Fatal(error.to_string()))),
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Verdict::Tell(SourceError::Fatal(code.to_string()))
            }
            // librdkafka reconnects by itself, and a poll that came too late is followed by a
            // revocation. That nobody is left is said on /readyz by the connection; while it
            // lasts it is said again and again, and if each time the loop waited, it would go
            // on waiting long after the broker is back.
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::PollExceeded
            | Code::NoError => Verdict::GoOn,
            Code::TopicAuthorizationFailed => Verdict::Tell(SourceError::Retry(format!(
                "topic {} may not be read: give the user the right to `Read` on it",
                self.topic
            ))),
            Code::GroupAuthorizationFailed => Verdict::Tell(SourceError::Retry(format!(
                "the group {} may not be joined: give the user the right to `Read` on it",
                self.settings.group_id
            ))),
            _ => Verdict::Tell(SourceError::Retry(format!("topic {}: {code}", self.topic))),
        }
    }

    /// What it means for us that a consumer can do nothing any more, if it cannot.
    fn end(&self, consumer: &GroupConsumer) -> Option<Verdict> {
        let (code, text) = consumer.client().fatal_error()?;
        Some(match code {
            Code::FencedInstanceId => self.fenced_instance(consumer),
            code => Verdict::Tell(SourceError::Fatal(format!("{text} ({code})"))),
        })
    }

    /// Somebody has taken our place in the group. If a broker was silent just
    /// before, that was ourselves: what we asked and did not wait for to the end
    /// was answered behind our back. So we join anew. The next consumer knows of
    /// no silence, so that two processes of one name do not go on throwing each
    /// other out.
    fn fenced_instance(&self, consumer: &GroupConsumer) -> Verdict {
        let recent = self.settings.session_timeout.get() * 2 + LATE;
        let silence = consumer.context().last_silence();
        if silence.is_some_and(|silence| silence.elapsed() < recent) {
            return Verdict::Rejoin("our own former request has taken our place in the group");
        }
        Verdict::Tell(SourceError::Fatal(format!(
            "another process is a member of the group as \"{}\": give each process its own kafka.instance_id",
            self.settings.member_name(self.worker)
        )))
    }
}
