//! An account's closed days: a ring of daily buckets, and what is folded from
//! them as each day closes.
//!
//! ```text
//!      oldest                                     closed_through
//!        |<----------------- DAYS = 126 ----------------->|  open days (hot row)
//!   ... [ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ][ ] | [ ][ ]
//!          \_______ base, 84 d _______/\__ window, 28 d __/
//! ```
//!
//! A day is closed exactly once, in order. Afterwards only late events within
//! the grace period change its bucket.

use serde::{Deserialize, Serialize};

use crate::{
    account::{
        Profile,
        rhythm::{ClockReading, Rhythm},
        size,
    },
    ids::Feature,
    time::Day,
};

/// Daily buckets kept: a window of 28 d, a base of 84 d before it, and a
/// fortnight of room for late events and days that close late.
pub const DAYS: i32 = 126;
/// Weekly buckets kept of the account, its users and its features: half a year.
pub const WEEKS: i32 = 26;
/// Features told apart in one account; the rest are counted together.
pub const MAX_FEATURES: usize = 64;

/// The longest reach back of "active users", in days, and one slot for the day
/// about to close.
const USERS_REACH: i32 = 92;

/// The closed part of an account, rewritten when a day closes, when a late
/// event lands or when the profile changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct History {
    /// What is known about the account.
    pub profile: Profile,
    /// The last closed day, in the account's own time zone.
    pub closed_through: Day,
    /// First day with a record of any kind.
    pub first_day: Day,
    /// First day with usage.
    pub first_usage: Option<Day>,
    /// First day with a ticket.
    pub first_ticket: Option<Day>,
    /// The fleet clock as lived through.
    pub clock: ClockReading,
    /// How regularly anybody comes; `None` before the first core action.
    pub rhythm: Option<Rhythm>,
    /// How bursty its weeks are.
    pub dispersion: Dispersion,
    /// Core actions of the last 26 calendar weeks.
    pub weeks: WeekRing,
    /// Business volume of the last 26 calendar weeks, in whole units.
    pub volume_weeks: WeekRing,
    /// Use of each feature.
    pub features: Vec<FeatureUse>,
    core: DayRing,
    users: DayRing,
    tickets: DayRing,
    /// Speed of the fleet clock, in ten-thousandths.
    speed: DayRing,
    /// How many users were last active on each of the last 91 days.
    last_active: Vec<u32>,
}

/// What one feature was used, by week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureUse {
    /// Which feature.
    pub feature: Feature,
    /// Core actions by calendar week.
    pub weeks: WeekRing,
}

/// What an open day brings when it closes.
#[derive(Debug, Clone, Copy, Default)]
pub struct DayTotals {
    /// Core actions by persons.
    pub core: u32,
    /// Tickets, escalations and re-openings counted twice.
    pub tickets: u32,
    /// Business volume.
    pub volume: f64,
}

