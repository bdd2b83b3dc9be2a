//! Membership in the consumer group: what librdkafka tells us, kept until the
//! loop asks for it.
//!
//! librdkafka hands a rebalance to [`ConsumerContext::rebalance`] from within
//! `poll`, pauses every partition, and waits until the application calls
//! `incremental_assign` or `incremental_unassign`. Nothing requires that call
//! to be made inside the callback: with rebalance *events*, which rdkafka uses,
//! the group's state machine stays in "waiting for the (un)assign call" and
//! heartbeats go on from another thread. So the callback only notes what is
//! asked, and the source answers it from the loop, after the open epoch was
//! finished. Until the next poll there is at most one unanswered event.
//!
//! The one exception is closing: rdkafka polls the consumer in a circle until
//! the last revocation is answered, and nobody is left to do it, so the
//! callback answers by itself then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use churnwatch_faults::{Defence, holds};
use churnwatch_pipeline::ownership::Ownership;
use churnwatch_pipeline::sink::{CommitError, PartitionEpoch};
use churnwatch_pipeline::source::PartitionId;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata,
};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::client::{Connection, log_line};
use crate::native;
use crate::statistics::{self, Ends};

pub(crate) type GroupConsumer = BaseConsumer<GroupContext>;

/// What the group asks of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rebalance {
    /// These come to us, in addition to what we have; may be none.
    Assign(Vec<PartitionId>),
    /// These go; may be none.
    Revoke {
        partitions: Vec<PartitionId>,
        /// The group has already given them away.
        lost: bool,
    },
}

/// Where librdkafka reports to, for the consumer of the log.
#[derive(Debug)]
pub(crate) struct GroupContext {
    pub(crate) connection: Connection,
    topic: String,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
    /// When a broker last did not answer, or a connection broke.
    silence: Mutex<Option<Instant>>,
    /// End of each partition that is fetched, as of the last statistics;
    /// `None` once somebody took it.
    ends: Mutex<Option<BTreeMap<PartitionId, Ends>>>,
}

impl GroupContext {
    pub(crate) fn new(connection: Connection, topic: String) -> Self {
        Self {
            connection,
            topic,
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
            silence: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// The oldest rebalance that nobody has looked at.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    /// When a broker last did not answer in time, or a connection broke.
    pub(crate) fn last_silence(&self) -> Option<Instant> {
        *lock(&self.silence)
    }

    pub(crate) fn has_rebalance(&self) -> bool {
        !lock(&self.rebalances).is_empty()
    }

    /// From now on revocations are answered at once.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The ends of the partitions, if there are new ones since the last call.
    pub(crate) fn take_ends(&self) -> Option<BTreeMap<PartitionId, Ends>> {
        lock(&self.ends).take()
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(facility, "FAIL" | "REQTMOUT" | "SESSTMOUT") {
            *lock(&self.silence) = Some(Instant::now());
        }
        log_line(self.connection.name(), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.error(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        match statistics::parse(json, &self.topic) {
            Ok(seen) => {
                if seen.connected {
                    self.connection.works();
                }
                *lock(&self.ends) = Some(seen.ends);
            }
            Err(error) => tracing::debug!(%error, "statistics of librdkafka cannot be read"),
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = list
            .elements()
            .iter()
            .map(|element| PartitionId(element.partition()))
            .collect();
        let assign = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = if assign {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            // Closing while the group never got going is no cooperative state yet.
            if answered.is_err() && consumer.unassign().is_err() {
                tracing::debug!("the last revocation could not be answered");
            }
            return;
        }
        let rebalance = if assign {
            Rebalance::Assign(partitions)
        } else {
            // Asked here, because any answer clears the flag. librdkafka may drop it by itself
            // (its issue 5604), so nothing rests on it alone: the broker checks the generation.
            Rebalance::Revoke {
                partitions,
                lost: consumer.assignment_lost(),
            }
        };
        tracing::debug!(?rebalance, "rebalance");
        lock(&self.rebalances).push_back(rebalance);
    }
}

/// The consumer of a worker as others may use it: the source puts another one
/// in its place when it has to join anew, and none when it closes.
pub(crate) type ConsumerSlot = Arc<Mutex<Weak<GroupConsumer>>>;

/// The sink's view of the group: under which generation it commits, and for
/// which partitions it may.
#[derive(Clone)]
pub struct Membership {
    consumer: ConsumerSlot,
    ownership: Arc<Mutex<Ownership>>,
}

impl Membership {
    pub(crate) fn new(consumer: ConsumerSlot, ownership: Arc<Mutex<Ownership>>) -> Self {
        Self {
            consumer,
            ownership,
        }
    }

    /// The group's metadata for a commit of these partitions.
    ///
    /// It is taken anew for each commit, because the generation moves with
    /// every rebalance, also of partitions that stay with us. That is safe only
    /// because each partition of the batch is known to have been ours without
    /// interruption.
    pub(crate) fn for_commit(
        &self,
        partitions: &[PartitionEpoch],
    ) -> Result<ConsumerGroupMetadata, CommitError> {
        let fenced = |reason: &dyn std::fmt::Display| CommitError::Fenced(reason.to_string());
        let consumer = lock(&self.consumer)
            .upgrade()
            .ok_or_else(|| fenced(&"the source is closed"))?;
        if consumer.assignment_lost() && holds(Defence::Ownership) {
            return Err(fenced(&"this worker was thrown out of the group"));
        }
        // A member that was thrown out has metadata without member id. The broker would take
        // that for a client without a group, if it did not also bear the instance id, which
        // makes it check the member.
        let metadata = consumer
            .group_metadata()
            .ok_or_else(|| fenced(&"this worker is not in the group"))?;
        // Asked for behind the metadata: ids do not come back, so if it is the right one now, it
        // was the right one then.
        let member = native::member_id(consumer.client()).filter(|id| !id.is_empty());
        let member = member.ok_or_else(|| fenced(&"this worker is not in the group"))?;
        let ownership = lock(&self.ownership);
        for part in partitions {
            if !holds(Defence::Ownership) {
                break;
            }
            ownership
                .may_commit(part.partition, part.next_offset, &member)
                .map_err(|error| fenced(&error))?;
        }
        Ok(metadata)
    }

    /// The group's metadata for offsets that are not to be committed.
    pub(crate) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        lock(&self.consumer).upgrade()?.group_metadata()
    }

    /// Commits offsets as consumers without transactions do, for tests only.
    /// Whether it works shows in what is read again.
    pub(crate) fn commit_beside(&self, offsets: &TopicPartitionList) {
        let consumer = lock(&self.consumer).upgrade();
        let committed = consumer.map(|consumer| consumer.commit(offsets, CommitMode::Sync));
        tracing::debug!(?committed, "offsets committed beside the transaction");
    }

    /// The epoch was committed.
    pub(crate) fn committed(&self, partitions: &[PartitionEpoch]) {
        let mut ownership = lock(&self.ownership);
        for part in partitions {
            ownership.committed(part.partition, part.next_offset);
        }
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("ownership", &self.ownership)
            .finish_non_exhaustive()
    }
}

/// What these locks guard is whole between any two statements, so a panic of
/// another thread spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
