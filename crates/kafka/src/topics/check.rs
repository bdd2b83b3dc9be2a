//! Whether the topics that are there are fit to work with.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Found};
use super::spec::{
    CHANGELOG_DELETE_RETENTION, CHANGELOG_MIN_COMPACTION_LAG, EVENTS_RETENTION, MAX_BATCH_BYTES,
    specs,
};
use super::{CREATE_COMMAND, TopicsError};
use crate::duration::Span;
use crate::settings::{KafkaSettings, Topics};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// With these we must not start.
    pub errors: Vec<String>,
    /// With these we can, and should not for long.
    pub warnings: Vec<String>,
    /// Partitions of the log; 0 if it does not exist.
    pub partitions: i32,
}

/// Looks at every topic. With `dev`, too few copies of the data are no warning.
///
/// # Errors
/// When no broker answers.
pub fn check(settings: &KafkaSettings, dev: bool) -> Result<Report, TopicsError> {
    let cluster = Cluster::connect(settings)?;
    let names = specs(&settings.topics, 1, 1);
    let names = names.iter().map(|spec| spec.name.as_str());
    let found = cluster.describe(names.chain(BROKERS_OWN.map(|(topic, _)| topic)))?;
    let mut report = judge(&settings.topics, &found, dev);
    report.brokers(settings, &cluster.broker_settings()?);
    Ok(report)
}

/// Topics of the brokers themselves that our promises rest on, and what is lost
/// with them.
const BROKERS_OWN: [(&str, &str); 2] = [
    (
        "__consumer_offsets",
        "the positions of the group would be lost with one disk",
    ),
    (
        "__transaction_state",
        "transactions in doubt would be lost with one disk",
    ),
];

fn judge(topics: &Topics, found: &BTreeMap<String, Found>, dev: bool) -> Report {
    let mut report = Report::default();
    for spec in specs(topics, 1, 1) {
        match found.get(&spec.name) {
            None => report.error(
                &spec.name,
                format!(
                    "does not exist, or the user may not {} it: create it with `{CREATE_COMMAND}`",
                    spec.role.seen_with()
                ),
            ),
            Some(topic) => {
                report.record_size(&spec.name, topic);
                report.copies(&spec.name, topic);
                if !dev {
                    report.durability(&spec.name, topic);
                }
            }
        }
    }
    if let Some(events) = found.get(&topics.events()) {
        report.partitions = events.partitions;
        report.events(&topics.events(), events);
        if let Some(changelog) = found.get(&topics.changelog()) {
            report.same_partitions(topics, events, changelog);
        }
    }
    if let Some(changelog) = found.get(&topics.changelog()) {
        report.changelog(&topics.changelog(), changelog);
    }
    if let Some(current) = found.get(&topics.current()) {
        report.compacted(&topics.current(), current, "what is open would be lost");
    }
    for history in [topics.alerts(), topics.dead_letters()] {
        if let Some(topic) = found.get(&history) {
            report.kept_whole(&history, topic);
        }
    }
    // They come into being with the first member of a group and the first transaction.
    for (name, loss) in BROKERS_OWN {
        if let Some(topic) = found
            .get(name)
            .filter(|topic| topic.replication < 3 && !dev)
        {
            let copies = topic.replication;
            report.warn(
                name,
                format!("its replication factor is {copies}: use 3, or {loss}"),
            );
        }
    }
    report
}

impl Report {
    fn error(&mut self, topic: &str, text: impl std::fmt::Display) {
        self.errors.push(format!("topic {topic}: {text}"));
    }

    fn warn(&mut self, topic: &str, text: impl std::fmt::Display) {
        self.warnings.push(format!("topic {topic}: {text}"));
    }

    fn record_size(&mut self, name: &str, topic: &Found) {
        if topic
            .number("max.message.bytes")
            .is_some_and(|bytes| bytes < MAX_BATCH_BYTES as i64)
        {
            let found = topic.text("max.message.bytes");
            self.error(
                name,
                format!("max.message.bytes is {found}, and a record that does not fit would stop its partition: set it to {MAX_BATCH_BYTES} or more"),
            );
        }
    }

