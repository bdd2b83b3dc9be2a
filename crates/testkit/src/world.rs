//! What a run has left behind for everybody to see, and whether it is what it
//! has to be: nothing lost, nothing twice, nothing different.
//!
//! ```text
//! World::committed(deployment)   history, what is open, dead letters, changelog; read committed
//! World::expected(log, rules)    the same from the log alone, undisturbed
//! found.check(&expected)         Ok(what was compared) or the first difference, in full
//! ```

use std::collections::BTreeMap;
use std::fmt;

use churnwatch_core::Rules;
use churnwatch_pipeline::Bound;
use churnwatch_store::{TaskRow, key};
use churnwatch_wire::DeadLetter;
use serde_json::Value;

use crate::broker::alerts::{body_of, without_run};
use crate::broker::{Deployment, Record};
use crate::reference;

/// Headers in their order.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// A record that could not be used, as it was put away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers: where it stood, and why it was refused.
    pub headers: Headers,
    /// Its timestamp, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
}

impl Letter {
    pub(crate) fn of(letter: &DeadLetter) -> Self {
        Self {
            key: letter.key.clone(),
            value: letter.value.clone(),
            headers: letter.headers(),
            timestamp_ms: letter.timestamp_ms,
        }
    }
}

/// Everything a run has left behind.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct World {
    /// Bodies of each account's alerts in the order in which they stand,
    /// without `mode` and `input`.
    pub history: BTreeMap<String, Vec<String>>,
    /// What is open by the compacted topic: bodies by alert key.
    pub open: BTreeMap<String, String>,
    /// Dead letters by the place of the record, one place each.
    pub dead_letters: BTreeMap<(i32, i64), Vec<Letter>>,
    /// Rows of each partition but the task row: values by key.
    pub rows: BTreeMap<i32, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The newest task row of each partition.
    pub tasks: BTreeMap<i32, TaskRow>,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Alert transitions.
    pub alerts: usize,
    /// Alerts that are open.
    pub open: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Rows of the state.
    pub rows: usize,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} alerts, {} open, {} dead letters, {} rows of state",
            self.alerts, self.open, self.dead_letters, self.rows
        )
    }
}

/// The first thing that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// What was expected, in full.
    pub expected: String,
    /// What was found, in full.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nexpected: {}\nfound:    {}",
            self.what, self.expected, self.found
        )
    }
}

impl World {
    /// What readers of committed records find on the broker.
    ///
    /// # Panics
    /// The topics cannot be read, or hold something else.
    pub fn committed(deployment: &Deployment) -> Self {
        let mut world = Self::default();
        for record in deployment.read("churn.alerts.v1") {
            world.take_alert(record.key(), body_of(&record));
        }
        for record in deployment.read("churn.alerts.current.v1") {
            let body = record.value.as_deref();
            let body = body.map(|body| std::str::from_utf8(body).expect("a body is UTF-8"));
            world.take_current(record.key(), body);
        }
        for record in deployment.read("churn.dead-letters.v1") {
            let place = (number(&record, "partition"), number(&record, "offset"));
            world.dead_letters.entry(place).or_default().push(Letter {
                key: record.key,
                value: record.value,
                headers: record.headers,
                timestamp_ms: record.timestamp_ms,
            });
        }
        for record in deployment.read("churnwatch.state") {
            let key = record.key.expect("a row has a key");
            world.take_row(record.partition, key, record.value);
        }
        world
    }

    /// What has to be left behind by a run on this log: its records as they
    /// stand, clocks of idle partitions included.
    ///
    /// # Panics
    /// The detector refuses the log.
    pub fn expected(deployment: &Deployment, rules: &Rules, found: &Self) -> Self {
        Self::expected_with(deployment, rules, found, Some(reference::BREAKER))
    }

