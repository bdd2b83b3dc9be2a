//! A log that means harm, made from a seed: what a broker holds after years of
//! producers that are broken, impatient or hostile.
//!
//! ```text
//! events in the order of their time     stories of a few accounts that end in alerts;
//!        |                              half of all events on one account of very many users
//!        v
//! each is written up to 48 h later      disorder: neighbours overtake each other
//!        |
//!        v
//! among them, marked by a header        poison of every kind, repeats (single ones and whole
//!                                       batches), clocks that are wrong by hours or years
//! ```
//!
//! The marked records must not matter: without them the same alerts come of the
//! log, byte for byte, and the same state. That is what [`HostileLog::without_harm`]
//! is for: a check that does not ask the detector whether it is right.

mod poison;

use churnwatch_core::{EventTime, Rules, time::DAY_MS};
use serde_json::{Value, json};

use crate::broker::{Outgoing, Record};

/// Header of the records that must not matter; its value says why: a reason of
/// rejection, [`REPEAT`] or [`EXPIRED`].
pub const MARK: &str = "hostile";
/// The same event again.
pub const REPEAT: &str = "repeat";
/// An event that comes so late that nobody counts it.
pub const EXPIRED: &str = "expired";

const HOUR_MS: i64 = 3_600_000;
/// The longest that a punctual event is on its way.
const DISORDER_MS: i64 = 48 * HOUR_MS;
/// Days of history.
const DAYS: i64 = 130;
/// Records between two repeated batches, and in one.
const BATCH_EVERY: usize = 8_000;
const BATCH: usize = 400;

/// How large a log is made.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Accounts with a story, beside the giant.
    pub accounts: usize,
    /// Users of the giant, on whom half of all events fall.
    pub users_of_the_giant: usize,
}

/// The log, and how much harm is in it.
pub struct HostileLog {
    /// Records in the order in which they are written.
    pub records: Vec<Outgoing>,
    /// Records that have to become dead letters.
    pub poison: usize,
    /// Repeated records.
    pub repeats: usize,
    /// Records that come too late for everything.
    pub expired: usize,
}

/// What has to be configured for the disorder and the repeats of the log:
/// `rules` of a configuration.
pub fn settings() -> Value {
    json!({"time": {
        "disorder_seconds": DISORDER_MS / 1_000,
        "dedupe_seconds": 604_800,
        "dedupe_ids": 1_000,
    }})
}

/// [`settings`] as the core has them.
///
/// # Panics
/// They are none.
pub fn rules() -> Rules {
    let rules: Rules = serde_json::from_value(settings()).expect("rules");
    rules.check().expect("rules that can be");
    rules
}

/// An event on its way: when it is written, and as what.
struct Sent {
    at: i64,
    number: usize,
    record: Outgoing,
}

impl HostileLog {
    /// Makes a log that ends an hour before `now`.
    pub fn new(random: &mut Random, size: Size, partitions: i32, now: EventTime) -> Self {
        let end = now.as_millis() - HOUR_MS;
        let mut sent = Vec::new();
        for account in 0..size.accounts {
            tell(account, end, random, &mut sent);
        }
        let others = sent.len();
        crowd(size.users_of_the_giant, others, end, random, &mut sent);
        sent.sort_by_key(|sent| (sent.at, sent.number));
        let mut log = Self {
            records: Vec::new(),
            poison: 0,
            repeats: 0,
            expired: 0,
        };
        log.write(sent, random, now);
        let clocks = (0..partitions).map(|p| Outgoing::clock(p, EventTime::from_millis(end)));
        log.records.extend(clocks);
        log
    }

    /// Writes the events, and the harm between them.
    fn write(&mut self, sent: Vec<Sent>, random: &mut Random, now: EventTime) {
        let mut kinds = poison::Kinds::new(now);
        // What is too late is so by the watermark, which has to be there first.
        let quiet = sent.len() / 10;
        for (index, event) in sent.iter().enumerate() {
            self.records.push(event.record.clone());
            if index < quiet {
                continue;
            }
            if random.one_in(85) {
                self.poison += 1;
                self.records.push(kinds.next(random));
            }
            if random.one_in(200) {
                // Twenty events ago, or somewhat earlier.
                let back = 1 + random.below(300);
                self.again(&sent[index - back].record);
            }
            if random.one_in(400) {
                let time = [now.as_millis() - 60 * 365 * DAY_MS, event.at - 14 * DAY_MS];
                let time = EventTime::from_millis(time[random.below(2)]);
                let line = usage("a0", "u0", time, &format!("expired-{index}"));
                self.expired += 1;
                self.records.push(marked(Outgoing::event(&line), EXPIRED));
            }
            if index % BATCH_EVERY == BATCH_EVERY - 1 {
                for event in &sent[index + 1 - BATCH..=index] {
                    self.again(&event.record);
                }
            }
        }
    }

    fn again(&mut self, record: &Outgoing) {
        self.repeats += 1;
        self.records.push(marked(record.clone(), REPEAT));
    }

    /// What is left of a log that was read back, without what must not matter.
    pub fn without_harm(log: &[Record]) -> Vec<Record> {
        let is_marked = |record: &&Record| record.headers.iter().any(|(key, _)| key == MARK);
        log.iter()
            .filter(|record| !is_marked(record))
            .cloned()
            .collect()
    }
}

fn marked(mut record: Outgoing, why: &str) -> Outgoing {
    record
        .headers
        .push((MARK.to_owned(), Some(why.as_bytes().to_vec())));
    record
}

