//! Partitions that the group has given to nobody, and how it is made to.
//!
//! With cooperative assignment a partition changes hands in two rounds: in the
//! first its owner is told to let go, and the partition is nobody's; the owner
//! then joins again, which brings about the second, in which somebody gets it.
//! A member with a name that dies between the two, and comes back before its
//! session ends, is given what it had in the first round, without any new
//! round: it knows nothing of having to ask for the second. All members are
//! content, the group is stable, and the partition is nobody's for as long as
//! nothing else happens.
//!
//! So every process looks at the group now and then. Where a stable group lacks
//! a partition at two looks in a row, it is given a reason for another round: a
//! member for a moment, without a name, that wants nothing of the log. When it
//! joins, all partitions of the log are handed out, and none of them to it.
//! Only the process with the member of the smallest id does so: once is enough.
//! Were it dead, its own end would bring the round about.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use churnwatch_pipeline::source::PartitionId;
use churnwatch_telemetry::Metrics;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::client::{
    ClientError, Reporting, SOURCE_ROLE, admin_config, client_id, log_line, passing_member_config,
};
use crate::settings::KafkaSettings;

/// How long the group may take to describe itself.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a poll of the passing member waits.
const POLL_TIME: Duration = Duration::from_millis(100);
/// How often the end is asked for between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks after the group's assignment, on a thread of its own.
pub struct GroupWatch {
    settings: KafkaSettings,
    partitions: u32,
    metrics: Arc<Metrics>,
    /// Only asks; it is no member.
    observer: BaseConsumer<Quiet>,
    /// What nobody owned at the last look.
    suspected: BTreeSet<PartitionId>,
}

/// Why the group could not be looked at; the next look may do better.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A setting or a secret file cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No answer, or not the one that was hoped for.
    #[error("the group's assignment cannot be looked after: {0}")]
    Kafka(#[from] KafkaError),
}

/// What the group says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    /// Partitions of the log that no member has, while the group is stable.
    orphans: BTreeSet<PartitionId>,
    /// Whether it is on this process to do something about them.
    ours_to_do: bool,
}

impl GroupWatch {
    /// For a log of so many partitions. Connects in the background.
    ///
    /// # Errors
    /// When a setting or a secret file cannot be used.
    pub fn new(
        settings: &KafkaSettings,
        partitions: u32,
        reporting: &Reporting,
    ) -> Result<Self, ClientError> {
        let mut config = admin_config(settings)?;
        config.set("group.id", &settings.group_id);
        Ok(Self {
            observer: config.create_with_context(Quiet)?,
            settings: settings.clone(),
            partitions,
            metrics: reporting.metrics.clone(),
            suspected: BTreeSet::new(),
        })
    }

