//! Usage falls, against the account's own weeks.
//!
//! **Means.** The account does clearly less than it used to, beyond its own
//! scatter: value is not seen, a feature is missing, or its business shrinks.
//! A drop is a fact to act on, not a forecast of churn.
//!
//! **Fires when.** One of four rules holds.
//! *Fall*: with x core actions in the last 28 d and e expected from the up to
//! 84 d before (n of them), `z = 2 (sqrt(e + 3/8) - sqrt(x + 3/8)) /
//! sqrt(phi (1 + 28/d))` exceeds 3, n is at least 8 and the fall `1 - x/e` at
//! least 40 / 50 / 50 %, for three looks in a row.
//! *Cliff*: the same over 7 d with z above 6 and a fall of 60 %: critical.
//! *Stop*: at least two silent days and `daily rate x s / phi` of 20 or more:
//! critical, at once, unless it has paused as long twice in the last two years.
//! *Users*: distinct active users of 28 d fell by the same share against their
//! mean 28, 56 and 84 d ago, at least five of them, for three looks.
//! Critical from 1.5 times the threshold on, and near a renewal.
//!
//! **Clears when.** The fall is below 0.6 of its threshold for seven looks. The
//! baseline is held fast while the alert is open; after 28 days it is rebased
//! and stays mute until recovery or a further fall of 30 %.
//!
//! **Playbook.** `value_review`.
//!
//! **Tuning.** Below about 20 core actions a week a halving cannot be told from
//! noise; leave such accounts to `usage_silent`.
//!
//! **Example.** 40 actions a week for a quarter, then 12 a week: fires about
//! three weeks into the fall.
//!
//! The statistic is the variance-stabilising transform of a Poisson count
//! (F. J. Anscombe, Biometrika 35, 1948), scaled by the account's own
//! dispersion and by the uncertainty of its base.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{About, Explanation, Signal, SignalId, View, percent, plain};
use crate::{
    alert::{Datum, Evidence, Playbook, Severity, Window},
    life::{Clears, Frozen, Life, Numbers, Reading},
    rules::{BySegment, RuleError, within},
    time::Day,
};

const WINDOW: i32 = 28;
const BASE: i32 = 84;
const CLIFF_WINDOW: i32 = 7;

const FALL: u8 = 0;
const CLIFF: u8 = 1;
const STOP: u8 = 2;
const USERS: u8 = 3;

/// Settings of `usage_drop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsageDrop {
    /// Whether the signal runs. Default true.
    pub enabled: bool,
    /// Least fall of 28 d against the base, as a share. Default 0.40 / 0.50 / 0.50.
    pub min_fall: BySegment<f64>,
    /// Least z of the fall. Default 3.
    pub min_z: f64,
    /// Least number of core actions in the base. Default 8.
    pub min_base: u32,
    /// Least fall of 7 d that counts as a cliff. Default 0.60.
    pub cliff_fall: f64,
    /// Least z of a cliff. Default 6.
    pub cliff_z: f64,
    /// Least product of daily rate and silence over dispersion that counts as
    /// a stop. Default 20.
    pub stop_surprise: f64,
    /// Least number of active users for the users rule. Default 5.
    pub min_users: u32,
    /// Looks in a row before it opens. Default 3.
    pub sustain_looks: u16,
    /// Days after which an open alert takes the new level for normal. Default 28.
    pub rebase_days: u16,
}

impl Default for UsageDrop {
    fn default() -> Self {
        Self {
            enabled: true,
            min_fall: BySegment::new(0.40, 0.50, 0.50),
            min_z: 3.0,
            min_base: 8,
            cliff_fall: 0.60,
            cliff_z: 6.0,
            stop_surprise: 20.0,
            min_users: 5,
            sustain_looks: 3,
            rebase_days: 28,
        }
    }
}

/// A window against its base.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    /// Core actions in the window.
    x: f64,
    /// Expected from the base.
    e: f64,
    /// Core actions in the base.
    n: u64,
    /// `1 - x/e`.
    fall: f64,
    /// The fall in standard deviations.
    z: f64,
}

