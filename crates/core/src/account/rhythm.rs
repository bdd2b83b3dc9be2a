//! How regularly somebody comes, and how surprising it is that they do not.
//!
//! The model is Lomax survival: days of activity arrive at a rate that is
//! itself uncertain (a gamma prior worth one active day a week), so the chance
//! that a silence of length `s` is just a pause is `(1 + s/W')^-A'`. The
//! **fleet clock** is the unit of exposure: a weekend or a holiday on which
//! everybody is away hardly counts.
//!
//! An account has a [`Rhythm`]; so has each of its users.
//!
//! Sources: K. S. Lomax, "Business failures: another example of the analysis
//! of failure data", JASA 49 (1954); P. S. Fader, B. G. S. Hardie and
//! K. L. Lee, "Counting your customers the easy way", Marketing Science 24
//! (2005), for the use of such a model on customers.

use serde::{Deserialize, Serialize};

use super::size;
use crate::time::Day;

/// Half-life of what is remembered of a rhythm, in days.
const HALF_LIFE_DAYS: f64 = 180.0;
/// Prior active days.
const PRIOR_ACTIVE: f64 = 1.0;
/// Prior exposure, in days of the fleet clock: one active day in seven.
const PRIOR_EXPOSURE: f64 = 7.0;
/// Prior hazard of leaving for good: once in this many days.
const PRIOR_LIFETIME_DAYS: f64 = 700.0;
/// How long gaps are remembered, in days.
const GAP_MEMORY_DAYS: i32 = 730;

/// What a day leaves of a decayed sum: `exp2(-1 / 180)`. Each account takes this
/// step each day.
const DECAY_OF_A_DAY: f64 = 0.996_156_587_220_575_2;

/// The share of a decayed sum that is left after `days`.
pub(crate) fn decay(days: f64) -> f64 {
    if days == 1.0 {
        return DECAY_OF_A_DAY;
    }
    libm::exp2(-days / HALF_LIFE_DAYS)
}

/// The fleet clock as an account has lived through it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct ClockReading {
    /// The day of the reading (closed).
    pub day: Day,
    /// Sum of w over the account's closed days.
    pub total: f64,
    /// The same, decayed daily with a half-life of 180 d.
    pub decayed: f64,
}

impl ClockReading {
    /// The reading before the first day.
    pub fn before(first: Day) -> Self {
        Self {
            day: first.plus(-1),
            total: 0.0,
            decayed: 0.0,
        }
    }

    /// The reading after one more day of speed `w`.
    #[must_use]
    pub fn advanced(self, w: f64) -> Self {
        Self {
            day: self.day.plus(1),
            total: self.total + w,
            decayed: self.decayed * decay(1.0) + w,
        }
    }

    /// The reading after `days` more ordinary days.
    #[must_use]
    pub fn advanced_by(self, days: i32) -> Self {
        let kept = decay(f64::from(days));
        Self {
            day: self.day.plus(days),
            total: self.total + f64::from(days),
            decayed: self.decayed * kept + (1.0 - kept) / (1.0 - decay(1.0)),
        }
    }

    /// The reading as it was before its last day, whose speed was `w`.
    #[must_use]
    pub fn stepped_back(self, w: f64) -> Self {
        Self {
            day: self.day.plus(-1),
            total: self.total - w,
            decayed: (self.decayed - w) / decay(1.0),
        }
    }
}

/// Active days and exposure, as they stood on the last active day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rhythm {
    /// A: active days, decayed with a half-life of 180 d.
    pub active_days: f64,
    /// W: exposure in days of the fleet clock since the first active day, inclusive; decayed alike.
    pub exposure: f64,
    /// The first active day.
    pub first: Day,
    /// The clock at the close of the last active day.
    pub last: ClockReading,
    /// The longest silences of the last 730 d: end and length on the clock.
    gaps: Vec<(Day, f64)>,
}

