//! What an account is: its state, in the parts in which it is stored.
//!
//! - [`Hot`] changes with each event: open days, contacts, recent tickets and
//!   ids, the lives of its alerts.
//! - [`History`] changes when a day closes: profile, daily and weekly buckets,
//!   rhythm, dispersion.
//! - A [`Seat`] per user.
//!
//! Each part is a row of its own, so that a commit writes little.
//! [`Touched`] says which rows must be written.

pub mod contacts;
pub mod history;
pub mod profile;
pub mod rhythm;
pub mod seat;
mod size;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::{
    contacts::{Contact, Contacts},
    history::{DayTotals, History},
    profile::Profile,
    rhythm::{ClockReading, Rhythm},
    seat::{Seat, SeatStatus},
};
use crate::{
    event::{EventId, Role, TicketSeverity},
    ids::{AccountId, Feature, TicketId, UserId},
    life::AlertState,
    time::{Day, EventTime, Zone},
};

/// Tickets kept in full, newest first to go into evidence.
pub const MAX_RECENT_TICKETS: usize = 128;

/// Everything an account is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountState {
    /// Whom it is about.
    pub id: AccountId,
    /// Changes with each event.
    pub hot: Hot,
    /// Changes when a day closes.
    pub history: History,
    /// Users, by id.
    pub seats: BTreeMap<UserId, Seat>,
    /// Users with core actions on days that are still open; derived from `seats`.
    open_users: Vec<UserId>,
    /// Users with a declared role above member; derived from `seats`.
    role_holders: BTreeSet<UserId>,
    /// Rows that must be written.
    pub touched: Touched,
}

/// Which rows differ from what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// The hot row.
    pub hot: bool,
    /// The history row.
    pub history: bool,
    /// Users whose seats were touched, in the order in which they were first. An
    /// account may have a hundred thousand users, of whom few act between two
    /// commits; each seat has a flag too, so that it is named here once.
    pub seats: Vec<UserId>,
    /// Seats that are gone.
    pub removed_seats: Vec<UserId>,
    /// Every row that was stored is void; what is there now began after that.
    pub erased: bool,
}

impl Touched {
    /// Notes that a user's seat must be written.
    fn seat(&mut self, user: &UserId, seat: &mut Seat) {
        if !seat.touched {
            seat.touched = true;
            self.seats.push(user.clone());
        }
    }
}

/// The part that changes with each event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Hot {
    /// When the account must be looked at next; `None` while nothing can come
    /// of looking.
    pub next_due: Option<EventTime>,
    /// Transitions published so far.
    pub sequence: u64,
    /// Highest event time.
    pub last_event: Option<EventTime>,
    /// Days that are not closed yet, oldest first.
    pub open_days: Vec<OpenDay>,
    /// Tickets of the last week or so, oldest first.
    pub tickets: Vec<RecentTicket>,
    /// People the vendor talks to.
    pub contacts: Contacts,
    /// Users taken for champions by their activity.
    pub inferred_champions: Vec<InferredChampion>,
    /// Alerts that are open, pending or remembered.
    pub alerts: Vec<AlertState>,
    /// Ids seen lately, oldest first.
    pub recent_ids: Vec<(EventId, EventTime)>,
}

/// Counts of a day that is not closed yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct OpenDay {
    /// Which day, in the account's time zone.
    pub day: Day,
    /// Core actions by persons.
    pub core: u32,
    /// Weighted tickets.
    pub tickets: u32,
    /// Business volume.
    pub volume: f64,
    /// Core actions by feature, as index into `History::features`.
    pub features: Vec<(u16, u32)>,
}

/// A ticket that counts towards a spike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecentTicket {
    /// When it moved.
    pub time: EventTime,
    /// Which one.
    pub ticket: TicketId,
    /// How bad it is.
    pub severity: TicketSeverity,
    /// Product area.
    pub area: Option<Feature>,
    /// Tone, -1 to 1.
    pub sentiment: Option<f64>,
    /// 1 when opened, 2 when escalated or reopened.
    pub weight: u32,
}

/// A champion known by activity alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferredChampion {
    /// Who.
    pub user: UserId,
    /// Share of the account's core actions when last seen to lead, 0 to 1.
    pub share: f64,
    /// Weekly looks in a row in which a challenger was well ahead.
    pub challenged: u8,
}

impl AccountState {
    /// An account whose first record falls on `first`.
    pub fn begin(id: AccountId, first: Day) -> Self {
        Self::from_rows(id, Hot::default(), History::begin(first), BTreeMap::new())
    }

