//! How far time has come, per source.
//!
//! A source's **stream time** is the highest event time seen from it. Its
//! **watermark** is stream time less the allowed disorder, or what its
//! `clock` records prove, whichever is later; it never goes back. An event
//! below its source's watermark is **late**; one below the watermark by more
//! than the grace period is **expired**.
//!
//! The daily look at an account waits for the sources that carry usage: it
//! judges what did *not* happen there. A dead ticket system does not hold it up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{event::Clock, ids::SourceName, time::EventTime};

/// At most this many sources are told apart in a partition; the rest share the
/// time of the source `log`. A producer that invents source names must not
/// grow the state without bound.
pub const MAX_SOURCES: usize = 256;

/// At most this many shards of all sources together are remembered in a
/// partition: the times of all stand in one row, which has to fit a record.
/// Clocks beyond prove nothing.
pub const MAX_SHARDS: usize = 16_384;

/// The times of one partition of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskTime {
    sources: BTreeMap<SourceName, SourceTime>,
    /// What `clock` records of the source `log` prove for every source.
    log_clock: ShardClocks,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct SourceTime {
    stream_time: Option<EventTime>,
    clocks: ShardClocks,
    carries_usage: bool,
}

/// The last clock of each shard; proves time once every shard has spoken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct ShardClocks {
    shards: Vec<Option<EventTime>>,
    /// The latest time that was ever proven: it stands, whatever comes.
    proven: Option<EventTime>,
}

impl ShardClocks {
    fn set(&mut self, clock: &Clock) {
        // A source whose number of shards changes begins a new proof.
        if self.shards.len() != clock.shards as usize {
            self.shards = vec![None; clock.shards as usize];
        }
        if let Some(slot) = self.shards.get_mut(clock.shard as usize) {
            *slot = (*slot).max(Some(clock.time));
        }
        self.proven = self.proven.max(self.shards.iter().copied().min().flatten());
    }

    fn proven(&self) -> Option<EventTime> {
        self.proven
    }
}

/// How an event stands to its source's watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeliness {
    /// At or above the watermark.
    OnTime,
    /// Below the watermark, within the grace period: still changes its bucket.
    Late,
    /// Older than the grace period: counted, not applied.
    Expired,
}

/// How much disorder is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// Within a source, in milliseconds.
    pub disorder_ms: i64,
    /// Below the watermark, in milliseconds.
    pub grace_ms: i64,
}

impl TaskTime {
    /// Takes note of an event and says how it stands to what was known before it.
    pub fn observe(
        &mut self,
        source: &SourceName,
        time: EventTime,
        usage: bool,
        tolerance: Tolerance,
    ) -> Timeliness {
        let log_clock = self.log_clock.proven();
        let entry = self.entry(source);
        let watermark = entry.watermark(tolerance).max(log_clock);
        if let Some(watermark) = watermark
            && time < watermark
        {
            return if time < watermark.plus_millis(-tolerance.grace_ms) {
                Timeliness::Expired
            } else {
                entry.carries_usage |= usage;
                Timeliness::Late
            };
        }
        entry.stream_time = entry.stream_time.max(Some(time));
        entry.carries_usage |= usage;
        Timeliness::OnTime
    }

    /// Takes note of a clock record.
    pub fn clock(&mut self, clock: &Clock) {
        let others = self.shards();
        let clocks = if clock.source.is_log() {
            &mut self.log_clock
        } else {
            &mut self.entry(&clock.source).clocks
        };
        let (known, wanted) = (clocks.shards.len(), clock.shards as usize);
        if wanted <= known || others - known + wanted <= MAX_SHARDS {
            clocks.set(clock);
        }
    }

    /// Shards of all sources together.
    fn shards(&self) -> usize {
        let of_sources = self.sources.values().map(|source| &source.clocks);
        let all = of_sources.chain([&self.log_clock]);
        all.map(|clocks| clocks.shards.len()).sum()
    }

    /// Up to where looks may be made: no usage older than this is still
    /// expected. `None` before anything is known.
    pub fn look_watermark(&self, tolerance: Tolerance) -> Option<EventTime> {
        self.least_watermark(None, tolerance)
    }

    /// Up to where an account's own looks may be made right before an event of
    /// `source` at `time` is applied to it: the event itself moves its source,
    /// without waiting out the disorder.
    pub fn look_time_before(
        &self,
        source: &SourceName,
        time: EventTime,
        tolerance: Tolerance,
    ) -> Option<EventTime> {
        self.least_watermark(Some((source, time)), tolerance)
    }

    /// The highest event time seen from any source.
    pub fn stream_time(&self) -> Option<EventTime> {
        let of_sources = self
            .sources
            .values()
            .filter_map(|source| source.stream_time)
            .max();
        of_sources.max(self.log_clock.proven())
    }

