//! Stories as text: a timeline becomes the canonical events it tells of.
//!
//! ```text
//! # when           account   kind      fields
//! day 0            acme      account   segment=high seats_purchased=50 name="Acme GmbH"
//! workdays 0..83   acme      usage     feature=board.edited user_id=u1..u4 x3
//! every 90 days 0..720  globex  usage  feature=report
//! on sat,sun 0..83 20:00  globex  usage  feature=report
//! day 30 14:00     acme      ticket    action=opened ticket_id=T1..T3 severity=P1
//! day 50           acme      usage     feature=board.edited dated=47
//! day 60           acme      command   action=snooze alert_key=acme|usage_silent| until=day70 by=jo
//! day 99           *         clock     source=log shard=0 shards=1
//! ```
//!
//! Day 0 is Monday, 5 January 2026; days are UTC days, and things happen at
//! noon unless a time is given. A field is written into the record as it
//! stands: as JSON where it is JSON, else as a string. `u1..u4` stands for one
//! record each, `x3` for three records a minute apart, `day70` for the noon of
//! that day. `dated=47` makes a record that arrives on its day tell of day 47,
//! `dated=43..47` makes one of each of those days.
//! `*` is a record about no account. Lines come in any order: the log is sorted
//! by arrival, and keeps the order of the lines within a minute.

use churnwatch_core::time::{Day, EventTime};
use serde_json::Value;

/// Monday, 5 January 2026.
const DAY_0: Day = Day(20_458);
const MINUTE_MS: i64 = 60_000;
const NOON: i64 = 12 * 60;

/// The log of a story: one canonical event a line.
///
/// # Panics
/// On a line that it does not understand, naming it.
pub fn compile(text: &str) -> String {
    let mut records: Vec<(EventTime, String)> = text
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(line, _)| line).trim())
        .filter(|line| !line.is_empty())
        .flat_map(|line| Line::parse(line).records())
        .collect();
    records.sort_by_key(|(arrival, _)| *arrival);
    records
        .into_iter()
        .map(|(_, record)| record + "\n")
        .collect()
}

/// Noon of a day of the story.
pub fn noon(day: i32) -> EventTime {
    moment(day, NOON)
}

struct Line {
    days: Vec<i32>,
    minute: i64,
    /// The days it tells of, where they are not the day of its arrival.
    dated: Option<Vec<i32>>,
    account: Option<String>,
    kind: String,
    repeats: i64,
    fields: Vec<(String, Vec<Value>)>,
}

impl Line {
    fn parse(line: &str) -> Self {
        let words = words(line);
        let mut words = words.iter().map(String::as_str).peekable();
        let mut word = || {
            words
                .next()
                .unwrap_or_else(|| panic!("more is needed in {line:?}"))
        };
        let days: Vec<i32> = match word() {
            "day" => range(word()).collect(),
            "workdays" => range(word()).filter(|day| day.rem_euclid(7) < 5).collect(),
            "on" => {
                let weekdays: Vec<i32> = word().split(',').map(weekday).collect();
                range(word())
                    .filter(|day| weekdays.contains(&day.rem_euclid(7)))
                    .collect()
            }
            "every" => {
                let step = number(word());
                assert_eq!(word(), "days", "in {line:?}");
                range(word())
                    .step_by(usize::try_from(step).expect("a step forward"))
                    .collect()
            }
            _ => panic!("a line begins with day, workdays, on or every: {line:?}"),
        };
        let mut account = word();
        let mut minute = NOON;
        if let Some((hour, minutes)) = account.split_once(':') {
            minute = i64::from(number(hour) * 60 + number(minutes));
            account = word();
        }
        let mut parsed = Self {
            days,
            minute,
            dated: None,
            account: (account != "*").then(|| account.to_owned()),
            kind: word().to_owned(),
            repeats: 1,
            fields: Vec::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("dated", day)) => parsed.dated = Some(range(day).collect()),
                Some((name, value)) => parsed.fields.push((name.to_owned(), values(value))),
                None => match word.strip_prefix('x') {
                    Some(times) => parsed.repeats = number(times).into(),
                    None => panic!("{word:?} is no field=value: {line:?}"),
                },
            }
        }
        parsed
    }

    fn records(&self) -> Vec<(EventTime, String)> {
        let mut records = Vec::new();
        for &day in &self.days {
            for &dated in self.dated.as_deref().unwrap_or(&[day]) {
                for fields in combinations(&self.fields) {
                    for minute in self.minute..self.minute + self.repeats {
                        let record = self.record(moment(dated, minute), &fields);
                        records.push((moment(day, minute), record));
                    }
                }
            }
        }
        records
    }

    /// Kind, account and time first, as most producers write them.
    fn record(&self, time: EventTime, fields: &[(&str, &Value)]) -> String {
        let kind = Value::from(self.kind.as_str());
        let account = self.account.as_deref().map(Value::from);
        let time = Value::from(time.to_string());
        let mut all = vec![("kind", &kind)];
        all.extend(account.as_ref().map(|account| ("account_id", account)));
        all.push(("time", &time));
        all.extend(fields);
        let all: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(*name)))
            .collect();
        format!("{{{}}}", all.join(","))
    }
}

