//! Values of rows: `[version u8][row in postcard]`, and changes of rows.
//!
//! Postcard writes fields one after the other, without names. So *any* change
//! of a stored struct, even two fields of one type that trade places, is a new
//! version: raise it, teach [`Row::read_old`] to turn the old one into the new,
//! add a line to the state versions ([`crate::StateVersion`]), and keep the old
//! fixture (`fixtures/`, read by the tests for ever).

#[cfg(test)]
mod fixtures;

use churnwatch_core::{
    account::{History, Hot, Seat},
    ids::AccountId,
};
use churnwatch_faults::{Defence, holds};
use serde::{Serialize, de::DeserializeOwned};

use crate::{error::StoreError, key::Table, version::StateVersion};

/// A row put (with a value) or deleted (without one): the unit of a commit and
/// of the changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// As written by [`crate::key`].
    pub key: Vec<u8>,
    /// The row's bytes; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// What is stored in one table.
pub(crate) trait Row: Serialize + DeserializeOwned {
    const TABLE: Table;
    /// The newest version; every older one from 1 on is read too.
    const VERSION: u8;

    /// Reads a row of an older version, and gives what stands behind it; `None`
    /// where there never was one of this number.
    fn read_old(version: u8, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        let _ = (version, bytes);
        None
    }

    /// The bytes after the version, in the form of an older one: without what
    /// it had no place for. `None` where there is no older one.
    fn write_old(&self, version: u8) -> Option<postcard::Result<Vec<u8>>> {
        let _ = version;
        None
    }
}

impl Row for Hot {
    const TABLE: Table = Table::Hot;
    const VERSION: u8 = 1;
}

impl Row for History {
    const TABLE: Table = Table::History;
    const VERSION: u8 = 1;
}

impl Row for Seat {
    const TABLE: Table = Table::Seat;
    const VERSION: u8 = 1;
}

/// The bytes of a row, in the form that this state version has.
pub(crate) fn encode<R: Row>(row: &R, version: StateVersion) -> Result<Vec<u8>, StoreError> {
    let version = version.of_row(R::TABLE);
    let bytes = if version == R::VERSION {
        postcard::to_extend(row, vec![version])
    } else {
        let old = row.write_old(version);
        old.unwrap_or(Err(postcard::Error::WontImplement))
            .map(|bytes| [vec![version], bytes].concat())
    };
    bytes.map_err(|source| StoreError::Encode {
        table: R::TABLE,
        source,
    })
}

/// The row in `value`; `account` and `partition` are for the error only.
pub(crate) fn decode<R: Row>(
    value: &[u8],
    account: Option<&AccountId>,
    partition: i32,
) -> Result<R, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt {
        partition,
        what: describe(R::TABLE, account),
        reason,
    };
    let Some((&version, row)) = value.split_first() else {
        return Err(corrupt("no bytes".to_owned()));
    };
    let known = newest_known::<R>();
    if version > known {
        return Err(StoreError::NewerRow {
            partition,
            row: describe(R::TABLE, account),
            found: version,
            known,
        });
    }
    let read = if version == R::VERSION {
        postcard::take_from_bytes(row)
    } else {
        R::read_old(version, row)
            .ok_or_else(|| corrupt(format!("version {version} was never written")))?
    };
    let (row, rest) = read.map_err(|e| corrupt(e.to_string()))?;
    if rest.is_empty() {
        Ok(row)
    } else {
        Err(corrupt(format!("{} bytes too many", rest.len())))
    }
}

/// The newest version this process reads. Tests make an old process of a new
/// one by taking the newest away.
fn newest_known<R: Row>() -> u8 {
    if holds(Defence::NewestRows) {
        R::VERSION
    } else {
        (R::VERSION - 1).max(1)
    }
}

/// Names a row in an error.
pub(crate) fn describe(table: Table, account: Option<&AccountId>) -> String {
    match account {
        Some(account) => format!("{table} of account {account:?}"),
        None => table.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_after_the_row_are_damage() {
        let mut value = encode(&Seat::default(), StateVersion::NEWEST).unwrap();
        decode::<Seat>(&value, None, 0).unwrap();
        value.push(0);
        let error = decode::<Seat>(&value, None, 0).unwrap_err();
        assert!(error.to_string().contains("1 bytes too many"), "{error}");
    }

    #[test]
    fn no_cut_and_no_flipped_byte_of_a_row_panics() {
        let value = encode(
            &Hot {
                sequence: 300,
                ..Hot::default()
            },
            StateVersion::NEWEST,
        )
        .unwrap();
        for at in 0..value.len() {
            assert!(decode::<Hot>(&value[..at], None, 0).is_err(), "cut at {at}");
            for flip in 1..=255 {
                let mut flipped = value.clone();
                flipped[at] ^= flip;
                let _ = decode::<Hot>(&flipped, None, 0);
            }
        }
    }
}