    /// Whether it can be written now, and ever.
    fn copies(&mut self, name: &str, topic: &Found) {
        let (replication, in_step) = (topic.replication, topic.in_step);
        let needed = topic.number("min.insync.replicas").unwrap_or(1);
        if i64::from(replication) < needed {
            self.error(
                name,
                format!("min.insync.replicas is {needed} and its replication factor is {replication}: nothing can ever be written to it"),
            );
        } else if in_step == 0 {
            self.warn(
                name,
                "a partition has no leader: nothing moves there until its brokers are back",
            );
        } else if i64::from(in_step) < needed {
            self.warn(
                name,
                format!("a partition has {in_step} copies in step and needs {needed}: nothing is committed until the other brokers have caught up"),
            );
        }
        if topic
            .config
            .get("unclean.leader.election.enable")
            .is_some_and(|on| on == "true")
        {
            self.warn(
                name,
                "unclean.leader.election.enable is true: set it to false, or what was acknowledged can be lost",
            );
        }
    }

    /// A history is deleted by age and by nothing else.
    fn kept_whole(&mut self, name: &str, topic: &Found) {
        if topic.text("cleanup.policy").contains("compact") {
            self.error(
                name,
                "cleanup.policy has compact: set it to delete, or only the newest record of each key stays",
            );
        }
    }

    /// Whether the brokers take our time-outs.
    fn brokers(&mut self, settings: &KafkaSettings, brokers: &BTreeMap<String, String>) {
        let session = settings.session_timeout;
        let bounds = [
            (
                "kafka.transaction_timeout",
                settings.transaction_timeout,
                "transaction.max.timeout.ms",
            ),
            (
                "kafka.session_timeout",
                session,
                "group.max.session.timeout.ms",
            ),
            (
                "kafka.session_timeout",
                session,
                "group.min.session.timeout.ms",
            ),
        ];
        for (key, ours, name) in bounds {
            let Some(bound) = brokers.get(name).and_then(|value| value.parse().ok()) else {
                continue;
            };
            let bound = Span::from_millis(bound);
            let (is_wrong, more) = if name.contains(".min.") {
                (ours < bound, "less")
            } else {
                (ours > bound, "more")
            };
            if is_wrong {
                self.errors.push(format!(
                    "{key} is {ours}, {more} than the brokers take: {name} is {bound}"
                ));
            }
        }
    }

    fn durability(&mut self, name: &str, topic: &Found) {
        if topic.replication < 3 {
            let copies = topic.replication;
            self.warn(
                name,
                format!(
                    "its replication factor is {copies}: use 3, or one lost disk may be lost data"
                ),
            );
        }
        if topic
            .number("min.insync.replicas")
            .is_some_and(|replicas| replicas < 2)
        {
            let found = topic.text("min.insync.replicas");
            self.warn(
                name,
                format!(
                    "min.insync.replicas is {found}: use 2, or what was acknowledged can be lost"
                ),
            );
        }
    }

    fn events(&mut self, name: &str, topic: &Found) {
        let clock = topic.text("message.timestamp.type");
        if clock != "LogAppendTime" {
            self.error(
                name,
                format!("message.timestamp.type is {clock}: set it to LogAppendTime, or a producer with a wrong clock can raise every alert"),
            );
        }
        if topic.text("cleanup.policy").contains("compact") {
            self.error(
                name,
                "cleanup.policy has compact: set it to delete, or events vanish",
            );
        }
        let kept = topic.number("retention.ms");
        if let Some(kept) =
            kept.filter(|kept| (0..EVENTS_RETENTION.as_millis() as i64).contains(kept))
        {
            let kept = Span::from_millis(kept as u64);
            self.warn(
                name,
                format!("retention.ms is {kept}: lost state cannot be warmed again from less than {EVENTS_RETENTION} of events"),
            );
        }
        if let Some(bytes) = topic.number("retention.bytes").filter(|bytes| *bytes >= 0) {
            self.warn(
                name,
                format!("retention.bytes is {bytes}: events are deleted by size, at any age"),
            );
        }
    }

