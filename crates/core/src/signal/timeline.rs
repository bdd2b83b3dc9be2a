//! Timelines: tests of signals as data. A test tells a story in lines of text
//! and compares what happened to its alerts.
//!
//! ```text
//! day 0        account segment=high seats=50 renewal=day200 term=12
//! day 0..84    core 5 by u1                 five core actions of u1 on each day
//! workdays 0..84   core by u1..u41          one of each of 41 users, Monday to Friday
//! every 7 d from 0 to 200   core 3 on report
//! day 30 14:00 ticket P1 area=api mood=-0.7 action=reopened x3
//! day 3        seat u1 activated role=champion
//! day 10       contact c1 mail_sent role=champion user=u1 until=day20
//! day 50       core by u1 dated day 47      arrives on day 50, happened on day 47
//! day 60       snooze usage_silent until=day70
//! day 60..62   fleet stale clock=0.05       the fleet's record of those days
//! day 99       end                          looks up to this day
//! ```
//!
//! Day 0 is a Monday; a day in a line is a UTC day, and things happen at noon
//! unless a time is given. Lines are fed to [`apply`] as the detect loop does:
//! before an event that arrives at `t`, all looks due up to `t` are made.

use std::collections::BTreeMap;

use expect_test::Expect;

use crate::{
    AccountState, Event, EventId, EventTime, Fact, FleetDay, Input, Rules, SignalId,
    alert::{Transition, TransitionKind, alert_key},
    apply,
    event::{
        Actor, Command, CommandAction, ContactAction, ContactTouch, Money, Patch, ProfilePatch,
        Role, SeatAction, SeatChange, Segment, Ticket, TicketAction, TicketSeverity, Usage,
    },
    signal::{
        champion_quiet::ChampionQuiet, inactive_seats::InactiveSeats, ticket_spike::TicketSpike,
        usage_drop::UsageDrop, usage_silent::UsageSilent,
    },
    time::{DAY_MS, Day, Zone},
};

/// Monday, 5 January 2026.
pub(crate) const DAY_0: Day = Day(20_458);

/// The account of every timeline.
pub(crate) const ACCOUNT: &str = "acme";

/// Something that turns a signal's settings into rules with that signal alone.
pub(crate) trait Alone {
    fn alone(self) -> Rules;
}

macro_rules! alone {
    ($($signal:ident: $Signal:ident,)*) => {
        /// Rules with every signal off.
        pub(crate) fn silenced() -> Rules {
            let mut rules = Rules::default();
            $(rules.signals.$signal.enabled = false;)*
            rules
        }

        $(impl Alone for $Signal {
            fn alone(self) -> Rules {
                let mut rules = silenced();
                rules.signals.$signal = self;
                rules
            }
        })*
    };
}

alone! {
    usage_drop: UsageDrop,
    usage_silent: UsageSilent,
    ticket_spike: TicketSpike,
    champion_quiet: ChampionQuiet,
    inactive_seats: InactiveSeats,
}

impl Alone for Rules {
    fn alone(self) -> Rules {
        self
    }
}

/// Runs a timeline with one signal (or with whole rules) and compares its
/// transitions, a line each.
#[track_caller]
pub(crate) fn check_signal(rules: impl Alone, text: &str, expected: Expect) {
    let lines: Vec<String> = run(rules, text).iter().map(line_of).collect();
    expected.assert_eq(&lines.join("\n"));
}

/// The days on which alerts opened or reopened, with their severity.
pub(crate) fn opened(rules: impl Alone, text: &str) -> Vec<String> {
    run(rules, text)
        .iter()
        .filter(|t| matches!(t.kind, TransitionKind::Opened | TransitionKind::Reopened))
        .map(|t| format!("day {} {}", day_of(t.at), t.alert.severity.as_str()))
        .collect()
}

/// Every move, without the words: `day 3 opened warning`.
pub(crate) fn moves(rules: impl Alone, text: &str) -> Vec<String> {
    run(rules, text).iter().map(short_line_of).collect()
}

/// Runs a timeline and gives its transitions.
pub(crate) fn run(rules: impl Alone, text: &str) -> Vec<Transition> {
    play(&rules.alone(), &Timeline::parse(text)).transitions
}

/// The day a moment belongs to: a look at midnight judges the day before.
pub(crate) fn day_of(at: EventTime) -> i32 {
    at.plus_millis(-1).utc_day().since(DAY_0)
}

