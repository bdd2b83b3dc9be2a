//! How much memory a decoded account takes: what a cache of accounts is bounded
//! by.
//!
//! An estimate, and a little above what it stands for: the sizes that were asked
//! for, an eighth more for what the allocator rounds them up by. It depends on
//! nothing but the account, so that the same accounts are kept everywhere.

use super::{AccountState, History, Hot, Profile, Seat};
use crate::ids::UserId;

/// Nodes of the tree of seats are two thirds full, or thereabouts.
const SEAT_BYTES: usize = (size_of::<UserId>() + size_of::<Seat>()) * 3 / 2;

impl AccountState {
    /// Memory that the account takes, in bytes, roughly.
    pub fn memory_bytes(&self) -> usize {
        let seats: usize = self.seats.iter().map(bytes_of_seat).sum();
        let names = self.open_users.iter().chain(&self.role_holders);
        let names = names.map(|user| size_of::<UserId>() + user.as_str().len());
        let bytes = size_of::<Self>()
            + self.id.as_str().len()
            + bytes_of_hot(&self.hot)
            + bytes_of_history(&self.history)
            + seats
            + names.sum::<usize>();
        bytes + bytes / 8
    }
}

fn bytes_of_hot(hot: &Hot) -> usize {
    let days = hot.open_days.iter().map(|day| of_vec(&day.features));
    let tickets = hot.tickets.iter().map(|ticket| {
        ticket.ticket.as_str().len() + ticket.area.as_ref().map_or(0, |area| area.as_str().len())
    });
    let champions = hot.inferred_champions.iter();
    let subjects = hot.alerts.iter().filter_map(|alert| alert.subject.as_ref());
    of_vec(&hot.open_days)
        + days.sum::<usize>()
        + of_vec(&hot.tickets)
        + tickets.sum::<usize>()
        + hot.contacts.heap_bytes()
        + of_vec(&hot.inferred_champions)
        + champions
            .map(|champion| champion.user.as_str().len())
            .sum::<usize>()
        + of_vec(&hot.alerts)
        + subjects.map(|user| user.as_str().len()).sum::<usize>()
        + of_vec(&hot.recent_ids)
}

fn bytes_of_history(history: &History) -> usize {
    let features = history.features.iter();
    history.heap_bytes()
        + history
            .rhythm
            .as_ref()
            .map_or(0, |rhythm| rhythm.heap_bytes())
        + of_vec(&history.features)
        + features
            .map(|used| used.feature.as_str().len() + used.weeks.heap_bytes())
            .sum::<usize>()
        + bytes_of_profile(&history.profile)
}

fn bytes_of_profile(profile: &Profile) -> usize {
    let texts = [
        &profile.name,
        &profile.plan,
        &profile.region,
        &profile.owner,
    ];
    let texts = texts.into_iter().flatten().map(|text| text.len());
    let lists = [&profile.core_features, &profile.advanced_features];
    let features = lists.into_iter().flatten().flatten();
    texts.sum::<usize>()
        + profile
            .parent
            .as_ref()
            .map_or(0, |parent| parent.as_str().len())
        + features
            .map(|feature| size_of_val(feature) + feature.as_str().len())
            .sum::<usize>()
}

fn bytes_of_seat((user, seat): (&UserId, &Seat)) -> usize {
    SEAT_BYTES
        + user.as_str().len()
        + seat.rhythm.as_ref().map_or(0, |rhythm| rhythm.heap_bytes())
        + seat.weeks.heap_bytes()
        + of_vec(&seat.open)
}

/// What a list takes for its items themselves, in bytes.
pub(super) fn of_vec<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Day;

    #[test]
    fn days_users_and_tickets_make_an_account_larger() {
        let mut account = AccountState::begin("a".into(), Day(0));
        let empty = account.memory_bytes();
        assert!((1_000..4_000).contains(&empty), "{empty}");
        for day in 0..30 {
            account.open_day(Day(day)).core += 1;
            account.user_acts(&"ada".into(), Day(day), 1);
            account.close_day(1.0);
        }
        let with_a_month = account.memory_bytes();
        // Three rings of 126 days at 4 bytes, at least.
        assert!(with_a_month > empty + 1_500, "{with_a_month} after {empty}");
        for user in 0..100 {
            account.user_acts(&UserId::from(&*format!("user-{user}")), Day(30), 1);
        }
        let with_users = account.memory_bytes();
        assert!(
            with_users > with_a_month + 100 * size_of::<Seat>(),
            "{with_users}"
        );
    }
}
