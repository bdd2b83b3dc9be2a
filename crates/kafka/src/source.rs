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
//! If a position turns out to be outside of the log while reading (the log was
//! trimmed, or made anew), librdkafka stops that partition and does not say
//! which one it was. The source then joins the group anew, as a restarted
//! process would: to the loop its partitions are lost, and come back. It reads
//! their committed positions, finds the one that is out of bounds, and says so.
//! Nothing is skipped in silence.

mod batch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, Instant};

use churnwatch_pipeline::source::{Committed, PartitionId, Polled, RecordRef, Source, SourceError};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::{ClientError, Connection, Reporting, group_consumer_config};
use crate::group::{ConsumerSlot, GroupConsumer, GroupContext, Membership, Rebalance, lock};
use crate::native;
use crate::ownership::Ownership;
use crate::position;
use crate::settings::KafkaSettings;

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
    settings: KafkaSettings,
    worker: usize,
    reporting: Reporting,
    topic: String,
    /// `None` once closed.
    consumer: Option<Arc<GroupConsumer>>,
    /// The same, for the sink.
    slot: ConsumerSlot,
    ownership: Arc<Mutex<Ownership>>,
    /// What librdkafka has as assigned.
    partitions: BTreeMap<PartitionId, Reading>,
    /// Ends of partitions as of the last statistics.
    ends: BTreeMap<PartitionId, i64>,
    /// What the group asked and the loop has not answered yet.
    unanswered: Option<Rebalance>,
    /// Whether the group has assigned us anything, or nothing, yet.
    has_joined: bool,
    /// Found behind records that were already visited, and told next.
    deferred: Option<Result<Polled, SourceError>>,
}

/// How a partition stands with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Assigned, and nothing is delivered.
    Paused,
    /// Delivers from this offset on.
    From(i64),
}

impl KafkaSource {
    /// Joins the group in the background; the first assignment comes by
    /// [`Source::poll`].
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(
        settings: &KafkaSettings,
        worker: usize,
        reporting: Reporting,
    ) -> Result<Self, ClientError> {
        let mut source = Self {
            topic: settings.topics.events(),
            settings: settings.clone(),
            worker,
            reporting,
            consumer: None,
            slot: ConsumerSlot::default(),
            ownership: Arc::default(),
            partitions: BTreeMap::new(),
            ends: BTreeMap::new(),
            unanswered: None,
            has_joined: false,
            deferred: None,
        };
        source.join()?;
        Ok(source)
    }

    /// What this worker's sink needs to commit under our membership.
    pub fn membership(&self) -> Membership {
        Membership::new(Arc::clone(&self.slot), Arc::clone(&self.ownership))
    }

    /// Becomes a member of the group.
    fn join(&mut self) -> Result<(), ClientError> {
        let name = format!("kafka-source-{}", self.worker);
        let connection = Connection::new(name, self.reporting.health.clone());
        let context = GroupContext::new(connection, self.topic.clone());
        let config = group_consumer_config(&self.settings, self.worker)?;
        let consumer: Arc<GroupConsumer> = Arc::new(config.create_with_context(context)?);
        consumer.subscribe(&[&self.topic])?;
        *lock(&self.slot) = Arc::downgrade(&consumer);
        self.consumer = Some(consumer);
        Ok(())
    }

    /// Leaves our membership behind and takes it up again. To the loop all
    /// partitions are lost until the group gives them back.
    fn rejoin(&mut self, reason: &str) -> Result<Polled, SourceError> {
        let partitions: Vec<_> = self.partitions.keys().copied().collect();
        tracing::warn!(?partitions, reason, "joining the group anew");
        self.close();
        self.join()
            .map_err(|error| SourceError::Fatal(error.to_string()))?;
        Ok(Polled::Revoked {
            partitions,
            lost: true,
        })
    }

    fn consumer(&self) -> Result<&Arc<GroupConsumer>, SourceError> {
        self.consumer
            .as_ref()
            .ok_or_else(|| SourceError::Fatal("the source is closed".into()))
    }

    /// The next change of the assignment that the loop has to act on.
    fn next_rebalance(&mut self) -> Result<Option<Polled>, SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        while let Some(rebalance) = consumer.context().next_rebalance() {
            self.has_joined |= matches!(rebalance, Rebalance::Assign(_));
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
                    Polled::Revoked {
                        partitions: partitions.clone(),
                        lost: *lost,
                    }
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

    /// The librdkafka list of some partitions of the log.
    fn list(&self, partitions: impl IntoIterator<Item = PartitionId>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition.0);
        }
        list
    }
}