impl Rhythm {
    /// What it takes beside its own size, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        size::of_vec(&self.gaps)
    }

    /// The rhythm after a first active day of speed `w`, read at its close.
    pub fn begin(at: ClockReading, w: f64) -> Self {
        Self {
            active_days: 1.0,
            exposure: w,
            first: at.day,
            last: at,
            gaps: Vec::new(),
        }
    }

    /// Takes in one more active day of speed `w`, at its close. Days before the
    /// last one (late events) add their activity only.
    pub fn active(&mut self, at: ClockReading, w: f64) {
        let gap = at.day.since(self.last.day);
        if gap <= 0 {
            if gap < 0 {
                self.active_days += decay(f64::from(-gap));
            }
            return;
        }
        let silence = at.total - self.last.total - w;
        let kept = decay(f64::from(gap));
        // Exposure between the two readings, each day decayed to the new one.
        let lived = at.decayed - self.last.decayed * kept;
        self.active_days = self.active_days * kept + 1.0;
        self.exposure = self.exposure * kept + lived;
        if gap > 1 {
            self.remember_gap(at.day, silence.max(0.0));
        }
        self.last = at;
    }

    /// Keeps a gap only while fewer than two later ones are as long.
    fn remember_gap(&mut self, end: Day, length: f64) {
        self.gaps.push((end, length));
        let horizon = end.plus(-GAP_MEMORY_DAYS);
        let mut kept: Vec<(Day, f64)> = Vec::with_capacity(self.gaps.len());
        for &(day, gap) in self.gaps.iter().rev() {
            let longer = kept.iter().filter(|(_, later)| *later >= gap).count();
            if day > horizon && longer < 2 {
                kept.push((day, gap));
            }
        }
        kept.reverse();
        self.gaps = kept;
    }

    /// The second-longest silence that ended within 730 d before `day`, on the
    /// clock; 0 where there were fewer than two.
    pub fn second_longest_gap(&self, day: Day) -> f64 {
        let horizon = day.plus(-GAP_MEMORY_DAYS);
        let mut longest = (0.0_f64, 0.0_f64);
        for &(_, gap) in self.gaps.iter().filter(|(end, _)| *end > horizon) {
            if gap >= longest.0 {
                longest = (gap, longest.0);
            } else if gap > longest.1 {
                longest.1 = gap;
            }
        }
        longest.1
    }

    /// s: how long it has been silent, in days of the fleet clock.
    pub fn silence(&self, now: ClockReading) -> f64 {
        (now.total - self.last.total).max(0.0)
    }

    /// Closed calendar days without activity.
    pub fn silent_days(&self, now: ClockReading) -> i32 {
        now.day.since(self.last.day).max(0)
    }

    /// Log odds of having left rather than pausing, after a silence of `s`.
    ///
    /// `L = A' ln(1 + s/W')` is how surprising the silence is;
    /// `I = W'/(A' - 1) (1 - (1 + s/W')^(1 - A'))` the exposure at risk of
    /// leaving; the result is `ln(I / 700) + L`.
    pub fn log_odds_left(&self, s: f64) -> f64 {
        if s <= 0.0 {
            return -20.0;
        }
        let active = (self.active_days + PRIOR_ACTIVE).max(1.001);
        let exposure = self.exposure + PRIOR_EXPOSURE;
        let growth = libm::log1p(s / exposure);
        let surprise = active * growth;
        let at_risk = exposure / (active - 1.0) * -libm::expm1((1.0 - active) * growth);
        libm::log(at_risk / PRIOR_LIFETIME_DAYS) + surprise
    }

    /// Days after the last active one by which four in five such silences have
    /// ended: `ceil(W' (5^(1/A') - 1))`.
    pub fn expected_within_days(&self) -> i32 {
        let active = self.active_days + PRIOR_ACTIVE;
        let exposure = self.exposure + PRIOR_EXPOSURE;
        let days = libm::ceil(exposure * libm::expm1(libm::log(5.0) / active));
        days.clamp(1.0, 3650.0) as i32
    }

    /// Active days per week of the fleet clock, prior included.
    pub fn days_per_week(&self) -> f64 {
        7.0 * (self.active_days + PRIOR_ACTIVE) / (self.exposure + PRIOR_EXPOSURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock after `day` days of speed 1, day 0 included.
    fn calendar(day: i32) -> ClockReading {
        let mut clock = ClockReading::before(Day(0));
        for _ in 0..=day {
            clock = clock.advanced(1.0);
        }
        clock
    }

    fn rhythm(days: &[i32]) -> Rhythm {
        let mut rhythm = Rhythm::begin(calendar(days[0]), 1.0);
        for &day in &days[1..] {
            rhythm.active(calendar(day), 1.0);
        }
        rhythm
    }

    fn assert_close(got: f64, want: f64) {
        assert!(
            (got - want).abs() < 1e-9 * want.abs().max(1.0),
            "got {got}, want {want}"
        );
    }

    #[test]
    fn active_days_and_exposure_are_the_decayed_sums_worked_out_day_by_day() {
        let active = [0, 1, 4, 9];
        let rhythm = rhythm(&active);
        let (mut a, mut w) = (0.0, 0.0);
        for day in 0..=9 {
            let kept = libm::exp2(-f64::from(9 - day) / 180.0);
            w += kept;
            if active.contains(&day) {
                a += kept;
            }
        }
        assert_close(rhythm.active_days, a);
        assert_close(rhythm.exposure, w);
    }

    #[test]
    fn log_odds_match_the_formula_integrated_numerically() {
        // A' = 11, W' = 37 after 10 active days in 30 of exposure, undecayed.
        let rhythm = Rhythm {
            active_days: 10.0,
            exposure: 30.0,
            ..rhythm(&[0])
        };
        let (active, exposure, s) = (11.0_f64, 37.0_f64, 20.0_f64);
        // I is the integral of the survival function from 0 to s.
        let steps = 200_000;
        let h = s / f64::from(steps);
        let at_risk: f64 = (0..steps)
            .map(|i| libm::pow(1.0 + (f64::from(i) + 0.5) * h / exposure, -active) * h)
            .sum();
        let want = libm::log(at_risk / 700.0) + active * libm::log(1.0 + s / exposure);
        assert!((rhythm.log_odds_left(s) - want).abs() < 1e-6);
    }

    #[test]
    fn the_odds_near_one_active_day_stay_finite_and_grow_with_silence() {
        let rhythm = Rhythm {
            active_days: 0.0,
            ..rhythm(&[0])
        };
        let odds: Vec<f64> = (1..400)
            .map(|s| rhythm.log_odds_left(f64::from(s)))
            .collect();
        assert!(
            odds.windows(2)
                .all(|pair| pair[0] < pair[1] && pair[1].is_finite())
        );
    }

    #[test]
    fn a_days_decay_is_that_of_the_half_life() {
        assert_eq!(
            DECAY_OF_A_DAY.to_bits(),
            libm::exp2(-1.0 / HALF_LIFE_DAYS).to_bits()
        );
    }

    #[test]
    fn the_second_longest_gap_forgets_after_two_years() {
        let rhythm = rhythm(&[0, 30, 31, 52, 60]);
        // Silent days: 29, 20, 7.
        assert_close(rhythm.second_longest_gap(Day(60)), 20.0);
        assert_close(rhythm.second_longest_gap(Day(30 + 730)), 7.0);
        assert_close(rhythm.second_longest_gap(Day(5_000)), 0.0);
    }

    #[test]
    fn a_weekly_visitor_is_expected_back_later_than_a_daily_one() {
        let daily = rhythm(&(0..60).collect::<Vec<_>>());
        let weekly = rhythm(&(0..60).step_by(7).collect::<Vec<_>>());
        assert_eq!(daily.expected_within_days(), 2);
        assert!(weekly.expected_within_days() > 10);
    }

    #[test]
    fn stepping_a_clock_back_undoes_its_last_day() {
        let clock = calendar(40);
        let again = clock.advanced(0.37).stepped_back(0.37);
        assert_close(again.total, clock.total);
        assert_close(again.decayed, clock.decayed);
        assert_eq!(again.day, clock.day);
    }

    #[test]
    fn skipping_ordinary_days_is_living_through_them() {
        let (skipped, lived) = (calendar(40).advanced_by(1_000), calendar(1_040));
        assert_close(skipped.total, lived.total);
        assert_close(skipped.decayed, lived.decayed);
        assert_eq!(skipped.day, lived.day);
    }

    #[test]
    fn a_quiet_fleet_makes_silence_short() {
        let mut holiday = calendar(20);
        let rhythm = rhythm(&(0..=20).collect::<Vec<_>>());
        for _ in 0..10 {
            holiday = holiday.advanced(0.05);
        }
        assert_close(rhythm.silence(holiday), 0.5);
        assert_eq!(rhythm.silent_days(holiday), 10);
    }
}
