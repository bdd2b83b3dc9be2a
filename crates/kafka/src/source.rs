//! The log as a [`Source`]: one member of the consumer group.
//!
//! ```text
//! poll ── rebalance noted by the context ──> Assigned / Revoked to the loop
//!      └─ records ── owned and resumed? in order? ──> visitor
//! accept  = incremental_assign, paused      resume = seek, then resume
//! release = incremental_unassign            pause  = pause
//! ```
//!
//! librdkafka never chooses a position: partitions are assigned paused, the
//! loop restores their state, and [`Source::resume`] seeks to the offset that
//! belongs to that state. What was fetched ahead before a seek or a pause may
//! still arrive; a record is visited only if its partition is resumed and its
//! offset is not below the next expected one, so offsets never go back.
//!
//! If the position is outside of the log while reading (the log was trimmed, or
//! made anew), the source behaves as if the partitions had been lost and
//! assigned again: the loop reads their committed position, finds it out of
//! bounds, and says so. Nothing is skipped in silence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use churnwatch_pipeline::EventTime;
use churnwatch_pipeline::source::{
    Committed, PartitionId, Polled, RecordRef, Source, SourceError,
};
use rdkafka::Message;
use rdkafka::Timestamp;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{ClientError, Connection, Reporting, group_consumer_config};
use crate::group::{GroupConsumer, GroupContext, Membership, Rebalance, lock};
use crate::headers::MessageHeaders;
use crate::ownership::Ownership;
use crate::position;
use crate::settings::KafkaSettings;

/// A poll hands over at most this many records...
const BATCH_RECORDS: usize = 2_000;
/// ...and takes at most this long from its first record on.
const BATCH_TIME: Duration = Duration::from_millis(50);
/// The clock is read once per this many records.
const RECORDS_PER_CLOCK: usize = 64;
/// How long a seek is tried while librdkafka starts or stops the partition.
const SEEK_TIME: Duration = Duration::from_secs(3);
/// Shortest time in which a broker can be asked something.
const MIN_QUERY_TIME: Duration = Duration::from_millis(100);
/// How long the first and last offset of a partition are waited for.
const BOUNDS_TIME: Duration = Duration::from_secs(5);
/// How long closing may take; after that it goes on behind our back.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// One worker's consumer of the log.
pub struct KafkaSource {
    /// `None` once closed.
    consumer: Option<Arc<GroupConsumer>>,
    topic: String,
    instance: String,
    reporting: Reporting,
    ownership: Arc<Mutex<Ownership>>,
    partitions: BTreeMap<PartitionId, Reading>,
    /// What the group asked and the loop has not answered yet.
    unanswered: Option<Rebalance>,
    /// Losses and assignments that only we know of, see the module's text.
    own_rebalances: VecDeque<Polled>,
    /// An error found behind records that were already visited.
    deferred: Option<SourceError>,
}

/// How a partition stands with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Assigned, and nothing is delivered.
    Paused,
    /// Delivers from this offset on.
    From(i64),
    /// As paused, and librdkafka has it still: given up by
    /// ourselves, so that release and accept do not concern the group.
    LostByUs,
}

impl KafkaSource {
    /// Joins the group in the background; the first assignment comes by
    /// [`Source::poll`].
    ///
    /// Make the sink's transactions ready (`Sink::reset`) before the first
    /// poll: that ends an unfinished transaction of this worker's predecessor,
    /// which otherwise holds the committed offsets back until its time-out.
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(settings: &KafkaSettings, worker: usize, reporting: Reporting) -> Result<Self, ClientError> {
        let topic = settings.topics.events();
        let connection = Connection::new(format!("kafka-source-{worker}"), reporting.health.clone());
        let context = GroupContext::new(connection, topic.clone());
        let consumer: GroupConsumer = group_consumer_config(settings, worker)?.create_with_context(context)?;
        consumer.subscribe(&[&topic])?;
        Ok(Self {
            consumer: Some(Arc::new(consumer)),
            topic,
            instance: settings.member_name(worker),
            reporting,
            ownership: Arc::default(),
            partitions: BTreeMap::new(),
            unanswered: None,
            own_rebalances: VecDeque::new(),
            deferred: None,
        })
    }

