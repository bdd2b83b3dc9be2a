//! Small logs that raise alerts, with everything a log may hold: repeats, late
//! and expired events, records that cannot be used, gaps between offsets.

use std::sync::{Arc, LazyLock, OnceLock};

use churnwatch_core::Rules;
use serde_json::{Value, json};

use super::random::Random;
use crate::{broker::Record, reference, timeline::noon, world::World};

/// The name of the log's topic, in dead letters.
pub(super) const TOPIC: &str = "churn.events.v1";
/// Stands in every alert.
pub(super) const CONFIG_HASH: &str = "model";

/// How many logs there are; what an undisturbed run makes of each is found out
/// once.
const LOGS: usize = 32;
/// Partitions of the logs, in turn.
const PARTITIONS: [usize; 8] = [1, 2, 1, 3, 2, 1, 2, 4];

const MINUTE_MS: i64 = 60_000;
/// Days of which a log tells.
const DAYS: i32 = 18;

pub(super) struct Log {
    /// By partition, in the order of their offsets.
    pub(super) partitions: Vec<Vec<Record>>,
    pub(super) rules: Arc<Rules>,
    /// What has to be left behind.
    pub(super) expected: World,
}

impl Log {
    /// One of the logs.
    pub(super) fn numbered(number: usize) -> Arc<Self> {
        static ALL: LazyLock<Vec<OnceLock<Arc<Log>>>> =
            LazyLock::new(|| (0..LOGS).map(|_| OnceLock::new()).collect());
        let number = number % LOGS;
        let log = ALL[number].get_or_init(|| Arc::new(Self::make(number)));
        Arc::clone(log)
    }

    /// The offset behind the last record.
    pub(super) fn end(&self, partition: usize) -> i64 {
        let last = self.partitions[partition].last();
        last.map_or(0, |record| record.offset + 1)
    }

    fn make(number: usize) -> Self {
        let random = &mut Random::new(number as u64);
        let count = PARTITIONS[number % PARTITIONS.len()];
        let story = Story {
            leap: number % 8 == 1,
            much_spoilt: number % 4 == 2,
        };
        let mut arrivals = Vec::new();
        for account in 0..count + random.below(3) {
            story.tell(account, account % count, random, &mut arrivals);
        }
        for partition in 0..count {
            let last = story.day(DAYS + 12);
            let time = noon(last).to_string();
            let clock =
                json!({"kind": "clock", "source": "log", "shard": 0, "shards": 1, "time": time});
            arrivals.push(Arrival::now(last, 0, partition, "", &clock));
        }
        arrivals.sort_by_key(|arrival| arrival.at);
        let mut partitions = vec![Vec::new(); count];
        for arrival in arrivals {
            let records: &mut Vec<Record> = &mut partitions[arrival.partition];
            let free = records.last().map_or(0, |last| last.offset + 1);
            // Markers and aborted records leave gaps.
            let gap = i64::from(random.chance(50));
            records.push(Record {
                partition: arrival.partition.try_into().expect("few partitions"),
                offset: free + gap,
                timestamp_ms: Some(arrival.at),
                key: arrival.key,
                value: arrival.value,
                headers: Vec::new(),
            });
        }
        let rules = rules();
        let expected = reference::run(&partitions.concat(), &rules, CONFIG_HASH, TOPIC);
        Self {
            partitions,
            rules: Arc::new(rules),
            expected,
        }
    }
}

/// The defaults, but for signals that judge after a week.
fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.signals.usage_silent.min_observed_days = 7;
    rules.alerts.cooldown_days = 3;
    rules.check().expect("rules that may be");
    rules
}

struct Arrival {
    at: i64,
    partition: usize,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Arrival {
    /// A record that arrives some minutes after the noon of a day.
    fn now(day: i32, minute: i64, partition: usize, key: &str, value: &Value) -> Self {
        Self {
            at: noon(day).as_millis() + minute * MINUTE_MS,
            partition,
            key: (!key.is_empty()).then(|| key.as_bytes().to_vec()),
            value: Some(value.to_string().into_bytes()),
        }
    }
}

/// What is special about a log.
struct Story {
    /// More than a year passes in the middle of it, after which users are
    /// forgotten: rows are deleted.
    leap: bool,
    /// Many records in a row cannot be used: epochs that change no row.
    much_spoilt: bool,
}

impl Story {
    fn day(&self, day: i32) -> i32 {
        if self.leap && day > 6 { day + 420 } else { day }
    }

