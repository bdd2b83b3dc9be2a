//! Any bytes in the store or the changelog are a row that is written as it was
//! read, or are known to be damaged.

use churnwatch_store::{key, rewritten, show};

/// Panics where it does not hold.
pub(crate) fn holds(bytes: &[u8]) {
    // The length of the key, the key, the value.
    let Some((&length, rest)) = bytes.split_first() else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(length).min(rest.len()));
    let parsed = key::parse(key);
    if let Ok(parsed) = &parsed {
        let written = match parsed {
            key::RowKey::Hot(account) => key::hot(account),
            key::RowKey::History(account) => key::history(account),
            key::RowKey::Seat(account, user) => key::seat(account, user),
            key::RowKey::Task => key::task().to_vec(),
        };
        assert_eq!(written, key, "a key has one spelling");
    }
    let shown = match show(key, value, 0) {
        Ok(shown) => shown,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a reason in words");
            return;
        }
    };
    assert!(parsed.is_ok(), "a row has a key");
    // Postcard reads some numbers in more than one spelling and writes one, so
    // the first writing may differ from what was read; its meaning may not.
    let written = rewritten(key, value, 0).expect("what can be shown can be written");
    assert_eq!(show(key, &written, 0).expect("it is a row"), shown);
    assert_eq!(rewritten(key, &written, 0).expect("it is a row"), written);
}