    fn same_partitions(&mut self, topics: &Topics, events: &Found, changelog: &Found) {
        let (found, wanted) = (changelog.partitions, events.partitions);
        if found != wanted {
            let log = topics.events();
            self.error(
                &topics.changelog(),
                format!("has {found} partitions and {log} has {wanted}: the state of a partition stands in the partition of the same number. The number of partitions cannot be changed; replay into new topics"),
            );
        }
    }

    fn changelog(&mut self, name: &str, topic: &Found) {
        self.compacted(name, topic, "state would be lost");
        let bounds = [
            (
                "min.compaction.lag.ms",
                CHANGELOG_MIN_COMPACTION_LAG,
                "a store that is being restored may miss a row",
            ),
            (
                "delete.retention.ms",
                CHANGELOG_DELETE_RETENTION,
                "a disk that was away for longer must be rebuilt",
            ),
        ];
        for (setting, least, why) in bounds {
            let found = topic
                .number(setting)
                .filter(|found| (0..least.as_millis() as i64).contains(found));
            if let Some(found) = found {
                let found = Span::from_millis(found as u64);
                self.warn(
                    name,
                    format!("{setting} is {found}: use {least} or more, or {why}"),
                );
            }
        }
    }

    fn compacted(&mut self, name: &str, topic: &Found, or_else: &str) {
        let policy = topic.text("cleanup.policy");
        if policy != "compact" {
            self.error(
                name,
                format!("cleanup.policy is {policy}: set it to compact, or {or_else}"),
            );
        }
    }
}

impl Found {
    fn text(&self, setting: &str) -> &str {
        self.config.get(setting).map_or("not known", String::as_str)
    }

