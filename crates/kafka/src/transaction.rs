//! One transactional producer, and a thread that makes its blocking calls.
//!
//! librdkafka's transactional calls take a time-out, but not all of them keep
//! it: `send_offsets_to_transaction` waits on while the group's coordinator is
//! away. So each call is made on a thread of the producer's own, and the caller
//! waits for the answer for as long as it chose. A producer whose call did not
//! come back is left behind on that thread, which drops it when the call
//! returns, however late; nothing more is sent by it, and the next producer of
//! the same transactional id fences it.
//!
//! ```text
//! caller                         thread
//!   call(f, limit) ── f ──────────> f(producer), again while retriable
//!   polls for delivery reports      │
//!   <──────── result or Hung ───────┘
//!   drop ────────────────────────> drops the producer, which may block
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use churnwatch_faults::{Defence, holds};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};

use crate::client::{Connection, log_line};
use crate::group::lock;

/// Pause before a retriable call is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long delivery reports are waited for at a time.
pub(crate) const REPORT_WAIT: Duration = Duration::from_millis(1);
/// How much longer than its own time-out a call may take.
pub(crate) const WATCHDOG_GRACE: Duration = Duration::from_millis(500);

pub(crate) type TransactionalProducer = BaseProducer<Deliveries>;

/// Tells records apart in their delivery reports: 0 for any, else one more
/// than the index of an epoch record.
pub(crate) type Tag = usize;

/// Where delivery reports arrive.
#[derive(Debug)]
pub(crate) struct Deliveries {
    pub(crate) connection: Arc<Connection>,
    reports: Mutex<Reports>,
    /// See [`Deliveries::has_lost_a_connection`].
    lost_connection: AtomicBool,
}

#[derive(Debug, Default)]
struct Reports {
    /// The first record that was not delivered, and why.
    failure: Option<String>,
    /// Offset of each epoch record.
    marks: Vec<Option<i64>>,
}

impl Deliveries {
    fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            reports: Mutex::default(),
            lost_connection: AtomicBool::new(false),
        }
    }

    /// Whether a connection of this producer broke that had worked before.
    ///
    /// librdkafka then sends what was under way again, and says nothing of it.
    /// The first request may still be on its way to the broker, and an `EndTxn`
    /// that arrives late ends the transaction that is open then, in its middle:
    /// librdkafka's requests bear no number that would tell (KIP-890). Only the
    /// next producer of the same transactional id makes it void.
    pub(crate) fn has_lost_a_connection(&self) -> bool {
        self.lost_connection.load(Ordering::Acquire)
    }

    /// Forgets the reports of the transaction before.
    pub(crate) fn expect_marks(&self, count: usize) {
        *lock(&self.reports) = Reports {
            failure: None,
            marks: vec![None; count],
        };
    }

    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.reports).failure.clone()
    }

    /// The offsets of the epoch records, once all were delivered.
    pub(crate) fn marks(&self) -> Option<Vec<i64>> {
        lock(&self.reports).marks.iter().copied().collect()
    }
}

/// Whether a line of librdkafka's log says that a connection broke over which
/// requests may have gone. An error is raised for only some of them, the line
/// is written for all, before anything is sent again; repetitions within 30 s
/// are left out, but one is enough.
fn tells_of_a_lost_connection(facility: &str, message: &str) -> bool {
    facility == "FAIL" && message.contains(" in state UP")
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if tells_of_a_lost_connection(facility, message) {
            self.lost_connection.store(true, Ordering::Release);
        }
        log_line(self.connection.name(), level, facility, message);
        if facility == "ADDPARTS"
            && let Some(topic) = refused_topic(message)
        {
            let mut reports = lock(&self.reports);
            reports.failure.get_or_insert_with(|| may_not_write(topic));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Tag;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Tag) {
        let mut reports = lock(&self.reports);
        match result {
            Ok(record) => {
                if let Some(mark) = tag
                    .checked_sub(1)
                    .and_then(|index| reports.marks.get_mut(index))
                {
                    *mark = Some(record.offset());
                }
            }
            Err((error, record)) => {
                let failed = || undelivered(record.topic(), error);
                reports.failure.get_or_insert_with(failed);
            }
        }
    }
}

/// Why a record did not get into its topic.
pub(crate) fn undelivered(topic: &str, error: &KafkaError) -> String {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
        return may_not_write(topic);
    }
    format!("a record for {topic} was not delivered: {error}")
}

fn may_not_write(topic: &str) -> String {
    format!("topic {topic} may not be written: give the user the right to `Write` on it")
}

/// The topic that a transaction may not write to. It stands in the log only: the
/// records of all its topics come back as purged.
fn refused_topic(log_line: &str) -> Option<&str> {
    log_line
        .ends_with("Topic authorization failed")
        .then(|| log_line.split('"').nth(1))
        .flatten()
}

/// Why a call did not do what it should.
#[derive(Debug)]
pub(crate) enum CallError {
    /// librdkafka says so.
    Kafka(KafkaError),
    /// It did not come back in time.
    Hung,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kafka(error) => error.fmt(f),
            Self::Hung => f.write_str("the call did not return in time"),
        }
    }
}

/// A transactional producer and its thread.
pub(crate) struct Transactions {
    // Dropped before `calls`: the thread then holds the last handle, and so the drop of the
    // producer, which may block, happens there.
    producer: Arc<TransactionalProducer>,
    calls: mpsc::Sender<Call>,
    ended: Ended,
}

/// Tells when a producer is gone: its sender is dropped then.
pub(crate) struct Ended(mpsc::Receiver<()>);

impl Ended {
    /// Waits until the producer is gone, and no longer than `limit`.
    pub(crate) fn wait(&self, limit: Duration) {
        if self.0.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(
                "a transactional producer is left behind in a call that does not return"
            );
        }
    }
}

