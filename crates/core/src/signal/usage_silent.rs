//! No activity, by the account's own rhythm.
//!
//! **Means.** Somebody who came every day has not come for days, or a weekly
//! visitor for weeks. The account may have left without saying so.
//!
//! **Fires when.** The log odds that the account has left rather than pauses
//! (see [`crate::account::rhythm`]) exceed the threshold (1.2, tech touch 2.0),
//! the silence has lasted at least two days on the fleet clock and on the
//! calendar, and it is at least as long as the second-longest silence of the
//! last two years: a quarterly user is not silent in month two. Critical above
//! log odds of 4, and near a renewal. Needs 28 observed days of usage.
//!
//! **Clears when.** Core actions were done on two distinct days. Expires after
//! 180 days, and stays mute until the account comes back.
//!
//! **Playbook.** `win_back`.
//!
//! **Tuning.** Lower `threshold` to hear earlier and oftener. The gap guard is
//! on firing only: the statistic itself does not know it, so that a curve over
//! thresholds can be drawn.
//!
//! **Example.** Active on every workday for four months, then nothing: fires on
//! the twelfth silent day, with odds of 5 to 1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{About, Explanation, Signal, View, plain};
use crate::{
    alert::{Evidence, Playbook, Severity, Window},
    life::{Clears, Life, Numbers, Reading},
    rules::{BySegment, RuleError, within},
};

/// Settings of `usage_silent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsageSilent {
    /// Whether the signal runs. Default true.
    pub enabled: bool,
    /// Log odds of having left above which it fires. Default 1.2 / 1.2 / 2.0.
    pub threshold: BySegment<f64>,
    /// Log odds above which it is critical. Default 4.
    pub critical: f64,
    /// Least silence, in days of the fleet clock. Default 2.
    pub min_silence: f64,
    /// Least number of observed days of usage. Default 28.
    pub min_observed_days: u32,
    /// Days after which an open alert expires. Default 180.
    pub expire_days: u16,
}

impl Default for UsageSilent {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: BySegment::new(1.2, 1.2, 2.0),
            critical: 4.0,
            min_silence: 2.0,
            min_observed_days: 28,
            expire_days: 180,
        }
    }
}

impl Signal for UsageSilent {
    const ABOUT: About = About {
        title: "No activity, against the account's own rhythm",
        likely_causes: &[
            "the work the product was bought for has ended or moved elsewhere",
            "the people who used it have left or changed their task",
            "access broke: single sign-on, network or an expired trial",
        ],
        playbook: Playbook {
            id: "win_back",
            title: "Win the account back",
            steps: &[
                "Check that nothing technical keeps them out: sign-in, integration, invoice lock.",
                "Reach the champion by phone; a mail alone is easily left unread.",
                "Ask what changed since the last active day, and offer a session on that.",
                "Agree a date by which they are back in use, or prepare the renewal talk.",
            ],
        },
        score: "log odds of having left",
        unit: "silent days of the fleet clock",
    };

    fn check(&self) -> Result<(), RuleError> {
        for (segment, threshold) in self.threshold.each() {
            within(&format!("threshold.{segment}"), threshold, -8.0..=15.0)?;
            if threshold >= self.critical {
                return Err(RuleError::new(
                    format!("threshold.{segment}"),
                    format!("{threshold} is not below critical {}", self.critical),
                ));
            }
        }
        within("min_silence", self.min_silence, 1.0..=365.0)?;
        within(
            "min_observed_days",
            self.min_observed_days.into(),
            7.0..=365.0,
        )?;
        within("expire_days", self.expire_days.into(), 7.0..=730.0)
    }

    fn life(&self) -> Life {
        Life {
            sustain_looks: 1,
            clears: Clears::InAll(2),
            rebase_days: None,
            expire_days: Some(self.expire_days),
            renewal_raises: true,
        }
    }

    fn on_look(&self, view: &View<'_>, found: &mut dyn FnMut(Reading)) {
        let Some(rhythm) = &view.history().rhythm else {
            return;
        };
        if view.fleet.usage_stale || view.usage_observed_days() < self.min_observed_days as i32 {
            return;
        }
        let now = view.history().clock;
        let s = rhythm.silence(now);
        let guard = rhythm.second_longest_gap(view.day);
        let threshold = self.threshold.of(view.segment());
        let score = rhythm.log_odds_left(s);
        let comparable = s >= self.min_silence && rhythm.silent_days(now) >= 2;
        let mut reading = Reading::of(
            None,
            Numbers {
                score,
                observed: s,
                expected: guard,
                threshold,
                rule: 0,
            },
        );
        reading.comparable = comparable;
        reading.clear = rhythm.silent_days(now) == 0;
        if comparable && score > threshold && s >= guard {
            let critical = score > self.critical;
            reading.breach = Some(if critical {
                Severity::Critical
            } else {
                Severity::Warning
            });
        }
        found(reading);
    }

    fn explain(&self, view: &View<'_>, reading: &Reading) -> Explanation {
        let history = view.history();
        let mut evidence = Evidence::default();
        let mut reason = "no core action".to_owned();
        let mut start = view.day;
        if let Some(rhythm) = &history.rhythm {
            let silent_days = rhythm.silent_days(history.clock);
            let per_week = rhythm.days_per_week().min(7.0);
            let odds = libm::exp(reading.numbers.score.clamp(-20.0, 20.0));
            let last = rhythm.last.day;
            let expected_next = last.plus(rhythm.expected_within_days());
            start = last.plus(1).min(view.day);
            reason = if silent_days == 0 {
                format!(
                    "active again on {last}, usually active on {} days a week",
                    plain(per_week)
                )
            } else {
                format!(
                    "no core action for {silent_days} days (since {last}); usually active on {} days a week, \
                     expected back by {expected_next}; odds of having left {} to 1",
                    plain(per_week),
                    plain(odds),
                )
            };
            evidence = evidence
                .with("last_active_day", last)
                .with("silent_days", u64::from(silent_days.unsigned_abs()))
                .with("silent_clock_days", rhythm.silence(history.clock))
                .with("log_odds_left", reading.numbers.score)
                .with("active_days_per_week", per_week)
                .with("expected_next_at", expected_next)
                .with("second_longest_gap", reading.numbers.expected)
                .with("active_days", rhythm.active_days)
                .with("exposure_days", rhythm.exposure);
        }
        Explanation {
            reason,
            evidence,
            window: Window {
                start,
                end: view.day,
            },
            series: history.weekly_core_actions(12),
        }
    }
}

#[cfg(test)]
mod tests;
