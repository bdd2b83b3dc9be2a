//! The half year the fleet lives through, its weeks, and its Easter.
//!
//! A *day* here is a day of the period: 0 is Monday 2026-01-05 and 181 is
//! Sunday 2026-07-05. 26 whole weeks, so that half a year of history exists
//! for whatever asks for it.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use serde::{Serialize, Serializer};

/// Days in the period.
pub(crate) const PERIOD_DAYS: u32 = 182;

/// 2026-01-05T00:00:00Z, a Monday, in milliseconds since the Unix epoch.
#[cfg(test)]
pub(crate) const PERIOD_START_MS: i64 = START.0 * 1000;

/// 2026-07-06T00:00:00Z, the end of the period (excluded), in milliseconds
/// since the Unix epoch.
#[cfg(test)]
pub(crate) const PERIOD_END_MS: i64 = END.0 * 1000;

const DAY_SECONDS: i64 = 86_400;
const START: Moment = Moment(1_767_571_200);
const END: Moment = Moment(START.0 + PERIOD_DAYS as i64 * DAY_SECONDS);

/// The first day of the period, for arithmetic on dates.
pub(super) const FIRST_DATE: Date = Date::constant(2026, 1, 5);

/// A point in time, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl Moment {
    /// `second` seconds into a day of the period (0 to 86,399, or more to run
    /// on into the following days).
    pub(super) const fn on(day: u32, second: u32) -> Self {
        Self(START.0 + day as i64 * DAY_SECONDS + second as i64)
    }

    /// This moment moved forward.
    pub(super) const fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0 + seconds as i64)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) const fn as_millis(self) -> i64 {
        self.0 * 1000
    }

    /// Whether it lies before the end of the period.
    pub(super) fn is_told(self) -> bool {
        self < END
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Timestamp::from_second(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{at}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The weekday of a day: 0 is Monday, 6 is Sunday.
pub(super) const fn weekday(day: u32) -> usize {
    (day % 7) as usize
}

/// The date of a day.
pub(super) fn date(day: u32) -> Date {
    FIRST_DATE.saturating_add(jiff::Span::new().days(i64::from(day)))
}

/// Whether a day is among the last `count` working days of its month.
pub(super) fn is_month_end(day: u32, count: usize) -> bool {
    let month = date(day).month();
    let workdays_left = (day..)
        .take_while(|&other| date(other).month() == month)
        .filter(|&other| weekday(other) < 5)
        .count();
    weekday(day) < 5 && workdays_left <= count
}

/// How much of the usual is done on a day around Easter Sunday (5 April
/// 2026), in permille, where Easter is kept: the two public holidays nearly
/// empty, the week before and the day after thinner. Never so thin for a week
/// that a team seems to fall away.
pub(super) const fn easter_permille(day: u32) -> u32 {
    const MONDAY_BEFORE: u32 = 84;
    const GOOD_FRIDAY: u32 = MONDAY_BEFORE + 4;
    const EASTER_MONDAY: u32 = MONDAY_BEFORE + 7;
    const TUESDAY_AFTER: u32 = EASTER_MONDAY + 1;
    match day {
        GOOD_FRIDAY | EASTER_MONDAY => 250,
        MONDAY_BEFORE..GOOD_FRIDAY => 850,
        TUESDAY_AFTER => 900,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_is_26_weeks_from_a_monday_to_a_sunday() {
        assert_eq!(Moment::on(0, 0).to_string(), "2026-01-05T00:00:00Z");
        assert_eq!(
            Moment::on(PERIOD_DAYS, 0).to_string(),
            "2026-07-06T00:00:00Z"
        );
        assert_eq!(FIRST_DATE.weekday(), jiff::civil::Weekday::Monday);
        assert_eq!(PERIOD_DAYS % 7, 0);
        assert!(Moment::on(181, 86_399).is_told());
        assert!(!Moment::on(182, 0).is_told());
    }

    #[test]
    fn month_end_is_the_last_working_days() {
        let january: Vec<String> = (0..27)
            .filter(|&day| is_month_end(day, 3))
            .map(|day| date(day).to_string())
            .collect();
        assert_eq!(january, ["2026-01-28", "2026-01-29", "2026-01-30"]);
    }

    #[test]
    fn easter_thins_out_good_friday_and_easter_monday() {
        let holidays: Vec<String> = (0..PERIOD_DAYS)
            .filter(|&day| easter_permille(day) < 500)
            .map(|day| date(day).to_string())
            .collect();
        assert_eq!(holidays, ["2026-04-03", "2026-04-06"]);
    }
}
