//! Every metric of the process, declared once.
//!
//! The table below is the only place a metric is written down. One entry reads
//!
//! ```text
//! /// Help text, also the field's documentation.
//! field_name: Type { unit: ..., labels: [...], buckets: [...] }
//! ```
//!
//! and gives the field of [`Metrics`], its registration under the name `churnwatch_<field_name>`,
//! its line in [`catalogue`] and its row in [`reference_markdown`]. `labels` may be left out for a
//! metric without labels, `buckets` for anything but a histogram.
//!
//! What a good entry looks like: base units (seconds, bytes, a ratio from 0 to 1), a name that ends
//! in its unit, counters in `_total`, every label bounded. The tests of this file hold the table to
//! that.

mod declaration;
mod family;
mod labels;
mod reference;

use std::time::SystemTime;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder,
};

use crate::sources::SharedSources;

use declaration::{Declared, declare_metrics};
use labels::{
    EVENT_KIND, LATENCY_FROM, MEMORY_PART, PARTITION, PAUSE_REASON, REBALANCE_EVENT, REJECT_REASON,
    RESET_REASON, RESULT, SEVERITY, SIGNAL, SOURCE, TRANSITION, VERSION,
};

pub use declaration::{Kind, Label, LabelValues, MetricInfo, Unit};
pub use family::{ByPartition, Family, GaugeShare};
pub use labels::{CommitResult, LatencyFrom, MemoryPart, RebalanceEvent};
pub use reference::reference_markdown;

/// The media type of [`Metrics::encode`], for the `Content-Type` header.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A commit against a broker: a few milliseconds when all is well, up to the transaction time-out.
const COMMIT_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0,
];

/// From an alert at once to an alert about an event that arrived at the end of the grace period.
const END_TO_END_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
    7_200.0, 21_600.0, 86_400.0, 604_800.0,
];

/// A partition that was up to date, up to one rebuilt from an empty disk.
const RESTORE_SECONDS: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0,
];

const BATCH_EVENTS: &[f64] = &[
    1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 50_000.0, 100_000.0, 500_000.0,
];