    /// What this worker's sink needs to commit under our membership.
    ///
    /// # Panics
    /// When the source is closed.
    pub fn membership(&self) -> Membership {
        let consumer = self.consumer.as_ref().expect("a closed source has no member to commit for");
        Membership::new(consumer, Arc::clone(&self.ownership))
    }

    fn consumer(&self) -> Result<&Arc<GroupConsumer>, SourceError> {
        self.consumer.as_ref().ok_or_else(|| SourceError::Fatal("the source is closed".into()))
    }

    /// The next change of the assignment that the loop has to act on.
    fn next_rebalance(&mut self) -> Result<Option<Polled>, SourceError> {
        if let Some(own) = self.own_rebalances.pop_front() {
            return Ok(Some(own));
        }
        let consumer = Arc::clone(self.consumer()?);
        while let Some(rebalance) = consumer.context().next_rebalance() {
            // A cooperative rebalance that changes nothing for us wants an answer all the same.
            let polled = match &rebalance {
                Rebalance::Assign(partitions) if partitions.is_empty() => {
                    answered(consumer.incremental_assign(&TopicPartitionList::new()))?;
                    continue;
                }
                Rebalance::Revoke { partitions, .. } if partitions.is_empty() => {
                    answered(consumer.incremental_unassign(&TopicPartitionList::new()))?;
                    continue;
                }
                Rebalance::Assign(partitions) => Polled::Assigned(partitions.clone()),
                Rebalance::Revoke { partitions, lost } => {
                    // Nothing more is delivered; the open epoch can still be committed, unless
                    // the partition is lost.
                    for partition in partitions {
                        self.partitions.insert(*partition, Reading::Paused);
                        if *lost {
                            lock(&self.ownership).lose(*partition);
                        }
                    }
                    Polled::Revoked { partitions: partitions.clone(), lost: *lost }
                }
            };
            self.connection_works();
            self.unanswered = Some(rebalance);
            return Ok(Some(polled));
        }
        Ok(None)
    }

    fn connection_works(&self) {
        if let Some(consumer) = &self.consumer {
            consumer.context().connection.works();
        }
    }

