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
//! A commit answers within twice the transaction time-out, whatever the broker
//! does. After any error the producer is thrown away, and so it is after a commit
//! in whose time one of its connections broke: what it sent may arrive late.
//! [`Sink::reset`] makes the next one. Its `init_transactions` fences the old one and ends the old
//! transaction, this way or that; afterwards the group's offsets tell the
//! truth.

mod failure;
mod left_open;

use std::sync::Arc;
use std::time::{Duration, Instant};

use churnwatch_faults::{Defence, Moment, holds, pass};
use churnwatch_pipeline::sink::{CommitError, Epoch, PartitionEpoch, Sink};
use churnwatch_pipeline::source::{ChangelogMark, PartitionId};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::changelog::LOG_HEADER;
use crate::client::{ClientError, Connection, Reporting, explained, transactional_producer_config};
use crate::clock::ClockProducer;
use crate::group::Membership;
use crate::outgoing::{FittedLetter, Outgoing, headers};
use crate::position;
use crate::settings::KafkaSettings;
use crate::transaction::{CallError, Ended, Pending, REPORT_WAIT, Transactions, WATCHDOG_GRACE};

use failure::{Failed, Phase, Reached, aborted, failed, needs_a_person, not_sent, verdict};
use left_open::{Closed, LeftOpen};

/// How long an abort may take; a new producer does the same by itself.
const ABORT_TIME: Duration = Duration::from_secs(5);

/// How long a member may take to hear of the group's new generation: it is in
/// the answer to its joining, which is under way then.
const GENERATION_TIME: Duration = Duration::from_secs(2);
const GENERATION_PAUSE: Duration = Duration::from_millis(20);

/// How long a producer that is thrown away may take for it.
const END_TIME: Duration = Duration::from_secs(2);

/// One worker's transactional producer.
pub struct KafkaSink {
    settings: KafkaSettings,
    worker: usize,
    membership: Membership,
    connection: Arc<Connection>,
    topics: TopicNames,
    state: State,
    /// What failed transactions may have left open.
    left_open: Option<LeftOpen>,
    /// Whether the last attempt to close it failed.
    close_failed: bool,
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
    /// The producer introduces itself to the brokers.
    Starting(Transactions, Pending),
    Ready(Transactions),
    /// The producer is going, and what the caller holds may be untrue.
    Spoiled(Option<Ended>),
}

impl KafkaSink {
    /// The producer introduces itself to the brokers in the background, which
    /// ends an unfinished transaction of this worker's predecessor: the offsets
    /// that hang on it can then be read at once, and not after its time-out.
    /// The first commit waits for it.
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(
        settings: &KafkaSettings,
        worker: usize,
        membership: Membership,
        reporting: &Reporting,
    ) -> Result<Self, ClientError> {
        let connection = Connection::new(format!("kafka-sink-{worker}"), reporting.health.clone());
        let connection = Arc::new(connection);
        Ok(Self {
            state: begin(settings, worker, &connection)?,
            left_open: None,
            close_failed: false,
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
            connection,
        })
    }

    /// The producer, ready for a transaction. It is taken out, so that whatever
    /// happens next leaves no half-used producer behind.
    fn take_ready(&mut self) -> Result<Transactions, CommitError> {
        let (transactions, pending) = match std::mem::replace(&mut self.state, State::Spoiled(None))
        {
            State::Ready(transactions) => return Ok(transactions),
            spoiled @ State::Spoiled(_) => {
                self.state = spoiled;
                let text = "the producer must be reset after an error";
                return Err(CommitError::Aborted(text.into()));
            }
            State::Starting(transactions, pending) => (transactions, pending),
        };
        let error = match transactions.wait(&pending) {
            Ok(()) => {
                self.connection.works();
                return Ok(transactions);
            }
            Err(error) => error,
        };
        let code = match &error {
            CallError::Kafka(error) => error.rdkafka_error_code(),
            CallError::Hung => None,
        };
        let mut text = format!("cannot begin transactions: {error}");
        if let Some(code) = code {
            text = explained(code, &text);
        }
        if code.is_some_and(needs_a_person) {
            return Err(CommitError::Fatal(text));
        }
        self.state = if matches!(&error, CallError::Kafka(KafkaError::Transaction(error)) if error.is_retriable())
        {
            // The same one goes on trying. Were it thrown away, its request could still be under
            // way, and fence the next one.
            let pending = transactions.begin_init(init_time(&self.settings));
            State::Starting(transactions, pending)
        } else {
            State::Spoiled(Some(transactions.end()))
        };
        self.connection.trouble(text.clone());
        Err(CommitError::Retry(text))
    }

