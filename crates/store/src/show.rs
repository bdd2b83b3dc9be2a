//! Rows in words, for people: what a key names and what its value says.

use churnwatch_core::account::{History, Hot, Seat};

use crate::{
    error::StoreError,
    key::{self, RowKey},
    row::{self, Row},
    task::TaskRow,
    version::StateVersion,
};

/// A row taken apart for reading, one field a line; `partition` is for errors
/// only. Nothing may rest on the exact text.
///
/// # Errors
/// The bytes are no row of this or an older version.
pub fn show(key: &[u8], value: &[u8], partition: i32) -> Result<String, StoreError> {
    let key = key::parse(key).map_err(|bad| StoreError::Corrupt {
        partition,
        what: "a key".to_owned(),
        reason: bad.to_string(),
    })?;
    Ok(match key {
        RowKey::Hot(account) => {
            let hot: Hot = row::decode(value, Some(&account), partition)?;
            titled(&row::describe(Hot::TABLE, Some(&account)), &hot)
        }
        RowKey::History(account) => {
            let history: History = row::decode(value, Some(&account), partition)?;
            titled(&row::describe(History::TABLE, Some(&account)), &history)
        }
        RowKey::Seat(account, user) => {
            let seat: Seat = row::decode(value, Some(&account), partition)?;
            let title = row::describe(Seat::TABLE, Some(&account));
            titled(&format!("{title}, user {user:?}"), &seat)
        }
        RowKey::Task => titled(
            &row::describe(TaskRow::TABLE, None),
            &TaskRow::decode(value, partition)?,
        ),
    })
}

/// The value of a row read and written again, in the version of today;
/// `partition` is for errors only.
///
/// # Errors
/// As [`show`].
pub fn rewritten(key: &[u8], value: &[u8], partition: i32) -> Result<Vec<u8>, StoreError> {
    let key = key::parse(key).map_err(|bad| StoreError::Corrupt {
        partition,
        what: "a key".to_owned(),
        reason: bad.to_string(),
    })?;
    let newest = StateVersion::NEWEST;
    match key {
        RowKey::Hot(account) => row::encode(
            &row::decode::<Hot>(value, Some(&account), partition)?,
            newest,
        ),
        RowKey::History(account) => row::encode(
            &row::decode::<History>(value, Some(&account), partition)?,
            newest,
        ),
        RowKey::Seat(account, _) => row::encode(
            &row::decode::<Seat>(value, Some(&account), partition)?,
            newest,
        ),
        RowKey::Task => {
            let version = value.first().copied().and_then(StateVersion::of);
            TaskRow::decode(value, partition)?.encode(version.unwrap_or_default())
        }
    }
}

fn titled(title: &str, row: &dyn std::fmt::Debug) -> String {
    format!("{title}\n{row:#?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_account_and_shows_its_fields() {
        let value = row::encode(
            &Hot {
                sequence: 300,
                ..Hot::default()
            },
            StateVersion::NEWEST,
        )
        .unwrap();
        let text = show(&key::hot(&"acme".into()), &value, 0).unwrap();
        assert!(text.starts_with("hot row of account \"acme\"\n"), "{text}");
        assert!(text.contains("sequence: 300"), "{text}");
        assert!(show(b"\xff", &value, 0).is_err());
        assert_eq!(
            rewritten(&key::hot(&"acme".into()), &value, 0).unwrap(),
            value
        );
    }
}