fn short_line_of(transition: &Transition) -> String {
    let alert = &transition.alert;
    let how = match alert.resolve_reason {
        Some(reason) if transition.kind == TransitionKind::Resolved => reason.as_str(),
        _ if transition.kind == TransitionKind::Updated => alert.phase.as_str(),
        _ => alert.severity.as_str(),
    };
    let subject = alert
        .subject
        .as_ref()
        .map_or(String::new(), |who| format!(" {who}"));
    format!(
        "day {} {} {how}{subject}",
        day_of(transition.at),
        transition.kind.as_str()
    )
}

fn line_of(transition: &Transition) -> String {
    format!("{}: {}", short_line_of(transition), transition.alert.reason)
}

/// What a timeline led to.
pub(crate) struct Played {
    pub(crate) account: AccountState,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) unknown_alerts: usize,
    pub(crate) repeats: usize,
    pub(crate) on_closed_days: usize,
}

/// Arrivals in order, and what the fleet did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    /// When each event arrives; its own time may be earlier.
    pub(crate) events: Vec<(EventTime, Event)>,
    pub(crate) fleet: BTreeMap<Day, FleetDay>,
    pub(crate) end: Option<Day>,
}

/// Plays a timeline from nothing.
pub(crate) fn play(rules: &Rules, timeline: &Timeline) -> Played {
    rules.check().expect("a timeline's rules are valid");
    let mut loop_ = Loop::new(rules, AccountState::unseen(ACCOUNT.into()), &timeline.fleet);
    for (arrival, event) in &timeline.events {
        loop_.event(*arrival, event);
    }
    let last = timeline
        .events
        .last()
        .map_or(DAY_0.start(), |(arrival, _)| *arrival);
    let end = timeline.end.map_or(last.utc_day().end(), Day::end);
    loop_.looks_until(end);
    loop_.played
}

/// The detect loop in small: looks, then the event.
pub(crate) struct Loop<'a> {
    rules: &'a Rules,
    fleet: &'a BTreeMap<Day, FleetDay>,
    pub(crate) played: Played,
}

impl<'a> Loop<'a> {
    pub(crate) fn new(
        rules: &'a Rules,
        account: AccountState,
        fleet: &'a BTreeMap<Day, FleetDay>,
    ) -> Self {
        let played = Played {
            account,
            transitions: Vec::new(),
            unknown_alerts: 0,
            repeats: 0,
            on_closed_days: 0,
        };
        Self {
            rules,
            fleet,
            played,
        }
    }

    pub(crate) fn looks_until(&mut self, time: EventTime) {
        while let Some(due) = self.played.account.next_due().filter(|&due| due <= time) {
            let day = due.plus_millis(-1).utc_day();
            let fleet = self
                .fleet
                .get(&day)
                .copied()
                .unwrap_or(FleetDay::calendar(day));
            let outcome = apply(&mut self.played.account, self.rules, Input::Close(&fleet));
            self.played.transitions.extend(outcome.transitions);
            assert!(
                self.played.account.next_due() > Some(due)
                    || self.played.account.next_due().is_none()
            );
        }
    }

    pub(crate) fn event(&mut self, arrival: EventTime, event: &Event) {
        self.looks_until(arrival);
        let outcome = apply(&mut self.played.account, self.rules, Input::Event(event));
        self.played.transitions.extend(outcome.transitions);
        self.played.unknown_alerts += usize::from(outcome.unknown_alert);
        self.played.repeats += usize::from(outcome.repeat);
        self.played.on_closed_days += usize::from(outcome.on_closed_day);
    }
}