    /// What one account does: it is active for a while, stops, and may come back;
    /// on one day it opens many tickets.
    fn tell(
        &self,
        account: usize,
        partition: usize,
        random: &mut Random,
        arrivals: &mut Vec<Arrival>,
    ) {
        let name = &*format!("acct-{account}");
        let until = 8 + random.below(6) as i32;
        let back = until + 4 + random.below(5) as i32;
        let tickets = random.below(DAYS as usize) as i32;
        let mut minute = 0;
        let mut say = |day: i32, dated: i32, kind: &str, fields: Value| {
            minute += 1;
            let mut event = json!({"kind": kind, "account_id": name});
            event["time"] = noon(self.day(dated))
                .plus_millis(minute * MINUTE_MS)
                .to_string()
                .into();
            for (field, value) in fields.as_object().into_iter().flatten() {
                event[field] = value.clone();
            }
            arrivals.push(Arrival::now(self.day(day), minute, partition, name, &event));
        };
        say(0, 0, "account", json!({"segment": "high"}));
        for day in 0..DAYS {
            if day < until || day >= back {
                let user = format!("u{}", random.below(3));
                let usage = json!({"feature": "report", "user_id": user});
                let dated = match random.below(40) {
                    0 => day - 2,
                    1 => day - 12,
                    _ => day,
                };
                say(day, dated, "usage", usage);
            }
            if day == tickets {
                for number in 0..4 {
                    let ticket = json!({
                        "ticket_id": format!("T{number}"), "action": "opened", "severity": "P2",
                    });
                    say(day, day, "ticket", ticket);
                }
            }
            if day == tickets + 1 {
                let alert = format!("{name}|ticket_spike|");
                let command = json!({"action": "acknowledge", "alert_key": alert, "by": "jo"});
                say(day, day, "command", command);
            }
            if random.chance(80) {
                let action = if random.chance(500) {
                    "deactivated"
                } else {
                    "activated"
                };
                let user = format!("u{}", random.below(3));
                say(day, day, "seat", json!({"user_id": user, "action": action}));
            }
        }
        self.spoil(name, partition, random, arrivals);
    }

    /// Repeats of what an account did, with and without an id, and records that
    /// cannot be used, some of them in a row.
    fn spoil(
        &self,
        name: &str,
        partition: usize,
        random: &mut Random,
        arrivals: &mut Vec<Arrival>,
    ) {
        for _ in 0..2 {
            let day = self.day(random.below(DAYS as usize) as i32);
            let id = format!("id-{}", random.below(1_000));
            let mut event = json!({
                "kind": "usage", "account_id": name, "feature": "report",
                "time": noon(day).to_string(),
            });
            if random.chance(500) {
                event["id"] = id.into();
            }
            for minute in [100, 101] {
                arrivals.push(Arrival::now(day, minute, partition, name, &event));
            }
        }
        let day = self.day(random.below(DAYS as usize) as i32);
        let many = if self.much_spoilt { 15 } else { 0 };
        for minute in 0..1 + many + random.below(4) as i64 {
            let ahead = noon(day + 3).to_string();
            let (key, value) = match random.below(5) {
                0 => (name, Some("not JSON".to_owned())),
                1 => (name, Some(r#"{"kind":"usage"}"#.to_owned())),
                2 => (
                    "somebody else",
                    Some(format!(
                        r#"{{"kind":"usage","account_id":"{name}","feature":"f","time":"{ahead}"}}"#
                    )),
                ),
                3 => (
                    name,
                    Some(format!(
                        r#"{{"kind":"usage","account_id":"{name}","feature":"f","time":"{ahead}"}}"#
                    )),
                ),
                _ => (name, None),
            };
            arrivals.push(Arrival {
                at: noon(day).as_millis() + (200 + minute) * MINUTE_MS,
                partition,
                key: Some(key.as_bytes().to_vec()),
                value: value.map(String::into_bytes),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_hold_alerts_that_open_and_resolve_and_letters_and_every_number_of_partitions() {
        let logs: Vec<_> = (0..LOGS).map(Log::numbered).collect();
        for count in PARTITIONS {
            assert!(logs.iter().any(|log| log.partitions.len() == count));
        }
        for (number, log) in logs.iter().enumerate() {
            let expected = &log.expected;
            assert!(!expected.history.is_empty(), "log {number}: no alert");
            assert!(!expected.dead_letters.is_empty(), "log {number}: no letter");
        }
        let all = || logs.iter().flat_map(|log| log.expected.history.values());
        for signal in ["usage_silent", "ticket_spike"] {
            for kind in ["opened", "resolved"] {
                let shows = |body: &String| body.contains(signal) && body.contains(kind);
                let found = all().flatten().any(shows);
                assert!(found, "no {signal} is {kind}");
            }
        }
        let records: usize = logs
            .iter()
            .flat_map(|log| &log.partitions)
            .map(Vec::len)
            .sum();
        println!("{} records a log", records / LOGS);
    }
}
