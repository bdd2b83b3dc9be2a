//! What each topic should be, and why.

use crate::client::MAX_MESSAGE_BYTES;
use crate::duration::Span;
use crate::settings::Topics;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRole {
    /// The log of canonical events.
    Events,
    /// Every transition of every alert.
    Alerts,
    /// What is open now.
    Current,
    /// What could not be used.
    DeadLetters,
    /// The state's changelog.
    Changelog,
}

impl TopicRole {
    /// The rights of ours that make it visible to us.
    pub(super) const fn seen_with(self) -> &'static str {
        match self {
            Self::Events | Self::Changelog => "`Read` or `Write`",
            Self::Alerts | Self::Current | Self::DeadLetters => "`Write`",
        }
    }
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// What it is for.
    pub role: TopicRole,
    /// Its full name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// On how many brokers each partition stands.
    pub replication: i32,
    /// Kafka's settings, by Kafka's names.
    pub config: Vec<(&'static str, String)>,
}

/// How long events are kept: long enough to warm the longest state again.
pub(super) const EVENTS_RETENTION: Span = Span::from_days(400);
/// How long a subscriber may be away and still miss no alert.
const ALERTS_RETENTION: Span = Span::from_days(90);
/// How long a dead letter can be looked at and replayed.
const DEAD_LETTERS_RETENTION: Span = Span::from_days(90);
/// A row of the changelog is not compacted away before every store has flushed
/// what it needs of it: stores flush within minutes.
pub(super) const CHANGELOG_MIN_COMPACTION_LAG: Span = Span::from_secs(3_600);
/// How long a deletion can be read. A disk that was away for longer comes back
/// with rows that were deleted meanwhile, and is rebuilt.
pub(super) const CHANGELOG_DELETE_RETENTION: Span = Span::from_days(7);
/// How long a subscriber may be away and still see that an alert was resolved.
const CURRENT_DELETE_RETENTION: Span = Span::from_days(7);
/// Compaction leaves the segment that is written alone: quiet topics roll it by
/// time, so that erased data is gone within days and a restore stays short.
const COMPACTED_SEGMENT_TIME: Span = Span::from_secs(6 * 3_600);
const MAX_COMPACTION_LAG: Span = Span::from_days(2);
const COMPACTED_SEGMENT_BYTES: u32 = 128 * 1024 * 1024;

/// Largest record batch that a topic of ours takes; a record that our producers
/// take must fit with its framing.
pub(super) const MAX_BATCH_BYTES: usize = MAX_MESSAGE_BYTES + 64 * 1024;

/// All topics, in the order in which they should be made.
///
/// The topics that hold alerts have as many partitions as the log, so that
/// their load spreads like it; for the changelog it is a must, since partition
/// *p* of the log has its state in partition *p* of it.
pub fn specs(topics: &Topics, partitions: i32, replication: i32) -> Vec<TopicSpec> {
    // With two of three copies in step, one broker can be away and nothing acknowledged is lost.
    let in_step = (replication - 1).clamp(1, 2);
    let spec = |role, name, config: Vec<(&'static str, String)>| {
        let shared = [
            ("min.insync.replicas", in_step.to_string()),
            ("max.message.bytes", MAX_BATCH_BYTES.to_string()),
        ];
        TopicSpec {
            role,
            name,
            partitions,
            replication,
            config: config.into_iter().chain(shared).collect(),
        }
    };
    let deleted_after = |time: Span| {
        vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", millis(time)),
        ]
    };
    let compacted = |more: Vec<(&'static str, String)>| {
        let shared = [
            ("cleanup.policy", "compact".to_owned()),
            ("segment.ms", millis(COMPACTED_SEGMENT_TIME)),
            ("segment.bytes", COMPACTED_SEGMENT_BYTES.to_string()),
            ("max.compaction.lag.ms", millis(MAX_COMPACTION_LAG)),
            ("min.cleanable.dirty.ratio", "0.3".to_owned()),
        ];
        shared.into_iter().chain(more).collect()
    };
    let mut events = deleted_after(EVENTS_RETENTION);
    // The moment of arrival is the broker's: a producer's clock must not be able to fire timers.
    events.push(("message.timestamp.type", "LogAppendTime".to_owned()));
    vec![
        spec(TopicRole::Events, topics.events(), events),
        spec(
            TopicRole::Alerts,
            topics.alerts(),
            deleted_after(ALERTS_RETENTION),
        ),
        spec(
            TopicRole::Current,
            topics.current(),
            compacted(vec![(
                "delete.retention.ms",
                millis(CURRENT_DELETE_RETENTION),
            )]),
        ),
        spec(
            TopicRole::DeadLetters,
            topics.dead_letters(),
            deleted_after(DEAD_LETTERS_RETENTION),
        ),
        spec(
            TopicRole::Changelog,
            topics.changelog(),
            compacted(vec![
                (
                    "min.compaction.lag.ms",
                    millis(CHANGELOG_MIN_COMPACTION_LAG),
                ),
                ("delete.retention.ms", millis(CHANGELOG_DELETE_RETENTION)),
            ]),
        ),
    ]
}

fn millis(span: Span) -> String {
    span.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(spec: &TopicSpec, setting: &str) -> Option<String> {
        let found: Vec<_> = spec
            .config
            .iter()
            .filter(|(name, _)| *name == setting)
            .collect();
        assert!(found.len() <= 1, "{setting} is given twice");
        found.first().map(|(_, value)| value.clone())
    }

    #[test]
    fn one_broker_may_be_away_where_there_are_three_copies() {
        for (replication, in_step) in [(1, "1"), (2, "1"), (3, "2"), (5, "2")] {
            for spec in specs(&Topics::default(), 6, replication) {
                assert_eq!(
                    value(&spec, "min.insync.replicas").as_deref(),
                    Some(in_step)
                );
                assert_eq!(spec.replication, replication);
            }
        }
    }

    #[test]
    fn the_changelog_matches_the_log() {
        let specs = specs(&Topics::default(), 6, 1);
        let partitions = |role| {
            specs
                .iter()
                .find(|spec| spec.role == role)
                .map(|spec| spec.partitions)
        };
        assert_eq!(
            partitions(TopicRole::Events),
            partitions(TopicRole::Changelog)
        );
    }

    #[test]
    fn state_is_compacted_and_history_is_kept_for_its_time() {
        for spec in specs(&Topics::default(), 6, 1) {
            let policy = match spec.role {
                TopicRole::Current | TopicRole::Changelog => "compact",
                TopicRole::Events | TopicRole::Alerts | TopicRole::DeadLetters => "delete",
            };
            assert_eq!(value(&spec, "cleanup.policy").as_deref(), Some(policy));
            let by_broker = (spec.role == TopicRole::Events).then(|| "LogAppendTime".to_owned());
            assert_eq!(value(&spec, "message.timestamp.type"), by_broker);
        }
    }

    #[test]
    fn what_our_producers_take_the_topics_take_too() {
        for spec in specs(&Topics::default(), 6, 1) {
            let bytes: usize = value(&spec, "max.message.bytes").unwrap().parse().unwrap();
            assert!(bytes > MAX_MESSAGE_BYTES);
        }
    }
}