impl Source for KafkaSource {
    fn poll(
        &mut self,
        timeout: Duration,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<Polled, SourceError> {
        if let Some(told) = self.deferred.take() {
            return told;
        }
        if let Some(rebalance) = self.next_rebalance()? {
            return Ok(rebalance);
        }
        let polled = self.read(timeout, visit)?;
        match polled {
            Polled::Records(_) => {
                self.note_read();
                self.connection_works();
                Ok(polled)
            }
            Polled::Idle => Ok(self.next_rebalance()?.unwrap_or(Polled::Idle)),
            other => Ok(other),
        }
    }

    fn has_joined(&self) -> bool {
        self.has_joined
    }

    fn accept(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let mut list = self.list(partitions.iter().copied());
        // A place that always exists: one that does not would be an error before we seek.
        // Nothing is delivered from there.
        list.set_all_offsets(Offset::Beginning)
            .map_err(|error| SourceError::Fatal(error.to_string()))?;
        // Paused before, so that nothing is fetched in vain, and after, because librdkafka need
        // not know a partition before it is assigned.
        let _ = consumer.pause(&self.list(partitions.iter().copied()));
        answered(consumer.incremental_assign(&list))?;
        self.unanswered = None;
        consumer
            .pause(&self.list(partitions.iter().copied()))
            .map_err(|error| {
                SourceError::Fatal(format!("new partitions cannot be paused: {error}"))
            })?;
        let mut ownership = lock(&self.ownership);
        for partition in partitions {
            self.partitions.insert(*partition, Reading::Paused);
            ownership.accept(*partition);
        }
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
        let consumer = Arc::clone(self.consumer()?);
        // Before the question: what is committed later by us counts from this membership.
        let member = native::member_id(consumer.client()).unwrap_or_default();
        for partition in partitions {
            lock(&self.ownership).position_asked(*partition, &member);
        }
        let list = self.list(partitions.iter().copied());
        let found = consumer
            .committed_offsets(list, timeout.max(MIN_QUERY_TIME))
            .map_err(|error| retry("reading the committed offsets", &error))?;
        let mut committed = Vec::with_capacity(partitions.len());
        for element in found.elements() {
            let partition = PartitionId(element.partition());
            element.error().map_err(|error| {
                retry(
                    &format!("reading the committed offset of partition {partition}"),
                    &error,
                )
            })?;
            let position = match element.offset() {
                Offset::Offset(next_offset) => {
                    let mark = position::parse(element.metadata()).map_err(|error| {
                        SourceError::Fatal(format!("partition {partition}: {error}"))
                    })?;
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
            .map_err(|error| {
                retry(
                    &format!("reading the bounds of partition {partition}"),
                    &error,
                )
            })
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        if !self.partitions.contains_key(&partition) {
            // It went while it was being restored; the loop will hear of it.
            return Err(SourceError::Retry(format!(
                "partition {partition} is not ours at this moment"
            )));
        }
        // librdkafka refuses to seek while it is still starting the partition, or stopping it
        // from its last stay; both pass within milliseconds.
        let give_up = Instant::now() + SEEK_TIME;
        while let Err(error) =
            consumer.seek(&self.topic, partition.0, Offset::Offset(offset), SEEK_TIME)
        {
            if Instant::now() >= give_up {
                return Err(retry(
                    &format!("seeking to offset {offset} of partition {partition}"),
                    &error,
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        consumer
            .resume(&self.list([partition]))
            .map_err(|error| retry("resuming", &error))?;
        self.partitions.insert(partition, Reading::From(offset));
        lock(&self.ownership).resume(partition, offset);
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let Some(reading) = self.partitions.get_mut(&partition) else {
            return Ok(());
        };
        *reading = Reading::Paused;
        consumer
            .pause(&self.list([partition]))
            .map_err(|error| retry("pausing", &error))
    }

    fn release(&mut self, partitions: &[PartitionId], _lost: bool) -> Result<(), SourceError> {
        let consumer = Arc::clone(self.consumer()?);
        let mut assigned = Vec::new();
        let mut ownership = lock(&self.ownership);
        for partition in partitions {
            ownership.release(*partition);
            // What was lost by joining anew is not assigned any more.
            if self.partitions.remove(partition).is_some() {
                assigned.push(*partition);
            }
        }
        drop(ownership);
        if !assigned.is_empty() {
            answered(consumer.incremental_unassign(&self.list(assigned)))?;
            self.unanswered = None;
        }
        Ok(())
    }

    fn ends(&mut self) -> BTreeMap<PartitionId, i64> {
        if let Some(ends) = self
            .consumer
            .as_ref()
            .and_then(|consumer| consumer.context().take_ends())
        {
            self.ends = ends;
        }
        let ours = self
            .ends
            .iter()
            .filter(|(partition, _)| self.partitions.contains_key(partition));
        ours.map(|(partition, end)| (*partition, *end)).collect()
    }

    /// Closes within 5 s. The group is not told that we leave: a member with a
    /// name keeps its partitions for `session_timeout`, so that a restart moves
    /// nothing.
    fn close(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        *lock(&self.slot) = Weak::new();
        consumer.context().close();
        // What the loop was told and has not answered, and what it was not told.
        let mut pending: VecDeque<_> = self.unanswered.take().into_iter().collect();
        pending.extend(std::iter::from_fn(|| consumer.context().next_rebalance()));
        for rebalance in pending {
            let answer = match rebalance {
                Rebalance::Assign(partitions) => {
                    consumer.incremental_assign(&self.list(partitions))
                }
                Rebalance::Revoke { partitions, .. } => {
                    consumer.incremental_unassign(&self.list(partitions))
                }
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "a rebalance was not answered before closing");
            }
        }
        let mut ownership = lock(&self.ownership);
        for partition in std::mem::take(&mut self.partitions).into_keys() {
            ownership.lose(partition);
        }
        drop(ownership);
        // Dropping a consumer polls until the group is left, and may hang when the broker does.
        let (closed, wait) = mpsc::channel();
        let closer = std::thread::Builder::new()
            .name("kafka-source-close".into())
            .spawn(move || {
                drop(consumer);
                let _ = closed.send(());
            });
        if closer.is_err() || wait.recv_timeout(CLOSE_TIME).is_err() {
            tracing::warn!(
                "the consumer did not close within {} s; left behind",
                CLOSE_TIME.as_secs()
            );
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
    result
        .map_err(|error| SourceError::Fatal(format!("a rebalance could not be answered: {error}")))
}

fn retry(doing: &str, error: &KafkaError) -> SourceError {
    SourceError::Retry(format!("{doing}: {error}"))
}
