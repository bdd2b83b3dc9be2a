//! What the detector says: alerts, their transitions, and their evidence.
//!
//! An [`Alert`] is a finding with a life. Each time its life moves, a
//! [`Transition`] carries the whole alert as it stands then, so that a
//! subscriber needs no memory.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    account::Profile,
    event::Segment,
    ids::{AccountId, UserId},
    signal::SignalId,
    time::{Day, EventTime},
};

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Act this week.
    Warning,
    /// Act today.
    Critical,
}

impl Severity {
    /// The name used in contracts and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where a published alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertPhase {
    /// True, and nobody has touched it.
    Open,
    /// Somebody is on it.
    Acknowledged,
    /// Put off until a date.
    Snoozed,
    /// Over.
    Resolved,
}

impl AlertPhase {
    /// The name used in contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
            Self::Resolved => "resolved",
        }
    }
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolveReason {
    /// The sign is gone.
    Cleared,
    /// The new level has become the normal one.
    Rebased,
    /// Too old to act on.
    Expired,
    /// A person ended it.
    Manual,
    /// Something stronger took its place, or its subject no longer counts.
    Superseded,
    /// The account ended.
    AccountEnded,
    /// All that was kept about the account was erased.
    Erased,
}

impl ResolveReason {
    /// The name used in contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::Rebased => "rebased",
            Self::Expired => "expired",
            Self::Manual => "manual",
            Self::Superseded => "superseded",
            Self::AccountEnded => "account_ended",
            Self::Erased => "erased",
        }
    }
}

/// How an alert's life moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransitionKind {
    /// A new episode.
    Opened,
    /// The severity rose.
    Escalated,
    /// A person or a date changed its phase.
    Updated,
    /// The episode ended.
    Resolved,
    /// An episode that had ended began again within the cooldown.
    Reopened,
}

impl TransitionKind {
    /// The name used in contracts and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
        }
    }
}

/// One step in an alert's life, to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// UUIDv5 of the alert id and the sequence number.
    pub id: Uuid,
    /// Counts the transitions of the account, from 1, without a gap.
    pub sequence: u64,
    /// What moved.
    pub kind: TransitionKind,
    /// Event time of the step.
    pub at: EventTime,
    /// The whole alert as it stands after the step.
    pub alert: Alert,
}

/// An alert in its full form.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// UUIDv5 of the key and the episode's first breach.
    pub alert_id: Uuid,
    /// Account, signal and subject: see [`alert_key`].
    pub alert_key: String,
    /// Whom it is about.
    pub account_id: AccountId,
    /// Which signal fired.
    pub signal: SignalId,
    /// The user or contact concerned; `None` where it is the account itself.
    pub subject: Option<UserId>,
    /// Where it stands.
    pub phase: AlertPhase,
    /// How urgent it is; never falls within an episode.
    pub severity: Severity,
    /// Severity x account value x renewal x confidence; higher first.
    pub priority: f64,
    /// Calibrated precision of the signal, 0 to 1; 1 where none is known.
    pub confidence: f64,
    /// One plain sentence with its numbers.
    pub reason: String,
    /// The numbers behind it.
    pub evidence: Evidence,
    /// What usually lies behind this sign.
    pub likely_causes: &'static [&'static str],
    /// What to do.
    pub playbook: Playbook,
    /// First and last day judged, both inclusive.
    pub window: Window,
    /// What was measured, in the signal's unit.
    pub observed: f64,
    /// What the account's own normal would be, in the same unit.
    pub expected: f64,
    /// The bound that was crossed, in the same unit.
    pub threshold: f64,
    /// The last twelve weekly buckets, oldest first.
    pub series: Vec<u32>,
    /// The account at that time.
    pub account: Profile,
    /// The account's segment after defaults.
    pub segment: Segment,
    /// When the condition first held in this episode.
    pub first_breach_at: EventTime,
    /// When it was opened (or last reopened).
    pub opened_at: EventTime,
    /// When it last moved.
    pub updated_at: EventTime,
    /// When it ended.
    pub resolved_at: Option<EventTime>,
    /// Why it ended.
    pub resolve_reason: Option<ResolveReason>,
    /// How often it came back within its cooldown.
    pub reopen_count: u32,
    /// Who acted on it last.
    pub acted_by: Option<Box<str>>,
    /// Until when it is put off.
    pub snoozed_until: Option<EventTime>,
    /// The alert that explains this one.
    pub inhibited_by: Option<String>,
    /// The signal's own statistic; comparable within a signal only.
    pub score: f64,
}

/// A span of days, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// First day.
    pub start: Day,
    /// Last day.
    pub end: Day,
}

/// What to do about a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Playbook {
    /// Stable name.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// In order.
    pub steps: &'static [&'static str],
}

/// Named facts, in the order in which a person should read them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence(pub Vec<(&'static str, Datum)>);

impl Evidence {
    /// Appends a fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, datum: impl Into<Datum>) -> Self {
        self.0.push((name, datum.into()));
        self
    }
}