declare_metrics! {
    // What came in, and what became of it. Counted when the batch is committed.

    /// Events applied to their account, late ones included.
    events_total: Family<IntCounterVec, 2> { unit: Unit::Of("events"), labels: [SOURCE, EVENT_KIND] }
    /// Records that could not be used and went to the dead letters.
    rejected_total: Family<IntCounterVec, 1> { unit: Unit::Of("records"), labels: [REJECT_REASON] }
    /// Events below the watermark of their source but within the grace period: applied.
    late_total: Family<IntCounterVec, 1> { unit: Unit::Of("events"), labels: [SOURCE] }
    /// Events older than the grace period: not applied and not dead-lettered.
    expired_total: Family<IntCounterVec, 1> { unit: Unit::Of("events"), labels: [SOURCE] }
    /// Events dropped because their id was seen within the dedupe horizon.
    duplicates_total: IntCounter { unit: Unit::Of("events") }
    /// Records dropped because their partition no longer belonged to the worker that polled them.
    unowned_records_total: IntCounter { unit: Unit::Of("records") }
    /// Alert transitions published.
    alerts_total: Family<IntCounterVec, 3> { unit: Unit::Of("alerts"), labels: [SIGNAL, SEVERITY, TRANSITION] }

    // The commit.

    /// Time from the start of a commit to the end of its local write.
    commit_seconds: Histogram { unit: Unit::Seconds, buckets: COMMIT_SECONDS }
    /// Commits, by how they ended.
    commits_total: Family<IntCounterVec, 1> { unit: Unit::Of("commits"), labels: [RESULT] }
    /// Events in one committed batch.
    batch_events: Histogram { unit: Unit::Of("events"), buckets: BATCH_EVENTS }
    /// Age of the event that caused an alert at the moment the alert was committed.
    end_to_end_seconds: Family<HistogramVec, 1> { unit: Unit::Seconds, labels: [LATENCY_FROM], buckets: END_TO_END_SECONDS }
    /// Producers thrown away and made anew.
    producer_resets_total: Family<IntCounterVec, 1> { unit: Unit::Of("producers"), labels: [RESET_REASON] }

    // How far behind.

    /// Records in the partition that are not yet committed.
    consumer_lag_records: ByPartition<IntGaugeVec> { unit: Unit::Of("records"), labels: [PARTITION] }
    /// Wall-clock time less the lowest watermark of the partition.
    watermark_lag_seconds: ByPartition<GaugeVec> { unit: Unit::Seconds, labels: [PARTITION] }

    /// For how long the last stable offset of the log's partition has not moved although records
    /// stand behind it: a transaction was left open. 0 where nothing waits.
    stable_offset_age_seconds: ByPartition<GaugeVec> { unit: Unit::Seconds, labels: [PARTITION] }
    /// For how long the changelog's partition, while it is being restored, has kept back what was
    /// committed.
    changelog_stable_offset_age_seconds: ByPartition<GaugeVec> { unit: Unit::Seconds, labels: [PARTITION] }

    // Assignment and restore.

    /// Partitions assigned to this process.
    partitions_assigned: IntGauge { unit: Unit::Of("partitions") }
    /// Changes of assignment, counted per partition.
    rebalances_total: Family<IntCounterVec, 1> { unit: Unit::Of("partitions"), labels: [REBALANCE_EVENT] }
    /// Partitions that the group had left without an owner, and for which this process brought about another assignment.
    orphaned_partitions_total: IntCounter { unit: Unit::Of("partitions") }
    /// Partitions that are assigned but not read at the moment.
    paused_partitions: Family<IntGaugeVec, 1> { unit: Unit::Of("partitions"), labels: [PAUSE_REASON] }
    /// Changelog rows read to restore the partition.
    restore_rows_total: ByPartition<IntCounterVec> { unit: Unit::Of("rows"), labels: [PARTITION] }
    /// How much of the partition's restore is done, from 0 to 1.
    restore_progress_ratio: ByPartition<GaugeVec> { unit: Unit::Ratio, labels: [PARTITION] }
    /// Time from the assignment of a partition by the group until it is read on, its restore and
    /// every wait included.
    handover_seconds: Histogram { unit: Unit::Seconds, buckets: RESTORE_SECONDS }
    /// Time of a restore, those after an aborted commit included, until the partition is read on.
    restore_seconds: Histogram { unit: Unit::Seconds, buckets: RESTORE_SECONDS }

    // State and memory.

    /// Size of the partition's state on disk.
    state_bytes: ByPartition<IntGaugeVec> { unit: Unit::Bytes, labels: [PARTITION] }
    /// Accounts held decoded in memory, over all workers.
    accounts_cached: IntGauge { unit: Unit::Of("accounts") }
    /// Memory of the accounts held decoded, over all workers, roughly.
    accounts_cached_bytes: IntGauge { unit: Unit::Bytes }
    /// Memory of the due times of all accounts, over all workers.
    due_times_bytes: IntGauge { unit: Unit::Bytes }
    /// Memory held by RocksDB, over all partitions.
    rocksdb_memory_bytes: Family<IntGaugeVec, 1> { unit: Unit::Bytes, labels: [MEMORY_PART] }

    /// Memory of the process that is resident.
    resident_memory_bytes: IntGauge { unit: Unit::Bytes }
    /// The bound of the memory that is resident, as it is configured or taken from the cgroup.
    memory_limit_bytes: IntGauge { unit: Unit::Bytes }

    // The process.

    /// Always 1; the label says which version runs.
    build_info: Family<IntGaugeVec, 1> { unit: Unit::Info, labels: [VERSION] }
    /// Unix time at which the process started.
    process_start_time_seconds: Gauge { unit: Unit::Seconds }
}

impl Metrics {
    /// Makes and registers all metrics of one process, and takes now as its start.
    ///
    /// `version` is what `churnwatch_build_info` shows. Every instance has a registry of its own,
    /// so that tests can have one each. Metrics whose label values are all known beforehand start
    /// at zero rather than missing, so that the first increase is visible to a rate.
    pub fn new(version: &str) -> Self {
        let metrics = Self::register(Registry::new(), SharedSources::default())
            .expect("the declaration table is valid, which a test makes sure of");
        metrics.build_info.child(&[version]).set(1);
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        metrics
            .process_start_time_seconds
            .set(started.map_or(0.0, |since_epoch| since_epoch.as_secs_f64()));
        metrics
    }

    /// All metrics in the text format of Prometheus ([`MEDIA_TYPE`]), sorted by name.
    pub fn encode(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("families that come from a registry are well formed")
    }

