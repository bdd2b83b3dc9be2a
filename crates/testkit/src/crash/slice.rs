//! What a round reads: all events of a few accounts, so that the alerts are
//! those that these accounts have in the whole fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::broker::{Expected, Outgoing};
use crate::random::Random;

/// Every so many records one that cannot be used is put in: so nearly every
/// epoch has something to publish.
const BAD_EVERY: usize = 29;

/// A log for one round.
pub struct Slice {
    /// Its records in the order in which they are written; the last ones are
    /// the clocks.
    pub records: Vec<Outgoing>,
    /// Accounts that it is about.
    pub accounts: usize,
}

/// The accounts of the bundled fleet: number of events, and of alerts.
fn accounts() -> &'static BTreeMap<Vec<u8>, (usize, usize)> {
    static ACCOUNTS: OnceLock<BTreeMap<Vec<u8>, (usize, usize)>> = OnceLock::new();
    ACCOUNTS.get_or_init(|| {
        let mut accounts: BTreeMap<Vec<u8>, (usize, usize)> = BTreeMap::new();
        for event in &Expected::fleet().dataset.events {
            let key = event.key.clone().expect("an event has a key");
            accounts.entry(key).or_default().0 += 1;
        }
        for (account, alerts) in Expected::fleet().alerts.accounts() {
            let entry = accounts.get_mut(account.as_bytes());
            entry.expect("an alert is about an account with events").1 = alerts;
        }
        accounts
    })
}

impl Slice {
    /// About `events` events of accounts that have alerts, and of others that
    /// need not have any.
    ///
    /// # Panics
    /// The fleet cannot be made.
    pub fn draw(random: &mut Random, events: usize, partitions: u32) -> Self {
        let all = accounts();
        let with_alerts: Vec<_> = all.iter().filter(|(_, (_, alerts))| *alerts > 0).collect();
        let any: Vec<_> = all.iter().collect();
        let mut chosen = BTreeSet::new();
        let mut count = 0;
        while count < events && chosen.len() < all.len() {
            // The first one has alerts in any case.
            let alerts = chosen.is_empty() || random.percent(60);
            let from = if alerts { &with_alerts } else { &any };
            let (account, (of_account, _)) = random.one_of(from);
            if chosen.insert(account.as_slice()) {
                count += of_account;
            }
        }
        let dataset = &Expected::fleet().dataset;
        let events = dataset.events.iter().filter(|event| {
            let key = event.key.as_deref();
            key.is_some_and(|key| chosen.contains(key))
        });
        let mut records = Vec::new();
        for (index, event) in events.enumerate() {
            if index % BAD_EVERY == BAD_EVERY / 2 {
                records.push(cannot_be_used(event, index));
            }
            records.push(event.clone());
        }
        let partitions = i32::try_from(partitions).expect("few partitions");
        records.extend((0..partitions).map(|p| Outgoing::clock(p, dataset.last)));
        Self {
            records,
            accounts: chosen.len(),
        }
    }
}

/// A record in the place of an event that nobody can read, for the dead letters.
pub(super) fn cannot_be_used(event: &Outgoing, number: usize) -> Outgoing {
    Outgoing {
        value: Some(format!(r#"{{"kind":"usage","broken":{number}"#).into_bytes()),
        ..event.clone()
    }
}
