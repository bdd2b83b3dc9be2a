//! What goes on beside the events: idle clocks, flushes, gauges. The wall clock
//! is read here and nowhere else, and decides nothing about an account.

use std::time::SystemTime;

use super::*;

impl<S: Source, K: Sink, C: Changelog> Detector<S, K, C> {
    /// Writes the clock into partitions that have been idle: time passes there
    /// too. Only where a look is due by it, so that a quiet log stays small.
    pub(super) fn write_clocks(&mut self) -> Result<(), DetectError> {
        let (Some(idle), Some(now)) = (self.settings.idle_clock, now()) else {
            return Ok(());
        };
        let disorder_ms = self.rules.time.tolerance().disorder_ms;
        let time = now.plus_millis(-disorder_ms);
        for (&partition, task) in &self.tasks {
            // It stands still: time does not pass there.
            if !task.breaker.is_reading() {
                continue;
            }
            let last = self.last_record.get(&partition);
            if last.is_some_and(|last| last.elapsed() < idle) || !task.is_due_by(time) {
                continue;
            }
            // Should something be waiting there after all, the clock stands
            // behind it in the log, and is read after it.
            let clock = Clock {
                source: SourceName::log(),
                shard: 0,
                shards: 1,
                time,
            };
            self.sink
                .write_clock(partition, churnwatch_wire::encode_clock(&clock));
            self.last_record.insert(partition, Instant::now());
        }
        Ok(())
    }

    /// What must be done now and then: flush, measure.
    pub(super) fn upkeep(&mut self) -> Result<(), DetectError> {
        if self.last_upkeep.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        self.last_upkeep = Instant::now();
        let wall_clock = now();
        let ends = self.source.ends();
        let held_back = self.source.held_back();
        let tolerance = self.rules.time.tolerance();
        self.share_memory();
        let (mut cached, mut cached_bytes) = (0, 0);
        for (partition, task) in &mut self.tasks {
            task.store.check_background()?;
            task.store
                .flush_if_older_than(self.settings.flush_interval, self.last_upkeep)?;
            cached += task.cached_accounts();
            cached_bytes += task.cached_bytes();
            let bytes = task.store.approximate_bytes()?;
            self.metrics
                .state_bytes
                .of(partition.0)
                .set(bytes.try_into().unwrap_or(i64::MAX));
            if let (Some(now), Some(watermark)) =
                (wall_clock, task.time().look_watermark(tolerance))
            {
                let lag = (now.as_millis() - watermark.as_millis()) as f64 / 1e3;
                self.metrics.watermark_lag_seconds.of(partition.0).set(lag);
            }
            let age = held_back.get(partition).copied().unwrap_or_default();
            self.metrics
                .stable_offset_age_seconds
                .of(partition.0)
                .set(age.as_secs_f64());
            if let Some(end) = ends.get(partition) {
                self.metrics
                    .consumer_lag_records
                    .of(partition.0)
                    .set(end - task.next_offset);
            }
        }
        self.shares
            .accounts_cached
            .set(cached.try_into().unwrap_or(i64::MAX));
        self.shares
            .cached_bytes
            .set(cached_bytes.try_into().unwrap_or(i64::MAX));
        Ok(())
    }

    pub(super) fn observe_latency(&self, alerts: &[crate::sink::Emission]) {
        let Some(now) = now() else { return };
        let seconds = |since: EventTime| (now.as_millis() - since.as_millis()).max(0) as f64 / 1e3;
        for alert in alerts {
            let of = |from: LatencyFrom| self.metrics.end_to_end_seconds.with([from.as_str()]);
            of(LatencyFrom::EventTime).observe(seconds(alert.transition.at));
            if let Some(appended_at) = alert.appended_at {
                of(LatencyFrom::AppendTime).observe(seconds(appended_at));
            }
        }
    }
}

/// The wall clock, which serves metrics and idle clocks only.
fn now() -> Option<EventTime> {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Some(EventTime::from_millis(
        since_epoch.as_millis().try_into().ok()?,
    ))
}