    /// What an error of librdkafka's means for the loop; `None` if nothing.
    fn judge(&mut self, error: &KafkaError) -> Option<SourceError> {
        let code = error.rdkafka_error_code()?;
        match code {
            Code::PartitionEOF | Code::PollExceeded => None,
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                self.lose_all_by_ourselves();
                None
            }
            Code::FencedInstanceId => Some(self.fenced_instance()),
            Code::Fatal => {
                let fatal = self.consumer.as_ref().and_then(|consumer| consumer.client().fatal_error());
                match fatal {
                    Some((Code::FencedInstanceId, _)) => Some(self.fenced_instance()),
                    Some((code, text)) => Some(SourceError::Fatal(format!("{text} ({code})"))),
                    None => Some(SourceError::Fatal(error.to_string())),
                }
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Some(SourceError::Fatal(format!("{code}")))
            }
            // librdkafka reconnects by itself; when nobody is left, it says AllBrokersDown.
            Code::BrokerTransportFailure | Code::OperationTimedOut | Code::NoError => None,
            _ => Some(SourceError::Retry(format!("topic {}: {code}", self.topic))),
        }
    }

    fn fenced_instance(&self) -> SourceError {
        SourceError::Fatal(format!(
            "another process is a member of the group as \"{}\": give each process its own kafka.instance_id",
            self.instance
        ))
    }

    /// The position of some partition is not in the log any more, and
    /// librdkafka does not say of which: look at all of them again.
    fn lose_all_by_ourselves(&mut self) {
        let mut partitions = Vec::new();
        for (partition, reading) in &mut self.partitions {
            if matches!(reading, Reading::From(_)) {
                *reading = Reading::LostByUs;
                partitions.push(*partition);
            }
        }
        if partitions.is_empty() {
            return;
        }
        tracing::warn!(?partitions, "a position is outside of the log: reading the committed positions again");
        let mut ownership = lock(&self.ownership);
        partitions.iter().for_each(|partition| ownership.lose(*partition));
        self.own_rebalances.push_back(Polled::Revoked { partitions: partitions.clone(), lost: true });
        self.own_rebalances.push_back(Polled::Assigned(partitions));
    }

    /// The librdkafka list of some partitions of the log.
    fn list(&self, partitions: impl IntoIterator<Item = PartitionId>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition.0);
        }
        list
    }

    /// Sets the lag of what is read, when librdkafka has news of the ends.
    fn report_lag(&self) {
        let Some(ends) = self.consumer.as_ref().and_then(|consumer| consumer.context().take_ends()) else {
            return;
        };
        for (partition, committed) in lock(&self.ownership).committed_positions() {
            if let Some(end) = ends.get(&partition) {
                let lag = (end - committed).max(0);
                self.reporting.metrics.consumer_lag_records.of(partition.0).set(lag);
            }
        }
    }

    /// Reads until the batch is full, the time is up, or something else comes.
    fn read(&mut self, timeout: Duration, visit: &mut dyn FnMut(RecordRef<'_>)) -> Result<usize, SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let started = Instant::now();
        let mut until = started + timeout;
        let (mut visited, mut seen) = (0, 0);
        let mut wait = timeout;
        while visited < BATCH_RECORDS {
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
                Some(Err(error)) => match self.judge(&error) {
                    Some(error) if visited == 0 => return Err(error),
                    Some(error) => {
                        self.deferred = Some(error);
                        break;
                    }
                    None if self.own_rebalances.is_empty() => {}
                    None => break,
                },
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
        Ok(visited)
    }

    /// Hands a record to the visitor, if it is ours and its turn.
    fn visit(&mut self, message: &BorrowedMessage<'_>, visit: &mut dyn FnMut(RecordRef<'_>)) -> bool {
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
    fn note_read(&self) {
        let mut ownership = lock(&self.ownership);
        for (partition, reading) in &self.partitions {
            if let Reading::From(next) = reading {
                ownership.read(*partition, *next);
            }
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, timeout: Duration, visit: &mut dyn FnMut(RecordRef<'_>)) -> Result<Polled, SourceError> {
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        if let Some(rebalance) = self.next_rebalance()? {
            return Ok(rebalance);
        }
        let visited = self.read(timeout, visit)?;
        self.report_lag();
        if visited > 0 {
            self.note_read();
            self.connection_works();
            return Ok(Polled::Records(visited));
        }
        Ok(self.next_rebalance()?.unwrap_or(Polled::Idle))
    }

    fn accept(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let new: Vec<_> = partitions
            .iter()
            .copied()
            .filter(|partition| self.partitions.get(partition) != Some(&Reading::LostByUs))
            .collect();
        if !new.is_empty() {
            let mut list = self.list(new.iter().copied());
            // A place that always exists: an offset that does not would be an error before we
            // seek. Nothing is delivered from there.
            list.set_all_offsets(Offset::Beginning).map_err(|error| SourceError::Fatal(error.to_string()))?;
            // Paused before, so that nothing is fetched in vain, and after, because librdkafka
            // does not know every partition before it is assigned.
            let paused = self.list(new.iter().copied());
            let _ = consumer.pause(&paused);
            answered(consumer.incremental_assign(&list))?;
            consumer.pause(&paused).map_err(|error| retry("pausing", &error))?;
        }
        let mut ownership = lock(&self.ownership);
        for partition in partitions {
            self.partitions.insert(*partition, Reading::Paused);
            ownership.accept(*partition);
        }
        drop(ownership);
        self.unanswered = None;
        Ok(())
    }

    /// The offsets are stable: librdkafka asks with `require_stable` set when
    /// its `isolation.level` is `read_committed` (`rd_kafka_committed` in
    /// 2.12), so the broker answers "unstable" while a transaction with an
    /// offset of the partition is open, and we say [`SourceError::Retry`].
    fn committed(
        &mut self,
        partitions: &[PartitionId],
        timeout: Duration,
    ) -> Result<Vec<(PartitionId, Option<Committed>)>, SourceError> {
        let list = self.list(partitions.iter().copied());
        let found = self
            .consumer()?
            .committed_offsets(list, timeout.max(MIN_QUERY_TIME))
            .map_err(|error| retry("reading the committed offsets", &error))?;
        let mut committed = Vec::with_capacity(partitions.len());
        for element in found.elements() {
            let partition = PartitionId(element.partition());
            element
                .error()
                .map_err(|error| retry(&format!("reading the committed offset of partition {partition}"), &error))?;
            let position = match element.offset() {
                Offset::Offset(next_offset) => {
                    let mark = position::parse(element.metadata())
                        .map_err(|error| SourceError::Fatal(format!("partition {partition}: {error}")))?;
                    Some(Committed { next_offset, mark })
                }
                _ => None,
            };
            committed.push((partition, position));
        }
        self.connection_works();
        Ok(committed)
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<(i64, i64), SourceError> {
        self.consumer()?
            .fetch_watermarks(&self.topic, partition.0, BOUNDS_TIME)
            .map_err(|error| retry(&format!("reading the bounds of partition {partition}"), &error))
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        if !self.partitions.contains_key(&partition) {
            return Err(SourceError::Fatal(format!("partition {partition} was resumed before it was accepted")));
        }
        // librdkafka refuses to seek while it is still starting the partition, or stopping it
        // from its last stay; both pass within milliseconds.
        let give_up = Instant::now() + SEEK_TIME;
        while let Err(error) = consumer.seek(&self.topic, partition.0, Offset::Offset(offset), SEEK_TIME) {
            if Instant::now() >= give_up {
                return Err(retry(&format!("seeking to offset {offset} of partition {partition}"), &error));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        consumer.resume(&self.list([partition])).map_err(|error| retry("resuming", &error))?;
        self.partitions.insert(partition, Reading::From(offset));
        lock(&self.ownership).resume(partition, offset);
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let Some(reading) = self.partitions.get_mut(&partition) else { return Ok(()) };
        *reading = Reading::Paused;
        consumer.pause(&self.list([partition])).map_err(|error| retry("pausing", &error))
    }

    fn release(&mut self, partitions: &[PartitionId], _lost: bool) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let mut given_up = Vec::new();
        let mut ownership = lock(&self.ownership);
        for partition in partitions {
            ownership.release(*partition);
            // What we only lost by ourselves comes back to us by `accept`.
            if self.partitions.get(partition) != Some(&Reading::LostByUs) {
                self.partitions.remove(partition);
                given_up.push(*partition);
            }
        }
        drop(ownership);
        if !given_up.is_empty() {
            answered(consumer.incremental_unassign(&self.list(given_up)))?;
        }
        self.unanswered = None;
        Ok(())
    }

    /// Closes within 5 s. The group is not told that we leave: a member with a
    /// name keeps its partitions for `session_timeout`, so that a restart moves
    /// nothing.
    fn close(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        consumer.context().close();
        // What the loop was told and has not answered, and what it was not told.
        let mut pending: VecDeque<_> = self.unanswered.take().into_iter().collect();
        pending.extend(std::iter::from_fn(|| consumer.context().next_rebalance()));
        for rebalance in pending {
            let answer = match rebalance {
                Rebalance::Assign(partitions) => consumer.incremental_assign(&self.list(partitions)),
                Rebalance::Revoke { partitions, .. } => consumer.incremental_unassign(&self.list(partitions)),
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "a rebalance was not answered before closing");
            }
        }
        let mut ownership = lock(&self.ownership);
        for partition in std::mem::take(&mut self.partitions).into_keys() {
            ownership.release(partition);
        }
        drop(ownership);
        // Dropping a consumer polls until the group is left, and may hang when the broker does.
        let (closed, wait) = mpsc::channel();
        let closer = std::thread::Builder::new().name("kafka-source-close".into()).spawn(move || {
            drop(consumer);
            let _ = closed.send(());
        });
        if closer.is_err() || wait.recv_timeout(CLOSE_TIME).is_err() {
            tracing::warn!("the consumer did not close within {} s; left behind", CLOSE_TIME.as_secs());
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.close();
    }
}

/// The answer to a rebalance can fail only by a mistake of ours or after a
/// fatal error; the group would wait for it for ever.
fn answered(result: Result<(), KafkaError>) -> Result<(), SourceError> {
    result.map_err(|error| SourceError::Fatal(format!("a rebalance could not be answered: {error}")))
}

fn retry(doing: &str, error: &KafkaError) -> SourceError {
    SourceError::Retry(format!("{doing}: {error}"))
}
