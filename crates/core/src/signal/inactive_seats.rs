//! Seats are paid for and not used.
//!
//! **Means.** A hundred seats were bought and thirteen are used: at the
//! renewal somebody will notice.
//!
//! **Fires when.** Distinct active users of 28 d over purchased seats stay
//! below the band for seven days. High touch, by tenure: months two to six
//! below 50 % (critical below 15 %); six to nine below 75 % (critical at 50 %
//! or less); later 75 % or less (critical at 50 % or less, and at 75 % or less
//! within 180 days of a renewal). Low touch below 50 % (critical 25 %), tech
//! touch below 35 % (15 %). Or utilisation *fell* by 15 points, 3 users and
//! 20 % against its mean 28, 56 and 84 days ago. Needs five seats, 60 days of
//! tenure, 28 observed days, and usage that names its users.
//!
//! **Clears when.** Utilisation is five points above the band for seven looks.
//! A fall is rebased after 28 days.
//!
//! **Playbook.** `activate_seats`.
//!
//! **Tuning.** `low` and `tech` hold the bands of those segments.
//!
//! **Example.** 50 seats, 41 active for months, then 12: fires a week after
//! utilisation crossed the band.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{About, Explanation, Signal, SignalId, View, percent, plain};
use crate::{
    account::{Seat, SeatStatus},
    alert::{Datum, Evidence, Playbook, Severity, Window},
    event::Segment,
    ids::UserId,
    life::{Clears, Frozen, Life, Numbers, Reading},
    rules::{RuleError, within},
    time::Day,
};

/// Days after which a fall is no news any more.
const FALL_IS_NEWS_DAYS: u16 = 28;

const LEVEL: u8 = 0;
const FELL: u8 = 1;

/// Settings of `inactive_seats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InactiveSeats {
    /// Whether the signal runs. Default true.
    pub enabled: bool,
    /// Least number of purchased seats. Default 5.
    pub min_seats: u32,
    /// Least tenure, in days. Default 60.
    pub min_tenure_days: u32,
    /// High touch, months two to six. Default warning below .50, critical below .15.
    pub high_early: Band,
    /// High touch, months six to nine. Default warning below .75, critical below .50.
    pub high_middle: Band,
    /// High touch, later. Default warning at .75, critical at .50.
    pub high_late: Band,
    /// Low touch. Default .50 and .25.
    pub low: Band,
    /// Tech touch. Default .35 and .15.
    pub tech: Band,
    /// Least fall of utilisation in points, as a share of the seats. Default .15.
    pub fall_points: f64,
    /// Least fall in users. Default 3.
    pub fall_users: u32,
    /// Least fall against the mean before, as a share. Default .20.
    pub fall_share: f64,
    /// How far above the band it clears, in points, as a share. Default .05.
    pub clear_points: f64,
    /// Looks in a row before it opens. Default 7.
    pub sustain_looks: u16,
}

/// Utilisation bounds, as shares of the purchased seats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// At or below this share it warns.
    pub warning: f64,
    /// At or below this share it is critical.
    pub critical: f64,
}

impl Default for InactiveSeats {
    fn default() -> Self {
        Self {
            enabled: true,
            min_seats: 5,
            min_tenure_days: 60,
            high_early: Band {
                warning: 0.50,
                critical: 0.15,
            },
            high_middle: Band {
                warning: 0.75,
                critical: 0.50,
            },
            high_late: Band {
                warning: 0.75,
                critical: 0.50,
            },
            low: Band {
                warning: 0.50,
                critical: 0.25,
            },
            tech: Band {
                warning: 0.35,
                critical: 0.15,
            },
            fall_points: 0.15,
            fall_users: 3,
            fall_share: 0.20,
            clear_points: 0.05,
            sustain_looks: 7,
        }
    }
}

/// A band and whether its bounds belong to it.
#[derive(Debug, Clone, Copy)]
struct InForce {
    band: Band,
    warning_included: bool,
    critical_included: bool,
}