    /// Looks again and again until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool) {
        // Two looks are further apart than a member takes to hear of a new round, so what nobody
        // owns at both is not on its way.
        let interval = self.settings.session_timeout.get() / 2;
        let mut next = Instant::now() + interval;
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
            if Instant::now() < next {
                continue;
            }
            if let Err(error) = self.look() {
                tracing::debug!(%error, "no look at the group");
            }
            next = Instant::now() + interval;
        }
    }

    /// Looks once. Where partitions belong to nobody for the second time, it
    /// brings about another round.
    fn look(&mut self) -> Result<(), WatchError> {
        let look = self.ask()?;
        let confirmed: BTreeSet<_> = look
            .orphans
            .intersection(&self.suspected)
            .copied()
            .collect();
        self.suspected = look.orphans;
        if confirmed.is_empty() || !look.ours_to_do {
            return Ok(());
        }
        self.suspected.clear();
        tracing::warn!(
            partitions = ?confirmed,
            "the group left partitions without an owner; bringing about another assignment"
        );
        self.metrics
            .orphaned_partitions_total
            .inc_by(confirmed.len() as u64);
        self.bring_about_a_round()
    }

    fn ask(&self) -> Result<Look, KafkaError> {
        let group_id = &self.settings.group_id;
        let groups = self
            .observer
            .fetch_group_list(Some(group_id), ANSWER_TIME)?;
        let group = groups
            .groups()
            .iter()
            .find(|group| group.name() == group_id);
        let Some(group) = group.filter(|group| group.state() == "Stable") else {
            return Ok(Look::default());
        };
        let log = self.settings.topics.events();
        let mut owned = BTreeSet::new();
        for member in group.members() {
            match assigned(member.assignment().unwrap_or_default(), &log) {
                Some(partitions) => owned.extend(partitions),
                // Not understood: then nothing is known.
                None => return Ok(Look::default()),
            }
        }
        let all = (0..self.partitions.cast_signed()).map(PartitionId);
        let first = group.members().iter().min_by_key(|member| member.id());
        Ok(Look {
            orphans: all.filter(|partition| !owned.contains(partition)).collect(),
            ours_to_do: first.is_some_and(|member| self.is_ours(member.client_id())),
        })
    }

    /// Whether a member of this client id is a worker of this process.
    fn is_ours(&self, id: &str) -> bool {
        let worker = id.strip_prefix(&client_id(&self.settings, SOURCE_ROLE));
        worker.is_some_and(|worker| worker.parse::<usize>().is_ok())
    }

    /// Joins and leaves.
    fn bring_about_a_round(&self) -> Result<(), WatchError> {
        let config = passing_member_config(&self.settings)?;
        let member: BaseConsumer<Passing> = config.create_with_context(Passing::default())?;
        // A topic that we may read anyway, and that no member of the group asks for.
        member.subscribe(&[&self.settings.topics.changelog()])?;
        // A round waits for every member for as long as its session lasts.
        let until = Instant::now() + 2 * self.settings.session_timeout.get();
        while !member.context().has_joined.load(Ordering::Acquire) && Instant::now() < until {
            if let Some(Err(error)) = member.poll(POLL_TIME) {
                tracing::debug!(%error, "joining for a moment");
            }
        }
        Ok(())
    }
}

/// The partitions of a topic in a member's assignment, as the consumer protocol
/// writes it; `None` where it is not understood.
fn assigned(assignment: &[u8], topic: &str) -> Option<Vec<PartitionId>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    let mut bytes = assignment;
    let _version = take::<2>(&mut bytes)?;
    let mut partitions = Vec::new();
    for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
            let partition = i32::from_be_bytes(take(&mut bytes)?);
            if name == topic.as_bytes() {
                partitions.push(PartitionId(partition));
            }
        }
    }
    Some(partitions)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// Logs, and nothing else: that a broker is away is the workers' to report.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line("kafka-group-watch", level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", client = "kafka-group-watch", %error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// A member that only waits to be one.
#[derive(Default)]
struct Passing {
    has_joined: AtomicBool,
}

impl ClientContext for Passing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line("kafka-group-passing", level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", client = "kafka-group-passing", %error, reason);
    }
}

impl ConsumerContext for Passing {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        _: &mut TopicPartitionList,
    ) {
        let assign = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        // It takes nothing of what it is given, so that nothing is fetched.
        let nothing = TopicPartitionList::new();
        let answered = if assign {
            consumer.incremental_assign(&nothing)
        } else {
            consumer.incremental_unassign(&nothing)
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "a member that leaves did not answer");
        }
        if assign {
            self.has_joined.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1, topics "log" with 0 and 7, "other" with 3, no user data.
    fn assignment() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        bytes.extend(b"\0\x03log\0\0\0\x02\0\0\0\0\0\0\0\x07");
        bytes.extend(b"\0\x05other\0\0\0\x01\0\0\0\x03");
        bytes.extend([0xff; 4]);
        bytes
    }

    #[test]
    fn the_partitions_of_the_topic_are_read_and_of_no_other() {
        let bytes = assignment();
        assert_eq!(
            assigned(&bytes, "log"),
            Some(vec![PartitionId(0), PartitionId(7)])
        );
        assert_eq!(assigned(&bytes, "other"), Some(vec![PartitionId(3)]));
        assert_eq!(assigned(&bytes, "lo"), Some(vec![]));
    }

    #[test]
    fn a_member_without_an_assignment_has_none() {
        assert_eq!(assigned(&[], "log"), Some(vec![]));
        assert_eq!(
            assigned(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0], "log"),
            Some(vec![])
        );
    }

    #[test]
    fn a_damaged_assignment_is_not_taken_for_none() {
        let bytes = assignment();
        for length in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..length], "log"), None, "{length}");
        }
    }
}
