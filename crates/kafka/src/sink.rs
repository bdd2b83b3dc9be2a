//! Alerts, dead letters, state changes and offsets in one Kafka transaction.
//!
//! ```text
//! commit(epoch):
//!   may we?          Membership: every partition ours, in this tenure
//!   begin
//!   alerts, current  by key, as Java partitions them
//!   dead letters     as they came
//!   rows, then the epoch record, to partition p of the changelog   (for each p)
//!   all delivered?   the epoch records' offsets are in their delivery reports
//!   send offsets     next offset of each p, with {epoch, changelog offset, digest}
//!   commit
//! ```
//!
//! What an error means follows from one question: **was the commit asked for?**
//! Before that, nothing of the transaction can come true, whatever went wrong:
//! [`CommitError::Aborted`], or [`CommitError::Fenced`] when the broker says
//! that somebody else has taken our place. From then on only the broker's
//! answer counts, and where there is none the commit is
//! [`CommitError::InDoubt`]: a request that is under way may still arrive.
//!
//! After any error the producer is thrown away, and [`Sink::reset`] makes the
//! next one. Its `init_transactions` fences the old one and ends the old
//! transaction, this way or that; afterwards the group's offsets tell the
//! truth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use churnwatch_pipeline::sink::{CommitError, Epoch, PartitionEpoch, Sink};
use churnwatch_pipeline::source::{ChangelogMark, PartitionId};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::{ClientError, Connection, Reporting, transactional_producer_config};
use crate::clock::ClockProducer;
use crate::group::Membership;
use crate::outgoing::{FittedLetter, Outgoing, headers};
use crate::position;
use crate::settings::KafkaSettings;
use crate::transaction::{CallError, REPORT_WAIT, Transactions};

/// How long an abort may take; a new producer does the same by itself.
const ABORT_TIME: Duration = Duration::from_secs(5);

/// One worker's transactional producer.
pub struct KafkaSink {
    settings: KafkaSettings,
    worker: usize,
    membership: Membership,
    connection: Arc<Connection>,
    topics: TopicNames,
    state: State,
    clocks: ClockProducer,
}

struct TopicNames {
    events: String,
    alerts: String,
    current: String,
    dead_letters: String,
    changelog: String,
}

enum State {
    /// Before the first use.
    New,
    Ready(Transactions),
    /// The producer is gone, and what the caller holds may be untrue.
    Spoiled,
}

/// How far a transaction came when something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The commit was not asked for: nothing can come true.
    BeforeCommit,
    Commit,
}

/// Something went wrong, and what to do about it.
struct Failed {
    error: CommitError,
    /// The broker can be told at once that the transaction is over.
    abort: bool,
}

impl KafkaSink {
    /// Connects to nothing yet: [`Sink::reset`] does, or the first commit.
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(
        settings: &KafkaSettings,
        worker: usize,
        membership: Membership,
        reporting: &Reporting,
    ) -> Result<Self, ClientError> {
        transactional_producer_config(settings, worker)?.create_native_config()?;
        let connection = Connection::new(format!("kafka-sink-{worker}"), reporting.health.clone());
        Ok(Self {
            topics: TopicNames {
                events: settings.topics.events(),
                alerts: settings.topics.alerts(),
                current: settings.topics.current(),
                dead_letters: settings.topics.dead_letters(),
                changelog: settings.topics.changelog(),
            },
            clocks: ClockProducer::new(settings, worker, reporting),
            settings: settings.clone(),
            worker,
            membership,
            connection: Arc::new(connection),
            state: State::New,
        })
    }

    /// Everything between begin and commit, for one epoch.
    fn transact(&self, transactions: &Transactions, epoch: &Epoch) -> Result<Vec<i64>, Failed> {
        let limit = self.settings.transaction_timeout.get();
        let until = Instant::now() + limit;
        let before = |error| failed(Phase::BeforeCommit, &error);
        // Checked first, so that an epoch that is not ours costs no transaction.
        let group =
            self.membership.for_commit(&epoch.partitions).map_err(|error| Failed { error, abort: false })?;

        transactions.producer().context().expect_marks(epoch.partitions.len());
        transactions.begin(limit).map_err(before)?;
        self.produce(transactions, epoch, until)?;
        let marks = self.await_delivery(transactions, until)?;
        let offsets = self.offsets(&epoch.partitions, &marks);
        let left = until.saturating_duration_since(Instant::now());
        transactions.send_offsets(left, offsets, group).map_err(before)?;
        // The second half of the time that a commit may take in all.
        transactions.commit(limit).map_err(|error| failed(Phase::Commit, &error))?;
        Ok(marks)
    }

