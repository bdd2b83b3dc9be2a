//! Keys of rows.
//!
//! ```text
//! hot, history   [table u8][length of account u16][account]
//! seat           [table u8][length of account u16][account][user]
//! task           [table u8]
//! ```
//!
//! Numbers are big-endian, names UTF-8. The length in front of the account
//! makes a key readable in one way only, whatever characters a name holds: no
//! account's keys begin with another account's. The same bytes are the keys of
//! the changelog, so a table's byte is for ever: a table that is dropped takes
//! its byte with it.

use std::fmt;

use churnwatch_core::ids::{AccountId, UserId};

/// A kind of row; its number is the first byte of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// What changes with each event of an account.
    Hot = 1,
    /// The daily buckets of an account.
    History = 2,
    /// One user of an account.
    Seat = 3,
    /// Position, clocks and digest of the partition; one row, outside the digest.
    Task = 4,
}

impl Table {
    /// The name used in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot row",
            Self::History => "history row",
            Self::Seat => "seat row",
            Self::Task => "task row",
        }
    }

    /// The first byte of its keys.
    pub const fn tag(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKey {
    /// Of the hot row of an account.
    Hot(AccountId),
    /// Of the history row of an account.
    History(AccountId),
    /// Of the seat of a user within an account.
    Seat(AccountId, UserId),
    /// Of the task row.
    Task,
}

/// Bytes that are no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a row key ({reason}): {bytes:02x?}")]
pub struct BadKey {
    reason: &'static str,
    bytes: Vec<u8>,
}

/// The key of an account's hot row.
pub fn hot(account: &AccountId) -> Vec<u8> {
    of_account(Table::Hot, account, 0)
}

/// The key of an account's history row.
pub fn history(account: &AccountId) -> Vec<u8> {
    of_account(Table::History, account, 0)
}

/// The key of a user's seat within an account.
pub fn seat(account: &AccountId, user: &UserId) -> Vec<u8> {
    let mut key = of_account(Table::Seat, account, user.as_str().len());
    key.extend_from_slice(user.as_str().as_bytes());
    key
}

/// What the keys of all seats of an account, and no other key, begin with.
pub fn seats(account: &AccountId) -> Vec<u8> {
    of_account(Table::Seat, account, 0)
}

/// The key of the task row.
pub const fn task() -> [u8; 1] {
    [Table::Task.tag()]
}

/// The user of a key that begins with [`seats`] of `account`.
pub(crate) fn user_of_seat<'k>(key: &'k [u8], seats: &[u8]) -> Result<&'k str, BadKey> {
    let user = key
        .strip_prefix(seats)
        .ok_or_else(|| bad("another account's seat", key))?;
    std::str::from_utf8(user).map_err(|_| bad("user is not UTF-8", key))
}

/// Takes a key apart.
///
/// # Errors
/// The bytes are not what one of the functions of this module writes.
pub fn parse(key: &[u8]) -> Result<RowKey, BadKey> {
    Ok(match split(key)? {
        KeyParts::Hot(account) => RowKey::Hot(AccountId::from(account)),
        KeyParts::History(account) => RowKey::History(AccountId::from(account)),
        KeyParts::Seat(account, user) => RowKey::Seat(AccountId::from(account), UserId::from(user)),
        KeyParts::Task => RowKey::Task,
    })
}

/// As [`RowKey`], where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyParts<'k> {
    Hot(&'k str),
    History(&'k str),
    Seat(&'k str, &'k str),
    Task,
}

/// As [`parse`], without a copy: for passes over all rows.
pub(crate) fn split(key: &[u8]) -> Result<KeyParts<'_>, BadKey> {
    let Some((&tag, rest)) = key.split_first() else {
        return Err(bad("empty", key));
    };
    if tag == Table::Task.tag() {
        return if rest.is_empty() {
            Ok(KeyParts::Task)
        } else {
            Err(bad("too long", key))
        };
    }
    let Some((length, rest)) = rest.split_first_chunk::<2>() else {
        return Err(bad("too short", key));
    };
    let Some((account, user)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    else {
        return Err(bad("account is cut off", key));
    };
    let account = std::str::from_utf8(account).map_err(|_| bad("account is not UTF-8", key))?;
    let user = std::str::from_utf8(user).map_err(|_| bad("user is not UTF-8", key))?;
    if tag == Table::Seat.tag() {
        return Ok(KeyParts::Seat(account, user));
    }
    if !user.is_empty() {
        return Err(bad("too long", key));
    }
    if tag == Table::Hot.tag() {
        Ok(KeyParts::Hot(account))
    } else if tag == Table::History.tag() {
        Ok(KeyParts::History(account))
    } else {
        Err(bad("unknown table", key))
    }
}

fn of_account(table: Table, account: &AccountId, more: usize) -> Vec<u8> {
    let name = account.as_str().as_bytes();
    let length = u16::try_from(name.len()).expect("wire refuses account ids above 512 bytes");
    let mut key = Vec::with_capacity(3 + name.len() + more);
    key.push(table.tag());
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(name);
    key
}

fn bad(reason: &'static str, key: &[u8]) -> BadKey {
    BadKey {
        reason,
        bytes: key.iter().copied().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every_key(account: &AccountId, user: &UserId) -> [(Vec<u8>, RowKey); 4] {
        [
            (hot(account), RowKey::Hot(account.clone())),
            (history(account), RowKey::History(account.clone())),
            (
                seat(account, user),
                RowKey::Seat(account.clone(), user.clone()),
            ),
            (task().to_vec(), RowKey::Task),
        ]
    }

    /// Names of a few characters that include everything a separator could be.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[ab\0|/\u{1}\u{ff}]{0,4}", ".{0,40}"]
    }

    proptest! {
        #[test]
        fn a_key_reads_back_as_it_was_written(account in name(), user in name()) {
            let (account, user) = (AccountId::from(&*account), UserId::from(&*user));
            for (bytes, key) in every_key(&account, &user) {
                prop_assert_eq!(parse(&bytes), Ok(key));
            }
        }

        #[test]
        fn no_accounts_keys_begin_with_another_accounts(one in name(), two in name(), user in name()) {
            prop_assume!(one != two);
            let (one, two) = (AccountId::from(&*one), AccountId::from(&*two));
            let user = UserId::from(&*user);
            for (key, _) in every_key(&two, &user) {
                prop_assert!(!key.starts_with(&hot(&one)));
                prop_assert!(!key.starts_with(&history(&one)));
                prop_assert!(!key.starts_with(&seats(&one)));
            }
            prop_assert!(seat(&one, &user).starts_with(&seats(&one)));
        }

        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(key) = parse(&bytes) {
                let written = match &key {
                    RowKey::Hot(account) => hot(account),
                    RowKey::History(account) => history(account),
                    RowKey::Seat(account, user) => seat(account, user),
                    RowKey::Task => task().to_vec(),
                };
                prop_assert_eq!(written, bytes, "two spellings of {:?}", key);
            }
        }
    }

    #[test]
    fn the_bytes_of_the_tables_never_change() {
        let account = AccountId::from("ab");
        assert_eq!(hot(&account), b"\x01\x00\x02ab");
        assert_eq!(history(&account), b"\x02\x00\x02ab");
        assert_eq!(seat(&account, &UserId::from("u")), b"\x03\x00\x02abu");
        assert_eq!(task(), *b"\x04");
    }
}
