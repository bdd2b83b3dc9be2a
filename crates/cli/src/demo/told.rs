//! Tests of the data set as a whole, read back from the lines it is written
//! as: what a detector will see, not what the plans meant.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
    sync::LazyLock,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    Fleet, SEED, STORIES,
    calendar::{PERIOD_DAYS, PERIOD_END_MS, PERIOD_START_MS},
    fleet::ACCOUNTS,
    story::{Ending, Story},
};

const DAY_MS: i64 = 86_400_000;

/// The bytes of the bundled data set. If it changes on purpose, look at what
/// the demo shows before writing down the new hash.
const PINNED_FNV1A: u64 = 0x8073_40c7_142e_d55b;

/// A line as a reader sees it; the fields that a kind does not have are none.
#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    account_id: String,
    time: Parsed<Timestamp>,
    id: String,
    user_id: Option<String>,
    feature: Option<String>,
    actor: Option<String>,
    ticket_id: Option<String>,
    action: Option<String>,
    severity: Option<String>,
    sentiment: Option<f64>,
    role: Option<String>,
    contact_id: Option<String>,
    thread: Option<String>,
    name: Option<String>,
    started_at: Option<Parsed<Timestamp>>,
    renewal_date: Option<Parsed<Date>>,
    seats_purchased: Option<usize>,
}

/// What stands in a string and can be read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Line {
    fn time_ms(&self) -> i64 {
        self.time.0.as_millisecond()
    }

    fn day(&self) -> u32 {
        ((self.time_ms() - PERIOD_START_MS) / DAY_MS) as u32
    }

    fn is_use_by_a_person(&self) -> bool {
        self.kind == "usage" && self.actor.as_deref() == Some("person")
    }

    fn opens_a_ticket(&self) -> bool {
        self.kind == "ticket" && self.action.as_deref() == Some("opened")
    }
}

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    Fleet::generate(SEED).write_ndjson(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
});

