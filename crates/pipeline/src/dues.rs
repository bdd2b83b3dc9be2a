//! When which account must be looked at next.
//!
//! Due times are derived from the accounts' hot rows, so they are kept in
//! memory only, and filled by the one pass over the rows that proves their
//! digest. An entry may be stale, for an account whose own events have moved it
//! on; whoever takes it looks at the account and finds out. So nothing is ever
//! deleted from the middle.
//!
//! Every account of a partition stands here, so an entry must be small: the ids
//! of one due time stand one behind the other in a few large blocks, each with
//! two bytes of length in front. That is the id and two bytes. A due time that
//! is being taken from also has eight bytes an entry for the order.

use std::collections::BTreeMap;

use churnwatch_core::{AccountId, EventTime};

/// Most bytes in a block; the first of a due time are smaller.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of the first block.
const FIRST_BLOCK_BYTES: usize = 256;
/// Bytes of an id's length.
const LENGTH_BYTES: usize = 2;

/// Accounts by the time at which they are due.
#[derive(Debug, Default)]
pub(crate) struct Dues(BTreeMap<EventTime, Due>);

/// The accounts of one due time.
#[derive(Debug, Default)]
struct Due {
    /// Ids in the order in which they came, none across two blocks.
    blocks: Vec<Vec<u8>>,
    /// Where the ids stand, sorted, as far as they were looked through; the
    /// first is the last, so that taking is popping.
    order: Vec<Place>,
    /// Up to where the blocks were looked through.
    sorted_to: Place,
}

/// Where an id begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    block: u32,
    at: u32,
}

impl Dues {
    pub(crate) fn push(&mut self, time: EventTime, account: &AccountId) {
        self.0.entry(time).or_default().push(account.as_str());
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
        let due = entry.get_mut();
        due.sort();
        let rest = due.order.len().saturating_sub(most);
        let taken = due.order.drain(rest..).rev();
        let blocks = &due.blocks;
        let accounts = taken
            .map(|place| AccountId::new(id_at(blocks, place)))
            .collect();
        if due.order.is_empty() {
            entry.remove();
        }
        Some((time, accounts))
    }

    /// Memory that is held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(Due::bytes).sum()
    }
}

impl Due {
    fn push(&mut self, id: &str) {
        let bytes = LENGTH_BYTES + id.len();
        let has_room = |block: &Vec<u8>| block.capacity() - block.len() >= bytes;
        if !self.blocks.last().is_some_and(has_room) {
            // Blocks never grow, which would take twice the memory for a moment, and leave half
            // of it unused.
            let so_far: usize = self.blocks.iter().map(Vec::len).sum();
            let size = so_far.clamp(FIRST_BLOCK_BYTES, BLOCK_BYTES).max(bytes);
            self.blocks.push(Vec::with_capacity(size));
        }
        let length = u16::try_from(id.len()).expect("an account id has at most 512 bytes");
        if let Some(block) = self.blocks.last_mut() {
            block.extend_from_slice(&length.to_le_bytes());
            block.extend_from_slice(id.as_bytes());
        }
    }

    /// Brings what came since the last call into the order, each id once.
    fn sort(&mut self) {
        let known = self.order.len();
        while let Some(block) = self.blocks.get(self.sorted_to.block as usize) {
            if (self.sorted_to.at as usize) < block.len() {
                self.order.push(self.sorted_to);
                let id = id_at(&self.blocks, self.sorted_to);
                self.sorted_to.at += (LENGTH_BYTES + id.len()) as u32;
            } else if self.sorted_to.block as usize + 1 < self.blocks.len() {
                self.sorted_to.block += 1;
                self.sorted_to.at = 0;
            } else {
                break;
            }
        }
        if self.order.len() > known {
            let id = |place: &Place| id_at(&self.blocks, *place);
            self.order.sort_unstable_by(|a, b| id(b).cmp(id(a)));
            self.order.dedup_by(|a, b| id(a) == id(b));
        }
    }

    fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Vec::capacity).sum();
        blocks + self.order.capacity() * size_of::<Place>()
    }
}

fn id_at(blocks: &[Vec<u8>], place: Place) -> &str {
    let id = &blocks[place.block as usize][place.at as usize..];
    let (length, id) = id
        .split_first_chunk()
        .expect("every id was put down behind its length");
    let id = &id[..usize::from(u16::from_le_bytes(*length))];
    std::str::from_utf8(id).expect("ids were put down as text")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            dues.push(at(time), &account.into());
        }
        assert_eq!(names(dues.take(at(9), 9)), None);
        assert_eq!(names(dues.take(at(15), 2)), Some((10, "a b".to_owned())));
        assert_eq!(names(dues.take(at(15), 2)), Some((10, "c".to_owned())));
        assert_eq!(names(dues.take(at(15), 2)), None);
        assert_eq!(dues.first(), Some(at(20)));
    }

    #[test]
    fn who_comes_while_a_due_time_is_being_taken_from_still_has_its_place() {
        let mut dues = Dues::default();
        for account in ["b", "d", "f"] {
            dues.push(at(10), &account.into());
        }
        assert_eq!(names(dues.take(at(10), 1)), Some((10, "b".to_owned())));
        for account in ["e", "a", "d"] {
            dues.push(at(10), &account.into());
        }
        assert_eq!(
            names(dues.take(at(10), 9)),
            Some((10, "a d e f".to_owned()))
        );
        assert_eq!(dues.first(), None);
    }

    #[test]
    fn a_million_accounts_take_a_few_bytes_beside_their_ids() {
        const ACCOUNTS: usize = 1_000_000;
        let mut dues = Dues::default();
        let mut ids = 0;
        for number in 0..ACCOUNTS {
            let id = format!("account-{number}");
            ids += id.len();
            dues.push(at(86_400_000), &AccountId::from(&*id));
        }
        let beside = (dues.bytes() - ids) as f64 / ACCOUNTS as f64;
        assert!(beside < 3.0, "{beside} bytes beside each id");
        let (_, taken) = dues.take(at(86_400_000), 20_000).unwrap();
        assert_eq!(taken.len(), 20_000);
        let beside = (dues.bytes() - ids) as f64 / ACCOUNTS as f64;
        assert!(beside < 20.0, "{beside} bytes while they are taken");
    }

    proptest! {
        #[test]
        fn taking_gives_what_a_sorted_list_would(
            steps in proptest::collection::vec(
                prop_oneof![
                    3 => (0..4_i64, "[a-c]{0,3}").prop_map(|(time, id)| (time, Some(id), 0)),
                    1 => (0..4_i64, 1..4_usize).prop_map(|(time, most)| (time, None, most)),
                ],
                0..200,
            )
        ) {
            let mut dues = Dues::default();
            let mut model: BTreeMap<i64, std::collections::BTreeSet<String>> = BTreeMap::new();
            for (time, id, most) in steps {
                match id {
                    Some(id) => {
                        dues.push(at(time), &AccountId::from(&*id));
                        model.entry(time).or_default().insert(id);
                    }
                    None => {
                        let expected = model.first_entry().and_then(|mut entry| {
                            let due = *entry.key();
                            if due > time {
                                return None;
                            }
                            let ids: Vec<String> = entry.get().iter().take(most).cloned().collect();
                            entry.get_mut().retain(|id| !ids.contains(id));
                            if entry.get().is_empty() {
                                entry.remove();
                            }
                            Some((due, ids.join(" ")))
                        });
                        prop_assert_eq!(names(dues.take(at(time), most)), expected);
                    }
                }
            }
        }
    }
}
