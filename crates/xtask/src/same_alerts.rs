//! `cargo xtask same-alerts`: whether two runs raised the same alerts.
//!
//! The promise is about bytes, so this compares bytes: each line is taken apart
//! only as far as its outermost object, each value kept as the text it was
//! written in, in the order it was written. Two lines are the same if nothing
//! differs once `mode` and `input` are left out: those name the run and the
//! place in its input, and are the only fields that may differ.
//!
//! Lines of different accounts may stand in any order, since accounts of
//! different partitions are independent; within an account `sequence` orders.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_core::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::failure::{Failure, Result};

pub(crate) const HELP: &str = "\
Compare two files of alerts, one JSON object a line, account by account and byte
by byte, without the fields `mode` and `input`.

Usage: cargo xtask same-alerts A.ndjson B.ndjson

Exit code:
  0   both hold the same alerts, at least one
  1   they differ (the first difference is shown in full), or both are empty
  2   a file cannot be read
";

/// What names the run and not the alert.
const LEFT_OUT: [&str; 2] = ["mode", "input"];

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Value(file) => files.push(file.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let [a, b] = files.as_slice() else {
        return Err(Failure::usage(
            "give two files: cargo xtask same-alerts A.ndjson B.ndjson",
        ));
    };
    let (alerts_a, alerts_b) = (read(a)?, read(b)?);
    for (file, alerts) in [(a, &alerts_a), (b, &alerts_b)] {
        println!(
            "{}: {} alerts of {} accounts",
            file.display(),
            count(alerts),
            alerts.len()
        );
    }
    match first_difference(&alerts_a, &alerts_b) {
        None => println!("the same alerts"),
        Some(difference) => return Err(Failure::new(difference)),
    }
    Ok(())
}

/// Alerts by account, each account's in the order of their sequence numbers.
type Alerts = BTreeMap<String, Vec<Alert>>;

#[derive(Debug, PartialEq, Eq)]
struct Alert {
    sequence: u64,
    /// The object as it was written, without what is left out.
    text: String,
}

fn read(path: &Path) -> Result<Alerts> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::unreadable(format!("{} cannot be read: {error}", path.display()))
    })?;
    parse(&text).map_err(|(line, reason)| {
        Failure::unreadable(format!("{}:{line}: {reason}", path.display()))
    })
}

/// The error is the number of the line and what is wrong with it.
fn parse(text: &str) -> std::result::Result<Alerts, (usize, String)> {
    let mut alerts = Alerts::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (account, alert) = parse_line(line).map_err(|reason| (index + 1, reason))?;
        alerts.entry(account).or_default().push(alert);
    }
    for of_account in alerts.values_mut() {
        of_account.sort_by_key(|alert| alert.sequence);
    }
    Ok(alerts)
}

fn parse_line(line: &str) -> std::result::Result<(String, Alert), String> {
    let Object(mut fields) = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let account = field(&fields, "account_id").and_then(|raw| serde_json::from_str(raw).ok());
    let account: String = account.ok_or("an alert needs an `account_id` that is a string")?;
    let sequence = field(&fields, "sequence").and_then(|raw| raw.parse().ok());
    let sequence = sequence.ok_or("an alert needs a `sequence` that is a whole number")?;
    fields.retain(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
    let mut text = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(
            text,
            "{comma}{}:{value}",
            serde_json::Value::from(name.as_str())
        )
        .expect("a String takes any text");
    }
    text.push('}');
    Ok((account, Alert { sequence, text }))
}

fn field<'a>(fields: &'a [(String, Box<RawValue>)], wanted: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.get())
}

fn count(alerts: &Alerts) -> usize {
    alerts.values().map(Vec::len).sum()
}

/// The first difference in the order of accounts and sequence numbers, told in
/// full; `None` where there is none.
fn first_difference(a: &Alerts, b: &Alerts) -> Option<String> {
    if a.is_empty() && b.is_empty() {
        return Some("both files hold no alert at all, which proves nothing".to_owned());
    }
    let accounts: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for account in accounts {
        let (of_a, of_b) = (
            a.get(account).map_or(&[][..], Vec::as_slice),
            b.get(account).map_or(&[][..], Vec::as_slice),
        );
        for (file, alerts) in [("A", of_a), ("B", of_b)] {
            if let Some(twice) = alerts
                .windows(2)
                .find(|pair| pair[0].sequence == pair[1].sequence)
            {
                return Some(format!(
                    "account {account} has sequence {} twice in {file}",
                    twice[0].sequence
                ));
            }
        }
        for index in 0..of_a.len().max(of_b.len()) {
            let (one, other) = (of_a.get(index), of_b.get(index));
            if one != other {
                return Some(describe_difference(account, one, other));
            }
        }
    }
    None
}

