//! A worker's own counters for the batch that is open.
//!
//! ```text
//!  per event   counters.event("billing", "usage")     plain additions, no atomics, no lock
//!  commit ok   counters.flush()                       one atomic addition per series
//!  abort       counters.discard()                     the same input will be read again
//! ```
//!
//! That order is the promise: a metric counts what was committed. An aborted batch leaves no trace
//! in it.

use prometheus::{IntCounter, IntCounterVec};

use crate::metrics::{Family, Metrics};
use crate::sources::{SourceIndex, SourceReader};

/// Counts what happens in one batch, without touching shared memory until it is flushed.
///
/// One per worker. It is bound to the [`Metrics`] it was made from and resolves each series once,
/// when its labels are first met.
#[derive(Debug)]
pub struct BatchCounters {
    families: Families,
    sources: SourceReader,
    events: Tallies<(SourceIndex, &'static str)>,
    late: Tallies<SourceIndex>,
    expired: Tallies<SourceIndex>,
    rejected: Tallies<&'static str>,
    alerts: Tallies<[&'static str; 3]>,
    duplicates: Tally,
    unowned: Tally,
}

impl BatchCounters {
    /// An empty accumulator for `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            families: Families {
                events: metrics.events_total.clone(),
                late: metrics.late_total.clone(),
                expired: metrics.expired_total.clone(),
                rejected: metrics.rejected_total.clone(),
                alerts: metrics.alerts_total.clone(),
            },
            sources: SourceReader::new(metrics.sources()),
            events: Tallies::default(),
            late: Tallies::default(),
            expired: Tallies::default(),
            rejected: Tallies::default(),
            alerts: Tallies::default(),
            duplicates: Tally::new(metrics.duplicates_total.clone()),
            unowned: Tally::new(metrics.unowned_records_total.clone()),
        }
    }

    /// An event was applied. `source` may be any text from the record: it is bounded here.
    pub fn event(&mut self, source: &str, kind: &'static str) {
        let source = self.sources.index(source);
        self.events.add((source, kind), || {
            self.families
                .events
                .child(&[self.sources.name(source), kind])
        });
    }

    /// An event was late and applied; count it with [`BatchCounters::event`] as well.
    pub fn late(&mut self, source: &str) {
        let source = self.sources.index(source);
        self.late.add(source, || {
            self.families.late.child(&[self.sources.name(source)])
        });
    }

    /// An event was expired and not applied.
    pub fn expired(&mut self, source: &str) {
        let source = self.sources.index(source);
        self.expired.add(source, || {
            self.families.expired.child(&[self.sources.name(source)])
        });
    }

    /// A record goes to the dead letters.
    pub fn rejected(&mut self, reason: &'static str) {
        self.rejected
            .add(reason, || self.families.rejected.with([reason]));
    }

    /// An event was dropped because its id was seen before.
    pub fn duplicate(&mut self) {
        self.duplicates.count += 1;
    }

    /// A polled record was dropped because its partition is no longer ours.
    pub fn unowned_record(&mut self) {
        self.unowned.count += 1;
    }

    /// An alert transition is part of the batch.
    pub fn alert(
        &mut self,
        signal: &'static str,
        severity: &'static str,
        transition: &'static str,
    ) {
        let labels = [signal, severity, transition];
        self.alerts
            .add(labels, || self.families.alerts.with(labels));
    }

    /// Events applied since the last flush or discard: what `batch_events` observes.
    pub fn events_applied(&self) -> u64 {
        self.events.tallies().map(|tally| tally.count).sum()
    }

    /// Adds everything to the metrics and starts over. Call it when the batch is committed.
    pub fn flush(&mut self) {
        self.for_each(Tally::flush);
    }

    /// Forgets everything and starts over. Call it when the batch is aborted.
    pub fn discard(&mut self) {
        self.for_each(|tally| tally.count = 0);
    }

    fn for_each(&mut self, act: impl FnMut(&mut Tally)) {
        let Self {
            events,
            late,
            expired,
            rejected,
            alerts,
            duplicates,
            unowned,
            families: _,
            sources: _,
        } = self;
        events
            .tallies_mut()
            .chain(late.tallies_mut())
            .chain(expired.tallies_mut())
            .chain(rejected.tallies_mut())
            .chain(alerts.tallies_mut())
            .chain([duplicates, unowned])
            .for_each(act);
    }
}

/// The families that series are resolved from.
#[derive(Debug)]
struct Families {
    events: Family<IntCounterVec, 2>,
    late: Family<IntCounterVec, 1>,
    expired: Family<IntCounterVec, 1>,
    rejected: Family<IntCounterVec, 1>,
    alerts: Family<IntCounterVec, 3>,
}