/// Splits at blanks, but not within quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        quoted ^= letter == '"';
        if letter.is_whitespace() && !quoted {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `7` or `0..83`, the end included.
fn range(text: &str) -> std::ops::RangeInclusive<i32> {
    match text.split_once("..") {
        Some((first, last)) => number(first)..=number(last),
        None => number(text)..=number(text),
    }
}

/// Days from a Monday.
fn weekday(name: &str) -> i32 {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let at = names.iter().position(|known| *known == name);
    at.map(|at| at as i32)
        .unwrap_or_else(|| panic!("{name:?} is no day of the week"))
}

fn number(text: &str) -> i32 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no whole number"))
}

fn moment(day: i32, minute: i64) -> EventTime {
    DAY_0.plus(day).start().plus_millis(minute * MINUTE_MS)
}

/// What a field stands for: one value, or one for each name of a range.
fn values(text: &str) -> Vec<Value> {
    if let Some((first, last)) = text.split_once("..")
        && let (Some((name, first)), Some((same_name, last))) = (numbered(first), numbered(last))
    {
        assert_eq!(name, same_name, "a range is of one name: {text:?}");
        return (first..=last)
            .map(|at| format!("{name}{at}").into())
            .collect();
    }
    if let Some(("day", day)) = numbered(text) {
        return vec![noon(day).to_string().into()];
    }
    vec![serde_json::from_str(text).unwrap_or_else(|_| text.into())]
}

/// `u12` as `u` and 12.
fn numbered(text: &str) -> Option<(&str, i32)> {
    let digits = text.find(|letter: char| letter.is_ascii_digit())?;
    let (name, at) = text.split_at(digits);
    (!name.is_empty()).then_some(())?;
    Some((name, at.parse().ok()?))
}

/// Every choice of one value for each field.
fn combinations(fields: &[(String, Vec<Value>)]) -> Vec<Vec<(&str, &Value)>> {
    let mut all = vec![Vec::new()];
    for (name, values) in fields {
        let with = |fields: &Vec<_>, value| {
            let mut fields = fields.clone();
            fields.push((name.as_str(), value));
            fields
        };
        all = all
            .iter()
            .flat_map(|before| values.iter().map(move |value| with(before, value)))
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_becomes_its_events_in_the_order_of_their_arrival() {
        let log = compile(
            "day 1 08:30  acme  ticket  ticket_id=T1..T2 action=opened sentiment=-0.5
             # a comment
             workdays 4..5  acme  usage  feature=work x2
             day 3  acme  usage  feature=\"a b\" dated=2
             day 9  *  clock  source=log shard=0 until=day10",
        );
        expect_test::expect![[r#"
            {"kind":"ticket","account_id":"acme","time":"2026-01-06T08:30:00Z","ticket_id":"T1","action":"opened","sentiment":-0.5}
            {"kind":"ticket","account_id":"acme","time":"2026-01-06T08:30:00Z","ticket_id":"T2","action":"opened","sentiment":-0.5}
            {"kind":"usage","account_id":"acme","time":"2026-01-07T12:00:00Z","feature":"a b"}
            {"kind":"usage","account_id":"acme","time":"2026-01-09T12:00:00Z","feature":"work"}
            {"kind":"usage","account_id":"acme","time":"2026-01-09T12:01:00Z","feature":"work"}
            {"kind":"clock","time":"2026-01-14T12:00:00Z","source":"log","shard":0,"until":"2026-01-15T12:00:00Z"}
        "#]].assert_eq(&log);
    }
}
