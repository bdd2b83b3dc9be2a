//! Topics, group and directories of one test.

use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    topic_partition_list::Offset,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    LIMIT, Outgoing, Process, Record, bootstrap, produce, read_all, wait_for, wait_for_work,
};
use crate::cli;

/// What one test has on the broker and on disk; taken away when it is dropped.
pub struct Deployment {
    /// Where the broker listens.
    pub bootstrap: String,
    /// Stands before the names of its topics; its group has the same name.
    pub prefix: String,
    dir: TempDir,
    starts: AtomicU32,
}

impl Deployment {
    /// Makes the topics, with the command that users make them with.
    ///
    /// # Panics
    /// The broker cannot be reached.
    pub fn new(name: &str, partitions: u32) -> Self {
        Self::on(&bootstrap(), name, partitions)
    }

    /// As [`Deployment::new`], on another broker than the shared one.
    ///
    /// # Panics
    /// The broker cannot be reached.
    pub fn on(bootstrap: &str, name: &str, partitions: u32) -> Self {
        let deployment = Self::without_topics_on(bootstrap, name);
        let config = deployment.config("setup", &json!({}));
        let partitions = partitions.to_string();
        cli::run([
            "topics",
            "create",
            "--replication",
            "1",
            "--partitions",
            &partitions,
            "--config",
            config.to_str().expect("a path of UTF-8"),
        ])
        .succeeded();
        deployment
    }

    /// As [`Deployment::new`], with no topics yet.
    ///
    /// # Panics
    /// No broker is named.
    pub fn without_topics(name: &str) -> Self {
        Self::without_topics_on(&bootstrap(), name)
    }

    fn without_topics_on(bootstrap: &str, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let moment = since_epoch.expect("a clock after 1970").as_millis();
        Self {
            bootstrap: bootstrap.to_owned(),
            prefix: format!("{name}-{moment}-{}-{count}.", process::id()),
            dir: tempfile::tempdir().expect("a directory can be made"),
            starts: AtomicU32::new(0),
        }
    }

    /// Its own directory, where files of the test may be put.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the process of this name keeps its state.
    pub fn state_dir(&self, instance: &str) -> PathBuf {
        self.dir.path().join(format!("state-{instance}"))
    }

    /// Full name of a topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Full name of the log.
    pub fn events(&self) -> String {
        self.topic("churn.events.v1")
    }

    /// Writes the configuration of one process, with `settings` laid over what
    /// all tests have: short sessions, and no idle clock.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn config(&self, instance: &str, settings: &Value) -> PathBuf {
        let mut config = json!({
            "kafka": {
                "bootstrap_servers": self.bootstrap,
                "group_id": self.prefix.trim_end_matches('.'),
                "instance_id": instance,
                "topics": {"prefix": self.prefix},
                "session_timeout": "6s",
                "transaction_timeout": "5s",
            },
            "state_dir": self.state_dir(instance),
            "detect": {"idle_clock": "off"},
            "http": {"listen": "127.0.0.1:0"},
        });
        lay_over(&mut config, settings);
        let path = self.dir.path().join(format!("{instance}.yaml"));
        // JSON is YAML.
        std::fs::write(&path, config.to_string()).expect("a file can be written");
        path
    }

    /// Starts a process.
    ///
    /// # Panics
    /// It ends at once.
    pub fn start(&self, instance: &str, settings: &Value) -> Process {
        let log = self.next_log(instance);
        Process::start(&self.config(instance, settings), &log)
    }

    /// Starts a process of the binary with faults, with these orders
    /// (`CHURNWATCH_FAULT`, `CHURNWATCH_WITHOUT`) in its environment.
    ///
    /// # Panics
    /// It ends at once.
    pub fn start_with_faults(
        &self,
        instance: &str,
        settings: &Value,
        env: &[(&str, &str)],
    ) -> Process {
        let log = self.next_log(instance);
        Process::start_with_faults(&self.config(instance, settings), &log, env)
    }

    /// Starts a process that has to refuse to work; gives how it ended.
    ///
    /// # Panics
    /// It goes on.
    pub fn start_in_vain(&self, instance: &str, settings: &Value) -> super::Ended {
        let log = self.next_log(instance);
        Process::run_to_its_end(&self.config(instance, settings), &log)
    }

    fn next_log(&self, instance: &str) -> PathBuf {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        self.dir.path().join(format!("{instance}-{start}.log"))
    }

    /// Writes to the log.
    ///
    /// # Panics
    /// The broker does not take a record.
    pub fn produce<'a>(&self, records: impl IntoIterator<Item = &'a Outgoing>) {
        produce(&self.bootstrap, &self.events(), records);
    }

    /// Everything committed in a topic, by its own name.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        read_all(&self.bootstrap, &self.topic(topic))
    }

    /// Waits until the group has committed the end of every partition.
    ///
    /// # Panics
    /// It does not get there, or a process ends meanwhile: shows its log.
    #[track_caller]
    pub fn wait_until_read(&self, processes: &mut [&mut Process]) {
        let group = self.group();
        wait_for_work("the group to have read all", processes, || {
            group
                .progress()
                .iter()
                .all(|(committed, end)| committed == end)
                .then_some(())
        });
    }

    /// Everything that its processes logged, each start with its name.
    ///
    /// # Panics
    /// A log cannot be read.
    pub fn logs(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(self.dir()).expect("its own directory");
        let mut logs: Vec<(String, String)> = files
            .map(|file| file.expect("a file of its own").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
            .map(|path| {
                let name = path.file_stem().expect("a log has a name");
                let text = std::fs::read_to_string(&path).expect("a log can be read");
                (name.to_string_lossy().into_owned(), text)
            })
            .collect();
        logs.sort();
        logs
    }

    /// A view of the group's offsets.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn group(&self) -> Group {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", self.prefix.trim_end_matches('.'))
            // The question must not wait for the end of somebody's transaction.
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        Group {
            consumer,
            name: self.prefix.trim_end_matches('.').to_owned(),
            topic: self.events(),
        }
    }

    /// Whether somebody's transaction is open in a topic, by its own name: then
    /// readers of committed records do not get to its end.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn has_open_transaction(&self, topic: &str) -> bool {
        let ends = |isolation: &str| -> Vec<i64> {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &self.bootstrap)
                .set("isolation.level", isolation)
                .create()
                .expect("a consumer");
            let name = self.topic(topic);
            let metadata = consumer
                .fetch_metadata(Some(&name), LIMIT)
                .expect("metadata");
            let partitions = metadata.topics().first();
            let partitions = partitions.map_or(&[][..], |topic| topic.partitions());
            assert!(!partitions.is_empty(), "{name} has partitions");
            partitions
                .iter()
                .map(|partition| {
                    let bounds = consumer.fetch_watermarks(&name, partition.id(), LIMIT);
                    bounds.expect("the bounds of a partition").1
                })
                .collect()
        };
        // In this order: a commit in between makes the latter longer only by what is open again.
        let all = ends("read_uncommitted");
        let committed = ends("read_committed");
        all.iter()
            .zip(committed)
            .any(|(all, committed)| committed < *all)
    }

    /// Gives the log more partitions.
    ///
    /// # Panics
    /// The broker does not.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let name = self.topic(topic);
        let done = pollster::block_on(self.admin().create_partitions(
            [&NewPartitions::new(&name, partitions)],
            &AdminOptions::new(),
        ));
        done.expect("the broker answers")
            .remove(0)
            .expect("more partitions");
    }

    /// Gives a topic one setting; its others become the broker's defaults.
    ///
    /// # Panics
    /// The broker does not take it.
    pub fn set(&self, topic: &str, setting: &str, value: &str) {
        let name = self.topic(topic);
        let config = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(setting, value);
        let done = pollster::block_on(self.admin().alter_configs([&config], &AdminOptions::new()));
        done.expect("the broker answers")
            .remove(0)
            .expect("the setting is taken");
    }

    pub(super) fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .create()
            .expect("an admin client")
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // A broker that is kept between runs shall not fill up; one that is gone needs no care.
        let names = [
            "churn.events.v1",
            "churn.alerts.v1",
            "churn.alerts.current.v1",
            "churn.dead-letters.v1",
            "churnwatch.state",
        ]
        .map(|name| self.topic(name));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = pollster::block_on(self.admin().delete_topics(&names, &AdminOptions::new()));
    }
}

