//! `erase`: everything that is kept about an account is to be forgotten.

use churnwatch_core::{AccountId, EventTime, event::Fact};
use serde::Serialize;

use super::{
    NotKept, account_record,
    field::{Check, Name},
};
use crate::{rejection::Rejection, rfc3339::UtcTime};

account_record! {
    /// Forgets an account: its state is deleted where this record stands in the
    /// log, and its open alerts end. What comes after it begins the account anew.
    EraseRecord, "erase", {
        /// Who decided it. 1 to 512 bytes.
        by: Name<'a, NotKept>,
    }
}

impl EraseRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        self.by.check("by")?;
        Ok(Fact::Erase)
    }
}

/// The value of an erase record; its key is the account.
pub fn encode_erase(account: &AccountId, time: EventTime, by: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct EraseValue<'a> {
        kind: &'static str,
        account_id: &'a str,
        time: UtcTime,
        by: &'a str,
    }

    let value = EraseValue {
        kind: "erase",
        account_id: account.as_str(),
        time: UtcTime(time),
        by,
    };
    serde_json::to_vec(&value).expect("a struct of texts and times is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, decode};

    #[test]
    fn a_written_erase_reads_back() {
        let time = EventTime::from_millis(1_772_357_400_123);
        let value = encode_erase(&"acme \"eu\"".into(), time, "jo");
        assert_eq!(
            String::from_utf8_lossy(&value),
            r#"{"kind":"erase","account_id":"acme \"eu\"","time":"2026-03-01T09:30:00.123Z","by":"jo"}"#
        );
        let Ok(Record::Event(event)) = decode(&value) else {
            panic!("it is an event");
        };
        assert_eq!((event.account.as_str(), event.time), ("acme \"eu\"", time));
        assert_eq!(event.fact, Fact::Erase);
    }
}
