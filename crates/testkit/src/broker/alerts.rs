//! The history of alerts by account, compared byte by byte.
//!
//! What is compared is what was written, not what a parser makes of it: of each
//! body the two neighbouring fields that name the run and the place in its
//! input, `mode` and `input`, are cut out, and the rest must be the same.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::Record;

/// Alerts by account, each account's by their sequence numbers.
#[derive(Debug, PartialEq, Eq)]
pub struct Alerts(BTreeMap<String, Vec<(u64, String)>>);

impl Alerts {
    /// What a replay wrote.
    ///
    /// # Panics
    /// The file cannot be read, or holds something else than alerts.
    pub fn of_replay(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("alerts of a replay");
        Self::of_bodies(text.lines())
    }

    /// What stands in the history topic.
    ///
    /// # Panics
    /// A record is no envelope.
    pub fn of_history(records: &[Record]) -> Self {
        Self::of_bodies(records.iter().map(body_of))
    }

    fn of_bodies<'a>(bodies: impl Iterator<Item = &'a str>) -> Self {
        let mut alerts: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for body in bodies {
            let parsed: Value = serde_json::from_str(body).expect("a body is JSON");
            let account = parsed["account_id"]
                .as_str()
                .expect("a body names its account");
            let sequence = parsed["sequence"]
                .as_u64()
                .expect("a body has its sequence number");
            let text = without_run(body);
            alerts
                .entry(account.to_owned())
                .or_default()
                .push((sequence, text));
        }
        for of_account in alerts.values_mut() {
            of_account.sort();
        }
        Self(alerts)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// How many there are of each account.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0
            .iter()
            .map(|(account, alerts)| (account.as_str(), alerts.len()))
    }

    /// Compares with what should have been.
    ///
    /// # Panics
    /// The two differ: shows the first difference in full. Or there is no
    /// alert at all, which proves nothing.
    #[track_caller]
    pub fn expect_same_as(&self, expected: &Self, run: &str) {
        assert!(
            expected.count() > 0,
            "{run}: no alert was expected, which proves nothing"
        );
        let accounts = expected.0.keys().chain(self.0.keys());
        for account in accounts {
            let none = Vec::new();
            let wanted = expected.0.get(account).unwrap_or(&none);
            let found = self.0.get(account).unwrap_or(&none);
            for index in 0..wanted.len().max(found.len()) {
                let (wanted, found) = (wanted.get(index), found.get(index));
                assert!(
                    wanted == found,
                    "{run}: account {account} differs first in its alert number {index}\n\
                     expected: {}\nfound:    {}\n({} alerts were expected in all, {} found)",
                    told(wanted),
                    told(found),
                    expected.count(),
                    self.count(),
                );
            }
        }
    }
}

fn told(alert: Option<&(u64, String)>) -> &str {
    alert.map_or("none", |(_, text)| text)
}

/// The body within a record of the history topic, as it was written.
pub(crate) fn body_of(record: &Record) -> &str {
    let envelope = std::str::from_utf8(record.value.as_deref().expect("a value")).expect("UTF-8");
    // No text within JSON holds a bare quotation mark, so this stands there once: in front of the
    // last attribute of the envelope.
    let (_, data) = envelope
        .split_once(r#","data":"#)
        .expect("an envelope ends with its data");
    data.strip_suffix('}').expect("an envelope is an object")
}

pub(crate) fn without_run(body: &str) -> String {
    let from = body.rfind(r#","mode":""#).expect("a body has its mode");
    let to = body
        .rfind(r#","config_hash":""#)
        .expect("a body has the hash of its rules");
    let run = &body[from..to];
    let expected = [
        r#","mode":"replay","input":null"#,
        r#","mode":"live","input":{"partition":"#,
    ];
    assert!(expected.iter().any(|start| run.starts_with(start)), "{run}");
    format!("{}{}", &body[..from], &body[to..])
}

/// What must be open by the history: the body of each alert's last transition,
/// unless that resolved it.
///
/// # Panics
/// A record is no envelope.
pub fn open_by_history(records: &[Record]) -> BTreeMap<String, String> {
    // All alerts of an account stand in one partition, in order.
    let mut open = BTreeMap::new();
    for body in records.iter().map(body_of) {
        let parsed: Value = serde_json::from_str(body).expect("a body is JSON");
        let key = parsed["alert_key"]
            .as_str()
            .expect("a body names its alert")
            .to_owned();
        if parsed["transition"] == "resolved" {
            open.remove(&key);
        } else {
            open.insert(key, body.to_owned());
        }
    }
    open
}

/// What is open by the compacted topic: the last value of each key, without
/// those that a tombstone removed.
///
/// # Panics
/// A record has no key, or no UTF-8.
pub fn open_by_topic(records: &[Record]) -> BTreeMap<String, String> {
    let mut open = BTreeMap::new();
    for record in records {
        match &record.value {
            None => open.remove(record.key()),
            Some(value) => {
                let body = String::from_utf8(value.clone()).expect("UTF-8");
                open.insert(record.key().to_owned(), body)
            }
        };
    }
    open
}
