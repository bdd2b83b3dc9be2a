//! A user of an account, with or without a seat that was ever declared.

use serde::{Deserialize, Serialize};

use crate::{
    account::{
        history::WeekRing,
        rhythm::{ClockReading, Rhythm},
    },
    event::Role,
    time::Day,
};

/// Whether the user holds a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum SeatStatus {
    /// Known from usage only.
    #[default]
    Undeclared,
    /// Invited, never logged in as far as seat records say.
    Invited,
    /// Logged in at least once.
    Activated,
    /// Taken away.
    Deactivated,
}

/// One user: role, rhythm and recent weeks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Seat {
    /// The declared role.
    pub role: Option<Role>,
    /// Whether the seat is assigned.
    pub status: SeatStatus,
    /// How regularly the user comes; `None` before the first closed core action.
    pub rhythm: Option<Rhythm>,
    /// Core actions by calendar week.
    pub weeks: WeekRing,
    /// Features used, as bits over `History::features`.
    pub features: u64,
    /// Core actions on days that are still open.
    pub open: Vec<(Day, u32)>,
    /// Whether this seat's row must be written; see [`super::Touched::seats`].
    #[serde(skip)]
    pub touched: bool,
}

impl Seat {
    /// The last closed day with a core action.
    pub fn last_active(&self) -> Option<Day> {
        self.rhythm.as_ref().map(|rhythm| rhythm.last.day)
    }

    /// Whether the seat is given to somebody.
    pub fn is_assigned(&self) -> bool {
        matches!(self.status, SeatStatus::Invited | SeatStatus::Activated)
    }

    /// Whether the user has a declared role above member.
    pub fn leads(&self) -> bool {
        self.role.is_some_and(|role| role != Role::Member)
    }

    /// Counts a core action on an open day.
    pub fn act(&mut self, day: Day) {
        match self.open.iter_mut().find(|(open, _)| *open == day) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.open.push((day, 1)),
        }
    }

    /// Folds an open day into the closed past; gives the last active day
    /// before it, or `None` when the user did nothing on `day`.
    pub fn close_day(&mut self, at: ClockReading, w: f64) -> Option<Option<Day>> {
        let index = self.open.iter().position(|(open, _)| *open == at.day)?;
        let (day, count) = self.open.swap_remove(index);
        self.weeks.add(day.week(), count);
        Some(self.was_active(at, w))
    }

    /// Counts a late core action on a closed day; gives the last active day
    /// before it when this moved it.
    pub fn act_late(&mut self, at: ClockReading, w: f64) -> Option<Option<Day>> {
        self.weeks.add(at.day.week(), 1);
        if self.last_active().is_some_and(|last| last >= at.day) {
            return None;
        }
        Some(self.was_active(at, w))
    }

    fn was_active(&mut self, at: ClockReading, w: f64) -> Option<Day> {
        let before = self.last_active();
        match &mut self.rhythm {
            Some(rhythm) => rhythm.active(at, w),
            None => self.rhythm = Some(Rhythm::begin(at, w)),
        }
        before
    }
}