    fn number(&self, setting: &str) -> Option<i64> {
        self.config.get(setting)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> BTreeMap<String, Found> {
        specs(&Topics::default(), 12, 3)
            .iter()
            .map(|spec| (spec.name.clone(), Found::like(spec)))
            .collect()
    }

    /// The report after a change of one topic.
    fn report(topic: &str, change: impl FnOnce(&mut Found)) -> Report {
        let mut found = good();
        change(found.get_mut(topic).unwrap());
        judge(&Topics::default(), &found, false)
    }

    fn set(setting: &'static str, value: &'static str) -> impl FnOnce(&mut Found) {
        move |topic| {
            topic.config.insert(setting.into(), value.into());
        }
    }

    const EVENTS: &str = "churn.events.v1";
    const CHANGELOG: &str = "churnwatch.state";

    #[track_caller]
    fn only(found: &[String], part: &str) {
        assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
    }

    #[test]
    fn topics_as_specified_pass() {
        let report = judge(&Topics::default(), &good(), false);
        assert_eq!(
            report,
            Report {
                partitions: 12,
                ..Report::default()
            }
        );
    }

    #[test]
    fn a_missing_topic_is_named_with_the_command_that_makes_it() {
        let mut found = good();
        found.remove(CHANGELOG);
        let report = judge(&Topics::default(), &found, false);
        only(
            &report.errors,
            "topic churnwatch.state: does not exist, or the user may not `Read` or `Write` it: create it with `churnwatch topics create`",
        );
    }

    #[test]
    fn the_changelog_must_have_the_partitions_of_the_log() {
        only(
            &report(CHANGELOG, |topic| topic.partitions = 6).errors,
            "has 6 partitions and churn.events.v1 has 12",
        );
    }

    #[test]
    fn producers_clocks_are_not_trusted() {
        only(
            &report(EVENTS, set("message.timestamp.type", "CreateTime")).errors,
            "set it to LogAppendTime",
        );
    }

    #[test]
    fn state_must_be_compacted_and_only_compacted() {
        for policy in ["delete", "compact,delete"] {
            only(
                &report(CHANGELOG, set("cleanup.policy", policy)).errors,
                "set it to compact",
            );
            only(
                &report("churn.alerts.current.v1", set("cleanup.policy", policy)).errors,
                "set it to compact",
            );
        }
    }

    #[test]
    fn a_topic_that_can_never_be_written_is_refused_and_one_that_cannot_now_is_a_warning() {
        only(
            &report(EVENTS, |topic| {
                topic.replication = 1;
                topic.in_step = 1;
            })
            .errors,
            "min.insync.replicas is 2 and its replication factor is 1",
        );
        only(
            &report(CHANGELOG, |topic| topic.in_step = 1).warnings,
            "has 1 copies in step and needs 2",
        );
        only(
            &report(CHANGELOG, |topic| topic.in_step = 0).warnings,
            "has no leader",
        );
    }

    #[test]
    fn a_leader_that_may_be_behind_is_a_warning() {
        only(
            &report(EVENTS, set("unclean.leader.election.enable", "true")).warnings,
            "what was acknowledged can be lost",
        );
    }

    #[test]
    fn histories_are_not_compacted() {
        for topic in ["churn.alerts.v1", "churn.dead-letters.v1"] {
            only(
                &report(topic, set("cleanup.policy", "compact,delete")).errors,
                "only the newest record of each key stays",
            );
        }
    }

    #[test]
    fn the_brokers_own_topics_are_looked_at_where_they_are() {
        let mut found = good();
        let own = Found {
            partitions: 50,
            replication: 1,
            in_step: 1,
            config: BTreeMap::new(),
        };
        found.insert("__transaction_state".into(), own);
        let report = |dev| judge(&Topics::default(), &found, dev);
        only(
            &report(false).warnings,
            "transactions in doubt would be lost",
        );
        assert_eq!(report(true).warnings, Vec::<String>::new());
    }

    #[test]
    fn time_outs_that_the_brokers_do_not_take_are_refused() {
        let settings = KafkaSettings::default();
        let errors = |name: &str, value: &str| {
            let mut report = Report::default();
            report.brokers(&settings, &[(name.into(), value.into())].into());
            report.errors
        };
        only(
            &errors("transaction.max.timeout.ms", "10000"),
            "kafka.transaction_timeout is 15s, more than the brokers take: transaction.max.timeout.ms is 10s",
        );
        only(
            &errors("group.min.session.timeout.ms", "31000"),
            "is 30s, less than",
        );
        only(
            &errors("group.max.session.timeout.ms", "29000"),
            "is 30s, more than",
        );
        assert_eq!(
            errors("group.min.session.timeout.ms", "30000"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_compacted_log_is_refused() {
        only(
            &report(EVENTS, set("cleanup.policy", "compact,delete")).errors,
            "events vanish",
        );
    }

    #[test]
    fn a_dead_letter_must_fit() {
        only(
            &report("churn.dead-letters.v1", set("max.message.bytes", "1048588")).errors,
            "would stop its partition",
        );
    }

    #[test]
    fn few_copies_are_a_warning_unless_in_development() {
        let mut found = good();
        let topic = found.get_mut(EVENTS).unwrap();
        topic.replication = 1;
        topic
            .config
            .insert("min.insync.replicas".into(), "1".into());
        let report = judge(&Topics::default(), &found, false);
        assert_eq!(report.errors, Vec::<String>::new());
        assert_eq!(report.warnings.len(), 2, "{report:?}");
        assert_eq!(
            judge(&Topics::default(), &found, true).warnings,
            Vec::<String>::new()
        );
    }

    #[test]
    fn short_retention_is_a_warning_and_none_is_not() {
        only(
            &report(EVENTS, set("retention.ms", "604800000")).warnings,
            "retention.ms is 7d",
        );
        assert_eq!(
            report(EVENTS, set("retention.ms", "-1")).warnings,
            Vec::<String>::new()
        );
        only(
            &report(EVENTS, set("retention.bytes", "1000000")).warnings,
            "deleted by size",
        );
    }

    #[test]
    fn a_changelog_compacted_too_early_is_a_warning() {
        only(
            &report(CHANGELOG, set("min.compaction.lag.ms", "0")).warnings,
            "use 1h or more",
        );
        only(
            &report(CHANGELOG, set("delete.retention.ms", "86400000")).warnings,
            "use 7d or more",
        );
    }
}