/// What happens in one account, day by day.
fn tell(account: usize, end: i64, random: &mut Random, sent: &mut Vec<Sent>) {
    let name = format!("a{account}");
    let begin = end - DAYS * DAY_MS;
    let mut send = |line: &str, at: i64| {
        let number = sent.len();
        let record = Outgoing::event(line);
        sent.push(Sent { at, number, record });
    };
    let at = EventTime::from_millis(begin);
    let profile = format!(
        r#"{{"kind":"account","account_id":"{name}","time":"{at}","id":"{name}-p","mrr":{{"amount":{},"currency":"EUR"}},"seats_purchased":{}}}"#,
        100_000 + 1_000 * account,
        5 + account % 30,
    );
    send(&profile, begin);
    let champion = format!(
        r#"{{"kind":"seat","account_id":"{name}","time":"{at}","id":"{name}-s","user_id":"u0","action":"activated","role":"champion"}}"#
    );
    send(&champion, begin);
    for day in 0..DAYS {
        let events = match account % 5 {
            // Nobody comes any more; half as much as before; everything as it was.
            0 if day >= 100 => 0,
            1 if day >= 90 => 2,
            _ => 6,
        };
        for event in 0..events {
            let happened = begin + day * DAY_MS + random.below(DAY_MS as usize) as i64;
            if happened > end {
                continue;
            }
            // The champion of some accounts is seen no more.
            let from = usize::from(account % 5 == 2 && day >= 95);
            let user = format!("u{}", from + random.below(5));
            let id = format!("{name}-{day}-{event}");
            let line = usage(&name, &user, EventTime::from_millis(happened), &id);
            // Some are later than anybody has a right to, and still count.
            let delay = if random.one_in(300) {
                4 * DAY_MS
            } else {
                delay(random)
            };
            send(&line, happened + delay);
        }
        let tickets = match account % 5 {
            3 if (110..113).contains(&day) => 6,
            _ => usize::from(day % 9 == 0),
        };
        for ticket in 0..tickets {
            let happened = begin + day * DAY_MS + random.below(DAY_MS as usize) as i64;
            let time = EventTime::from_millis(happened);
            let id = format!("{name}-t{day}-{ticket}");
            let line = format!(
                r#"{{"kind":"ticket","account_id":"{name}","time":"{time}","id":"{id}","ticket_id":"{id}","action":"opened","severity":"P3"}}"#
            );
            send(&line, happened + delay(random));
        }
    }
}

/// One account with very many users, who come once each and then again at
/// random, until there are as many of its events as of all others.
fn crowd(users: usize, others: usize, end: i64, random: &mut Random, sent: &mut Vec<Sent>) {
    let begin = end - DAYS * DAY_MS;
    let time = EventTime::from_millis(begin);
    let line = format!(
        r#"{{"kind":"account","account_id":"giant","time":"{time}","id":"giant-p","mrr":{{"amount":9000000,"currency":"EUR"}},"seats_purchased":{}}}"#,
        users.max(5)
    );
    sent.push(Sent {
        at: begin,
        number: sent.len(),
        record: Outgoing::event(&line),
    });
    for event in 0..others.max(users) {
        let user = if event < users {
            event
        } else {
            random.below(users)
        };
        // Fewer and fewer of them: the giant has a story too.
        let share = random.below(1_000) as i64 * random.below(1_000) as i64;
        let happened = begin + share * (DAYS * DAY_MS) / 1_000_000 + random.below(3_600_000) as i64;
        let time = EventTime::from_millis(happened);
        let line = usage(
            "giant",
            &format!("user-{user:06}"),
            time,
            &format!("g{event}"),
        );
        sent.push(Sent {
            at: happened + delay(random),
            number: sent.len(),
            record: Outgoing::event(&line),
        });
    }
}

fn usage(account: &str, user: &str, time: EventTime, id: &str) -> String {
    format!(
        r#"{{"kind":"usage","account_id":"{account}","time":"{time}","id":"{id}","feature":"work","user_id":"{user}"}}"#
    )
}

/// How long an event is on its way: mostly minutes, up to two days.
fn delay(random: &mut Random) -> i64 {
    let longest = if random.one_in(3) {
        DISORDER_MS
    } else {
        HOUR_MS
    };
    random.below(longest as usize) as i64
}

/// Random numbers from a seed.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// From `CHURNWATCH_TEST_SEED` where it is set, else from the clock; says
    /// which.
    ///
    /// # Panics
    /// The clock stands before 1970.
    pub fn new() -> Self {
        let given = std::env::var("CHURNWATCH_TEST_SEED").ok();
        let given = given.and_then(|seed| seed.parse().ok());
        let now = crate::broker::now().as_millis().unsigned_abs();
        let seed = given.unwrap_or(now);
        println!("CHURNWATCH_TEST_SEED={seed}");
        Self::from_seed(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        // xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 8) % bound.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_log_with_half_of_it_on_the_giant() {
        let size = Size {
            accounts: 4,
            users_of_the_giant: 500,
        };
        let now = EventTime::from_millis(1_790_000_000_000);
        let make = || HostileLog::new(&mut Random::from_seed(7), size, 2, now).records;
        let log = make();
        let same = |a: &Outgoing, b: &Outgoing| a.value == b.value && a.headers == b.headers;
        assert!(log.iter().zip(make()).all(|(a, b)| same(a, &b)));
        let on_giant = log
            .iter()
            .filter(|record| record.key.as_deref() == Some(b"giant"));
        let share = on_giant.count() as f64 / log.len() as f64;
        assert!((0.4..0.6).contains(&share), "{share}");
    }
}