    fn produce(&self, transactions: &Transactions, epoch: &Epoch, until: Instant) -> Result<(), Failed> {
        let producer = transactions.producer();
        let send = |record: Outgoing<'_>| {
            let topic = record.topic;
            let wait = || {
                producer.poll(REPORT_WAIT);
                Instant::now() < until && producer.context().failure().is_none()
            };
            record.send(producer, wait).map_err(|error| not_sent(topic, &error))
        };
        for emission in &epoch.alerts {
            let (key, fields, value) = emission.history();
            send(Outgoing {
                topic: &self.topics.alerts,
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: Some(headers(fields.into_iter().map(|(key, value)| (key, Some(value))))),
                ..Outgoing::default()
            })?;
            let (key, value) = emission.current();
            send(Outgoing {
                topic: &self.topics.current,
                key: Some(key.as_bytes()),
                value: value.as_deref(),
                ..Outgoing::default()
            })?;
        }
        for letter in &epoch.dead_letters {
            let fitted = FittedLetter::new(letter);
            send(Outgoing {
                topic: &self.topics.dead_letters,
                key: fitted.key,
                value: fitted.value,
                headers: Some(headers(fitted.headers)),
                timestamp: letter.timestamp_ms,
                ..Outgoing::default()
            })?;
        }
        for (index, part) in epoch.partitions.iter().enumerate() {
            let (key, value) = &part.epoch_record;
            let rows = part.rows.iter().map(|(key, value)| (key, value.as_ref(), 0));
            // The epoch record stands behind the rows it vouches for.
            for (key, value, tag) in rows.chain([(key, Some(value), index + 1)]) {
                send(Outgoing {
                    topic: &self.topics.changelog,
                    partition: Some(part.partition.0),
                    key: Some(key),
                    value: value.map(Vec::as_slice),
                    tag,
                    ..Outgoing::default()
                })?;
            }
        }
        Ok(())
    }

    /// Waits until every record is on the brokers, and gives the offsets of
    /// the epoch records.
    fn await_delivery(&self, transactions: &Transactions, until: Instant) -> Result<Vec<i64>, Failed> {
        let producer = transactions.producer();
        while producer.in_flight_count() > 0 {
            producer.poll(REPORT_WAIT);
            if Instant::now() >= until {
                let waiting = producer.in_flight_count();
                return Err(aborted(format!("{waiting} records were not delivered in time")));
            }
        }
        if let Some(failure) = producer.context().failure() {
            // A fatal error fails every record; its own text says more.
            return Err(match producer.client().fatal_error() {
                Some((code, text)) => Failed { error: verdict(Phase::BeforeCommit, code, text), abort: false },
                None => aborted(failure),
            });
        }
        let marks = producer.context().marks();
        marks.ok_or_else(|| aborted("an epoch record was delivered without an offset".into()))
    }

    fn offsets(&self, partitions: &[PartitionEpoch], marks: &[i64]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (part, mark) in partitions.iter().zip(marks) {
            let metadata = position::format(&ChangelogMark {
                epoch: part.epoch,
                changelog_offset: *mark,
                digest: part.digest,
            });
            let mut element = list.add_partition(&self.topics.events, part.partition.0);
            element
                .set_offset(Offset::Offset(part.next_offset))
                .expect("an offset that may be committed is not negative");
            element.set_metadata(metadata);
        }
        list
    }
}

impl Sink for KafkaSink {
    fn commit(&mut self, epoch: &Epoch) -> Result<Vec<i64>, CommitError> {
        if epoch.partitions.is_empty() {
            return if epoch.alerts.is_empty() && epoch.dead_letters.is_empty() {
                Ok(Vec::new())
            } else {
                // Without an offset to commit they would be published again by the next reader.
                Err(CommitError::Fatal("an epoch has alerts or dead letters and no partition".into()))
            };
        }
        match self.state {
            State::New => self.reset()?,
            State::Spoiled => {
                return Err(CommitError::Aborted("the producer must be reset after an error".into()));
            }
            State::Ready(_) => {}
        }
        // Taken out, so that whatever happens below leaves no half-used producer behind.
        let State::Ready(transactions) = std::mem::replace(&mut self.state, State::Spoiled) else {
            return Err(CommitError::Retry("the producer is not ready".into()));
        };
        match self.transact(&transactions, epoch) {
            Ok(marks) => {
                self.membership.committed(&epoch.partitions);
                self.connection.works();
                self.state = State::Ready(transactions);
                Ok(marks)
            }
            Err(Failed { error, abort }) => {
                // Spares the readers the wait for the time-out; if it fails, the next producer
                // does it.
                if abort && let Err(error) = transactions.abort(ABORT_TIME) {
                    tracing::debug!(%error, "the transaction was not aborted by its own producer");
                }
                Err(error)
            }
        }
    }

