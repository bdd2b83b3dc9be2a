//! The statistics of `replay --scores`: each signal's score at its daily looks,
//! thinned to what a curve over thresholds needs.
//!
//! A line is written when the score exceeds the highest that was written in the
//! last 30 days by 2 %, and whenever an alert opens. (Compared with the highest
//! that was merely seen, a score that grows by less than 2 % a day would never
//! be written, and slow silences would be missing from the curve.)

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
};

use churnwatch_core::{AccountId, EventTime, Score, SignalId, UserId};
use churnwatch_wire::{ScoreRow, UtcTime};

const DAYS: i64 = 30;
const RISE: f64 = 0.02;

/// What a score is about.
type Judged = (AccountId, SignalId, Option<UserId>);

/// Where scores go; nowhere unless somebody asked for them.
#[derive(Default)]
pub struct Scores {
    out: Option<Box<dyn Write + Send>>,
    /// Falling highs of the lines of the last 30 days, for each account, signal and subject.
    highs: BTreeMap<Judged, VecDeque<(EventTime, f64)>>,
    failed: Option<std::io::Error>,
}

impl Scores {
    /// Writes to `out`.
    pub fn to(out: Box<dyn Write + Send>) -> Self {
        Self {
            out: Some(out),
            ..Self::default()
        }
    }

    pub(crate) fn take(&mut self, account: &AccountId, scores: Vec<Score>) {
        let Some(out) = &mut self.out else { return };
        for score in scores {
            let key = (account.clone(), score.signal, score.subject.clone());
            let highs = self.highs.entry(key).or_default();
            if !(rises(highs, &score) || score.opens) {
                continue;
            }
            let row = ScoreRow {
                account_id: account.to_string(),
                user_id: score.subject.as_ref().map(ToString::to_string),
                signal: score.signal,
                ts: UtcTime(score.at),
                score: churnwatch_core::alert::published(score.score),
                op: score.opens,
            };
            let mut line = row.to_json();
            line.push(b'\n');
            if let Err(error) = out.write_all(&line) {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The first error of writing since the last call.
    pub fn flush(&mut self) -> std::io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Whether a score exceeds the highest of the 30 days before it by 2 %; takes
/// note of it.
fn rises(highs: &mut VecDeque<(EventTime, f64)>, score: &Score) -> bool {
    let since = score.at.plus_days(-DAYS);
    while highs.front().is_some_and(|(at, _)| *at <= since) {
        highs.pop_front();
    }
    let rises = highs
        .front()
        .is_none_or(|(_, high)| score.score > high + RISE * high.abs());
    if rises || score.opens {
        while highs.back().is_some_and(|(_, high)| *high <= score.score) {
            highs.pop_back();
        }
        highs.push_back((score.at, score.score));
    }
    rises
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_written_when_it_clearly_exceeds_the_last_thirty_days() {
        let mut highs = VecDeque::new();
        let mut at = |day: i64, score: f64| {
            let at = EventTime::from_millis(0).plus_days(day);
            let signal = SignalId::UsageDrop;
            rises(
                &mut highs,
                &Score {
                    signal,
                    subject: None,
                    at,
                    score,
                    opens: false,
                },
            )
        };
        assert!(at(0, -2.0));
        assert!(!at(1, -2.0) && !at(2, -1.97) && at(3, -1.9));
        assert!(at(4, 10.0));
        assert!(!at(5, 10.1) && at(6, 10.4));
        assert!(!at(35, 10.2), "the high of day 6 is 29 days old");
        assert!(
            at(36, 10.1),
            "it is 30 days old now, and no other was written since"
        );
        let slow: Vec<i64> = (40..60)
            .filter(|&day| at(day, 0.1 * day as f64 + 6.2))
            .collect();
        assert_eq!(
            slow,
            [42, 45, 48, 51, 54, 57],
            "a slow rise is followed in steps"
        );
    }
}