impl InForce {
    fn severity(&self, share: f64) -> Option<Severity> {
        let below = |bound: f64, included: bool| share < bound || (included && share <= bound);
        if below(self.band.critical, self.critical_included) {
            Some(Severity::Critical)
        } else if below(self.band.warning, self.warning_included) {
            Some(Severity::Warning)
        } else {
            None
        }
    }
}

impl InactiveSeats {
    fn band(&self, view: &View<'_>) -> InForce {
        let open = |band| InForce {
            band,
            warning_included: false,
            critical_included: false,
        };
        match view.segment() {
            Segment::Low => open(self.low),
            Segment::Tech => open(self.tech),
            Segment::High => {
                let tenure = view.tenure_days();
                if tenure < 183 {
                    open(self.high_early)
                } else if tenure < 274 {
                    InForce {
                        critical_included: true,
                        ..open(self.high_middle)
                    }
                } else {
                    let mut band = self.high_late;
                    if view
                        .days_to_renewal()
                        .is_some_and(|days| (0..=180).contains(&days))
                    {
                        band.critical = band.warning;
                    }
                    InForce {
                        band,
                        warning_included: true,
                        critical_included: true,
                    }
                }
            }
        }
    }
}

impl Signal for InactiveSeats {
    const ABOUT: About = About {
        title: "Paid seats stand unused",
        likely_causes: &[
            "the roll-out stopped after the first team",
            "invited people never logged in, or were never shown what it is for",
            "a team left or was reorganised, and its seats stayed behind",
        ],
        playbook: Playbook {
            id: "activate_seats",
            title: "Bring the paid seats into use",
            steps: &[
                "List who never logged in and who stopped, by team.",
                "Ask the owner which team should be next, and why it has not started.",
                "Run one session for that team on its own work, within two weeks.",
                "Before a renewal, speak about the right number of seats yourself.",
            ],
        },
        score: "share of purchased seats that are not active",
        unit: "active users in 28 d",
    };

    fn check(&self) -> Result<(), RuleError> {
        for (key, band) in [
            ("high_early", self.high_early),
            ("high_middle", self.high_middle),
            ("high_late", self.high_late),
            ("low", self.low),
            ("tech", self.tech),
        ] {
            within(&format!("{key}.warning"), band.warning, 0.01..=1.0)?;
            within(&format!("{key}.critical"), band.critical, 0.0..=1.0)?;
            if band.critical >= band.warning {
                return Err(RuleError::new(
                    format!("{key}.critical"),
                    format!("{} is not below warning {}", band.critical, band.warning),
                ));
            }
        }
        within("min_seats", self.min_seats.into(), 1.0..=1e6)?;
        within("min_tenure_days", self.min_tenure_days.into(), 28.0..=730.0)?;
        within("fall_points", self.fall_points, 0.01..=1.0)?;
        within("fall_users", self.fall_users.into(), 1.0..=1e6)?;
        within("fall_share", self.fall_share, 0.01..=1.0)?;
        within("clear_points", self.clear_points, 0.0..=0.5)?;
        within("sustain_looks", self.sustain_looks.into(), 1.0..=60.0)
    }

    fn life(&self) -> Life {
        Life {
            sustain_looks: self.sustain_looks,
            clears: Clears::InARow(7),
            rebase_days: Some(FALL_IS_NEWS_DAYS),
            expire_days: None,
            renewal_raises: false,
        }
    }