    fn least_watermark(
        &self,
        own: Option<(&SourceName, EventTime)>,
        tolerance: Tolerance,
    ) -> Option<EventTime> {
        let any_usage = self.sources.values().any(|source| source.carries_usage);
        let log_clock = self.log_clock.proven();
        let mut least: Option<EventTime> = None;
        for (name, source) in &self.sources {
            if any_usage && !source.carries_usage {
                continue;
            }
            let mut watermark = source.watermark(tolerance).max(log_clock);
            if let Some((own, time)) = own
                && own == name
            {
                watermark = watermark.max(Some(time));
            }
            // A source that is known and has no time yet holds everything up.
            let watermark = watermark?;
            least = Some(least.map_or(watermark, |least| least.min(watermark)));
        }
        least.or(log_clock)
    }

    fn entry(&mut self, source: &SourceName) -> &mut SourceTime {
        let known = self.sources.contains_key(source.as_str());
        let name = if known || self.sources.len() < MAX_SOURCES {
            source.clone()
        } else {
            SourceName::log()
        };
        self.sources.entry(name).or_default()
    }
}

impl SourceTime {
    fn watermark(&self, tolerance: Tolerance) -> Option<EventTime> {
        let from_events = self
            .stream_time
            .map(|time| time.plus_millis(-tolerance.disorder_ms));
        from_events.max(self.clocks.proven())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance {
        disorder_ms: 10,
        grace_ms: 100,
    };

    fn at(millis: i64) -> EventTime {
        EventTime::from_millis(millis)
    }

    fn clock(source: &str, shard: u32, shards: u32, millis: i64) -> Clock {
        Clock {
            source: source.into(),
            shard,
            shards,
            time: at(millis),
        }
    }

    fn observe(time: &mut TaskTime, source: &str, millis: i64, usage: bool) -> Timeliness {
        time.observe(&source.into(), at(millis), usage, TOLERANCE)
    }

    #[test]
    fn an_event_is_late_below_the_watermark_and_expired_below_the_grace_period() {
        let mut time = TaskTime::default();
        assert_eq!(observe(&mut time, "app", 1_000, true), Timeliness::OnTime);
        assert_eq!(observe(&mut time, "app", 990, true), Timeliness::OnTime);
        assert_eq!(observe(&mut time, "app", 989, true), Timeliness::Late);
        assert_eq!(observe(&mut time, "app", 890, true), Timeliness::Late);
        assert_eq!(observe(&mut time, "app", 889, true), Timeliness::Expired);
        // Another source has a time of its own.
        assert_eq!(observe(&mut time, "desk", 10, false), Timeliness::OnTime);
    }

    #[test]
    fn looks_wait_for_every_source_that_carries_usage_and_for_no_other() {
        let mut time = TaskTime::default();
        observe(&mut time, "app", 1_000, true);
        observe(&mut time, "web", 500, true);
        observe(&mut time, "desk", 5, false);
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(490)));
        // An own event of web at 800 moves web, and app is at 990.
        assert_eq!(
            time.look_time_before(&"web".into(), at(800), TOLERANCE),
            Some(at(800))
        );
    }

    #[test]
    fn a_clock_proves_time_only_when_every_shard_has_spoken() {
        let mut time = TaskTime::default();
        observe(&mut time, "app", 100, true);
        time.clock(&clock("app", 0, 2, 5_000));
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(90)));
        time.clock(&clock("app", 1, 2, 4_000));
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(4_000)));
        // It never goes back.
        time.clock(&clock("app", 1, 2, 3_000));
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(4_000)));
    }

    #[test]
    fn what_is_proven_stands_when_the_number_of_shards_changes() {
        let mut time = TaskTime::default();
        observe(&mut time, "app", 100, true);
        time.clock(&clock("app", 0, 1, 5_000));
        time.clock(&clock("app", 0, 4, 6_000));
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(5_000)));
        for shard in 1..4 {
            time.clock(&clock("app", shard, 4, 7_000));
        }
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(6_000)));
    }

    #[test]
    fn a_clock_of_the_log_moves_every_source() {
        let mut time = TaskTime::default();
        observe(&mut time, "app", 100, true);
        observe(&mut time, "web", 50, true);
        time.clock(&clock("log", 0, 1, 7_000));
        assert_eq!(time.look_watermark(TOLERANCE), Some(at(7_000)));
        assert_eq!(observe(&mut time, "web", 6_899, true), Timeliness::Expired);
    }

    #[test]
    fn invented_source_names_do_not_grow_the_state_without_bound() {
        let mut time = TaskTime::default();
        for i in 0..10_000 {
            observe(&mut time, &format!("source-{i}"), i, false);
        }
        assert!(time.sources.len() <= MAX_SOURCES + 1);
    }
}