/// A value in evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// Not known.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Count(u64),
    /// A measured number; published rounded, see [`published`].
    Number(f64),
    /// Words, or an id.
    Text(Box<str>),
    /// A moment.
    Time(EventTime),
    /// A calendar day.
    Date(Day),
    /// A bounded list.
    List(Vec<Datum>),
    /// Named facts within a fact.
    Facts(Vec<(&'static str, Datum)>),
}

macro_rules! datum_from {
    ($($from:ty => $value:ident $datum:expr;)*) => {
        $(impl From<$from> for Datum {
            fn from($value: $from) -> Self {
                $datum
            }
        })*
    };
}

datum_from! {
    bool => value Self::Flag(value);
    u32 => value Self::Count(value.into());
    u64 => value Self::Count(value);
    f64 => value Self::Number(value);
    &str => value Self::Text(value.into());
    String => value Self::Text(value.into());
    EventTime => value Self::Time(value);
    Day => value Self::Date(value);
    Vec<Datum> => value Self::List(value);
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// Rounds a number to what is published: four decimals are more than anybody
/// reads, and hide the last bits that a change of summation order
/// could move.
pub fn published(value: f64) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    let rounded = libm::round(value * 1e4) / 1e4;
    // One zero only: -0.0 would be written differently.
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// The longest alert key, in characters: PagerDuty's limit for a dedupe key.
pub const ALERT_KEY_MAX: usize = 255;

/// Namespace of the ids derived by [`alert_key`] and [`alert_id`].
const NAMESPACE: Uuid = Uuid::from_u128(0x6e1f_3a52_7b0c_5d8e_9a47_2c41_88d3_0b6f);

/// The key under which an alert is deduplicated: account, signal and subject,
/// each percent-escaped, joined by `|`. A key that would be longer than
/// [`ALERT_KEY_MAX`] is replaced by `signal|` and a UUIDv5 of it.
pub fn alert_key(account: &AccountId, signal: SignalId, subject: Option<&UserId>) -> String {
    let mut key = String::with_capacity(64);
    escape_into(account.as_str(), &mut key);
    key.push('|');
    key.push_str(signal.as_str());
    key.push('|');
    if let Some(subject) = subject {
        escape_into(subject.as_str(), &mut key);
    }
    if key.len() > ALERT_KEY_MAX {
        return format!(
            "{}|{}",
            signal.as_str(),
            Uuid::new_v5(&NAMESPACE, key.as_bytes())
        );
    }
    key
}

/// The id of an episode: UUIDv5 of its key and its first breach, so that even
/// a reader of uncommitted records recognises a repeat.
pub fn alert_id(key: &str, first_breach: EventTime) -> Uuid {
    let mut name = Vec::with_capacity(key.len() + 8);
    name.extend_from_slice(key.as_bytes());
    name.extend_from_slice(&first_breach.as_millis().to_be_bytes());
    Uuid::new_v5(&NAMESPACE, &name)
}

/// The id of one transition: UUIDv5 of its alert's id and its sequence number.
pub fn transition_id(alert: Uuid, sequence: u64) -> Uuid {
    Uuid::new_v5(&alert, &sequence.to_be_bytes())
}

/// Percent-escapes everything but RFC 3986's unreserved characters.
fn escape_into(name: &str, key: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in name.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                key.push(char::from(byte));
            }
            _ => {
                key.push('%');
                key.push(char::from(HEX[usize::from(byte >> 4)]));
                key.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str, subject: Option<&str>) -> String {
        alert_key(
            &AccountId::from(account),
            SignalId::ChampionQuiet,
            subject.map(UserId::from).as_ref(),
        )
    }

    #[test]
    fn a_key_cannot_be_forged_by_a_separator_in_a_name() {
        assert_eq!(key("a|b", None), "a%7Cb|champion_quiet|");
        assert_ne!(key("a", Some("b|c")), key("a|b", Some("c")));
    }

    #[test]
    fn a_long_key_is_replaced_by_a_short_one_that_still_tells_accounts_apart() {
        let (one, two) = (key(&"x".repeat(300), None), key(&"y".repeat(300), None));
        assert!(one.len() <= ALERT_KEY_MAX && one.starts_with("champion_quiet|"));
        assert_ne!(one, two);
    }

    #[test]
    fn ids_depend_on_the_episode_and_the_sequence() {
        let t = EventTime::from_millis(1);
        assert_ne!(alert_id("k", t), alert_id("k", EventTime::from_millis(2)));
        assert_eq!(alert_id("k", t), alert_id("k", t));
        let id = alert_id("k", t);
        assert_ne!(transition_id(id, 1), transition_id(id, 2));
    }

    #[test]
    fn published_numbers_have_one_zero_and_four_decimals() {
        assert_eq!(published(-0.000_001).to_bits(), 0.0_f64.to_bits());
        assert_eq!(published(1.234_56), 1.2346);
        assert_eq!(published(f64::NAN), 0.0);
    }
}