impl Timeline {
    /// Reads the lines of a story.
    ///
    /// # Panics
    /// On a line that it does not understand, naming it.
    pub(crate) fn parse(text: &str) -> Self {
        let mut timeline = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            timeline.line(line);
        }
        timeline.events.sort_by_key(|(arrival, _)| *arrival);
        timeline
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace().peekable();
        let days: Vec<i32> = match words.next() {
            Some("day") => days(words.next()),
            Some("workdays") => days(words.next())
                .into_iter()
                .filter(|day| day.rem_euclid(7) < 5)
                .collect(),
            Some("every") => {
                let every = number(words.next());
                let [d, from, first, to, last] = [(); 5].map(|()| words.next().unwrap_or(""));
                assert!((d, from, to) == ("d", "from", "to"), "in {line:?}");
                let last = number(Some(last));
                (number(Some(first))..=last)
                    .step_by(every as usize)
                    .collect()
            }
            _ => panic!("a line begins with day, workdays or every: {line:?}"),
        };
        let at = match words.peek().and_then(|word| word.split_once(':')) {
            Some((hour, minute)) => {
                words.next();
                i64::from(number(Some(hour)) * 60 + number(Some(minute))) * 60_000
            }
            None => DAY_MS / 2,
        };
        let mut words: Vec<&str> = words.collect();
        let dated = words.iter().position(|word| *word == "dated").map(|index| {
            let dated = moment(words[index + 2]);
            words.truncate(index);
            dated
        });
        for day in days {
            let arrival = DAY_0.plus(day).start().plus_millis(at);
            let time = dated.map_or(arrival, |dated| dated.plus_millis(at));
            match words[0] {
                "fleet" => self.fleet_line(DAY_0.plus(day), &words[1..]),
                "end" => self.end = Some(DAY_0.plus(day)),
                _ => {
                    let facts = facts(&words).unwrap_or_else(|| panic!("what is {line:?}?"));
                    let id = value(&words, "id").map(|id| EventId(number(Some(id)) as u64));
                    self.events.extend(facts.into_iter().map(|fact| {
                        let event = Event {
                            account: ACCOUNT.into(),
                            time,
                            id,
                            source: "test".into(),
                            fact,
                        };
                        (arrival, event)
                    }));
                }
            }
        }
    }

    fn fleet_line(&mut self, day: Day, words: &[&str]) {
        let record = FleetDay {
            clock: value(words, "clock").map_or(1.0, real),
            ticket_index: value(words, "index").map_or(1.0, real),
            usage_stale: words.contains(&"stale"),
            ..FleetDay::calendar(day)
        };
        self.fleet.insert(day, record);
    }
}

fn facts(words: &[&str]) -> Option<Vec<Fact>> {
    match words[0] {
        "core" | "service" => Some(usages(words)),
        "ticket" => Some(tickets(words)),
        "account" => Some(vec![Fact::Account(Box::new(profile(&words[1..])))]),
        "seat" => Some(vec![Fact::Seat(SeatChange {
            user: words[1].into(),
            action: match words[2] {
                "invited" => SeatAction::Invited,
                "activated" => SeatAction::Activated,
                "deactivated" => SeatAction::Deactivated,
                "role_changed" => SeatAction::RoleChanged,
                _ => return None,
            },
            role: value(words, "role").map(role),
        })]),
        "contact" => Some(vec![Fact::Contact(ContactTouch {
            contact: words[1].into(),
            role: value(words, "role").map(role),
            user: value(words, "user").map(Into::into),
            action: match words[2] {
                "meeting" => ContactAction::Meeting,
                "mail_sent" => ContactAction::MailSent,
                "mail_answered" => ContactAction::MailAnswered,
                "bounced" => ContactAction::Bounced,
                "left" => ContactAction::Left,
                "joined" => ContactAction::Joined,
                "out_of_office" => ContactAction::OutOfOffice,
                "advocacy" => ContactAction::Advocacy,
                _ => return None,
            },
            until: value(words, "until").map(moment),
        })]),
        "acknowledge" => Some(vec![command(CommandAction::Acknowledge, words)]),
        "snooze" => Some(vec![command(CommandAction::Snooze, words)]),
        "resolve" => Some(vec![command(CommandAction::Resolve, words)]),
        "erase" => Some(vec![Fact::Erase]),
        _ => None,
    }
}

/// `core 5 by u1..u3 on report`: five of each.
fn usages(words: &[&str]) -> Vec<Fact> {
    let count = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(1);
    let users = match after(words, "by") {
        None => vec![None],
        Some(users) => names(users).into_iter().map(Some).collect(),
    };
    let actor = if words[0] == "core" {
        Actor::Person
    } else {
        Actor::Service
    };
    let features = after(words, "on").map_or(vec!["work".to_owned()], names);
    let mut facts = Vec::new();
    for user in &users {
        for turn in 0..count {
            facts.push(Fact::Usage(Usage {
                user: user.as_deref().map(Into::into),
                feature: features[turn % features.len()].as_str().into(),
                quantity: 1.0,
                actor,
            }));
        }
    }
    facts
}

