//! Event time, days and time zones. The core knows no other time: nothing
//! here reads a clock.

use std::fmt;

use jiff::{Timestamp, Unit, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

/// When something happened, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// The earliest time that can be written.
    pub const MIN: Self = Self(i64::MIN);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 with an offset; finer than a millisecond is cut off.
    ///
    /// # Errors
    /// Says what is wrong with the text; a time without an offset is refused,
    /// since a guess could not be reproduced.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let at: Timestamp = text.parse().map_err(|e: jiff::Error| TimeError {
            text: text.chars().take(64).collect(),
            reason: e.to_string(),
        })?;
        Ok(Self(at.as_millisecond()))
    }

    /// This time moved by `millis` (negative: earlier), without wrapping.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This time moved by whole days of 24 h.
    pub const fn plus_days(self, days: i64) -> Self {
        self.plus_millis(days.saturating_mul(DAY_MS))
    }

    /// The UTC day this time falls on.
    pub const fn utc_day(self) -> Day {
        Day(self.0.div_euclid(DAY_MS) as i32)
    }

    /// The day this time falls on in `zone`.
    pub fn local_day(self, zone: &Zone) -> Day {
        self.plus_millis(zone.offset_millis(self)).utc_day()
    }
}

impl fmt::Display for EventTime {
    /// RFC 3339 in UTC, whole seconds without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time with an offset (such as 2026-03-01T09:30:00Z): {text:?}: {reason}")]
pub struct TimeError {
    text: String,
    reason: String,
}

/// A calendar day, counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Day(pub i32);

impl Day {
    /// Where this day begins in UTC.
    pub const fn start(self) -> EventTime {
        EventTime(self.0 as i64 * DAY_MS)
    }

    /// Where this day ends in UTC: the start of the next one.
    pub const fn end(self) -> EventTime {
        self.plus(1).start()
    }

    /// This day moved by `days`.
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Days from `earlier` to this one (negative when it lies after).
    pub const fn since(self, earlier: Day) -> i32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The number of the seven-day block this day lies in; blocks begin on
    /// Mondays.
    pub const fn week(self) -> i32 {
        (self.0 + 3).div_euclid(7)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date =
            Timestamp::from_millisecond(self.start().0).map(|at| at.to_zoned(TimeZone::UTC).date());
        match date {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An account's time zone, from the zone table compiled into the program: the
/// host's table could differ between machines.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default, Debug)]
#[serde(into = "Option<Box<str>>", from = "Option<Box<str>>")]
pub struct Zone(Option<TimeZone>);

impl Zone {
    /// UTC, the default.
    pub const UTC: Self = Self(None);

    /// Looks up an IANA name such as `Europe/Berlin`.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let zone = TimeZone::get(name).map_err(|_| UnknownZone(name.chars().take(64).collect()))?;
        Ok(if zone == TimeZone::UTC || name == "UTC" {
            Self::UTC
        } else {
            Self(Some(zone))
        })
    }

    /// Its IANA name; `None` for UTC.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().and_then(|zone| zone.iana_name())
    }

    fn offset_millis(&self, at: EventTime) -> i64 {
        let Some(zone) = &self.0 else { return 0 };
        match Timestamp::from_millisecond(at.0) {
            Ok(at) => i64::from(zone.to_offset(at).seconds()) * 1_000,
            Err(_) => 0,
        }
    }
}

impl From<Option<Box<str>>> for Zone {
    fn from(name: Option<Box<str>>) -> Self {
        name.and_then(|name| Self::named(&name).ok())
            .unwrap_or(Self::UTC)
    }
}

impl From<Zone> for Option<Box<str>> {
    fn from(zone: Zone) -> Self {
        zone.name().map(Box::from)
    }
}

/// A time zone name that the table does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {0:?}: use an IANA name such as Europe/Berlin")]
pub struct UnknownZone(String);

/// Parses a calendar date (`2026-03-01`) or takes the date of an RFC 3339 time.
///
/// # Errors
/// The text is neither.
pub fn parse_day(text: &str) -> Result<Day, TimeError> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        let epoch = jiff::civil::date(1970, 1, 1);
        if let Ok(span) = epoch.until((Unit::Day, date)) {
            return Ok(Day(span.get_days()));
        }
    }
    EventTime::parse(text).map(EventTime::utc_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        let at = EventTime::parse("2026-03-01T09:30:00+01:00").expect("valid");
        assert_eq!(at.to_string(), "2026-03-01T08:30:00Z");
        assert_eq!(at.utc_day().to_string(), "2026-03-01");
    }

    #[test]
    fn a_time_without_an_offset_is_refused() {
        assert!(EventTime::parse("2026-03-01T09:30:00").is_err());
        assert!(EventTime::parse("yesterday").is_err());
        assert!(EventTime::parse("").is_err());
    }

    #[test]
    fn the_local_day_follows_the_zone_across_midnight_and_summer_time() {
        let tokyo = Zone::named("Asia/Tokyo").expect("known");
        let at = EventTime::parse("2026-03-01T18:00:00Z").expect("valid");
        assert_eq!(at.local_day(&tokyo).to_string(), "2026-03-02");
        let berlin = Zone::named("Europe/Berlin").expect("known");
        let summer = EventTime::parse("2026-07-01T22:30:00Z").expect("valid");
        let winter = EventTime::parse("2026-01-01T22:30:00Z").expect("valid");
        assert_eq!(summer.local_day(&berlin).to_string(), "2026-07-02");
        assert_eq!(winter.local_day(&berlin).to_string(), "2026-01-01");
    }

    #[test]
    fn weeks_begin_on_monday() {
        let sunday = parse_day("2026-03-01").expect("valid");
        assert_eq!(sunday.plus(1).week(), sunday.week() + 1);
        assert_eq!(sunday.plus(7).week(), sunday.plus(1).week());
    }

    #[test]
    fn times_before_1970_fall_on_the_right_day() {
        assert_eq!(EventTime::from_millis(-1).utc_day(), Day(-1));
    }
}
