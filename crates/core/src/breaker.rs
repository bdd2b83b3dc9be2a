//! When to stop a partition of which too many records cannot be used.
//!
//! One bad record goes to the dead letters, and everything else goes on. Where
//! a large share is bad it is not the records: a producer has changed its
//! format, or this program reads it wrongly. Going on would move all of it to
//! the dead letters. So the partition stops there until a person says go on.
//!
//! ```text
//!   rejected records in slices, a tenth of the window each
//!   [12][ 0][ 3][45][50][50][50][50][50][17 ]   327 of at most 1,000 records
//!    oldest, the next to be forgotten     newest, being filled
//! ```
//!
//! The window is part of the partition's state: a function of its records
//! alone, whatever batches they came in and whoever crashed meanwhile. It is
//! empty, and takes no room in what is stored, while no record in it was
//! rejected; so it does not matter when it began.

use serde::{Deserialize, Serialize};

/// Parts of the window that are forgotten as one.
const SLICES: u32 = 10;

/// How many rejected records are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Share of the window above which it trips, in percent; 100 never does.
    pub percent: u32,
    /// Length of the window in records, counted in tenths.
    pub records: u32,
}

/// The window of one partition, and whether it has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Breaker {
    /// Rejected records of each slice, oldest first; none where all are 0.
    slices: Vec<u32>,
    /// Records of the newest slice so far.
    filled: u32,
    /// Records below this offset are not counted: somebody has seen them and
    /// let them through.
    let_through: Option<i64>,
    /// Set while the partition stands still.
    tripped: Option<Tripped>,
}

/// Why a partition stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tripped {
    /// Records that could not be used...
    pub rejected: u32,
    /// ...of so many, since the first of them.
    pub of: u32,
}

impl Bound {
    fn slice(self) -> u32 {
        (self.records / SLICES).max(1)
    }

    fn is_exceeded_by(self, rejected: u32) -> bool {
        u64::from(rejected) * 100 > u64::from(self.percent) * u64::from(self.records)
    }
}

impl Breaker {
    /// Takes note of a record, and says whether the partition must stop behind
    /// it.
    pub fn count(&mut self, bound: Bound, offset: i64, rejected: bool) -> bool {
        if let Some(end) = self.let_through {
            if offset < end {
                return false;
            }
            self.let_through = None;
        }
        if self.slices.is_empty() && !rejected {
            return false;
        }
        if self.slices.is_empty() || self.filled >= bound.slice() {
            self.slices.push(0);
            self.filled = 0;
            if self.slices.len() > SLICES as usize {
                self.slices.remove(0);
            }
        }
        self.filled += 1;
        if let Some(newest) = self.slices.last_mut() {
            *newest += u32::from(rejected);
        }
        let rejected: u32 = self.slices.iter().sum();
        if rejected == 0 {
            self.slices.clear();
            self.filled = 0;
        }
        if !bound.is_exceeded_by(rejected) {
            return false;
        }
        let full_slices = self.slices.len() as u32 - 1;
        self.tripped = Some(Tripped {
            rejected,
            of: full_slices * bound.slice() + self.filled,
        });
        self.slices.clear();
        self.filled = 0;
        true
    }

    /// Why the partition stands still; `None` while it does not.
    pub fn tripped(&self) -> Option<Tripped> {
        self.tripped
    }

    /// Lets the partition go on; records below `until` are not counted.
    pub fn go_on(&mut self, until: i64) {
        self.tripped = None;
        self.let_through = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound {
        percent: 50,
        records: 100,
    };

    /// Runs records through, `true` for a rejected one; gives where it trips.
    fn run(breaker: &mut Breaker, records: impl IntoIterator<Item = bool>) -> Option<usize> {
        records
            .into_iter()
            .enumerate()
            .find_map(|(offset, rejected)| {
                breaker
                    .count(BOUND, offset as i64, rejected)
                    .then_some(offset)
            })
    }

    #[test]
    fn trips_at_the_first_record_that_is_one_too_many() {
        let mut breaker = Breaker::default();
        assert_eq!(run(&mut breaker, [true; 200]), Some(50));
        let tripped = breaker.tripped().expect("it stands still");
        assert_eq!((tripped.rejected, tripped.of), (51, 51));
    }

    #[test]
    fn a_share_below_the_bound_never_trips() {
        let mut breaker = Breaker::default();
        let half = (0..100_000).map(|n| n % 2 == 0);
        assert_eq!(run(&mut breaker, half), None);
        let mut breaker = Breaker::default();
        let two_thirds = (0..1_000).map(|n| n % 3 != 0);
        assert!(run(&mut breaker, two_thirds).is_some_and(|at| (75..110).contains(&at)));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut breaker = Breaker::default();
        let bursts = (0..10_000).map(|n| n % 150 < 50);
        assert_eq!(run(&mut breaker, bursts), None);
        let denser = (0..10_000).map(|n| n % 100 < 51);
        assert!(run(&mut Breaker::default(), denser).is_some());
    }

    #[test]
    fn a_window_without_rejected_records_is_the_same_as_none() {
        let mut breaker = Breaker::default();
        assert_eq!(run(&mut breaker, [false; 500]), None);
        assert_eq!(breaker, Breaker::default());
        run(&mut breaker, [true; 3]);
        assert_ne!(breaker, Breaker::default());
        run(&mut breaker, [false; 110]);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn what_was_let_through_is_not_counted_and_what_follows_is() {
        let mut breaker = Breaker::default();
        assert_eq!(run(&mut breaker, [true; 60]), Some(50));
        breaker.go_on(1_000);
        assert_eq!(breaker.tripped(), None);
        let tripped = (51..5_000).find(|&offset| breaker.count(BOUND, offset, true));
        assert_eq!(tripped, Some(1_050));
    }

    #[test]
    fn a_bound_of_all_records_never_trips() {
        let bound = Bound {
            percent: 100,
            records: 100,
        };
        let mut breaker = Breaker::default();
        assert!(!(0..10_000).any(|offset| breaker.count(bound, offset, true)));
    }

    #[test]
    fn a_window_of_another_length_goes_on_from_what_was_counted() {
        let mut breaker = Breaker::default();
        run(&mut breaker, [true; 45]);
        let short = Bound {
            records: 20,
            ..BOUND
        };
        assert!(breaker.count(short, 45, true));
    }
}
