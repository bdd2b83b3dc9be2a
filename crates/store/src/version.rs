//! The versions of stored rows, taken together.
//!
//! Each table counts the versions of its rows for itself. What an operator
//! turns is one number over all of them, the **state version**:
//!
//! | state version | hot | history | seat | task |
//! |---|---|---|---|---|
//! | 1 | 1 | 1 | 1 | 1 |
//! | 2 | 1 | 1 | 1 | 2: the window of the breaker |
//!
//! From version 2 on, positions beside the rows (in the group's offsets) also
//! name their topics.
//!
//! Every version from the oldest on is read. The newest is written, or an older
//! one on demand: while a fleet is being upgraded, members that do not know
//! the newest yet must be able to take a partition over.

use std::fmt;

use crate::key::Table;

/// Which versions of rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateVersion(u8);

impl StateVersion {
    /// The oldest that can be written.
    pub const OLDEST: Self = Self(1);
    /// The newest, and what is written by default.
    pub const NEWEST: Self = Self(2);

    /// The version of this number, if it is one that can be written.
    pub fn of(number: u8) -> Option<Self> {
        (Self::OLDEST.0..=Self::NEWEST.0)
            .contains(&number)
            .then_some(Self(number))
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether the task row has room for the window of the breaker.
    pub fn keeps_breaker(self) -> bool {
        self.of_row(Table::Task) >= 2
    }

    /// Whether committed positions may name their topics.
    pub fn names_topics(self) -> bool {
        self.0 >= 2
    }

    /// The version of a table's rows.
    pub(crate) const fn of_row(self, table: Table) -> u8 {
        match table {
            Table::Hot | Table::History | Table::Seat => 1,
            Table::Task => self.0,
        }
    }
}

impl Default for StateVersion {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for StateVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{row::Row, task::TaskRow};
    use churnwatch_core::account::{History, Hot, Seat};

    #[test]
    fn only_known_versions_can_be_asked_for() {
        assert_eq!(StateVersion::of(0), None);
        assert_eq!(StateVersion::of(1), Some(StateVersion::OLDEST));
        assert_eq!(StateVersion::of(2), Some(StateVersion::NEWEST));
        assert_eq!(StateVersion::of(3), None);
    }

    #[test]
    fn the_newest_state_version_has_the_newest_rows() {
        fn is_newest<R: Row>() {
            assert_eq!(StateVersion::NEWEST.of_row(R::TABLE), R::VERSION);
        }
        is_newest::<Hot>();
        is_newest::<History>();
        is_newest::<Seat>();
        is_newest::<TaskRow>();
    }
}