impl History {
    /// What its rings take, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let days = [&self.core, &self.users, &self.tickets, &self.speed];
        let weeks = [&self.weeks, &self.volume_weeks];
        days.map(|ring| size::of_vec(&ring.0)).iter().sum::<usize>()
            + weeks.map(WeekRing::heap_bytes).iter().sum::<usize>()
            + size::of_vec(&self.last_active)
    }

    /// The history of an account first seen on `first`.
    pub fn begin(first: Day) -> Self {
        Self {
            closed_through: first.plus(-1),
            first_day: first,
            clock: ClockReading::before(first),
            last_active: vec![0; USERS_REACH as usize],
            ..Self::default()
        }
    }

    /// Closes the day after `closed_through`, on which the fleet clock ran at
    /// speed `w`. Users' activity on that day has been moved by
    /// [`History::user_was_active`] before.
    pub fn close_day(&mut self, totals: DayTotals, w: f64) {
        let day = self.closed_through.plus(1);
        self.closed_through = day;
        self.clock = self.clock.advanced(w);
        self.core.set(day, totals.core);
        self.tickets.set(day, totals.tickets);
        self.speed.set(day, (w * 1e4) as u32);
        self.users.set(day, self.users_last_active_within(28));
        if totals.core > 0 {
            self.first_usage.get_or_insert(day);
            self.weeks.add(day.week(), totals.core);
            match &mut self.rhythm {
                Some(rhythm) => rhythm.active(self.clock, w),
                None => self.rhythm = Some(Rhythm::begin(self.clock, w)),
            }
        }
        if totals.volume > 0.0 {
            self.volume_weeks
                .add(day.week(), totals.volume.min(f64::from(u32::MAX)) as u32);
        }
        if totals.tickets > 0 {
            self.first_ticket.get_or_insert(day);
        }
        if let Some(first) = self.first_usage
            && (day.since(first) + 1) % 7 == 0
        {
            self.learn_week(day, first);
        }
        // Forget who was last here before the reach, so that the slot is free
        // for the next day.
        let next = day.plus(1);
        self.last_active[slot(next, USERS_REACH)] = 0;
    }

    /// Skips to the day before `day` without judging: an account that has been
    /// dormant for years wakes up.
    pub fn wake(&mut self, day: Day) {
        let skipped = day.since(self.closed_through) - 1;
        if skipped <= 0 {
            return;
        }
        for _ in 0..skipped.min(DAYS) {
            self.close_day(DayTotals::default(), 1.0);
        }
        let rest = day.since(self.closed_through) - 1;
        if rest > 0 {
            self.closed_through = day.plus(-1);
            self.clock = self.clock.advanced_by(rest);
        }
    }

    /// Counts a late core action on a closed day. Gives whether the day had
    /// been without any until now.
    pub fn late_core_action(&mut self, day: Day) -> bool {
        let Some(count) = self.core.slot_mut(day, self.closed_through) else {
            return false;
        };
        *count += 1;
        let first = *count == 1;
        self.weeks.add(day.week(), 1);
        self.first_usage = Some(self.first_usage.map_or(day, |first| first.min(day)));
        if first {
            let (at, w) = self.clock_at(day);
            match &mut self.rhythm {
                Some(rhythm) => rhythm.active(at, w),
                None => self.rhythm = Some(Rhythm::begin(at, w)),
            }
        }
        first
    }

    /// Counts late tickets on a closed day.
    pub fn late_tickets(&mut self, day: Day, weight: u32) {
        if let Some(count) = self.tickets.slot_mut(day, self.closed_through) {
            *count += weight;
            self.first_ticket = Some(self.first_ticket.map_or(day, |first| first.min(day)));
        }
    }

    /// Moves a user's last active day from `before` to `day`, which is the day
    /// about to be closed or, for a late event, a closed one.
    pub fn user_was_active(&mut self, before: Option<Day>, day: Day) {
        let edge = self.closed_through.max(day);
        if edge.since(day) >= USERS_REACH {
            return;
        }
        if let Some(before) = before
            && edge.since(before) < USERS_REACH
        {
            let slot = &mut self.last_active[slot(before, USERS_REACH)];
            *slot = slot.saturating_sub(1);
        }
        self.last_active[slot(day, USERS_REACH)] += 1;
        // A late event makes the user count on the days since, unless an
        // earlier activity did already.
        let mut late = day;
        while late <= self.closed_through {
            if before.is_none_or(|before| late.since(before) >= 28)
                && let Some(users) = self.users.slot_mut(late, self.closed_through)
            {
                *users += 1;
            }
            late = late.plus(1);
        }
    }

    /// Users whose last activity lies within the `days` up to the close of the
    /// newest closed day; at most 91.
    pub fn users_last_active_within(&self, days: i32) -> u32 {
        (0..days.min(USERS_REACH - 1))
            .map(|back| self.last_active[slot(self.closed_through.plus(-back), USERS_REACH)])
            .sum()
    }

    /// Distinct active users of the 28 d up to and including `day`.
    pub fn users_28(&self, day: Day) -> u32 {
        self.users.get(day, self.closed_through)
    }

    /// The mean of [`History::users_28`] 28, 56 and 84 days before the last
    /// closed day, over those of the three that were fully observed.
    pub fn users_28_before(&self) -> Option<f64> {
        let first = self.first_usage?;
        let observed = [28, 56, 84]
            .map(|back| self.closed_through.plus(-back))
            .into_iter()
            .filter(|day| day.since(first) >= 27);
        let (mut sum, mut count) = (0.0, 0.0);
        for day in observed {
            sum += f64::from(self.users_28(day));
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    }

    /// Core actions of the `days` up to and including `last`.
    pub fn core_actions(&self, last: Day, days: i32) -> u64 {
        self.core.sum(last, days, self.closed_through)
    }

    /// Weighted tickets of the `days` up to and including `last`, closed days only.
    pub fn tickets(&self, last: Day, days: i32) -> u64 {
        self.tickets.sum(last, days, self.closed_through)
    }

    /// Whether anybody did a core action on `day`.
    pub fn active_on(&self, day: Day) -> bool {
        self.core.get(day, self.closed_through) > 0
    }

    /// The last `weeks` seven-day blocks of core actions, oldest first, the
    /// newest ending with the last closed day.
    pub fn weekly_core_actions(&self, weeks: i32) -> Vec<u32> {
        self.weekly(&self.core, weeks)
    }

    /// As [`History::weekly_core_actions`], of weighted tickets.
    pub fn weekly_tickets(&self, weeks: i32) -> Vec<u32> {
        self.weekly(&self.tickets, weeks)
    }

    /// As [`History::weekly_core_actions`], of distinct users in 28 d at each
    /// block's end.
    pub fn weekly_users(&self, weeks: i32) -> Vec<u32> {
        (0..weeks)
            .rev()
            .map(|back| self.users_28(self.closed_through.plus(-7 * back)))
            .collect()
    }

    /// The fleet clock at the close of a past day, and that day's speed.
    pub fn clock_at(&self, day: Day) -> (ClockReading, f64) {
        let mut at = self.clock;
        while at.day > day && self.closed_through.since(at.day) < DAYS {
            at = at.stepped_back(self.speed_on(at.day));
        }
        (at, self.speed_on(day))
    }

    /// Index of a feature, for the users' masks; `None` once there are too many.
    pub fn feature_index(&mut self, feature: &Feature) -> Option<usize> {
        if let Some(index) = self
            .features
            .iter()
            .position(|use_| use_.feature == *feature)
        {
            return Some(index);
        }
        (self.features.len() < MAX_FEATURES).then(|| {
            let weeks = WeekRing::default();
            self.features.push(FeatureUse {
                feature: feature.clone(),
                weeks,
            });
            self.features.len() - 1
        })
    }

    /// Whether the buckets still hold anything.
    pub fn is_empty_of_activity(&self) -> bool {
        self.core_actions(self.closed_through, DAYS) == 0
            && self.tickets(self.closed_through, DAYS) == 0
    }

    fn speed_on(&self, day: Day) -> f64 {
        f64::from(self.speed.get(day, self.closed_through)) / 1e4
    }

    fn weekly(&self, ring: &DayRing, weeks: i32) -> Vec<u32> {
        (0..weeks)
            .rev()
            .map(|back| {
                ring.sum(self.closed_through.plus(-7 * back), 7, self.closed_through) as u32
            })
            .collect()
    }

    /// Learns the dispersion of the week that ends with `day` against the mean
    /// of the up to eight whole weeks before it.
    fn learn_week(&mut self, day: Day, first: Day) {
        let x = self.core_actions(day, 7) as f64;
        let before = ((day.since(first) + 1) / 7 - 1).min(8);
        if before == 0 {
            return;
        }
        let b = self.core_actions(day.plus(-7), 7 * before) as f64 / f64::from(before);
        self.dispersion.learn(x, b);
    }
}