/// z of a count `x` where `e` was expected from a base `base_days` long, for a
/// window of `window_days`.
fn z_of_fall(x: f64, e: f64, phi: f64, window_days: f64, base_days: f64) -> f64 {
    2.0 * ((e + 0.375).sqrt() - (x + 0.375).sqrt()) / (phi * (1.0 + window_days / base_days)).sqrt()
}

impl UsageDrop {
    /// Whether window and base are empty, and have been for so long that
    /// nothing of them can be pending.
    fn nothing_to_compare(view: &View<'_>) -> bool {
        let rhythm = view.history().rhythm.as_ref();
        rhythm.is_none_or(|rhythm| view.day.since(rhythm.last.day) > WINDOW + BASE)
    }

    /// Compares the last `window` days with the up to 84 before them; `None`
    /// while fewer than 28 of those were observed. A frozen expectation (core
    /// actions a day) goes before the base.
    fn compare(view: &View<'_>, window: i32, frozen_daily: Option<f64>) -> Option<Comparison> {
        let history = view.history();
        let base_days = (view.usage_observed_days() - window).min(BASE);
        if base_days < 28 {
            return None;
        }
        let x = history.core_actions(view.day, window) as f64;
        let n = history.core_actions(view.day.plus(-window), base_days);
        let (window_days, base_days) = (f64::from(window), f64::from(base_days));
        let daily = frozen_daily.unwrap_or(n as f64 / base_days);
        let e = daily * window_days;
        let fall = if e > 0.0 { 1.0 - x / e } else { 0.0 };
        let z = z_of_fall(x, e, history.dispersion.phi(), window_days, base_days);
        Some(Comparison { x, e, n, fall, z })
    }

    /// Active users now and on average before.
    fn users(&self, view: &View<'_>, frozen: Option<Frozen>) -> Option<(f64, f64)> {
        let before = frozen
            .map(|frozen| frozen.second)
            .filter(|&before| before > 0.0)
            .or_else(|| view.history().users_28_before())?;
        (before >= f64::from(self.min_users))
            .then(|| (f64::from(view.history().users_28(view.day)), before))
    }

    /// How surprising the present standstill is: daily rate x silence / phi,
    /// once two days are silent.
    fn standstill(view: &View<'_>) -> f64 {
        let history = view.history();
        let Some(rhythm) = &history.rhythm else {
            return 0.0;
        };
        let s = rhythm.silence(history.clock);
        if s < 2.0 || rhythm.silent_days(history.clock) < 2 {
            return 0.0;
        }
        // The 28 days up to the last active one, so that the silence does not
        // dilute the rate it is measured against.
        let rate = history.core_actions(rhythm.last.day, WINDOW) as f64 / f64::from(WINDOW);
        rate * s / history.dispersion.phi()
    }
}

impl Signal for UsageDrop {
    const ABOUT: About = About {
        title: "Usage falls, against the account's own weeks",
        likely_causes: &[
            "the value is not seen: the outcome that was bought is not reached or not shown",
            "a missing or changed feature sends people to another tool",
            "the account's own business shrinks, or a project ended",
        ],
        playbook: Playbook {
            id: "value_review",
            title: "Review the value together",
            steps: &[
                "Look at the users and features that lost most before calling.",
                "Ask the champion what changed in the weeks before the fall.",
                "Show the outcome reached so far against the goal agreed at the start.",
                "Agree one workflow to bring back, with a name and a date.",
            ],
        },
        score: "z of the 28 d fall",
        unit: "core actions in 28 d (users rule: active users; stop rule: surprise)",
    };

    fn check(&self) -> Result<(), RuleError> {
        for (segment, fall) in self.min_fall.each() {
            within(&format!("min_fall.{segment}"), fall, 0.05..=0.95)?;
        }
        within("min_z", self.min_z, 0.0..=50.0)?;
        within("min_base", self.min_base.into(), 1.0..=1e6)?;
        within("cliff_fall", self.cliff_fall, 0.05..=0.99)?;
        within("cliff_z", self.cliff_z, 0.0..=50.0)?;
        within("stop_surprise", self.stop_surprise, 1.0..=1e6)?;
        within("min_users", self.min_users.into(), 1.0..=1e6)?;
        within("sustain_looks", self.sustain_looks.into(), 1.0..=60.0)?;
        within("rebase_days", self.rebase_days.into(), 7.0..=365.0)?;
        if self.cliff_z < self.min_z {
            let message = format!("{} is below min_z {}", self.cliff_z, self.min_z);
            return Err(RuleError::new("cliff_z", message));
        }
        Ok(())
    }