    /// The producer for the next transaction: the same one, unless requests of
    /// it may still be under way.
    fn after_commit(&self, transactions: Transactions) -> State {
        let context = transactions.producer().context();
        if !context.has_lost_a_connection() || !holds(Defence::FreshProducer) {
            return State::Ready(transactions);
        }
        tracing::info!("a connection broke: the next transaction gets a new producer");
        transactions.end().wait(END_TIME);
        // What is wrong with the settings now was so before.
        begin(&self.settings, self.worker, &self.connection).unwrap_or(State::Spoiled(None))
    }

    /// Waits until the next transaction can begin.
    fn ready(&mut self) -> Result<(), CommitError> {
        let mut transactions = self.take_ready()?;
        if let Some(open) = self.left_open.take() {
            let void = if open.is_void() {
                Ok(true)
            } else {
                self.is_undecided(&open)
            };
            match void {
                Ok(true) => match self.closed(transactions, open) {
                    Ok(ready) => {
                        self.close_failed = false;
                        transactions = ready;
                    }
                    // Whoever cannot close it for long may have lost its place to another
                    // process: that is heard of in a poll, and tried again before the next
                    // commit.
                    Err(error) if self.close_failed => {
                        tracing::warn!(%error, "going on; it is tried again before the next commit");
                        self.close_failed = false;
                        self.state = begin(&self.settings, self.worker, &self.connection)
                            .map_err(|error| CommitError::Fatal(error.to_string()))?;
                        return Ok(());
                    }
                    Err(error) => {
                        self.close_failed = true;
                        return Err(error);
                    }
                },
                Ok(false) => self.left_open = Some(open),
                Err(error) => {
                    self.left_open = Some(open);
                    self.state = State::Spoiled(Some(transactions.end()));
                    return Err(error);
                }
            }
        }
        self.state = State::Ready(transactions);
        Ok(())
    }

    /// The producer, once what was left open is closed.
    fn closed(
        &mut self,
        transactions: Transactions,
        open: LeftOpen,
    ) -> Result<Transactions, CommitError> {
        if !holds(Defence::ClosedBooks) {
            return Ok(transactions);
        }
        match self.close(&transactions, &open) {
            Ok(Closed::Aborted) => Ok(transactions),
            Ok(Closed::ByTheNext) => {
                transactions.end().wait(END_TIME);
                self.state = begin(&self.settings, self.worker, &self.connection)
                    .map_err(|error| CommitError::Fatal(error.to_string()))?;
                self.take_ready()
            }
            Err(error) => {
                self.left_open = Some(open);
                self.state = State::Spoiled(Some(transactions.end()));
                Err(error)
            }
        }
    }