    /// As [`World::expected`], with another breaker than the default one.
    ///
    /// # Panics
    /// As [`World::expected`].
    pub fn expected_with(
        deployment: &Deployment,
        rules: &Rules,
        found: &Self,
        breaker: Option<Bound>,
    ) -> Self {
        let log = deployment.read("churn.events.v1");
        let config_hash = found.config_hash();
        reference::run_with(&log, rules, &config_hash, &deployment.events(), breaker)
    }

    pub(crate) fn take_alert(&mut self, account: &str, body: &str) {
        let of_account = self.history.entry(account.to_owned()).or_default();
        of_account.push(without_run(body));
    }

    pub(crate) fn take_current(&mut self, key: &str, body: Option<&str>) {
        match body {
            Some(body) => self.open.insert(key.to_owned(), without_run(body)),
            None => self.open.remove(key),
        };
    }

    pub(crate) fn take_row(&mut self, partition: i32, key: Vec<u8>, value: Option<Vec<u8>>) {
        if key == key::task() {
            let value = value.expect("a task row is never deleted");
            let task = TaskRow::decode(&value, partition).expect("a task row");
            self.tasks.insert(partition, task);
            return;
        }
        let rows = self.rows.entry(partition).or_default();
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }

    /// The hash of the rules, as the first alert has it; it is compared in all.
    pub fn config_hash(&self) -> String {
        let first = self.history.values().flatten().next();
        first.map_or_else(String::new, |body| {
            let body: Value = serde_json::from_str(body).expect("a body is JSON");
            body["config_hash"].as_str().unwrap_or_default().to_owned()
        })
    }

    /// Compares with what has to be.
    ///
    /// # Errors
    /// The first difference, in full.
    pub fn check(&self, expected: &Self) -> Result<Compared, Box<Difference>> {
        same_lists("alerts of account", &expected.history, &self.history)?;
        same("the open alert", &expected.open, &self.open, String::clone)?;
        same_lists(
            "dead letters of the record at",
            &expected.dead_letters,
            &self.dead_letters,
        )?;
        let partitions = expected.rows.keys().chain(self.rows.keys());
        for partition in partitions {
            let none = BTreeMap::new();
            let wanted = expected.rows.get(partition).unwrap_or(&none);
            let found = self.rows.get(partition).unwrap_or(&none);
            if wanted != found {
                let shown = |key: &Vec<u8>, value: &Vec<u8>| {
                    churnwatch_store::show(key, value, *partition)
                        .unwrap_or_else(|error| format!("{error}: {value:02x?}"))
                };
                let keys = wanted.keys().chain(found.keys());
                for key in keys {
                    let (wanted, found) = (wanted.get(key), found.get(key));
                    if wanted != found {
                        let told = |value: Option<&Vec<u8>>| {
                            value.map_or("none".to_owned(), |value| shown(key, value))
                        };
                        return Err(difference(
                            format!("a row of partition {partition} differs"),
                            told(wanted),
                            told(found),
                        ));
                    }
                }
            }
        }
        // Epochs and offsets of the changelog are the run's own.
        let position = |task: &TaskRow| {
            format!(
                "offset {}, digest {:032x}, {:?}, {:?}",
                task.next_offset, task.digest, task.time, task.breaker
            )
        };
        let positions = |world: &Self| {
            let tasks = world.tasks.iter();
            tasks
                .map(|(partition, task)| (*partition, position(task)))
                .collect::<BTreeMap<_, _>>()
        };
        same(
            "the position of partition",
            &positions(expected),
            &positions(self),
            String::clone,
        )?;
        Ok(Compared {
            alerts: self.history.values().map(Vec::len).sum(),
            open: self.open.len(),
            dead_letters: self.dead_letters.len(),
            rows: self.rows.values().map(BTreeMap::len).sum(),
        })
    }

