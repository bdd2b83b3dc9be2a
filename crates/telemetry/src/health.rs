//! Whether the process is alive and whether it is ready, as its workers report it.
//!
//! - **Alive**: every registered worker has gone round its loop lately. A worker that hangs makes
//!   the process a candidate for a restart; a broker that is away does not, because the loop goes
//!   on trying.
//! - **Ready**: no component has a cause against it. A cause is a sentence for an operator, such as
//!   "2 of 8 partitions are restoring".
//!
//! Workers write, the HTTP endpoints read. Time comes in as an argument, so that tests need not
//! wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The health of one process. A clone is another handle to the same state.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Reports>>);

#[derive(Debug, Default)]
struct Reports {
    /// Last beat of each worker.
    beats: BTreeMap<String, Instant>,
    /// Why not ready, by component.
    causes: BTreeMap<String, String>,
}

/// A worker that has not gone round its loop for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalledWorker {
    /// Id of the worker, as given to [`Health::beat`].
    pub worker: String,
    /// Time since its last beat.
    pub silent_for: Duration,
}

impl fmt::Display for StalledWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} silent for {} s",
            self.worker,
            self.silent_for.as_secs()
        )
    }
}

impl Health {
    /// No workers and no causes: alive and ready.
    ///
    /// A process that serves `/readyz` before its components have started uses
    /// [`Health::awaiting`], or it would be ready for a moment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready until each of these components has cleared its cause, which is "not started" at
    /// first.
    pub fn awaiting<'a>(components: impl IntoIterator<Item = &'a str>) -> Self {
        let health = Self::new();
        for component in components {
            health.set_cause(component, Some("not started".to_owned()));
        }
        health
    }

    /// Worker `worker_id` went round its loop at `now`. The first beat registers the worker: beat
    /// once before the loop starts, so that a worker that hangs in its first round is noticed.
    ///
    /// Costs a short lock; meant for once per poll and not for once per event.
    pub fn beat(&self, worker_id: &str, now: Instant) {
        let mut reports = self.reports();
        match reports.beats.get_mut(worker_id) {
            Some(last) => *last = now.max(*last),
            None => {
                reports.beats.insert(worker_id.to_owned(), now);
            }
        }
    }

    /// The worker has ended in good order and is no longer expected to beat.
    ///
    /// A worker that ends by a panic must not call this: that it falls silent is the message.
    pub fn retire(&self, worker_id: &str) {
        self.reports().beats.remove(worker_id);
    }

    /// Says why `component` is not ready, or with `None` that it is. The newest cause counts.
    pub fn set_cause(&self, component: &str, cause: Option<String>) {
        let causes = &mut self.reports().causes;
        match cause {
            Some(cause) => causes.insert(component.to_owned(), cause),
            None => causes.remove(component),
        };
    }

    /// All causes against readiness as (component, cause), sorted by component; ready if empty.
    pub fn readiness(&self) -> Vec<(String, String)> {
        let reports = self.reports();
        reports
            .causes
            .iter()
            .map(|(component, cause)| (component.clone(), cause.clone()))
            .collect()
    }

    /// Whether every worker has beaten within `max_age` before `now`.
    ///
    /// # Errors
    ///
    /// The workers that have not, sorted by id.
    pub fn liveness(&self, now: Instant, max_age: Duration) -> Result<(), Vec<StalledWorker>> {
        let stalled: Vec<StalledWorker> = self
            .reports()
            .beats
            .iter()
            .map(|(worker, last)| StalledWorker {
                worker: worker.clone(),
                silent_for: now.saturating_duration_since(*last),
            })
            .filter(|worker| worker.silent_for > max_age)
            .collect();
        if stalled.is_empty() {
            Ok(())
        } else {
            Err(stalled)
        }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        // Both maps are whole between any two statements, so a panic elsewhere spoils nothing, and
        // health is most needed just then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(30);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_worker_is_stalled_only_after_more_than_the_allowed_age() {
        let start = Instant::now();
        let health = Health::new();
        health.beat("detect-0", start);
        assert_eq!(health.liveness(at(start, 30), MAX_AGE), Ok(()));
        let stalled = StalledWorker {
            worker: "detect-0".to_owned(),
            silent_for: Duration::from_secs(31),
        };
        assert_eq!(stalled.to_string(), "detect-0 silent for 31 s");
        assert_eq!(health.liveness(at(start, 31), MAX_AGE), Err(vec![stalled]));
    }

    #[test]
    fn only_the_stalled_workers_are_named_and_a_beat_revives_them() {
        let start = Instant::now();
        let health = Health::new();
        for worker in ["detect-2", "detect-0", "detect-1"] {
            health.beat(worker, start);
        }
        health.beat("detect-1", at(start, 60));
        let stalled = health.liveness(at(start, 60), MAX_AGE).unwrap_err();
        let names: Vec<&str> = stalled
            .iter()
            .map(|worker| worker.worker.as_str())
            .collect();
        assert_eq!(names, ["detect-0", "detect-2"]);
        health.beat("detect-0", at(start, 61));
        health.beat("detect-2", at(start, 61));
        assert_eq!(health.liveness(at(start, 61), MAX_AGE), Ok(()));
    }

    #[test]
    fn a_beat_that_arrives_out_of_order_does_not_age_the_worker() {
        let start = Instant::now();
        let health = Health::new();
        health.beat("detect-0", at(start, 60));
        health.beat("detect-0", start);
        assert_eq!(health.liveness(at(start, 80), MAX_AGE), Ok(()));
    }

    #[test]
    fn a_retired_worker_is_not_missed() {
        let start = Instant::now();
        let health = Health::new();
        health.beat("detect-0", start);
        health.retire("detect-0");
        assert_eq!(health.liveness(at(start, 3_600), MAX_AGE), Ok(()));
    }

    #[test]
    fn readiness_lists_the_newest_cause_of_each_component() {
        let health = Health::awaiting(["store", "kafka"]);
        health.set_cause("kafka", Some("no broker answers".to_owned()));
        let cause = |component: &str, text: &str| (component.to_owned(), text.to_owned());
        assert_eq!(
            health.readiness(),
            [
                cause("kafka", "no broker answers"),
                cause("store", "not started")
            ]
        );
        health.set_cause("kafka", None);
        health.set_cause("store", None);
        assert_eq!(health.readiness(), []);
    }

    #[test]
    fn clones_see_the_same_state() {
        let health = Health::new();
        health.clone().set_cause("kafka", Some("away".to_owned()));
        assert_eq!(health.readiness().len(), 1);
    }

    #[test]
    fn a_panic_of_a_worker_does_not_silence_the_health_of_the_others() {
        let health = Health::new();
        let held = health.clone();
        let panicked = std::thread::spawn(move || {
            let _reports = held.0.lock();
            panic!("a worker fails while it reports");
        })
        .join();
        assert!(panicked.is_err());
        health.set_cause("detect", Some("a worker ended".to_owned()));
        assert_eq!(health.readiness().len(), 1);
    }
}
