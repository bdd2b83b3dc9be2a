//! Values of rows: `[version u8][row in postcard]`, and changes of rows.
//!
//! Postcard writes fields one after the other, without names. So *any* change
//! of a stored struct, even two fields of one type that trade places, is a new
//! version: raise it here, teach [`decode`] to turn the old one into the new,
//! and keep the old fixture (`fixtures/`, read by the tests for ever).

#[cfg(test)]
mod fixtures;

use churnwatch_core::{
    account::{History, Hot, Seat},
    ids::AccountId,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{error::StoreError, key::Table, task::TaskRow};

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
    /// The version that is written; the newest that is read.
    const VERSION: u8;
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

impl Row for TaskRow {
    const TABLE: Table = Table::Task;
    const VERSION: u8 = 1;
}

/// The bytes of a row.
pub(crate) fn encode<R: Row>(row: &R) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![R::VERSION]).map_err(|source| StoreError::Encode {
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
    if version > R::VERSION {
        return Err(StoreError::NewerRow {
            partition,
            row: describe(R::TABLE, account),
            found: version,
            known: R::VERSION,
        });
    }
    if version != R::VERSION {
        return Err(corrupt(format!("version {version} was never written")));
    }
    let (row, rest) = postcard::take_from_bytes(row).map_err(|e| corrupt(e.to_string()))?;
    if rest.is_empty() {
        Ok(row)
    } else {
        Err(corrupt(format!("{} bytes too many", rest.len())))
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
        let mut value = encode(&Seat::default()).unwrap();
        decode::<Seat>(&value, None, 0).unwrap();
        value.push(0);
        let error = decode::<Seat>(&value, None, 0).unwrap_err();
        assert!(error.to_string().contains("1 bytes too many"), "{error}");
    }

    #[test]
    fn no_cut_and_no_flipped_byte_of_a_row_panics() {
        let value = encode(&Hot {
            sequence: 300,
            ..Hot::default()
        })
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
