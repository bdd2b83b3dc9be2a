//! What operators and accidents do to topics and groups behind our back.

use std::time::Duration;

use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminOptions, AlterConfig, ConfigSource, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer as _},
    topic_partition_list::Offset,
};
use serde_json::json;

use super::{Deployment, LIMIT, Outgoing, produce, wait_for};
use crate::cli;

impl Deployment {
    /// Deletes the group with its offsets; waits until its members are gone.
    ///
    /// # Panics
    /// The broker does not.
    pub fn delete_group(&self) {
        let group = self.prefix.trim_end_matches('.');
        let admin = self.admin();
        wait_for("the group to be empty and deleted", || {
            let deleted =
                pollster::block_on(admin.delete_groups(&[group], &AdminOptions::new())).ok()?;
            deleted
                .into_iter()
                .all(|result| result.is_ok())
                .then_some(())
        });
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// The broker does not.
    pub fn delete_topic(&self, topic: &str) {
        let name = self.topic(topic);
        let admin = self.admin();
        pollster::block_on(admin.delete_topics(&[&name], &AdminOptions::new()))
            .expect("the broker answers")
            .remove(0)
            .expect("the topic goes");
        wait_for("the topic to be gone", || {
            let metadata = admin.inner().fetch_metadata(None, LIMIT).ok()?;
            let is_there = metadata.topics().iter().any(|topic| topic.name() == name);
            (!is_there).then_some(())
        });
    }

    /// Makes the topics that are missing, as at the beginning.
    ///
    /// # Panics
    /// The broker does not.
    pub fn make_missing_topics(&self, partitions: u32) {
        let config = self.config("setup", &json!({}));
        let partitions = partitions.to_string();
        let config = config.to_str().expect("a path of UTF-8");
        let replication = ["--replication", "1", "--partitions", &partitions];
        let arguments = ["topics", "create", "--config", config];
        cli::run(arguments.into_iter().chain(replication)).succeeded();
    }

    /// Deletes the records of a partition below `offset`, as retention does.
    /// Kafka refuses it for a topic that is only compacted; whoever wants it all
    /// the same changes the topic's policy for a moment, and so does this.
    ///
    /// # Panics
    /// The broker does not.
    pub fn trim(&self, topic: &str, partition: i32, offset: i64) {
        let name = self.topic(topic);
        let admin = self.admin();
        let described = pollster::block_on(
            admin.describe_configs([&ResourceSpecifier::Topic(&name)], &AdminOptions::new()),
        );
        let described = described.expect("the broker answers").remove(0);
        let entries = described.expect("the topic is there").entries;
        // Altering a topic's settings resets those that are not named.
        let own: Vec<(String, String)> = entries
            .into_iter()
            .filter(|entry| entry.source == ConfigSource::DynamicTopic)
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect();
        let alter = |policy: Option<&str>| {
            let mut altered = AlterConfig::new(ResourceSpecifier::Topic(&name));
            for (key, value) in &own {
                altered = altered.set(key, value);
            }
            if let Some(policy) = policy {
                altered = altered.set("cleanup.policy", policy);
            }
            pollster::block_on(admin.alter_configs([&altered], &AdminOptions::new()))
                .expect("the broker answers")
                .remove(0)
                .expect("the settings are taken");
        };
        alter(Some("delete"));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, partition, Offset::Offset(offset))
            .expect("an offset");
        wait_for("the records to be deleted", || {
            let deleted = pollster::block_on(admin.delete_records(&list, &AdminOptions::new()));
            let is_done = deleted.is_ok_and(|list| {
                let mut elements = list.elements().into_iter();
                elements.all(|element| element.error().is_ok())
            });
            is_done.then_some(())
        });
        alter(None);
    }

    /// Writes a record into a partition of a topic, where it does not belong.
    ///
    /// # Panics
    /// The broker does not take it.
    pub fn meddle(&self, topic: &str, partition: i32, key: &[u8], value: Option<&[u8]>) {
        let outgoing = Outgoing {
            partition: Some(partition),
            key: Some(key.to_vec()),
            value: value.map(<[u8]>::to_vec),
            ..Outgoing::default()
        };
        produce(&self.bootstrap, &self.topic(topic), &[outgoing]);
    }

    /// Writes a record in a transaction that is then aborted.
    ///
    /// # Panics
    /// The broker does not take it.
    pub fn meddle_and_abort(&self, topic: &str, partition: i32, key: &[u8], value: &[u8]) {
        let name = self.topic(topic);
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("transactional.id", format!("{}meddler", self.prefix))
            .create()
            .expect("a producer");
        producer.init_transactions(LIMIT).expect("transactions");
        producer.begin_transaction().expect("a transaction");
        let record = BaseRecord::to(&name)
            .partition(partition)
            .key(key)
            .payload(value);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("a record is taken");
        // On the broker before it is aborted, or it would be thrown away on our side.
        producer
            .flush(LIMIT)
            .expect("the record is with the broker");
        producer.abort_transaction(LIMIT).expect("an abort");
    }

    /// First and next offset of a partition, aborted records and markers
    /// included.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn bounds(&self, topic: &str, partition: i32) -> (i64, i64) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        consumer
            .fetch_watermarks(&self.topic(topic), partition, Duration::from_secs(10))
            .expect("the bounds of a partition")
    }
}