/// The group's offsets in the log.
pub struct Group {
    consumer: BaseConsumer,
    name: String,
    topic: String,
}

impl Group {
    /// Committed offset and end of each partition; 0 where nothing is committed.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn progress(&self) -> Vec<(i64, i64)> {
        let end = |partition| {
            let bounds = || {
                self.consumer
                    .fetch_watermarks(&self.topic, partition, LIMIT)
                    .ok()
            };
            wait_for("the bounds of a partition", bounds).1
        };
        let committed = self.committed_offsets();
        committed
            .into_iter()
            .map(|(partition, offset)| (offset, end(partition)))
            .collect()
    }

    /// Records in the log, over all partitions, and markers of transactions.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn ends(&self) -> i64 {
        self.progress().iter().map(|(_, end)| end).sum()
    }

    /// The group's state in Kafka's words (`Stable`, `Empty`, ...), and how many
    /// members it has.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn state(&self) -> (String, usize) {
        let groups = self.consumer.fetch_group_list(Some(&self.name), LIMIT);
        let groups = groups.expect("the broker lists its groups");
        let group = groups
            .groups()
            .iter()
            .find(|group| group.name() == self.name);
        group.map_or_else(
            || (String::new(), 0),
            |group| (group.state().to_owned(), group.members().len()),
        )
    }

    /// Committed records, over all partitions.
    ///
    /// # Panics
    /// The broker does not answer.
    pub fn committed(&self) -> i64 {
        self.committed_offsets()
            .iter()
            .map(|(_, offset)| offset)
            .sum()
    }

    /// Commits an offset without any mark of ours, as an operator's tool does;
    /// waits until the group has no members.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn commit_as_somebody_else(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        list.add_partition_offset(&self.topic, partition, offset)
            .expect("an offset");
        wait_for("the group to take an offset", || {
            self.consumer.commit(&list, CommitMode::Sync).ok()
        });
    }

    fn committed_offsets(&self) -> Vec<(i32, i64)> {
        // A broker that has just started does not know everything at once.
        let metadata = wait_for("metadata", || {
            self.consumer.fetch_metadata(Some(&self.topic), LIMIT).ok()
        });
        let mut list = TopicPartitionList::new();
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            list.add_partition(&self.topic, partition.id());
        }
        // A broker that is just moving the group's coordinator asks to be asked again.
        let found = wait_for("committed offsets", || {
            self.consumer.committed_offsets(list.clone(), LIMIT).ok()
        });
        found
            .elements()
            .iter()
            .map(|found| {
                (
                    found.partition(),
                    found.offset().to_raw().unwrap_or(0).max(0),
                )
            })
            .collect()
    }
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}