    /// Everything between begin and commit, for one epoch.
    /// Everything before the commit has to be done by `until`.
    fn transact(
        &self,
        transactions: &Transactions,
        epoch: &Epoch,
        until: Instant,
    ) -> Result<Vec<i64>, Failed> {
        let left = || until.saturating_duration_since(Instant::now());
        let before = |error| failed(Phase::BeforeCommit, &error);
        // Checked first, so that an epoch that is not ours costs no transaction.
        let group = self
            .membership
            .for_commit(&epoch.partitions)
            .map_err(|error| Failed {
                error,
                abort: false,
                stale: false,
                reached: Reached::Records,
            })?;

        transactions
            .producer()
            .context()
            .expect_marks(epoch.partitions.len());
        transactions.begin(left()).map_err(before)?;
        self.produce(transactions, epoch, until)?;
        let marks = self.await_delivery(transactions, until)?;
        pass(Moment::AfterProduce);
        let offsets = self.offsets(&epoch.partitions, &marks);
        let beside = (!holds(Defence::OffsetsInTransaction)).then(|| offsets.clone());
        if beside.is_none() {
            transactions
                .send_offsets(left(), offsets, group)
                .map_err(before)?;
        }
        pass(Moment::AfterOffsets);
        transactions
            .commit(self.half())
            .map_err(|error| failed(Phase::Commit, &error))?;
        if let Some(offsets) = beside {
            self.membership.commit_beside(&offsets);
        }
        Ok(marks)
    }

    /// One half of a commit's time is for everything before the commit, the
    /// other for the commit.
    fn half(&self) -> Duration {
        self.settings.transaction_timeout.get() - WATCHDOG_GRACE
    }

    /// The epoch again, where the group went on to another generation in the
    /// middle of it. A rebalance must not throw back what stays; that it did
    /// stay is checked anew by [`Membership`].
    ///
    /// The same producer will do: the broker has answered every request of it,
    /// the abort included.
    fn transact_again(
        &self,
        transactions: &Transactions,
        epoch: &Epoch,
        until: Instant,
        mut failed: Failed,
    ) -> Result<Vec<i64>, Failed> {
        let give_up = until.min(Instant::now() + GENERATION_TIME);
        while failed.stale && Instant::now() < give_up {
            let left = give_up.saturating_duration_since(Instant::now());
            if let Err(error) = transactions.abort(left) {
                tracing::debug!(%error, "the transaction of the generation before was not aborted");
                failed.abort = false;
                break;
            }
            std::thread::sleep(GENERATION_PAUSE);
            match self.transact(transactions, epoch, until) {
                Ok(marks) => return Ok(marks),
                Err(again) => failed = again,
            }
        }
        Err(failed)
    }

