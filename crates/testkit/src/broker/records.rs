//! Records in and out of topics, as any other program writes and reads them.

use std::time::Duration;

use churnwatch_core::EventTime;
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
    topic_partition_list::Offset,
};

use super::{LIMIT, wait_for};

/// A record to write.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// The partition; by the key where `None`.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Outgoing {
    /// A canonical event, keyed by its account.
    ///
    /// # Panics
    /// The line is no event of an account.
    pub fn event(line: &str) -> Self {
        let event: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let account = event["account_id"]
            .as_str()
            .expect("an event has an account");
        Self {
            key: Some(account.as_bytes().to_vec()),
            value: Some(line.as_bytes().to_vec()),
            ..Self::default()
        }
    }

    /// The clock of the log: in this partition, nothing older than `time` will
    /// come.
    pub fn clock(partition: i32, time: EventTime) -> Self {
        let value =
            format!(r#"{{"kind":"clock","source":"log","shard":0,"shards":1,"time":"{time}"}}"#);
        Self {
            partition: Some(partition),
            value: Some(value.into_bytes()),
            ..Self::default()
        }
    }
}

/// A record as it stands in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The last header of a name, as text.
    ///
    /// # Panics
    /// It is not there, or no UTF-8.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().rev().find(|(header, _)| header == name);
        let (_, value) = found.unwrap_or_else(|| panic!("no header {name} in {self:?}"));
        std::str::from_utf8(value.as_deref().expect("a header with a value")).expect("UTF-8")
    }

    /// The key as text.
    ///
    /// # Panics
    /// There is none, or it is no UTF-8.
    #[track_caller]
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key.as_deref().expect("a key")).expect("UTF-8")
    }
}

/// Writes records to one topic, by the key to the partition that Java's
/// producers would choose.
pub struct Producer {
    producer: BaseProducer,
    topic: String,
}

impl Producer {
    /// Connects in the background.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "2000000")
            .set("linger.ms", "0")
            .create()
            .expect("a producer");
        Self {
            producer,
            topic: topic.to_owned(),
        }
    }

    /// Takes a record over; it is on its way when this returns.
    ///
    /// # Panics
    /// It is not taken.
    pub fn send(&self, outgoing: &Outgoing) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &outgoing.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_ref(),
            });
        }
        let mut record = BaseRecord::<[u8], [u8]> {
            topic: &self.topic,
            partition: outgoing.partition,
            payload: outgoing.value.as_deref(),
            key: outgoing.key.as_deref(),
            timestamp: None,
            headers: (!outgoing.headers.is_empty()).then_some(headers),
            delivery_opaque: (),
        };
        while let Err((error, back)) = self.producer.send(record) {
            let full = Some(RDKafkaErrorCode::QueueFull);
            assert_eq!(
                error.rdkafka_error_code(),
                full,
                "a record for {} was not taken",
                self.topic
            );
            self.producer.poll(Duration::from_millis(5));
            record = back;
        }
    }

    /// Waits until all are on the broker.
    ///
    /// # Panics
    /// They are not, within [`LIMIT`].
    pub fn flush(&self) {
        self.producer
            .flush(LIMIT)
            .expect("the broker takes the records");
    }
}

/// Writes records, in order, and waits until all are on the broker.
///
/// # Panics
/// One is not taken.
pub fn produce<'a>(bootstrap: &str, topic: &str, records: impl IntoIterator<Item = &'a Outgoing>) {
    let producer = Producer::new(bootstrap, topic);
    for record in records {
        producer.send(record);
    }
    producer.flush();
}

/// Everything that is committed in a topic, by partition and offset.
///
/// # Panics
/// It cannot be read to its end.
pub fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    read_from(bootstrap, topic, Offset::Beginning)
}

/// As [`read_all`], from an offset of every partition on.
///
/// # Panics
/// As [`read_all`].
pub fn read_from(bootstrap: &str, topic: &str, offset: Offset) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.message.max.bytes", "4000000")
        .create()
        .expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), LIMIT)
        .expect("the broker answers");
    let partitions = metadata
        .topics()
        .first()
        .map_or(0, |topic| topic.partitions().len());
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let partition = i32::try_from(partition).expect("few partitions");
        list.add_partition_offset(topic, partition, offset)
            .expect("an offset");
    }
    consumer
        .assign(&list)
        .expect("partitions can be assigned by hand");
    let mut records = Vec::new();
    let mut ended = 0;
    while ended < partitions {
        match wait_for("a record or the end", || {
            consumer.poll(Duration::from_secs(1))
        }) {
            Ok(message) => records.push(Record {
                partition: message.partition(),
                offset: message.offset(),
                timestamp_ms: message.timestamp().to_millis(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers_of(message.headers()),
            }),
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("reading {topic}: {error}"),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn headers_of<H: Headers>(headers: Option<&H>) -> Vec<(String, Option<Vec<u8>>)> {
    headers
        .into_iter()
        .flat_map(Headers::iter)
        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        .collect()
}
