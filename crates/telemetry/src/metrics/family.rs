//! Labelled metrics whose types keep their labels bounded.
//!
//! - [`Family`]: values are `&'static str`, so nothing read from a record can become a label.
//! - [`ByPartition`]: the one label is a partition number, and its series can be dropped.
//! - [`GaugeShare`]: one worker's part of a gauge that several workers add up to.

use prometheus::IntGauge;
use prometheus::core::{MetricVec, MetricVecBuilder};

/// A metric with `N` labels.
///
/// [`Family::with`] hashes its labels: call it once and keep what it returns where it is used per
/// record.
#[derive(Debug, Clone)]
pub struct Family<V, const N: usize>(V);

impl<B: MetricVecBuilder, const N: usize> Family<MetricVec<B>, N> {
    pub(super) fn new(vec: MetricVec<B>) -> Self {
        Self(vec)
    }

    /// The series with these label values, in the order of declaration; made if it is not there.
    ///
    /// Values are compile-time strings by design. Never leak a string to get around that.
    pub fn with(&self, values: [&'static str; N]) -> B::M {
        self.child(&values)
    }

    /// The same for values that this crate has bounded itself.
    pub(crate) fn child(&self, values: &[&str; N]) -> B::M {
        self.0
            .get_metric_with_label_values(values)
            .expect("the number of labels is checked when the metric is made")
    }

    pub(super) fn vec(&self) -> &MetricVec<B> {
        &self.0
    }
}

/// A metric with the one label `partition`.
#[derive(Debug, Clone)]
pub struct ByPartition<V>(Family<V, 1>);

impl<B: MetricVecBuilder> ByPartition<MetricVec<B>> {
    pub(super) fn new(family: Family<MetricVec<B>, 1>) -> Self {
        Self(family)
    }

    /// The series of this partition, made if it is not there.
    ///
    /// A handle kept beyond [`Metrics::forget_partition`](crate::Metrics::forget_partition) counts
    /// into nothing: take a new one after the next assignment.
    pub fn of(&self, partition: i32) -> B::M {
        self.0.child(&[&partition.to_string()])
    }

    pub(super) fn forget(&self, partition: i32) {
        // The only error is that there is no such series, which is what was asked for.
        let _ = self.0.vec().remove_label_values(&[&partition.to_string()]);
    }

    pub(super) fn family(&self) -> &Family<MetricVec<B>, 1> {
        &self.0
    }
}

/// One worker's part of a gauge that shows the sum over all workers.
///
/// Two workers that both `set` the same gauge would overwrite each other. With a share each, a
/// worker sets its own part, and a worker that ends, by a panic too, takes its part away with it.
#[derive(Debug)]
pub struct GaugeShare {
    gauge: IntGauge,
    part: i64,
}

impl GaugeShare {
    /// A share of `gauge`, zero at first.
    pub fn of(gauge: &IntGauge) -> Self {
        Self {
            gauge: gauge.clone(),
            part: 0,
        }
    }

    /// Makes this worker's part of the sum `part`.
    pub fn set(&mut self, part: i64) {
        self.gauge.add(part - self.part);
        self.part = part;
    }
}

impl Drop for GaugeShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_gauge_shows_the_sum_of_the_shares_of_all_workers() {
        let metrics = Metrics::new("1");
        let mut first = GaugeShare::of(&metrics.accounts_cached);
        let mut second = GaugeShare::of(&metrics.accounts_cached);
        first.set(100);
        second.set(20);
        first.set(70);
        assert_eq!(metrics.accounts_cached.get(), 90);
        drop(first);
        assert_eq!(metrics.accounts_cached.get(), 20);
    }

    #[test]
    fn shares_work_on_one_series_of_a_family() {
        let metrics = Metrics::new("1");
        let mut share = GaugeShare::of(&metrics.paused_partitions.with(["restoring"]));
        share.set(3);
        assert_eq!(metrics.paused_partitions.with(["restoring"]).get(), 3);
        assert_eq!(metrics.paused_partitions.with(["error_rate"]).get(), 0);
    }

    #[test]
    fn a_handle_kept_after_the_partition_was_forgotten_does_not_bring_it_back() {
        let metrics = Metrics::new("1");
        let kept = metrics.state_bytes.of(5);
        kept.set(10);
        metrics.forget_partition(5);
        kept.set(20);
        assert!(!metrics.encode().contains(r#"partition="5""#));
        assert_eq!(metrics.state_bytes.of(5).get(), 0);
    }
}