    /// The sources seen so far, shared by all accumulators of the process.
    pub(crate) fn sources(&self) -> &SharedSources {
        &self.sources
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_declared_metric_can_be_registered_and_its_arity_fits_its_labels() {
        let metrics = Metrics::register(Registry::new(), SharedSources::default());
        assert!(metrics.is_ok(), "{:?}", metrics.err());
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in catalogue() {
            let name = metric.name;
            assert!(name.starts_with("churnwatch_"), "{name}: prefix");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}: counters, and only counters, end in _total"
            );
            let suffix = match metric.unit {
                Unit::Seconds => "_seconds",
                Unit::Bytes => "_bytes",
                Unit::Ratio => "_ratio",
                Unit::Info => "_info",
                Unit::Of(_) => continue,
            };
            assert!(name.ends_with(suffix), "{name}: should end in {suffix}");
        }
    }

    #[test]
    fn help_is_a_sentence_and_no_name_is_used_twice() {
        let mut names = BTreeSet::new();
        for metric in catalogue() {
            assert!(
                names.insert(metric.name),
                "{} is declared twice",
                metric.name
            );
            let help = metric.help;
            assert!(
                help.starts_with(char::is_uppercase) && help.ends_with('.'),
                "{}: {help:?}",
                metric.name
            );
        }
    }

    #[test]
    fn every_label_is_bounded_and_none_names_an_account_or_a_user() {
        for metric in catalogue() {
            for label in metric.labels {
                assert!(
                    !label.name.contains("account") && !label.name.contains("user"),
                    "{}: {}",
                    metric.name,
                    label.name
                );
                match label.values {
                    LabelValues::Fixed(values) => assert!(!values.is_empty()),
                    LabelValues::Bounded(bound) => assert!(!bound.is_empty()),
                }
            }
        }
    }

    #[test]
    fn buckets_ascend_and_only_histograms_have_them() {
        for metric in catalogue() {
            assert_eq!(
                metric.kind == Kind::Histogram,
                !metric.buckets.is_empty(),
                "{}",
                metric.name
            );
            assert!(metric.buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
        }
    }

    #[test]
    fn text_shows_help_type_labels_and_value() {
        let metrics = Metrics::new("1.2.3");
        metrics
            .alerts_total
            .with(["usage_drop", "critical", "opened"])
            .inc_by(2);
        metrics.consumer_lag_records.of(7).set(12);
        metrics
            .end_to_end_seconds
            .with([LatencyFrom::AppendTime.as_str()])
            .observe(0.02);
        let text = metrics.encode();
        for line in [
            "# HELP churnwatch_alerts_total Alert transitions published.",
            "# TYPE churnwatch_alerts_total counter",
            r#"churnwatch_alerts_total{severity="critical",signal="usage_drop",transition="opened"} 2"#,
            r#"churnwatch_consumer_lag_records{partition="7"} 12"#,
            r#"churnwatch_end_to_end_seconds_bucket{from="append_time",le="0.01"} 0"#,
            r#"churnwatch_end_to_end_seconds_bucket{from="append_time",le="0.025"} 1"#,
            r#"churnwatch_end_to_end_seconds_bucket{from="append_time",le="604800"} 1"#,
            r#"churnwatch_build_info{version="1.2.3"} 1"#,
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "missing {line}\n{text}"
            );
        }
    }

    #[test]
    fn families_with_fixed_label_values_start_at_zero() {
        let text = Metrics::new("1").encode();
        for line in [
            r#"churnwatch_commits_total{result="in_doubt"} 0"#,
            r#"churnwatch_rebalances_total{event="lost"} 0"#,
            r#"churnwatch_rocksdb_memory_bytes{part="pinned"} 0"#,
            r#"churnwatch_end_to_end_seconds_count{from="event_time"} 0"#,
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "missing {line}\n{text}"
            );
        }
    }

    #[test]
    fn two_instances_do_not_share_values() {
        let (one, other) = (Metrics::new("1"), Metrics::new("1"));
        one.duplicates_total.inc();
        assert_eq!(other.duplicates_total.get(), 0);
    }

    #[test]
    fn a_partition_given_away_leaves_no_series_behind() {
        let metrics = Metrics::new("1");
        for partition in [3, 4] {
            metrics.consumer_lag_records.of(partition).set(100);
            metrics.watermark_lag_seconds.of(partition).set(1.5);
            metrics.restore_rows_total.of(partition).inc();
            metrics.restore_progress_ratio.of(partition).set(0.5);
            metrics.state_bytes.of(partition).set(1);
        }
        metrics.forget_partition(3);
        metrics.forget_partition(99);
        let text = metrics.encode();
        assert!(!text.contains(r#"partition="3""#), "{text}");
        assert_eq!(text.matches(r#"partition="4""#).count(), 5, "{text}");
    }

    #[test]
    fn the_start_time_is_a_unix_time_in_seconds() {
        let started = Metrics::new("1").process_start_time_seconds.get();
        let year_2020 = 1_577_836_800.0;
        let year_2100 = 4_102_444_800.0;
        assert!((year_2020..year_2100).contains(&started), "{started}");
    }
}