/// One account's lines, and what is counted in them.
struct Told(Vec<&'static Line>);

impl Told {
    fn of(account: &str) -> Self {
        Self(
            LINES
                .iter()
                .filter(|line| line.account_id == account)
                .collect(),
        )
    }

    fn uses(&self, from_day: u32, to_day: u32) -> impl Iterator<Item = &'static Line> {
        let lines = self.0.iter().copied();
        lines.filter(move |line| {
            line.is_use_by_a_person() && (from_day..to_day).contains(&line.day())
        })
    }

    fn uses_a_week(&self, from_day: u32, to_day: u32) -> usize {
        self.uses(from_day, to_day).count() * 7 / (to_day - from_day) as usize
    }

    fn users(&self, from_day: u32, to_day: u32) -> BTreeSet<&'static str> {
        self.uses(from_day, to_day)
            .filter_map(|line| line.user_id.as_deref())
            .collect()
    }

    fn weeks_of(&self, user: &str, to_day: u32) -> usize {
        let weeks: BTreeSet<u32> = self
            .uses(0, to_day)
            .filter(|line| line.user_id.as_deref() == Some(user))
            .map(|line| line.day() / 7)
            .collect();
        weeks.len()
    }

    /// Who did most between two days, and what percentage of all it was.
    fn busiest_user(&self, from_day: u32, to_day: u32) -> (&'static str, usize) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in self.uses(from_day, to_day) {
            *counts.entry(line.user_id.as_deref().unwrap()).or_default() += 1;
        }
        let (user, count) = counts.iter().max_by_key(|(_, count)| **count).unwrap();
        (user, count * 100 / counts.values().sum::<usize>())
    }

    fn opened(&self, from_day: u32, to_day: u32) -> Vec<&'static Line> {
        let lines = self.0.iter().copied();
        lines
            .filter(|line| line.opens_a_ticket() && (from_day..to_day).contains(&line.day()))
            .collect()
    }

    /// The most tickets opened within seven days.
    fn most_opened_in_a_week(&self) -> usize {
        let days: Vec<u32> = self
            .opened(0, PERIOD_DAYS)
            .iter()
            .map(|line| line.day())
            .collect();
        (0..PERIOD_DAYS)
            .map(|day| {
                days.iter()
                    .filter(|other| (day..day + 7).contains(other))
                    .count()
            })
            .max()
            .unwrap_or_default()
    }

    /// The longest run of days without a person, the end of the period included.
    fn longest_silence_days(&self) -> u32 {
        let mut days: Vec<u32> = self.uses(0, PERIOD_DAYS).map(Line::day).collect();
        days.push(PERIOD_DAYS);
        days.windows(2)
            .map(|pair| (pair[1] - pair[0]).saturating_sub(1))
            .max()
            .unwrap_or(0)
    }

    fn seats_purchased(&self) -> usize {
        self.0.iter().find_map(|line| line.seats_purchased).unwrap()
    }

    fn first_with_role(&self, role: &str) -> Option<&'static str> {
        let mut seats = self.0.iter().filter(|line| line.kind == "seat");
        seats
            .find(|line| line.role.as_deref() == Some(role))?
            .user_id
            .as_deref()
    }

    fn mails(&self, action: &str, from_day: u32) -> BTreeSet<&'static str> {
        self.0
            .iter()
            .filter(|line| line.action.as_deref() == Some(action) && line.day() >= from_day)
            .filter_map(|line| line.thread.as_deref())
            .collect()
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn bytes_of(seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Fleet::generate(seed).write_ndjson(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_every_machine() {
    let hash = fnv1a(&bytes_of(SEED));
    assert_eq!(
        hash, PINNED_FNV1A,
        "the data set has changed: its hash is now {hash:#018x}"
    );
    assert_ne!(fnv1a(&bytes_of(SEED + 1)), hash);
}

#[test]
fn a_record_is_a_line_with_its_key_and_time() {
    let fleet = Fleet::generate(SEED);
    assert_eq!(fleet.len(), LINES.len());
    assert_eq!(fleet.records().len(), LINES.len());
    for (record, line) in fleet.records().zip(LINES.iter()).step_by(997) {
        let read: Line = serde_json::from_str(&record.json).unwrap();
        assert_eq!(read.id, line.id);
        assert_eq!(record.key, line.account_id);
        assert_eq!(record.time_ms, line.time_ms());
    }
}

#[test]
fn lines_are_in_order_of_time_and_within_the_period() {
    assert!(
        (300_000..450_000).contains(&LINES.len()),
        "was {}",
        LINES.len()
    );
    assert!(LINES.is_sorted_by_key(|line| line.time));
    let times = || LINES.iter().map(|line| line.time_ms());
    assert_eq!(times().min(), Some(PERIOD_START_MS));
    assert!(times().max() < Some(PERIOD_END_MS));
    assert!(
        times().max() >= Some(PERIOD_END_MS - DAY_MS),
        "told up to the last day"
    );
}

#[test]
fn every_line_has_the_fields_of_its_kind_and_an_id_of_its_own() {
    for line in LINES.iter() {
        let complete = match line.kind.as_str() {
            "usage" => line.user_id.is_some() && line.feature.is_some() && line.actor.is_some(),
            "ticket" => {
                line.ticket_id.is_some()
                    && line.severity.is_some()
                    && line.sentiment.is_some() == line.opens_a_ticket()
            }
            "account" => line.renewal_date.is_some(),
            "seat" => line.user_id.is_some() && line.action.is_some() && line.role.is_some(),
            "contact" => line.contact_id.is_some() && line.action.is_some(),
            _ => false,
        };
        assert!(complete, "{line:?}");
        assert!(
            line.sentiment
                .is_none_or(|tone| (-1.0..=1.0).contains(&tone)),
            "{line:?}"
        );
    }
    let ids: BTreeSet<&str> = LINES.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids.len(), LINES.len());
}

#[test]
fn every_account_introduces_itself_before_anything_else_happens_to_it() {
    let mut introduced = BTreeSet::new();
    for line in LINES.iter() {
        if introduced.insert(line.account_id.as_str()) {
            assert_eq!(line.kind, "account", "{line:?}");
            assert!(
                line.name.is_some() && line.seats_purchased.is_some(),
                "{line:?}"
            );
            assert!(line.started_at <= Some(line.time), "{line:?}");
        }
    }
    assert_eq!(introduced.len(), usize::from(ACCOUNTS));
}

#[test]
fn weekends_are_quiet_and_easter_is_quieter_than_other_weekdays() {
    let mut by_day = vec![0_u32; PERIOD_DAYS as usize];
    for line in LINES.iter().filter(|line| line.is_use_by_a_person()) {
        by_day[line.day() as usize] += 1;
    }
    for week in by_day.chunks(7) {
        let weekend = (week[5] + week[6]) * 100 / week.iter().sum::<u32>();
        assert!(
            (2..8).contains(&weekend),
            "{weekend} % of a week's usage at the weekend"
        );
    }
    let good_friday = 88;
    let usual_friday = (by_day[good_friday - 14] + by_day[good_friday + 14]) / 2;
    assert!(by_day[good_friday] * 2 < usual_friday);
}

#[test]
fn accounts_without_a_story_are_healthy() {
    let told: BTreeSet<&str> = STORIES.iter().map(|story| story.account).collect();
    let mut by_account: BTreeMap<&str, Vec<&'static Line>> = BTreeMap::new();
    for line in LINES.iter() {
        by_account
            .entry(line.account_id.as_str())
            .or_default()
            .push(line);
    }
    for (account, lines) in by_account
        .into_iter()
        .filter(|(account, _)| !told.contains(account))
    {
        let healthy = Told(lines);
        assert!(
            healthy.longest_silence_days() <= 7,
            "{account} falls silent"
        );
        assert!(
            healthy.most_opened_in_a_week() <= 1,
            "{account} piles up tickets"
        );
        let first_day = healthy.0[0].day();
        let settled = PERIOD_DAYS - 28;
        let seats_used = healthy.users(settled, PERIOD_DAYS).len() * 100;
        assert!(
            seats_used >= healthy.seats_purchased() * 50,
            "{account} leaves seats empty"
        );
        if first_day == 0 {
            let before = healthy.uses_a_week(28, 84);
            let after = healthy.uses_a_week(PERIOD_DAYS - 56, PERIOD_DAYS);
            assert!(
                after * 10 > before * 6,
                "{account} falls from {before} to {after} a week"
            );
        }
    }
}

/// Each story is found in the lines of its account, before and after its day.
#[test]
fn every_story_is_told_by_the_events() {
    for Story {
        account,
        signal,
        day,
        ending,
        ..
    } in STORIES.iter().copied()
    {
        let told = Told::of(account);
        let before = told.uses_a_week(day.saturating_sub(56), day.max(28));
        let after = told.uses_a_week(PERIOD_DAYS - 14, PERIOD_DAYS);
        match (signal, ending) {
            ("usage_drop", Ending::Alert) => {
                assert!(before >= 140, "{account}: {before} a week before");
                assert!(
                    after * 100 < before * 40,
                    "{account}: {before} to {after} a week"
                );
            }
            ("usage_silent", Ending::Alert) => {
                assert!(before >= 5, "{account}: {before} a week before");
                assert_eq!(after, 0, "{account}");
                assert!(
                    told.0
                        .last()
                        .is_some_and(|line| line.actor.as_deref() == Some("service"))
                );
            }
            ("usage_silent", Ending::AlertThenResolved) => {
                assert!(told.longest_silence_days() >= 50, "{account}");
                assert!(after >= 5, "{account}: {after} a week after it is back");
            }
            ("usage_silent", Ending::NoAlert) => {
                assert!(told.longest_silence_days() >= 25, "{account}");
                let days: BTreeSet<u32> = told.uses(0, PERIOD_DAYS).map(Line::day).collect();
                assert_eq!(
                    days.len(),
                    18,
                    "{account}: three days in each of six months"
                );
            }
            ("ticket_spike", Ending::AlertThenResolved) => {
                let opened = told.opened(day, day + 1);
                let p1 = opened
                    .iter()
                    .filter(|line| line.severity.as_deref() == Some("P1"));
                assert_eq!((opened.len(), p1.count()), (11, 2), "{account}");
                assert!(
                    told.opened(day + 1, day + 21).is_empty(),
                    "{account} calms down"
                );
            }
            ("ticket_spike", Ending::Alert) => {
                let opened = told.opened(day, PERIOD_DAYS);
                assert_eq!(opened.len(), 9, "{account}");
                assert!(
                    opened.iter().all(|line| line.sentiment < Some(-0.3)),
                    "{account}"
                );
            }
            ("ticket_spike", Ending::NoAlert) => {
                assert!(told.most_opened_in_a_week() >= 6, "{account}");
                let habit: Vec<usize> = (15..26)
                    .map(|week| told.opened(week * 7, week * 7 + 7).len())
                    .collect();
                assert_eq!(habit, [6; 11], "{account}");
            }
            ("champion_quiet", Ending::Alert) => {
                let (user, percent) = told.busiest_user(0, day);
                assert!(told.weeks_of(user, day) >= 13, "{account}: {user}");
                assert!(
                    !told.users(day, PERIOD_DAYS).contains(user),
                    "{account}: {user}"
                );
                assert!(after * 100 > before * 70, "{account}: the team goes on");
                match told.first_with_role("champion") {
                    Some(champion) => {
                        assert_eq!(user, champion, "{account}");
                        let sent = told.mails("mail_sent", day);
                        let answered = told.mails("mail_answered", day);
                        assert_eq!(sent.difference(&answered).count(), 2, "{account}");
                    }
                    None => assert!((25..60).contains(&percent), "{account}: {percent} %"),
                }
            }
            ("champion_quiet", Ending::NoAlert) => {
                let champion = told.first_with_role("champion").unwrap();
                assert!(!told.users(day, day + 28).contains(champion), "{account}");
                assert!(
                    told.users(day + 28, day + 42).contains(champion),
                    "{account}"
                );
                let away = |line: &&&Line| line.action.as_deref() == Some("out_of_office");
                assert_eq!(told.0.iter().find(away).map(|line| line.day()), Some(day));
            }
            ("inactive_seats", Ending::Alert) => {
                let purchased = told.seats_purchased();
                let used = told.users(PERIOD_DAYS - 28, PERIOD_DAYS).len();
                assert!(
                    used * 100 <= purchased * 50,
                    "{account}: {used} of {purchased}"
                );
                if day > 0 {
                    let used_before = told.users(day - 28, day).len();
                    assert!(
                        used * 2 <= used_before,
                        "{account}: {used_before} to {used}"
                    );
                    assert!(after * 100 > before * 70, "{account}: the rest does more");
                } else {
                    assert_eq!((used, purchased), (13, 100), "{account}");
                }
            }
            untold => panic!("{account}: no check for {untold:?}"),
        }
    }
}