    fn on_look(&self, view: &View<'_>, found: &mut dyn FnMut(Reading)) {
        let Some(seats) = view
            .profile()
            .seats_purchased
            .filter(|&seats| seats >= self.min_seats)
        else {
            return;
        };
        if view.fleet.usage_stale
            || view.usage_observed_days() < 28
            || view.tenure_days() < self.min_tenure_days as i32
            || !users_are_known(view)
        {
            return;
        }
        let seats = f64::from(seats);
        let active = f64::from(view.history().users_28(view.day));
        let share = active / seats;
        let band = self.band(view);
        let frozen = view.frozen(SignalId::InactiveSeats, None);
        let before = frozen
            .map(|frozen| frozen.expected)
            .filter(|&before| before > 0.0)
            .or_else(|| view.history().users_28_before());
        let lost = before.map_or(0.0, |before| before - active);
        let fell = before.is_some_and(|before| {
            lost / seats >= self.fall_points
                && lost >= f64::from(self.fall_users)
                && lost / before >= self.fall_share
        });
        let level = band.severity(share);
        let (rule, breach) = match level {
            Some(severity) => (LEVEL, Some(severity)),
            None if fell => (FELL, Some(Severity::Warning)),
            None => (LEVEL, None),
        };
        let (expected, threshold) = match (rule, before) {
            (FELL, Some(before)) => (before, before - lost.min(self.fall_points * seats)),
            _ => (seats, band.band.warning * seats),
        };
        let mut reading = Reading::of(
            None,
            Numbers {
                score: 1.0 - share,
                observed: active,
                expected,
                threshold,
                rule,
            },
        );
        reading.comparable = true;
        // A fall is news for four weeks; then the new level is the normal one, and
        // only the band speaks.
        reading.becomes_normal = rule == FELL;
        reading.breach = breach;
        reading.clear = share >= band.band.warning + self.clear_points && !fell;
        reading.frozen = Frozen {
            expected: before.unwrap_or(0.0),
            second: 0.0,
        };
        found(reading);
    }

    fn explain(&self, view: &View<'_>, reading: &Reading) -> Explanation {
        let seats = u64::from(view.profile().seats_purchased.unwrap_or(0));
        let active = view.history().users_28(view.day);
        let share = if seats == 0 {
            0.0
        } else {
            f64::from(active) / seats as f64
        };
        let reason = if reading.numbers.rule == FELL {
            format!(
                "{active} active users in 28 d where {} were usual, of {seats} purchased seats ({})",
                plain(reading.numbers.expected),
                percent(share)
            )
        } else {
            format!(
                "{active} of {seats} purchased seats active in 28 d ({})",
                percent(share)
            )
        };
        let all = || view.account.seats.values();
        let assigned = all().filter(|seat| seat.is_assigned()).count() as u64;
        let activated = all()
            .filter(|seat| seat.status == SeatStatus::Activated || seat.rhythm.is_some())
            .count() as u64;
        let never = all()
            .filter(|seat| seat.is_assigned() && seat.rhythm.is_none())
            .count() as u64;
        let idle_cost = view.profile().mrr.as_ref().map(|mrr| {
            let idle = (1.0 - share).max(0.0) * mrr.amount as f64 / 100.0;
            Datum::Text(format!("{} {} a month", libm::round(idle), mrr.currency).into())
        });
        let evidence = Evidence::default()
            .with(
                "rule",
                if reading.numbers.rule == FELL {
                    "fell"
                } else {
                    "level"
                },
            )
            .with("purchased", seats)
            .with("assigned", assigned)
            .with("activated", activated)
            .with("active_28d", active)
            .with("utilisation", share)
            .with("active_28d_before", view.history().users_28_before())
            .with("never_logged_in", never)
            .with("idle_cost", idle_cost)
            .with("idlest_users", idlest(view));
        Explanation {
            reason,
            evidence,
            window: Window {
                start: view.day.plus(-27),
                end: view.day,
            },
            series: view.history().weekly_users(12),
        }
    }
}

/// Whether usage says who did it: without user ids nobody would ever count as
/// active.
fn users_are_known(view: &View<'_>) -> bool {
    let mut seats = view.account.seats.values();
    seats.any(|seat| seat.rhythm.is_some())
}

/// The ten assigned or once active users who have been away longest.
fn idlest(view: &View<'_>) -> Datum {
    let since = |seat: &Seat| seat.last_active();
    let mut idle: Vec<(Option<Day>, &UserId)> = view
        .account
        .seats
        .iter()
        .filter(|(_, seat)| seat.status != SeatStatus::Deactivated)
        .filter(|(_, seat)| since(seat).is_none_or(|last| view.day.since(last) >= 28))
        .map(|(user, seat)| (since(seat), user))
        .collect();
    idle.sort();
    idle.truncate(10);
    Datum::List(
        idle.into_iter()
            .map(|(last, user)| {
                Datum::Facts(vec![
                    ("user_id", user.as_str().into()),
                    ("last_active", last.into()),
                ])
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests;
