//! When which account must be looked at next.
//!
//! Due times are derived from the accounts' hot rows, so they are kept in
//! memory only: a [`Dues`] costs about 32 bytes an account and is filled by the
//! one pass over the rows that proves their digest. An entry may be stale, for
//! an account whose own events have moved it on; whoever takes it looks at the
//! account and finds out. So nothing is ever deleted from the middle.

use std::collections::BTreeMap;

use churnwatch_core::{AccountId, EventTime};

/// Accounts by the time at which they are due.
#[derive(Debug, Default)]
pub(crate) struct Dues(BTreeMap<EventTime, Vec<AccountId>>);

impl Dues {
    pub(crate) fn push(&mut self, time: EventTime, account: AccountId) {
        self.0.entry(time).or_default().push(account);
    }

    /// The earliest time at which somebody may be due.
    pub(crate) fn first(&self) -> Option<EventTime> {
        self.0.first_key_value().map(|(&time, _)| time)
    }

    /// Takes up to `most` accounts of the earliest due time that is not after
    /// `watermark`, in the order of their ids: what neighbours did before must
    /// not show.
    pub(crate) fn take(
        &mut self,
        watermark: EventTime,
        most: usize,
    ) -> Option<(EventTime, Vec<AccountId>)> {
        let mut entry = self.0.first_entry()?;
        let time = *entry.key();
        if time > watermark {
            return None;
        }
        let accounts = entry.get_mut();
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.len() > most {
            let rest = accounts.split_off(most);
            return Some((time, std::mem::replace(accounts, rest)));
        }
        Some((time, entry.remove()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> EventTime {
        EventTime::from_millis(millis)
    }

    fn names(taken: Option<(EventTime, Vec<AccountId>)>) -> Option<(i64, String)> {
        taken.map(|(time, accounts)| {
            let names: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
            (time.as_millis(), names.join(" "))
        })
    }

    #[test]
    fn the_earliest_come_first_in_the_order_of_their_names_and_once() {
        let mut dues = Dues::default();
        for (time, account) in [(20, "z"), (10, "c"), (10, "a"), (10, "b"), (10, "a")] {
            dues.push(at(time), account.into());
        }
        assert_eq!(names(dues.take(at(9), 9)), None);
        assert_eq!(names(dues.take(at(15), 2)), Some((10, "a b".to_owned())));
        assert_eq!(names(dues.take(at(15), 2)), Some((10, "c".to_owned())));
        assert_eq!(names(dues.take(at(15), 2)), None);
        assert_eq!(dues.first(), Some(at(20)));
    }
}