/// `ticket P2 area=api mood=-0.5 action=escalated x3`: three such.
fn tickets(words: &[&str]) -> Vec<Fact> {
    let count = words
        .iter()
        .find_map(|word| word.strip_prefix('x')?.parse().ok())
        .unwrap_or(1);
    let ticket = Ticket {
        ticket: value(words, "id").unwrap_or("t").into(),
        action: match value(words, "action").unwrap_or("opened") {
            "opened" => TicketAction::Opened,
            "escalated" => TicketAction::Escalated,
            "reopened" => TicketAction::Reopened,
            "resolved" => TicketAction::Resolved,
            action => panic!("unknown ticket action {action}"),
        },
        severity: match words.get(1).copied() {
            Some("P1") => TicketSeverity::P1,
            Some("P2") => TicketSeverity::P2,
            Some("P4") => TicketSeverity::P4,
            _ => TicketSeverity::P3,
        },
        area: value(words, "area").map(Into::into),
        sentiment: value(words, "mood").map(real),
        requester: None,
    };
    vec![Fact::Ticket(ticket); count]
}

fn profile(words: &[&str]) -> ProfilePatch {
    let mut patch = ProfilePatch::default();
    for word in words {
        let (key, value) = word.split_once('=').expect("key=value");
        match key {
            "segment" => {
                patch.segment = Patch::Set(match value {
                    "high" => Segment::High,
                    "low" => Segment::Low,
                    "tech" => Segment::Tech,
                    _ => panic!("unknown segment {value}"),
                });
            }
            "seats" => patch.seats_purchased = Patch::Set(number(Some(value)) as u32),
            "renewal" => patch.renewal_date = Patch::Set(moment(value).utc_day()),
            "term" => patch.term_months = Patch::Set(number(Some(value)) as u32),
            "started" => patch.started_at = Patch::Set(moment(value)),
            "ended" if value == "null" => patch.ended_at = Patch::Remove,
            "ended" => patch.ended_at = Patch::Set(moment(value)),
            "zone" => patch.time_zone = Patch::Set(Zone::named(value).expect("a known zone")),
            "mrr" => {
                let amount = i64::from(number(Some(value)));
                patch.mrr = Patch::Set(Money {
                    amount,
                    currency: "EUR".into(),
                });
            }
            "core" => {
                let features = value.split(',').map(Into::into).collect();
                patch.core_features = Patch::Set(features);
            }
            _ => panic!("unknown account field {key}"),
        }
    }
    patch
}

/// `snooze champion_quiet u1 until=day50`
fn command(action: CommandAction, words: &[&str]) -> Fact {
    let signal = SignalId::named(words[1]).expect("a known signal");
    let subject = words
        .get(2)
        .filter(|word| !word.contains('='))
        .map(|&user| user.into());
    Fact::Command(Command {
        action,
        alert_key: alert_key(&ACCOUNT.into(), signal, subject.as_ref()).into(),
        until: value(words, "until").map(moment),
        by: "ann".into(),
    })
}

fn role(name: &str) -> Role {
    match name {
        "champion" => Role::Champion,
        "sponsor" => Role::Sponsor,
        "owner" => Role::Owner,
        "admin" => Role::Admin,
        "member" => Role::Member,
        _ => panic!("unknown role {name}"),
    }
}

/// `7` or `0..84`, both ends included.
fn days(word: Option<&str>) -> Vec<i32> {
    match word.and_then(|word| word.split_once("..")) {
        Some((first, last)) => (number(Some(first))..=number(Some(last))).collect(),
        None => vec![number(word)],
    }
}

/// `u1`, `u1,u2` or `u1..u41`.
fn names(word: &str) -> Vec<String> {
    let Some((first, last)) = word.split_once("..") else {
        return word.split(',').map(str::to_owned).collect();
    };
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let number_in = |name: &str| number(name.strip_prefix(stem));
    (number_in(first)..=number_in(last))
        .map(|n| format!("{stem}{n}"))
        .collect()
}

/// `day200` (or `200`): the start of that day.
fn moment(word: &str) -> EventTime {
    DAY_0
        .plus(number(Some(word.strip_prefix("day").unwrap_or(word))))
        .start()
}

fn after<'a>(words: &[&'a str], what: &str) -> Option<&'a str> {
    let index = words.iter().position(|word| *word == what)?;
    words.get(index + 1).copied()
}

fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| {
        word.split_once('=')
            .filter(|(k, _)| *k == key)
            .map(|(_, v)| v)
    })
}

fn number(word: Option<&str>) -> i32 {
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{word:?} is no number"))
}

fn real(word: &str) -> f64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word:?} is no number"))
}

#[test]
fn day_0_is_a_monday() {
    assert_eq!(DAY_0.week(), DAY_0.plus(-1).week() + 1);
}
