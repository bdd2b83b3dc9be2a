//! One partition of a topic that transactions write to.
//!
//! ```text
//! offset   0    1    2    3     4    5
//!          a1   b1   a2   A ok  b2   B gone        a, b: records; A, B: markers
//!               ^ stable end while B is open
//! ```
//!
//! A record can be seen by readers of committed records once the marker of its
//! transaction stands **in this partition**, and no transaction before it is
//! open here. Markers take offsets like records.

use std::collections::{BTreeMap, BTreeSet};

/// A transaction, of any producer.
pub(super) type Txn = u64;

/// A record and its transaction.
#[derive(Debug, Clone)]
pub(super) struct Stored<R> {
    pub(super) offset: i64,
    pub(super) txn: Txn,
    pub(super) record: R,
}

/// Key and value of the changelog.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug, Clone)]
pub(super) struct Topic<R> {
    records: Vec<Stored<R>>,
    end: i64,
    /// First offset of each transaction that has no marker here.
    open: BTreeMap<Txn, i64>,
    aborted: BTreeSet<Txn>,
}

impl<R> Default for Topic<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            end: 0,
            open: BTreeMap::new(),
            aborted: BTreeSet::new(),
        }
    }
}

impl<R> Topic<R> {
    pub(super) fn append(&mut self, txn: Txn, record: R) -> i64 {
        let offset = self.end;
        self.end += 1;
        self.open.entry(txn).or_insert(offset);
        self.records.push(Stored {
            offset,
            txn,
            record,
        });
        offset
    }

    /// Writes a transaction's marker.
    pub(super) fn mark(&mut self, txn: Txn, commit: bool) {
        self.end += 1;
        self.open.remove(&txn);
        if !commit {
            self.aborted.insert(txn);
        }
    }

    /// The next offset to be written.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The offset below which every transaction is decided here.
    pub(super) fn stable_end(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Records from an offset on, as readers of committed records see them, or
    /// readers of anything.
    pub(super) fn read(&self, from: i64, committed_only: bool) -> impl Iterator<Item = &Stored<R>> {
        let end = if committed_only {
            self.stable_end()
        } else {
            self.end
        };
        let begin = self.records.partition_point(|stored| stored.offset < from);
        self.records[begin..]
            .iter()
            .take_while(move |stored| stored.offset < end)
            .filter(move |stored| !(committed_only && self.aborted.contains(&stored.txn)))
    }

    /// What readers of committed records find.
    pub(super) fn committed(&self) -> impl Iterator<Item = &R> {
        self.read(0, true).map(|stored| &stored.record)
    }
}

impl Topic<Row> {
    /// Compacts what is below `end` and decided: the newest row of each key is
    /// kept, aborted rows go, and deletions where nobody is to see them any
    /// more. Gives how many records went.
    pub(super) fn compact(&mut self, end: i64, with_deletions: bool) -> usize {
        let end = end.min(self.stable_end());
        let newest: BTreeMap<&[u8], i64> = self
            .records
            .iter()
            .take_while(|stored| stored.offset < end)
            .filter(|stored| !self.aborted.contains(&stored.txn))
            .map(|stored| (stored.record.0.as_slice(), stored.offset))
            .collect();
        let newest: BTreeSet<i64> = newest.into_values().collect();
        let before = self.records.len();
        self.records.retain(|stored| {
            let kept =
                newest.contains(&stored.offset) && !(with_deletions && stored.record.1.is_none());
            stored.offset >= end || kept
        });
        before - self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: Option<&str>) -> Row {
        (
            key.as_bytes().to_vec(),
            value.map(|value| value.as_bytes().to_vec()),
        )
    }

    fn seen(topic: &Topic<Row>) -> Vec<i64> {
        topic.read(0, true).map(|stored| stored.offset).collect()
    }

    #[test]
    fn a_transaction_shows_with_its_marker_and_behind_no_open_one() {
        let mut topic = Topic::default();
        topic.append(1, row("a", Some("1")));
        topic.append(2, row("b", Some("1")));
        topic.mark(2, true);
        assert!(seen(&topic).is_empty());
        assert_eq!(topic.stable_end(), 0);
        topic.mark(1, false);
        assert_eq!(seen(&topic), [1]);
        assert_eq!((topic.stable_end(), topic.end()), (4, 4));
        assert_eq!(topic.read(0, false).count(), 2);
    }

    #[test]
    fn compaction_keeps_the_newest_committed_row_of_each_key() {
        let mut topic = Topic::default();
        for (txn, key, value, commit) in [
            (1, "a", Some("1"), true),
            (2, "b", Some("1"), true),
            (3, "a", Some("2"), false),
            (4, "b", None, true),
            (5, "c", Some("1"), true),
        ] {
            topic.append(txn, row(key, value));
            topic.mark(txn, commit);
        }
        topic.append(6, row("c", Some("2")));
        let mut with_deletions = topic.clone();
        assert_eq!(topic.compact(i64::MAX, false), 2);
        assert_eq!(seen(&topic), [0, 6, 8]);
        assert_eq!(with_deletions.compact(i64::MAX, true), 3);
        assert_eq!(seen(&with_deletions), [0, 8]);
        assert_eq!(topic.read(0, false).last().unwrap().offset, 10);
    }
}