    fn life(&self) -> Life {
        Life {
            sustain_looks: self.sustain_looks,
            clears: Clears::InARow(7),
            rebase_days: Some(self.rebase_days),
            expire_days: None,
            renewal_raises: true,
        }
    }

    fn on_look(&self, view: &View<'_>, found: &mut dyn FnMut(Reading)) {
        if view.fleet.usage_stale {
            return;
        }
        let frozen = view.frozen(SignalId::UsageDrop, None);
        if frozen.is_none() && Self::nothing_to_compare(view) {
            return;
        }
        let frozen_daily = frozen
            .map(|frozen| frozen.expected)
            .filter(|&daily| daily > 0.0);
        let Some(month) = Self::compare(view, WINDOW, frozen_daily) else {
            return;
        };
        let week = Self::compare(view, CLIFF_WINDOW, frozen_daily);
        let least = self.min_fall.of(view.segment());
        let surprise = Self::standstill(view);
        let users = self.users(view, frozen);
        let users_fall = users.map_or(0.0, |(now, before)| 1.0 - now / before);

        let enough = month.n >= u64::from(self.min_base);
        let cliff = week.is_some_and(|week| {
            week.n >= u64::from(self.min_base)
                && week.z > self.cliff_z
                && week.fall >= self.cliff_fall
        });
        // Who paused as long before is no standstill: a quarterly user is not
        // stopped in month two.
        let pauses = view.history().rhythm.as_ref().is_none_or(|rhythm| {
            rhythm.silence(view.history().clock) <= rhythm.second_longest_gap(view.day)
        });
        let stop = surprise >= self.stop_surprise && !pauses;
        let fall = enough && month.z > self.min_z && month.fall >= least;
        let fewer_users = users_fall >= least;

        let (rule, severity) = if stop {
            (STOP, Some(Severity::Critical))
        } else if cliff {
            (CLIFF, Some(Severity::Critical))
        } else if fall {
            let critical = month.fall >= 1.5 * least;
            (
                FALL,
                Some(if critical {
                    Severity::Critical
                } else {
                    Severity::Warning
                }),
            )
        } else if fewer_users {
            let critical = users_fall >= 1.5 * least;
            (
                USERS,
                Some(if critical {
                    Severity::Critical
                } else {
                    Severity::Warning
                }),
            )
        } else {
            (FALL, None)
        };
        let (observed, expected) = match (rule, week, users) {
            (CLIFF, Some(week), _) => (week.x, week.e),
            (USERS, _, Some((now, before))) => (now, before),
            _ => (month.x, month.e),
        };
        let threshold = match rule {
            CLIFF => expected * (1.0 - self.cliff_fall),
            STOP => self.stop_surprise,
            _ => expected * (1.0 - least),
        };
        let score = month.z;
        let mut reading = Reading::of(
            None,
            Numbers {
                score,
                observed,
                expected,
                threshold,
                rule,
            },
        );
        reading.level = month.x;
        reading.comparable = enough && month.fall >= least;
        reading.breach = severity;
        reading.at_once = stop;
        reading.clear = month.fall < 0.6 * least
            && week.is_none_or(|week| week.fall < self.cliff_fall)
            && users_fall < 0.6 * least
            && surprise == 0.0;
        reading.frozen = Frozen {
            expected: month.e / f64::from(WINDOW),
            second: users.map_or(0.0, |(_, before)| before),
        };
        found(reading);
    }