fn describe_difference(account: &str, a: Option<&Alert>, b: Option<&Alert>) -> String {
    let mut message = format!("the alerts differ, first in account {account}:\n");
    for (file, alert) in [("A", a), ("B", b)] {
        match alert {
            Some(alert) => writeln!(
                message,
                "{file}, sequence {}: {}",
                alert.sequence, alert.text
            ),
            None => writeln!(message, "{file}: no further alert of this account"),
        }
        .expect("a String takes any text");
    }
    if let (Some(a), Some(b)) = (a, b) {
        let same = a
            .text
            .bytes()
            .zip(b.text.bytes())
            .take_while(|(one, other)| one == other)
            .count();
        let from = |text: &str| {
            String::from_utf8_lossy(&text.as_bytes()[same..])
                .chars()
                .take(60)
                .collect::<String>()
        };
        write!(
            message,
            "from byte {same} on: A has `{}`, B has `{}`",
            from(&a.text),
            from(&b.text)
        )
        .expect("a String takes any text");
    }
    message
}

/// An object's fields in the order they were written, values as written.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Object, M::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(a: &str, b: &str) -> Option<String> {
        first_difference(
            &parse(a).expect("A is readable"),
            &parse(b).expect("B is readable"),
        )
    }

    const ONE: &str = r#"{"account_id":"a","sequence":1,"score":1.50,"mode":"live","input":{"partition":0,"offset":7}}"#;

    #[test]
    fn mode_and_input_do_not_count() {
        let replayed =
            r#"{"account_id":"a","sequence":1,"score":1.50,"mode":"replay","input":null}"#;
        assert_eq!(difference(ONE, replayed), None);
        assert_eq!(
            difference(ONE, r#"{"account_id":"a","sequence":1,"score":1.50}"#),
            None
        );
    }

    #[test]
    fn mode_counts_where_it_is_not_the_alerts_own() {
        let one = r#"{"account_id":"a","sequence":1,"evidence":{"mode":"x"}}"#;
        let other = r#"{"account_id":"a","sequence":1,"evidence":{"mode":"y"}}"#;
        assert!(difference(one, other).is_some());
    }

    #[test]
    fn accounts_may_be_interleaved_in_any_way() {
        let a = "{\"account_id\":\"a\",\"sequence\":1}\n{\"account_id\":\"b\",\"sequence\":1}\n{\"account_id\":\"a\",\"sequence\":2}\n";
        let b = "{\"account_id\":\"b\",\"sequence\":1}\n\n{\"account_id\":\"a\",\"sequence\":2}\n{\"account_id\":\"a\",\"sequence\":1}";
        assert_eq!(difference(a, b), None);
    }

    #[test]
    fn how_a_number_is_written_counts_and_so_does_the_order_of_fields() {
        let other_number = ONE.replace("1.50", "1.5");
        let said = difference(ONE, &other_number).expect("must differ");
        assert!(
            said.contains("account a") && said.contains("`0}`") && said.contains("`}`"),
            "{said}"
        );
        let other_order = r#"{"sequence":1,"account_id":"a","score":1.50}"#;
        assert!(difference(ONE, other_order).is_some());
    }

    #[test]
    fn a_missing_alert_and_a_missing_account_are_differences() {
        let two = format!("{ONE}\n{}", ONE.replace("\"sequence\":1", "\"sequence\":2"));
        assert!(
            difference(&two, ONE)
                .expect("must differ")
                .contains("B: no further alert")
        );
        assert!(
            difference(ONE, &two)
                .expect("must differ")
                .contains("A: no further alert")
        );
        let neighbour = format!("{ONE}\n{}", ONE.replace("\"a\"", "\"z\""));
        assert!(
            difference(ONE, &neighbour)
                .expect("must differ")
                .contains("account z")
        );
    }

    #[test]
    fn the_same_sequence_number_twice_is_a_fault_even_in_both() {
        let twice = format!("{ONE}\n{ONE}");
        assert!(
            difference(&twice, &twice)
                .expect("must be a fault")
                .contains("sequence 1 twice in A")
        );
    }

    #[test]
    fn two_empty_files_prove_nothing() {
        assert!(difference("", "\n").is_some());
    }

    #[test]
    fn a_line_that_is_no_alert_is_named() {
        assert_eq!(
            parse(&format!("{ONE}\n{{\"sequence\":1}}"))
                .expect_err("must fail")
                .0,
            2
        );
        assert_eq!(
            parse("{\"account_id\":\"a\",\"sequence\":-1}")
                .expect_err("must fail")
                .0,
            1
        );
        assert_eq!(parse("not json").expect_err("must fail").0, 1);
    }

    #[test]
    fn exit_codes_tell_a_difference_from_an_unreadable_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("writable");
            path.into_os_string()
        };
        let (a, b) = (put("a", ONE), put("b", &ONE.replace("1.50", "2")));
        let code = |arguments: [&OsString; 2]| {
            run(arguments.map(OsString::clone).to_vec()).map_err(|f| f.exit_code())
        };
        assert_eq!(code([&a, &a]), Ok(()));
        assert_eq!(code([&a, &b]), Err(1));
        assert_eq!(
            code([&a, &folder.path().join("absent").into_os_string()]),
            Err(2)
        );
        assert_eq!(code([&a, &put("broken", "{")]), Err(2));
    }
}