    /// Checks what a run has left behind on the broker against its log.
    ///
    /// # Panics
    /// Something differs: shows the first difference in full. Or nothing was
    /// there to compare, which proves nothing.
    #[track_caller]
    pub fn check_committed(deployment: &Deployment, rules: &Rules, run: &str) -> Compared {
        let found = Self::committed(deployment);
        let expected = Self::expected(deployment, rules, &found);
        match found.check(&expected) {
            Ok(compared) => {
                assert!(compared.alerts > 0, "{run}: no alert, which proves nothing");
                compared
            }
            Err(difference) => panic!("{run}: {difference}"),
        }
    }
}

fn number<N: std::str::FromStr>(record: &Record, header: &str) -> N {
    let text = record.header(&format!("__connect.errors.{header}"));
    let number = text.parse().ok();
    number.unwrap_or_else(|| panic!("{header} is no number: {text}"))
}

fn same<K: Ord + fmt::Debug, V: PartialEq>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
    show: impl Fn(&V) -> String,
) -> Result<(), Box<Difference>> {
    for key in expected.keys().chain(found.keys()) {
        let (wanted, got) = (expected.get(key), found.get(key));
        if wanted != got {
            let told = |value: Option<&V>| value.map_or("none".to_owned(), &show);
            return Err(difference(
                format!("{what} {key:?} differs"),
                told(wanted),
                told(got),
            ));
        }
    }
    Ok(())
}

fn same_lists<K: Ord + fmt::Debug, V: PartialEq + fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, Vec<V>>,
    found: &BTreeMap<K, Vec<V>>,
) -> Result<(), Box<Difference>> {
    for key in expected.keys().chain(found.keys()) {
        let none = Vec::new();
        let wanted = expected.get(key).unwrap_or(&none);
        let got = found.get(key).unwrap_or(&none);
        for index in 0..wanted.len().max(got.len()) {
            let (one, other) = (wanted.get(index), got.get(index));
            if one != other {
                let told = |value: Option<&V>| {
                    value.map_or("none".to_owned(), |value| format!("{value:?}"))
                };
                return Err(difference(
                    format!(
                        "{what} {key:?} differ first in number {index} ({} expected, {} found)",
                        wanted.len(),
                        got.len()
                    ),
                    told(one),
                    told(other),
                ));
            }
        }
    }
    Ok(())
}

fn difference(what: String, expected: String, found: String) -> Box<Difference> {
    Box::new(Difference {
        what,
        expected,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let mut world = World::default();
        world
            .history
            .insert("acme".into(), vec!["1".into(), "2".into()]);
        world.open.insert("acme|usage_drop|".into(), "2".into());
        world.dead_letters.insert(
            (0, 7),
            vec![Letter {
                key: None,
                value: Some(b"x".to_vec()),
                headers: Vec::new(),
                timestamp_ms: None,
            }],
        );
        world.take_row(0, key::hot(&"acme".into()), Some(b"one".to_vec()));
        world
    }

    #[test]
    fn each_kind_of_difference_is_found_and_told() {
        let whole = world();
        assert!(whole.check(&whole).is_ok());
        type Change = fn(&mut World);
        let changes: [(&str, Change); 7] = [
            ("alerts", |w| {
                w.history.get_mut("acme").unwrap().pop();
            }),
            ("alerts", |w| {
                w.history.get_mut("acme").unwrap().push("2".into());
            }),
            ("alerts", |w| w.history.get_mut("acme").unwrap().swap(0, 1)),
            ("open", |w| w.open.clear()),
            ("dead letters", |w| {
                let letters = w.dead_letters.get_mut(&(0, 7)).unwrap();
                letters.push(letters[0].clone());
            }),
            ("row of partition 0", |w| {
                w.take_row(0, key::hot(&"acme".into()), Some(b"two".to_vec()));
            }),
            ("row of partition 1", |w| {
                w.take_row(1, key::hot(&"acme".into()), Some(b"two".to_vec()));
            }),
        ];
        for (what, change) in changes {
            let mut other = world();
            change(&mut other);
            for (found, expected) in [(&other, &whole), (&whole, &other)] {
                let difference = found.check(expected).unwrap_err();
                assert!(difference.what.contains(what), "{difference}");
            }
        }
    }
}