/// How much an account's weeks scatter around its own mean: the variance of a
/// week's count over its mean, at least 1 (Poisson).
///
/// `phi = max(1, (sum k^i min((x - b)^2 / max(b, .5), 50) + 6) / (sum k^i + 4))`
/// over past weeks, half-life 26 weeks; the prior is four weeks at 1.5. This is
/// the Pearson estimate of over-dispersion (McCullagh and Nelder, *Generalized
/// Linear Models*, 1989, section 4.5), bounded a week and shrunk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Dispersion {
    sum: f64,
    weight: f64,
}

impl Dispersion {
    /// Takes in a week's count `x` whose expectation was `b`; weeks without an
    /// expectation teach nothing.
    pub fn learn(&mut self, x: f64, b: f64) {
        if b <= 0.0 {
            return;
        }
        let kept = libm::exp2(-1.0 / 26.0);
        let term = ((x - b) * (x - b) / b.max(0.5)).min(50.0);
        self.sum = self.sum * kept + term;
        self.weight = self.weight * kept + 1.0;
    }

    /// phi, at least 1.
    pub fn phi(&self) -> f64 {
        ((self.sum + 6.0) / (self.weight + 4.0)).max(1.0)
    }
}

fn slot(day: Day, length: i32) -> usize {
    day.0.rem_euclid(length) as usize
}