/// A call on its way.
pub(crate) struct Pending {
    answered: mpsc::Receiver<Result<(), KafkaError>>,
    hung_after: Instant,
}

/// A call of librdkafka's, with the time that it may take.
type BlockingCall = dyn Fn(&TransactionalProducer, Duration) -> Result<(), KafkaError> + Send;

struct Call {
    run: Box<BlockingCall>,
    until: Instant,
    answer: mpsc::Sender<Result<(), KafkaError>>,
}

impl Transactions {
    /// Makes the producer and its thread. Nothing is sent before [`Self::begin_init`].
    pub(crate) fn new(
        config: &ClientConfig,
        connection: Arc<Connection>,
    ) -> Result<Self, KafkaError> {
        let name = connection.name().to_owned();
        let producer: Arc<TransactionalProducer> =
            Arc::new(config.create_with_context(Deliveries::new(connection))?);
        let (calls, queue) = mpsc::channel::<Call>();
        let (ending, ended) = mpsc::channel();
        let served = Arc::clone(&producer);
        thread::Builder::new()
            .name(name)
            .spawn(move || {
                for call in queue {
                    // Nobody waits any more if the caller gave up.
                    let _ = call.answer.send(call.run_until_done(&served));
                }
                drop(served);
                drop(ending);
            })
            .map_err(|error| {
                KafkaError::ClientCreation(format!("no thread for transactions: {error}"))
            })?;
        Ok(Self {
            producer,
            calls,
            ended: Ended(ended),
        })
    }

    /// Lets the producer go, on its thread.
    pub(crate) fn end(self) -> Ended {
        self.ended
    }

    pub(crate) fn producer(&self) -> &TransactionalProducer {
        &self.producer
    }

    /// Fences the predecessor and ends its transaction; goes on while others work.
    pub(crate) fn begin_init(&self, limit: Duration) -> Pending {
        self.submit(limit, |producer, time| producer.init_transactions(time))
    }

    pub(crate) fn begin(&self, limit: Duration) -> Result<(), CallError> {
        self.wait(&self.submit(limit, |producer, _| producer.begin_transaction()))
    }

    pub(crate) fn send_offsets(
        &self,
        limit: Duration,
        offsets: TopicPartitionList,
        group: ConsumerGroupMetadata,
    ) -> Result<(), CallError> {
        let send = move |producer: &TransactionalProducer, time| {
            producer.send_offsets_to_transaction(&offsets, &group, time)
        };
        self.wait(&self.submit(limit, send))
    }

    /// All records must have been delivered before: librdkafka waits for them in steps of 100 ms.
    pub(crate) fn commit(&self, limit: Duration) -> Result<(), CallError> {
        self.wait(&self.submit(limit, |producer, time| producer.commit_transaction(time)))
    }

    pub(crate) fn abort(&self, limit: Duration) -> Result<(), CallError> {
        self.wait(&self.submit(limit, |producer, time| producer.abort_transaction(time)))
    }

    fn submit(
        &self,
        limit: Duration,
        run: impl Fn(&TransactionalProducer, Duration) -> Result<(), KafkaError> + Send + 'static,
    ) -> Pending {
        let (answer, answered) = mpsc::channel();
        let until = Instant::now() + limit;
        // If the thread is gone, so is `answer`, and waiting ends at once.
        let _ = self.calls.send(Call {
            run: Box::new(run),
            until,
            answer,
        });
        Pending {
            answered,
            hung_after: until + WATCHDOG_GRACE,
        }
    }

    /// Waits for the answer to a call, and gives up if it does not come.
    pub(crate) fn wait(&self, pending: &Pending) -> Result<(), CallError> {
        loop {
            match pending.answered.recv_timeout(REPORT_WAIT) {
                Ok(result) => return result.map_err(CallError::Kafka),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(CallError::Hung),
                // An abort waits until the reports of the records that it threw away are taken.
                Err(mpsc::RecvTimeoutError::Timeout) => self.producer.poll(Duration::ZERO),
            }
            if Instant::now() >= pending.hung_after && holds(Defence::Watchdog) {
                return Err(CallError::Hung);
            }
        }
    }
}

impl Call {
    /// Makes the call, and the same call again while librdkafka says that it
    /// can be retried and there is time.
    fn run_until_done(&self, producer: &TransactionalProducer) -> Result<(), KafkaError> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            match (self.run)(producer, left) {
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    if Instant::now() + RETRY_PAUSE >= self.until {
                        return Err(KafkaError::Transaction(error));
                    }
                    thread::sleep(RETRY_PAUSE);
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{refused_topic, tells_of_a_lost_connection};

    #[test]
    fn a_topic_that_may_not_be_written_is_found_in_the_log() {
        let line = |why| {
            format!(
                "[thrd:main]: TxnCoordinator/1: Failed to add partition \"t.v1\" [0] to transaction: Broker: {why}"
            )
        };
        assert_eq!(
            refused_topic(&line("Topic authorization failed")),
            Some("t.v1")
        );
        assert_eq!(refused_topic(&line("Operation not attempted")), None);
    }

    #[test]
    fn a_connection_that_broke_is_told_from_one_that_never_was() {
        let broken = "[thrd:TxnCoordinator]: TxnCoordinator: 127.0.0.1:9092: Disconnected (after 34ms in state UP)";
        assert!(tells_of_a_lost_connection("FAIL", broken));
        let refused = "[thrd:h:1/bootstrap]: h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert!(!tells_of_a_lost_connection("FAIL", refused));
        assert!(!tells_of_a_lost_connection("GETPID", broken));
    }
}
