//! What a command of an operator needs of a running deployment: to write one
//! record into the log, and to ask where the group stands.
//!
//! Nothing here joins the group, and nothing commits for it: what is to change
//! is said in the log, and the owner of the partition does it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use churnwatch_pipeline::source::{Changelog, ChangelogMark, PartitionId, Visit};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::changelog::KafkaChangelog;
use crate::client::{ClientError, Reporting, changelog_consumer_config, event_producer_config};
use crate::group::lock;
use crate::outgoing::Outgoing;
use crate::position;
use crate::settings::KafkaSettings;
use crate::transaction::Tag;

/// How long a broker may take to answer.
const LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to answer one question.
const ASK: Duration = Duration::from_secs(5);

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Where the group stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The next offset to be written to the log.
    pub end: i64,
    /// The place in the changelog that belongs to the group's committed offset;
    /// `None` where the group has committed nothing.
    pub mark: Option<ChangelogMark>,
}

/// A question that was not answered, or a record that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A setting or a secret file cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The broker said no, or nothing.
    #[error("{0}")]
    Broker(String),
}

struct AppendContext {
    result: Mutex<Option<Result<Appended, String>>>,
}

impl ClientContext for AppendContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "writing to the log");
    }
}

impl ProducerContext for AppendContext {
    type DeliveryOpaque = Tag;

    fn delivery(&self, result: &DeliveryResult<'_>, _: Tag) {
        *lock(&self.result) = Some(match result {
            Ok(record) => Ok(Appended {
                partition: record.partition(),
                offset: record.offset(),
            }),
            Err((error, _)) => Err(error.to_string()),
        });
    }
}

/// Writes one record to the log, to `partition` or to the one of its key, and
/// waits until the brokers have it.
///
/// # Errors
/// They do not within 30 s.
pub fn append(
    settings: &KafkaSettings,
    partition: Option<i32>,
    key: Option<&[u8]>,
    value: &[u8],
) -> Result<Appended, OperatorError> {
    let topic = settings.topics.events();
    let failed = |reason: String| {
        OperatorError::Broker(format!("the record was not written to {topic}: {reason}"))
    };
    let context = AppendContext {
        result: Mutex::default(),
    };
    let producer: BaseProducer<AppendContext> = event_producer_config(settings)?
        .create_with_context(context)
        .map_err(ClientError::from)?;
    let record = Outgoing {
        topic: &topic,
        partition,
        key,
        value: Some(value),
        ..Outgoing::default()
    };
    record
        .send(&producer, || false)
        .map_err(|error| failed(error.to_string()))?;
    producer
        .flush(LIMIT)
        .map_err(|error| failed(error.to_string()))?;
    let result = lock(&producer.context().result).take();
    result
        .unwrap_or_else(|| Err("no broker has answered".to_owned()))
        .map_err(failed)
}

/// Asks where the group stands in a partition, once no transaction hangs on it.
///
/// # Errors
/// The broker does not answer within 30 s, or somebody else has committed the
/// offset.
pub fn standing(
    settings: &KafkaSettings,
    partition: PartitionId,
) -> Result<Standing, OperatorError> {
    let topic = settings.topics.events();
    // Of the group by name only: it is no member, so it disturbs nobody.
    let consumer: BaseConsumer = changelog_consumer_config(settings, 0)?
        .create()
        .map_err(ClientError::from)?;
    let end = ask(|| consumer.fetch_watermarks(&topic, partition.0, ASK))?.1;
    let mut list = TopicPartitionList::new();
    list.add_partition(&topic, partition.0);
    let found = ask(|| {
        let found = consumer.committed_offsets(list.clone(), ASK)?;
        for element in found.elements() {
            element.error()?;
        }
        Ok(found)
    })?;
    let committed = found
        .elements()
        .into_iter()
        .find(|element| matches!(element.offset(), Offset::Offset(_)));
    let mark = match committed {
        None => None,
        Some(element) => position::parse(element.metadata())
            .map_err(|error| OperatorError::Broker(error.to_string()))?,
    };
    Ok(Standing { end, mark })
}

/// The epoch record at a place in the changelog; `None` where it is not there.
///
/// # Errors
/// The changelog cannot be read within 30 s.
pub fn epoch_record(
    settings: &KafkaSettings,
    reporting: &Reporting,
    partition: PartitionId,
    mark: &ChangelogMark,
) -> Result<Option<Vec<u8>>, OperatorError> {
    let broker = |error: churnwatch_pipeline::SourceError| OperatorError::Broker(error.to_string());
    let mut changelog = KafkaChangelog::new(settings, 0, reporting)?;
    changelog
        .begin(partition, mark.changelog_offset - 1)
        .map_err(broker)?;
    let mut record = None;
    changelog
        .read(LIMIT, &mut |offset, _, value| {
            if offset == mark.changelog_offset {
                record = value.map(<[u8]>::to_vec);
            }
            Visit::Stop
        })
        .map_err(broker)?;
    Ok(record)
}

/// Asks again until the broker answers.
fn ask<T>(question: impl Fn() -> Result<T, KafkaError>) -> Result<T, OperatorError> {
    let give_up = Instant::now() + LIMIT;
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= give_up => {
                return Err(OperatorError::Broker(error.to_string()));
            }
            Err(error) => {
                tracing::debug!(%error, "asking again");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}