    /// An account read back from its rows.
    pub fn from_rows(
        id: AccountId,
        hot: Hot,
        history: History,
        seats: BTreeMap<UserId, Seat>,
    ) -> Self {
        let open_users = seats
            .iter()
            .filter(|(_, seat)| !seat.open.is_empty())
            .map(|(user, _)| user.clone())
            .collect();
        let role_holders = seats
            .iter()
            .filter(|(_, seat)| seat.leads())
            .map(|(user, _)| user.clone())
            .collect();
        Self {
            id,
            hot,
            history,
            seats,
            open_users,
            role_holders,
            touched: Touched::default(),
        }
    }

    /// A state that has seen nothing; its first event begins it.
    pub fn unseen(id: AccountId) -> Self {
        Self::from_rows(id, Hot::default(), History::default(), BTreeMap::new())
    }

    /// Forgets everything, and that there ever was something.
    pub fn erase(&mut self) {
        let mut removed_seats = std::mem::take(&mut self.touched.removed_seats);
        removed_seats.extend(std::mem::take(&mut self.seats).into_keys());
        *self = Self::unseen(self.id.clone());
        self.touched.removed_seats = removed_seats;
        self.touched.erased = true;
    }

    /// Whether no record was ever applied.
    pub fn is_unseen(&self) -> bool {
        self.hot.last_event.is_none()
    }

    /// The account's time zone.
    pub fn zone(&self) -> &Zone {
        self.history
            .profile
            .time_zone
            .as_ref()
            .unwrap_or(&Zone::UTC)
    }

    /// The counts of an open day.
    pub fn open_day(&mut self, day: Day) -> &mut OpenDay {
        let days = &mut self.hot.open_days;
        let index = match days.iter().rposition(|open| open.day <= day) {
            Some(index) if days[index].day == day => index,
            Some(index) => {
                days.insert(
                    index + 1,
                    OpenDay {
                        day,
                        ..OpenDay::default()
                    },
                );
                index + 1
            }
            None => {
                days.insert(
                    0,
                    OpenDay {
                        day,
                        ..OpenDay::default()
                    },
                );
                0
            }
        };
        &mut days[index]
    }

    /// Users with a declared role above member, in the order of their ids,
    /// with their seats. An account may have thousands of users, and every look
    /// asks for these few.
    pub fn role_holders(&self) -> impl Iterator<Item = (&UserId, &Seat)> {
        self.role_holders
            .iter()
            .filter_map(|user| Some((user, self.seats.get(user)?)))
    }

    /// Gives a user a role.
    pub fn set_role(&mut self, user: &UserId, role: Role) {
        let seat = self.seat(user);
        seat.role = Some(role);
        if !seat.leads() {
            self.role_holders.remove(user);
        } else if !self.role_holders.contains(user) {
            self.role_holders.insert(user.clone());
        }
    }

    /// A user's seat, made where there was none.
    pub fn seat(&mut self, user: &UserId) -> &mut Seat {
        if !self.seats.contains_key(user) {
            self.seats.insert(user.clone(), Seat::default());
        }
        let seat = self.seats.get_mut(user).expect("it was just made sure of");
        self.touched.seat(user, seat);
        seat
    }

    /// Counts a user's core action on an open day.
    pub fn user_acts(&mut self, user: &UserId, day: Day, feature_bit: u64) {
        let seat = match self.seats.get_mut(user) {
            Some(seat) => seat,
            None => self.seats.entry(user.clone()).or_default(),
        };
        self.touched.seat(user, seat);
        if seat.open.is_empty() {
            self.open_users.push(user.clone());
        }
        seat.features |= feature_bit;
        seat.act(day);
    }

    /// Closes the next day: open counts become history.
    pub fn close_day(&mut self, w: f64) {
        let day = self.history.closed_through.plus(1);
        let at = self.history.clock.advanced(w);
        self.touched.history = true;
        let open = match self.hot.open_days.first() {
            Some(open) if open.day <= day => {
                self.touched.hot = true;
                Some(self.hot.open_days.remove(0))
            }
            _ => None,
        };
        let mut users = std::mem::take(&mut self.open_users);
        if open.is_some() {
            users.retain(|user| {
                let Some(seat) = self.seats.get_mut(user) else {
                    return false;
                };
                if let Some(before) = seat.close_day(at, w) {
                    self.history.user_was_active(before, day);
                    self.touched.seat(user, seat);
                }
                !seat.open.is_empty()
            });
        }
        self.open_users = users;
        let totals = open
            .as_ref()
            .map_or_else(DayTotals::default, |open| DayTotals {
                core: open.core,
                tickets: open.tickets,
                volume: open.volume,
            });
        for (index, count) in open.iter().flat_map(|open| &open.features) {
            if let Some(feature) = self.history.features.get_mut(usize::from(*index)) {
                feature.weeks.add(day.week(), *count);
            }
        }
        self.history.close_day(totals, w);
    }

