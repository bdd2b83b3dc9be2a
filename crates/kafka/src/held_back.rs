//! Partitions whose records a transaction keeps from us.
//!
//! A reader of committed records gets no further than the **last stable
//! offset**: the first record of the oldest transaction that is still open. A
//! producer that died with one open, and that the broker does not time out, or
//! not soon, holds back every reader behind it. To us that looks like a log that
//! has ended, so it is measured: how long the last stable offset has stood still
//! with records behind it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use churnwatch_pipeline::source::PartitionId;

use crate::statistics::Ends;

/// After this long it is said once: longer than the transaction time-out of a
/// producer that has not chosen one (60 s).
const TOLD_AFTER: Duration = Duration::from_secs(90);

/// What is known of each partition.
#[derive(Debug, Default)]
pub(crate) struct HeldBack(BTreeMap<PartitionId, Stand>);

#[derive(Debug)]
struct Stand {
    stable: i64,
    /// Since when it has stood there with records behind it.
    since: Option<Instant>,
    told: bool,
}

impl HeldBack {
    /// Takes note of where the ends are now.
    pub(crate) fn note(&mut self, topic: &str, ends: &BTreeMap<PartitionId, Ends>, now: Instant) {
        for (partition, &Ends { stable, high }) in ends {
            let stand = self.0.entry(*partition).or_insert(Stand {
                stable,
                since: None,
                told: false,
            });
            let has_moved = stand.stable != stable;
            stand.stable = stable;
            if stable >= high {
                stand.since = None;
            } else if has_moved || stand.since.is_none() {
                stand.since = Some(now);
                stand.told = false;
            }
            let age = stand.age(now);
            if age >= TOLD_AFTER && !stand.told {
                stand.told = true;
                tracing::warn!(
                    topic,
                    partition = partition.0,
                    offset = stable,
                    waiting = high - stable,
                    seconds = age.as_secs(),
                    "a transaction left open keeps the records from this offset on from every \
                     reader: find and abort it"
                );
            }
        }
    }

    /// For how long each partition has been held back; zero where it is not.
    pub(crate) fn ages(&self, now: Instant) -> BTreeMap<PartitionId, Duration> {
        let ages = self.0.iter();
        ages.map(|(partition, stand)| (*partition, stand.age(now)))
            .collect()
    }

    /// Forgets partitions that are no longer read.
    pub(crate) fn keep(&mut self, is_ours: impl Fn(PartitionId) -> bool) {
        self.0.retain(|partition, _| is_ours(*partition));
    }
}

impl Stand {
    fn age(&self, now: Instant) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(3);

    #[test]
    fn it_ages_while_the_stable_end_stands_below_the_end_and_not_while_it_moves() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut held_back = HeldBack::default();
        let mut age = |seconds, stable, high| {
            let ends = [(P, Ends { stable, high })].into();
            held_back.note("log", &ends, at(seconds));
            held_back.ages(at(seconds))[&P].as_secs()
        };
        assert_eq!(age(0, 10, 10), 0, "nothing waits");
        assert_eq!(age(5, 10, 12), 0, "begins to wait");
        assert_eq!(age(10, 10, 20), 5);
        assert_eq!(age(15, 15, 20), 0, "another transaction, and it moved");
        assert_eq!(age(20, 15, 25), 5);
        assert_eq!(age(25, 25, 25), 0);
        assert_eq!(age(90, 25, 26), 0, "it was not waiting meanwhile");
    }

    #[test]
    fn between_two_reports_the_age_goes_on() {
        let start = Instant::now();
        let mut held_back = HeldBack::default();
        let ends = [(P, Ends { stable: 1, high: 2 })].into();
        held_back.note("log", &ends, start);
        let later = held_back.ages(start + Duration::from_secs(100));
        assert_eq!(later[&P], Duration::from_secs(100));
        held_back.keep(|partition| partition != P);
        assert!(held_back.ages(start).is_empty());
    }
}