    fn explain(&self, view: &View<'_>, reading: &Reading) -> Explanation {
        let Numbers {
            observed,
            expected,
            rule,
            ..
        } = reading.numbers;
        let history = view.history();
        let fall = if expected > 0.0 {
            1.0 - observed / expected
        } else {
            0.0
        };
        let (noun, days) = match rule {
            USERS => ("active users", WINDOW),
            CLIFF => ("core actions", CLIFF_WINDOW),
            _ => ("core actions", WINDOW),
        };
        let silent = history
            .rhythm
            .as_ref()
            .map_or(0, |rhythm| rhythm.silent_days(history.clock));
        let reason = if rule == STOP {
            format!(
                "stopped: no core action for {silent} days after {} in the 28 days before",
                history.core_actions(view.day.plus(-silent), WINDOW)
            )
        } else if fall > 0.0 {
            format!(
                "{} {noun} in {days} d where {} are usual: a fall of {}",
                plain(observed),
                plain(expected),
                percent(fall)
            )
        } else {
            format!(
                "{} {noun} in {days} d, {} are usual",
                plain(observed),
                plain(expected)
            )
        };
        let rule_name = match rule {
            CLIFF => "cliff",
            STOP => "stop",
            USERS => "users",
            _ => "fall",
        };
        let clock = history.clock.total - history.clock_at(view.day.plus(-WINDOW)).0.total;
        let volume = |last: i32, weeks| history.volume_weeks.sum(last, weeks);
        let week = view.day.week();
        let evidence = Evidence::default()
            .with("rule", rule_name)
            .with("fall", fall)
            .with("z", reading.numbers.score)
            .with("dispersion", history.dispersion.phi())
            .with("silent_days", u64::from(silent.unsigned_abs()))
            .with("fleet_clock_28d", clock)
            .with(
                "baseline_weeks",
                Datum::List(
                    (0..12)
                        .rev()
                        .map(|back| {
                            let last = view.day.plus(-WINDOW - 7 * back);
                            Datum::Count(history.core_actions(last, 7))
                        })
                        .collect(),
                ),
            )
            .with("users_28d", u64::from(history.users_28(view.day)))
            .with("users_28d_before", history.users_28_before())
            .with(
                "users_lost_most",
                lost_most(user_weeks(view), view.day, "user_id"),
            )
            .with(
                "features_lost_most",
                lost_most(feature_weeks(view), view.day, "feature"),
            )
            .with("business_volume_4_weeks", volume(week, 4))
            .with("business_volume_12_weeks_before", volume(week - 4, 12))
            .with("seats_purchased", view.profile().seats_purchased);
        Explanation {
            reason,
            evidence,
            window: Window {
                start: view.day.plus(1 - days),
                end: view.day,
            },
            series: history.weekly_core_actions(12),
        }
    }
}

type NamedWeeks<'a> = (&'a str, &'a crate::account::history::WeekRing);

fn user_weeks<'a>(view: &View<'a>) -> impl Iterator<Item = NamedWeeks<'a>> {
    view.account
        .seats
        .iter()
        .map(|(user, seat)| (user.as_str(), &seat.weeks))
}

fn feature_weeks<'a>(view: &View<'a>) -> impl Iterator<Item = NamedWeeks<'a>> {
    view.history()
        .features
        .iter()
        .map(|feature| (feature.feature.as_str(), &feature.weeks))
}

/// The three whose weekly mean over the last four calendar weeks lies furthest
/// below that of the twelve before.
fn lost_most<'a>(
    weeks: impl Iterator<Item = NamedWeeks<'a>>,
    day: Day,
    name: &'static str,
) -> Datum {
    let this = day.week();
    let mut lost: Vec<(f64, f64, f64, &str)> = weeks
        .map(|(name, weeks)| {
            let now = weeks.sum(this, 4) as f64 / 4.0;
            let before = weeks.sum(this - 4, 12) as f64 / 12.0;
            (before - now, before, now, name)
        })
        .filter(|(lost, ..)| *lost > 0.0)
        .collect();
    lost.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.3.cmp(b.3)));
    lost.truncate(3);
    Datum::List(
        lost.into_iter()
            .map(|(_, before, now, who)| {
                Datum::Facts(vec![
                    (name, who.into()),
                    ("a_week_before", before.into()),
                    ("a_week_now", now.into()),
                ])
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests;
