//! What a transaction that failed may have left open, and how it is closed.
//!
//! The next producer of a transactional id ends the transaction of the one
//! before. A broker then writes a marker to each partition of it, but not where
//! the partition has no leader just then: it takes the partition for one that
//! was deleted, and says no more (`TransactionMarkerChannelManager`: "likely
//! deleted already and hence can be skipped"). A broker that was killed, is
//! started again, and finds a transaction that timed out meanwhile, does just
//! that. The records stay open, and the marker of the *next* transaction of the
//! same producer makes them come true with it.
//!
//! So before the next transaction, another one is made that writes a record to
//! every place in which something may be open, and is aborted: its markers
//! close what the broker left. Nobody who reads committed records sees any of
//! it.
//!
//! ```text
//! [rows][letters]              transaction 1; the broker dies
//!                [one record]  this one
//!                            [abort]      closes both
//!                                   [rows][letters][commit]   transaction 1, done again
//! ```
//!
//! Where the commit had been asked for, the first transaction may be committed,
//! and must not be aborted. If no marker has come to its rows although the
//! transaction is over, none of it is to be seen anywhere, and it is closed. Else
//! it is known when its epoch is committed again, or is not.

use std::time::{Duration, Instant};

use churnwatch_pipeline::sink::{CommitError, Epoch, PartitionEpoch};
use churnwatch_pipeline::source::PartitionId;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::failure::{Failed, Reached};
use super::{KafkaSink, TopicNames};
use crate::client::changelog_consumer_config;
use crate::outgoing::Outgoing;
use crate::transaction::{CallError, Transactions};

/// The key of the records that are written to be aborted.
const KEY: &[u8] = b"churnwatch.nothing";
/// How long closing may take. The broker has just answered, and meanwhile nobody
/// listens to what the group says.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long the end of a partition may take to be told.
const BOUNDS_TIME: Duration = Duration::from_secs(5);

/// How the closing transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is aborted.
    Aborted,
    /// The next producer aborts it, when it introduces itself.
    ByTheNext,
}

/// A transaction that failed.
pub(super) struct LeftOpen {
    reached: Reached,
    alerts: bool,
    dead_letters: bool,
    /// Partition, epoch, and the offset that was to be committed.
    parts: Vec<(PartitionId, u64, i64)>,
    /// Where its epoch records stand in the changelog.
    marks: Vec<(PartitionId, i64)>,
}

impl LeftOpen {
    pub(super) fn new(epoch: &Epoch, failed: &Failed, marks: Option<Vec<i64>>) -> Self {
        let parts = epoch.partitions.iter();
        let ids = parts.clone().map(|part| part.partition);
        Self {
            marks: ids.zip(marks.unwrap_or_default()).collect(),
            reached: failed.reached,
            alerts: !epoch.alerts.is_empty(),
            dead_letters: !epoch.dead_letters.is_empty(),
            parts: parts
                .map(|part| (part.partition, part.epoch, part.next_offset))
                .collect(),
        }
    }

    /// Together with what an earlier one left that is not closed yet.
    pub(super) fn with(mut self, earlier: Option<Self>) -> Self {
        if let Some(earlier) = earlier {
            self.reached = self.reached.max(earlier.reached);
            self.alerts |= earlier.alerts;
            self.dead_letters |= earlier.dead_letters;
            self.parts.extend(earlier.parts);
            self.marks.extend(earlier.marks);
        }
        self
    }

    /// Whether it can be closed at once: nothing of it can have been committed.
    pub(super) fn is_void(&self) -> bool {
        self.reached < Reached::Commit
    }

    /// Whether these epochs do its work again, so that it was not committed.
    pub(super) fn is_done_again_by(&self, partitions: &[PartitionEpoch]) -> bool {
        partitions.iter().any(|part| {
            let mut left = self.parts.iter();
            left.any(|(partition, epoch, _)| *partition == part.partition && part.epoch <= *epoch)
        })
    }

    /// Whether one of these epochs comes after its own, so that it was committed.
    pub(super) fn is_followed_by(&self, partitions: &[PartitionEpoch]) -> bool {
        let ours = |part: &PartitionEpoch| {
            let mut left = self.parts.iter();
            left.any(|(partition, ..)| *partition == part.partition)
        };
        partitions.iter().any(ours)
    }

    fn topics<'a>(&self, names: &'a TopicNames) -> Vec<&'a str> {
        let mut topics = Vec::new();
        if self.alerts {
            topics.extend([&*names.alerts, &*names.current]);
        }
        if self.dead_letters {
            topics.push(&names.dead_letters);
        }
        topics
    }
}