/// Counts of the last [`DAYS`] days, addressed by day; allocated when first
/// needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
struct DayRing(Vec<u32>);

impl DayRing {
    fn set(&mut self, day: Day, count: u32) {
        if self.0.is_empty() {
            if count == 0 {
                return;
            }
            self.0 = vec![0; DAYS as usize];
        }
        self.0[slot(day, DAYS)] = count;
    }

    fn get(&self, day: Day, newest: Day) -> u32 {
        let age = newest.since(day);
        if self.0.is_empty() || !(0..DAYS).contains(&age) {
            return 0;
        }
        self.0[slot(day, DAYS)]
    }

    fn slot_mut(&mut self, day: Day, newest: Day) -> Option<&mut u32> {
        if !(0..DAYS).contains(&newest.since(day)) {
            return None;
        }
        if self.0.is_empty() {
            self.0 = vec![0; DAYS as usize];
        }
        self.0.get_mut(slot(day, DAYS))
    }

    fn sum(&self, last: Day, days: i32, newest: Day) -> u64 {
        if self.0.is_empty() || days <= 0 {
            return 0;
        }
        let last_age = newest.since(last).max(0);
        let first_age = (newest.since(last) + days - 1).min(DAYS - 1);
        if first_age < last_age {
            return 0;
        }
        // The days stand in one or two runs of the ring.
        let (from, to) = (
            slot(newest.plus(-first_age), DAYS),
            slot(newest.plus(-last_age), DAYS),
        );
        let sum = |run: &[u32]| run.iter().map(|&count| u64::from(count)).sum::<u64>();
        if from <= to {
            sum(&self.0[from..=to])
        } else {
            sum(&self.0[from..]) + sum(&self.0[..=to])
        }
    }
}

/// Counts of the last [`WEEKS`] calendar weeks, addressed by week number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct WeekRing {
    newest: i32,
    counts: Vec<u32>,
}

impl WeekRing {
    /// What it takes beside its own size, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        size::of_vec(&self.counts)
    }

    /// Adds to a week; weeks older than the ring are dropped.
    pub fn add(&mut self, week: i32, count: u32) {
        if self.counts.is_empty() {
            self.counts = vec![0; WEEKS as usize];
            self.newest = week;
        }
        if week > self.newest {
            let ahead = (week - self.newest).min(WEEKS);
            for step in 1..=ahead {
                self.counts[(self.newest + step).rem_euclid(WEEKS) as usize] = 0;
            }
            if week - self.newest > WEEKS {
                self.counts.fill(0);
            }
            self.newest = week;
        }
        if self.newest - week < WEEKS {
            let slot = &mut self.counts[week.rem_euclid(WEEKS) as usize];
            *slot = slot.saturating_add(count);
        }
    }

    /// The count of one week.
    pub fn get(&self, week: i32) -> u32 {
        if self.counts.is_empty() || !(0..WEEKS).contains(&(self.newest - week)) {
            return 0;
        }
        self.counts[week.rem_euclid(WEEKS) as usize]
    }

    /// The sum of `weeks` weeks up to and including `last`.
    pub fn sum(&self, last: i32, weeks: i32) -> u64 {
        if last - weeks >= self.newest {
            return 0;
        }
        (0..weeks.min(WEEKS))
            .map(|back| u64::from(self.get(last - back)))
            .sum()
    }

    /// How many of the `weeks` weeks up to and including `last` are not empty.
    pub fn active_weeks(&self, last: i32, weeks: i32) -> u32 {
        (0..weeks.min(WEEKS))
            .filter(|back| self.get(last - back) > 0)
            .count() as u32
    }
}

#[cfg(test)]
mod tests;