    /// Takes up to the transaction time-out while no broker answers.
    fn reset(&mut self) -> Result<(), CommitError> {
        self.state = State::Spoiled;
        let limit = self.settings.transaction_timeout.get();
        let fatal = |error: ClientError| CommitError::Fatal(error.to_string());
        let config = transactional_producer_config(&self.settings, self.worker).map_err(fatal)?;
        let transactions = Transactions::new(&config, Arc::clone(&self.connection))
            .map_err(|error| fatal(ClientError::from(error)))?;
        match transactions.init(limit) {
            Ok(()) => {
                self.connection.works();
                self.state = State::Ready(transactions);
                Ok(())
            }
            Err(CallError::Kafka(error)) if error.rdkafka_error_code().is_some_and(needs_a_person) => {
                Err(CommitError::Fatal(format!("cannot begin transactions: {error}")))
            }
            Err(error) => {
                let cause = format!("cannot begin transactions: {error}");
                self.connection.trouble(cause.clone());
                Err(CommitError::Retry(cause))
            }
        }
    }

    fn write_clock(&mut self, partition: PartitionId, value: Vec<u8>) {
        self.clocks.write(&self.topics.events, partition, &value);
    }
}

/// A record that librdkafka did not take.
fn not_sent(topic: &str, error: &KafkaError) -> Failed {
    let text = format!("a record for {topic} was not taken: {error}");
    match error.rdkafka_error_code() {
        // Done again, it would be as large again.
        Some(Code::MessageSizeTooLarge) => Failed { error: CommitError::Fatal(text), abort: true },
        _ => aborted(text),
    }
}

fn aborted(text: String) -> Failed {
    Failed { error: CommitError::Aborted(text), abort: true }
}

/// What a failed call means.
fn failed(phase: Phase, error: &CallError) -> Failed {
    let CallError::Kafka(error) = error else {
        let text = "the broker did not answer in time; the producer is left behind".to_owned();
        let error = match phase {
            Phase::BeforeCommit => CommitError::Aborted(text),
            Phase::Commit => CommitError::InDoubt(text),
        };
        return Failed { error, abort: false };
    };
    let requires_abort = matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort());
    // librdkafka asks for an abort only when the broker did not commit.
    let phase = if requires_abort { Phase::BeforeCommit } else { phase };
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    Failed { error: verdict(phase, code, error.to_string()), abort: requires_abort }
}

fn verdict(phase: Phase, code: Code, text: String) -> CommitError {
    match phase {
        _ if is_fenced(code) => CommitError::Fenced(text),
        Phase::BeforeCommit if needs_a_person(code) => CommitError::Fatal(text),
        Phase::BeforeCommit => CommitError::Aborted(text),
        Phase::Commit => CommitError::InDoubt(text),
    }
}

/// Somebody else has our transactional id, or our place in the group.
fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::FencedInstanceId
            | Code::IllegalGeneration
            | Code::UnknownMemberId
    )
}

/// No retry helps against these.
fn needs_a_person(code: Code) -> bool {
    matches!(
        code,
        Code::TransactionalIdAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedFeature
            | Code::MessageSizeTooLarge
            | Code::OffsetMetadataTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(phase: Phase, code: Code) -> &'static str {
        verdict(phase, code, String::new()).reason()
    }

    #[test]
    fn before_the_commit_was_asked_for_nothing_is_in_doubt() {
        for code in [Code::OperationTimedOut, Code::BrokerTransportFailure, Code::InvalidTransactionalState] {
            assert_eq!(kind(Phase::BeforeCommit, code), "aborted", "{code:?}");
            assert_eq!(kind(Phase::Commit, code), "in_doubt", "{code:?}");
        }
        assert_eq!(failed(Phase::BeforeCommit, &CallError::Hung).error.reason(), "aborted");
        assert_eq!(failed(Phase::Commit, &CallError::Hung).error.reason(), "in_doubt");
    }

    #[test]
    fn a_taken_place_is_fenced_in_every_phase() {
        for code in [Code::Fenced, Code::InvalidProducerEpoch, Code::IllegalGeneration, Code::FencedInstanceId] {
            assert_eq!(kind(Phase::BeforeCommit, code), "fenced", "{code:?}");
            assert_eq!(kind(Phase::Commit, code), "fenced", "{code:?}");
        }
    }

    #[test]
    fn a_missing_permission_is_not_tried_again() {
        assert_eq!(kind(Phase::BeforeCommit, Code::TopicAuthorizationFailed), "fatal");
        assert_eq!(kind(Phase::Commit, Code::TopicAuthorizationFailed), "in_doubt");
    }

    #[test]
    fn a_hung_producer_is_not_asked_to_abort() {
        assert!(!failed(Phase::Commit, &CallError::Hung).abort);
    }
}