    /// Weighted tickets on the `days` up to and including `last`, open days
    /// included.
    pub fn tickets(&self, last: Day, days: i32) -> u64 {
        let first = last.plus(1 - days);
        let open: u64 = self
            .hot
            .open_days
            .iter()
            .filter(|open| (first..=last).contains(&open.day))
            .map(|open| u64::from(open.tickets))
            .sum();
        let closed = self.history.closed_through;
        if first > closed {
            return open;
        }
        let closed_last = last.min(closed);
        open + self
            .history
            .tickets(closed_last, closed_last.since(first) + 1)
    }

    /// Forgets users who hold no seat, have no role and did nothing for
    /// `days`.
    pub fn forget_users(&mut self, days: i32) {
        let horizon = self.history.closed_through.plus(-days);
        let removed = &mut self.touched.removed_seats;
        self.seats.retain(|user, seat| {
            let keep = seat.role.is_some()
                || seat.is_assigned()
                || !seat.open.is_empty()
                || seat.last_active().is_none_or(|last| last > horizon);
            if !keep {
                removed.push(user.clone());
            }
            keep
        });
    }

    /// Whether the id was seen within the horizon; remembers it otherwise.
    pub fn is_repeat(
        &mut self,
        id: EventId,
        time: EventTime,
        horizon_ms: i64,
        most: usize,
    ) -> bool {
        let ids = &mut self.hot.recent_ids;
        if ids.iter().any(|(known, _)| *known == id) {
            return true;
        }
        ids.push((id, time));
        let newest = ids.iter().map(|(_, time)| *time).max().unwrap_or(time);
        let oldest = newest.plus_millis(-horizon_ms);
        ids.retain(|(_, time)| *time >= oldest);
        if ids.len() > most {
            ids.remove(0);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountState {
        AccountState::begin("a".into(), Day(0))
    }

    #[test]
    fn open_days_stay_in_order_however_they_arrive() {
        let mut account = account();
        for day in [3, 1, 2, 3, 0] {
            account.open_day(Day(day)).core += 1;
        }
        let days: Vec<(i32, u32)> = account
            .hot
            .open_days
            .iter()
            .map(|open| (open.day.0, open.core))
            .collect();
        assert_eq!(days, [(0, 1), (1, 1), (2, 1), (3, 2)]);
    }

    #[test]
    fn closing_moves_only_the_day_that_closes() {
        let mut account = account();
        let user = UserId::from("u");
        for day in [0, 1] {
            account.open_day(Day(day)).core += 2;
            account.user_acts(&user, Day(day), 1);
        }
        account.close_day(1.0);
        assert_eq!(account.history.core_actions(Day(0), 1), 2);
        assert_eq!(account.history.users_28(Day(0)), 1);
        assert_eq!(account.hot.open_days.len(), 1);
        assert_eq!(account.seats[&user].last_active(), Some(Day(0)));
        account.close_day(1.0);
        assert_eq!(account.seats[&user].last_active(), Some(Day(1)));
        assert!(account.hot.open_days.is_empty() && account.open_users.is_empty());
    }

    #[test]
    fn a_state_read_back_goes_on_where_it_was() {
        let mut account = account();
        account.open_day(Day(0)).core += 1;
        account.user_acts(&"u".into(), Day(0), 1);
        // As after a commit.
        for user in std::mem::take(&mut account.touched).seats {
            account.seat(&user).touched = false;
        }
        account.touched = Touched::default();
        let mut again = AccountState::from_rows(
            account.id.clone(),
            account.hot.clone(),
            account.history.clone(),
            account.seats.clone(),
        );
        account.close_day(1.0);
        again.close_day(1.0);
        assert_eq!(again, account);
    }

    #[test]
    fn tickets_count_over_open_and_closed_days() {
        let mut account = account();
        for day in 0..10 {
            account.open_day(Day(day)).tickets += 1;
        }
        for _ in 0..6 {
            account.close_day(1.0);
        }
        assert_eq!(account.tickets(Day(9), 7), 7);
        assert_eq!(account.tickets(Day(4), 3), 3);
        assert_eq!(account.tickets(Day(8), 1), 1);
    }

    #[test]
    fn a_repeat_is_known_within_the_horizon_and_the_number_kept() {
        let mut account = account();
        let at = EventTime::from_millis;
        assert!(!account.is_repeat(EventId(1), at(0), 1_000, 3));
        assert!(account.is_repeat(EventId(1), at(500), 1_000, 3));
        assert!(!account.is_repeat(EventId(2), at(1_500), 1_000, 3));
        assert!(
            !account.is_repeat(EventId(1), at(1_600), 1_000, 3),
            "older than the horizon"
        );
        for id in 10..13 {
            account.is_repeat(EventId(id), at(1_600), 1_000, 3);
        }
        assert!(
            !account.is_repeat(EventId(2), at(1_600), 1_000, 3),
            "pushed out"
        );
    }
}