impl KafkaSink {
    /// Whether a transaction whose commit was asked for is over, and no marker
    /// has come to its rows. Asked of a producer that is ready, so that whatever
    /// the broker does has been done.
    pub(super) fn is_undecided(&self, open: &LeftOpen) -> Result<bool, CommitError> {
        let unknown = |error: &dyn std::fmt::Display| {
            CommitError::Retry(format!("reading the end of the changelog: {error}"))
        };
        let config = changelog_consumer_config(&self.settings, self.worker);
        let consumer: BaseConsumer = config
            .map_err(|error| CommitError::Fatal(error.to_string()))?
            .create()
            .map_err(|error| unknown(&error))?;
        for (partition, mark) in &open.marks {
            // For a consumer of committed records this is the last stable offset.
            let topic = &self.topics.changelog;
            let bounds = consumer.fetch_watermarks(topic, partition.0, BOUNDS_TIME);
            let (_, stable) = bounds.map_err(|error| unknown(&error))?;
            if stable > *mark {
                return Ok(false);
            }
        }
        Ok(!open.marks.is_empty())
    }

    /// Closes what a transaction may have left open, by one that is aborted.
    pub(super) fn close(
        &self,
        transactions: &Transactions,
        open: &LeftOpen,
    ) -> Result<Closed, CommitError> {
        let until = Instant::now() + self.half().min(CLOSE_TIME);
        let closed = self
            .write_and_abort(transactions, open, until)
            .map_err(|reason| {
                let text = format!(
                    "cannot close what a transaction left open: {reason}; its records would come \
                     true with the next one"
                );
                self.connection.trouble(text.clone());
                CommitError::Retry(text)
            })?;
        tracing::info!("closed what a transaction may have left open");
        Ok(closed)
    }

    fn write_and_abort(
        &self,
        transactions: &Transactions,
        open: &LeftOpen,
        until: Instant,
    ) -> Result<Closed, String> {
        let left = || until.saturating_duration_since(Instant::now());
        let called = |error: CallError| error.to_string();
        let producer = transactions.producer();
        producer.context().expect_marks(0);
        let mut places = Vec::new();
        for topic in open.topics(&self.topics) {
            let metadata = producer.client().fetch_metadata(Some(topic), left());
            let metadata = metadata.map_err(|error| error.to_string())?;
            let partitions = metadata
                .topics()
                .iter()
                .flat_map(|found| found.partitions());
            places.extend(partitions.map(|partition| (topic, partition.id())));
        }
        let rows = open.parts.iter();
        places.extend(rows.map(|(partition, ..)| (&*self.topics.changelog, partition.0)));
        transactions.begin(left()).map_err(called)?;
        for (topic, partition) in places {
            let record = Outgoing {
                topic,
                partition: Some(partition),
                key: Some(KEY),
                ..Outgoing::default()
            };
            let wait = || {
                producer.poll(crate::transaction::REPORT_WAIT);
                Instant::now() < until && producer.context().failure().is_none()
            };
            let sent = record.send(producer, wait);
            sent.map_err(|error| format!("topic {topic}: {error}"))?;
        }
        let delivered = self.await_delivery(transactions, until);
        delivered.map_err(|failed| failed.error.to_string())?;
        if open.reached >= Reached::Offsets {
            self.touch_offsets(transactions, open, left() / 2);
        }
        // Where the group has another member in our place, the offsets break the producer, and
        // its successor aborts for it.
        Ok(match transactions.abort(left()) {
            Ok(()) => Closed::Aborted,
            Err(error) => {
                tracing::debug!(%error, "left to the next producer to abort");
                Closed::ByTheNext
            }
        })
    }

    /// Brings the group's offsets into the transaction. That the group takes
    /// them is not needed: it is asked to, and so its partition gets a marker.
    fn touch_offsets(&self, transactions: &Transactions, open: &LeftOpen, limit: Duration) {
        let mut offsets = TopicPartitionList::new();
        for (partition, _, next_offset) in &open.parts {
            let mut element = offsets.add_partition(&self.topics.events, partition.0);
            if let Err(error) = element.set_offset(Offset::Offset(*next_offset)) {
                tracing::debug!(%error, "no offset");
            }
        }
        let Some(group) = self.membership.metadata() else {
            return;
        };
        if let Err(error) = transactions.send_offsets(limit, offsets, group) {
            tracing::debug!(%error, "offsets that are to be aborted were not taken");
        }
    }
}