/// One series and what is to be added to it.
#[derive(Debug)]
struct Tally {
    count: u64,
    series: IntCounter,
}

impl Tally {
    fn new(series: IntCounter) -> Self {
        Self { count: 0, series }
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.series.inc_by(self.count);
            self.count = 0;
        }
    }
}

/// The tallies of one family, by label values.
///
/// A list and not a map: a worker meets some twenty combinations, and nearly always the same one
/// again, which is looked at first.
#[derive(Debug)]
struct Tallies<K> {
    entries: Vec<(K, Tally)>,
    last: usize,
}

impl<K> Default for Tallies<K> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            last: 0,
        }
    }
}

impl<K: PartialEq> Tallies<K> {
    fn add(&mut self, key: K, resolve: impl FnOnce() -> IntCounter) {
        if let Some((last, tally)) = self.entries.get_mut(self.last)
            && *last == key
        {
            tally.count += 1;
            return;
        }
        let found = self.entries.iter().position(|(known, _)| *known == key);
        self.last = found.unwrap_or_else(|| {
            self.entries.push((key, Tally::new(resolve())));
            self.entries.len() - 1
        });
        self.entries[self.last].1.count += 1;
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.entries.iter().map(|(_, tally)| tally)
    }

    fn tallies_mut(&mut self) -> impl Iterator<Item = &mut Tally> {
        self.entries.iter_mut().map(|(_, tally)| tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OTHER_SOURCE;

    /// Counts one of everything.
    fn count_all(counters: &mut BatchCounters) {
        counters.event("app", "usage");
        counters.late("app");
        counters.expired("app");
        counters.rejected("not_json");
        counters.duplicate();
        counters.unowned_record();
        counters.alert("ticket_spike", "warning", "opened");
    }

    fn all_series(metrics: &Metrics) -> [u64; 7] {
        [
            metrics.events_total.with(["app", "usage"]).get(),
            metrics.late_total.with(["app"]).get(),
            metrics.expired_total.with(["app"]).get(),
            metrics.rejected_total.with(["not_json"]).get(),
            metrics.duplicates_total.get(),
            metrics.unowned_records_total.get(),
            metrics
                .alerts_total
                .with(["ticket_spike", "warning", "opened"])
                .get(),
        ]
    }

    #[test]
    fn nothing_is_visible_before_the_flush_and_everything_once_after_it() {
        let metrics = Metrics::new("1");
        let mut counters = BatchCounters::new(&metrics);
        count_all(&mut counters);
        assert_eq!(all_series(&metrics), [0; 7]);
        counters.flush();
        assert_eq!(all_series(&metrics), [1; 7]);
        counters.flush();
        assert_eq!(all_series(&metrics), [1; 7]);
    }

    #[test]
    fn an_aborted_batch_that_is_read_again_is_counted_once() {
        let metrics = Metrics::new("1");
        let mut counters = BatchCounters::new(&metrics);
        count_all(&mut counters);
        counters.discard();
        assert_eq!(counters.events_applied(), 0);
        count_all(&mut counters);
        counters.flush();
        assert_eq!(all_series(&metrics), [1; 7]);
    }

    #[test]
    fn interleaved_labels_are_kept_apart() {
        let metrics = Metrics::new("1");
        let mut counters = BatchCounters::new(&metrics);
        for _ in 0..10 {
            counters.event("app", "usage");
            counters.event("desk", "ticket");
            counters.event("app", "usage");
            counters.event("app", "seat");
        }
        assert_eq!(counters.events_applied(), 40);
        counters.flush();
        assert_eq!(counters.events_applied(), 0);
        assert_eq!(metrics.events_total.with(["app", "usage"]).get(), 20);
        assert_eq!(metrics.events_total.with(["desk", "ticket"]).get(), 10);
        assert_eq!(metrics.events_total.with(["app", "seat"]).get(), 10);
    }

    #[test]
    fn workers_add_up_in_the_same_series() {
        let metrics = Metrics::new("1");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut counters = BatchCounters::new(&metrics);
                    for _ in 0..1_000 {
                        count_all(&mut counters);
                        counters.flush();
                    }
                });
            }
        });
        assert_eq!(all_series(&metrics), [4_000; 7]);
    }

    #[test]
    fn a_producer_that_invents_sources_cannot_make_series_without_end() {
        let metrics = Metrics::new("1");
        let mut counters = BatchCounters::new(&metrics);
        for number in 0..10_000 {
            counters.event(&format!("invented-{number}"), "usage");
        }
        counters.flush();
        let text = metrics.encode();
        assert_eq!(
            text.matches("churnwatch_events_total{").count(),
            65,
            "64 names and `other`"
        );
        assert_eq!(
            metrics.events_total.with([OTHER_SOURCE, "usage"]).get(),
            10_000 - 64
        );
    }
}