    fn produce(
        &self,
        transactions: &Transactions,
        epoch: &Epoch,
        until: Instant,
    ) -> Result<(), Failed> {
        let producer = transactions.producer();
        let send = |record: Outgoing<'_>| {
            let topic = record.topic;
            let wait = || {
                producer.poll(REPORT_WAIT);
                Instant::now() < until && producer.context().failure().is_none()
            };
            record
                .send(producer, wait)
                .map_err(|error| not_sent(topic, &error))
        };
        for emission in &epoch.alerts {
            let (key, fields, value) = emission.history();
            send(Outgoing {
                topic: &self.topics.alerts,
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: Some(headers(
                    fields.into_iter().map(|(key, value)| (key, Some(value))),
                )),
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
            let record = |key, value| Outgoing {
                topic: &self.topics.changelog,
                partition: Some(part.partition.0),
                key: Some(key),
                value,
                ..Outgoing::default()
            };
            for (key, value) in &part.rows {
                send(record(key, value.as_deref()))?;
            }
            // The epoch record stands behind the rows it vouches for.
            let (key, value) = &part.epoch_record;
            let log = part.topics.log.as_ref();
            send(Outgoing {
                headers: log.map(|id| headers([(LOG_HEADER, Some(id))])),
                tag: index + 1,
                ..record(key, Some(value))
            })?;
        }
        Ok(())
    }

    /// Waits until every record is on the brokers, and gives the offsets of
    /// the epoch records.
    fn await_delivery(
        &self,
        transactions: &Transactions,
        until: Instant,
    ) -> Result<Vec<i64>, Failed> {
        let producer = transactions.producer();
        while producer.in_flight_count() > 0 {
            producer.poll(REPORT_WAIT);
            if Instant::now() >= until {
                let waiting = producer.in_flight_count();
                return Err(aborted(format!(
                    "{waiting} records were not delivered in time"
                )));
            }
        }
        if let Some(failure) = producer.context().failure() {
            // A fatal error fails every record; its own text says more.
            return Err(match producer.client().fatal_error() {
                Some((code, text)) => Failed {
                    error: verdict(Phase::BeforeCommit, code, text),
                    abort: false,
                    stale: false,
                    reached: Reached::Records,
                },
                None => aborted(failure),
            });
        }
        let marks = producer.context().marks();
        marks.ok_or_else(|| aborted("an epoch record was delivered without an offset".into()))
    }

    fn offsets(&self, partitions: &[PartitionEpoch], marks: &[i64]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (part, mark) in partitions.iter().zip(marks) {
            let mark = ChangelogMark {
                epoch: part.epoch,
                changelog_offset: *mark,
                digest: part.digest,
            };
            let metadata = position::format(&mark, &part.topics);
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
                Err(CommitError::Fatal(
                    "an epoch has alerts or dead letters and no partition".into(),
                ))
            };
        }
        let started = Instant::now();
        let transactions = self.take_ready()?;
        let parts = &epoch.partitions;
        let transactions = match self.left_open.take() {
            Some(open) if open.is_void() || open.is_done_again_by(parts) => {
                self.closed(transactions, open)?
            }
            open => {
                self.left_open = open.filter(|open| !open.is_followed_by(parts));
                transactions
            }
        };
        let until = Instant::now() + self.half();
        let first = self.transact(&transactions, epoch, until);
        let ended =
            first.or_else(|failed| self.transact_again(&transactions, epoch, until, failed));
        match ended {
            Ok(marks) => {
                self.membership.committed(&epoch.partitions);
                self.connection.works();
                self.state = self.after_commit(transactions);
                Ok(marks)
            }
            Err(failed) => {
                let marks = transactions.producer().context().marks();
                let open = LeftOpen::new(epoch, &failed, marks);
                self.left_open = Some(open.with(self.left_open.take()));
                let Failed { error, abort, .. } = failed;
                // Spares the readers the wait for the time-out; if it fails, the next producer
                // does it.
                let bound = self.settings.transaction_timeout.get() * 2 - WATCHDOG_GRACE;
                let left = bound.saturating_sub(started.elapsed()).min(ABORT_TIME);
                if abort && let Err(error) = transactions.abort(left) {
                    tracing::debug!(%error, "the transaction was not aborted by its own producer");
                }
                self.state = if holds(Defence::FreshProducer) {
                    State::Spoiled(Some(transactions.end()))
                } else {
                    State::Ready(transactions)
                };
                Err(error)
            }
        }
    }

    /// Takes up to the transaction time-out while no broker answers.
    fn reset(&mut self) -> Result<(), CommitError> {
        let old = std::mem::replace(&mut self.state, State::Spoiled(None));
        let ended = match old {
            State::Ready(_) if !holds(Defence::FreshProducer) => {
                self.state = old;
                return Ok(());
            }
            State::Ready(transactions) => Some(transactions.end()),
            State::Spoiled(ended) => ended,
            State::Starting(..) => {
                self.state = old;
                return self.ready();
            }
        };
        // The old one first: whatever it still does should not meet the new one.
        if let Some(ended) = ended {
            ended.wait(END_TIME);
        }
        self.state = begin(&self.settings, self.worker, &self.connection)
            .map_err(|error| CommitError::Fatal(error.to_string()))?;
        self.ready()
    }

    fn write_clock(&mut self, partition: PartitionId, value: Vec<u8>) {
        self.clocks.write(&self.topics.events, partition, &value);
    }
}

/// Makes a producer and lets it introduce itself.
fn begin(
    settings: &KafkaSettings,
    worker: usize,
    connection: &Arc<Connection>,
) -> Result<State, ClientError> {
    let config = transactional_producer_config(settings, worker)?;
    let transactions = Transactions::new(&config, Arc::clone(connection))?;
    let pending = transactions.begin_init(init_time(settings));
    Ok(State::Starting(transactions, pending))
}

fn init_time(settings: &KafkaSettings) -> Duration {
    settings.transaction_timeout.get() - WATCHDOG_GRACE
}
