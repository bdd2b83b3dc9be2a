//! What has been applied and not yet committed.

use std::time::Instant;

use churnwatch_core::Outcome;
use churnwatch_telemetry::BatchCounters;
use churnwatch_wire::{DeadLetter, InputCoordinates, Mode, Rejection, Stamp};

use crate::{scores::Scores, sink::Emission, source::RecordRef};

/// How alerts of this run are marked.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Live, replay or backfill.
    pub mode: Mode,
    /// Name of the topic or file, for dead letters.
    pub topic: String,
    /// Whether alerts carry the coordinates of their input.
    pub with_input: bool,
    /// Hash of the rules in force.
    pub config_hash: String,
    /// Version of this program.
    pub detector_version: String,
}

/// Alerts, dead letters and counts of an epoch that is still open.
pub struct Batch {
    pub(crate) alerts: Vec<Emission>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) counters: BatchCounters,
    pub(crate) scores: Scores,
    /// Records seen since the last commit.
    pub(crate) records: usize,
    /// When the first of them came.
    pub(crate) since: Option<Instant>,
    /// Commands that named no open alert.
    pub(crate) unknown_alerts: u64,
}

impl Batch {
    pub(crate) fn new(counters: BatchCounters, scores: Scores) -> Self {
        Self {
            alerts: Vec::new(),
            dead_letters: Vec::new(),
            counters,
            scores,
            records: 0,
            since: None,
            unknown_alerts: 0,
        }
    }

    pub(crate) fn dead_letter(
        &mut self,
        record: &RecordRef<'_>,
        rejection: Rejection,
        origin: &Origin,
    ) {
        self.counters.rejected(rejection.reason.as_str());
        self.dead_letters.push(DeadLetter {
            topic: origin.topic.clone(),
            partition: record.partition.0,
            offset: record.offset,
            timestamp_ms: record.appended_at.map(|at| at.as_millis()),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.to_vec(),
            rejection,
        });
    }

    /// Takes what followed from an input; `record` is the one that caused it.
    pub(crate) fn take(
        &mut self,
        account: &churnwatch_core::AccountId,
        outcome: Outcome,
        record: &RecordRef<'_>,
        origin: &Origin,
    ) {
        self.unknown_alerts += u64::from(outcome.unknown_alert);
        self.scores.take(account, outcome.scores);
        for transition in outcome.transitions {
            self.counters.alert(
                transition.alert.signal.as_str(),
                transition.alert.severity.as_str(),
                transition.kind.as_str(),
            );
            let input = origin.with_input.then_some(InputCoordinates {
                partition: record.partition.0,
                offset: record.offset,
            });
            let stamp = Stamp {
                mode: origin.mode,
                input,
                config_hash: &origin.config_hash,
                detector_version: &origin.detector_version,
            };
            self.alerts
                .push(Emission::new(transition, &stamp, record.appended_at));
        }
    }

    /// Everything is committed: start over.
    pub(crate) fn committed(&mut self) {
        self.counters.flush();
        self.clear();
    }

    /// Nothing of it happened: it will be read again.
    pub(crate) fn discard(&mut self) {
        self.counters.discard();
        self.clear();
    }

    fn clear(&mut self) {
        self.alerts.clear();
        self.dead_letters.clear();
        self.unknown_alerts = 0;
        self.records = 0;
        self.since = None;
    }
}
