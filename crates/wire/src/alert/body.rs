//! The body of an alert: everything a playbook, a person or a chart needs, so
//! that a subscriber has to remember nothing and ask nobody.

use churnwatch_core::{
    alert::{AlertPhase, ResolveReason, Severity, Transition, TransitionKind, published},
    event::Segment,
    signal::SignalId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EvidenceBody;
use crate::{
    rfc3339::{CalendarDate, UtcTime},
    vocabulary::{self, OneOf},
};

/// Version of the alert body. It grows with a change that is not additive; such
/// a change also gets a topic of its own.
pub const SCHEMA_VERSION: u32 = 1;

/// In what sort of run an alert was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Mode {
    /// The detector at work: act on it.
    Live,
    /// The past judged again, to compare: do not act on it.
    Replay,
    /// The past read to warm the state up: do not act on it.
    Backfill,
}

/// Which record of the log made the alert move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct InputCoordinates {
    /// Partition of `churn.events.v1`, from 0.
    pub partition: i32,
    /// Offset in that partition, from 0.
    pub offset: i64,
}

/// What a run adds to the alerts it finds.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// What sort of run it is.
    pub mode: Mode,
    /// The record that was being read; `None` for alerts found in files.
    pub input: Option<InputCoordinates>,
    /// Hash of the rules in force.
    pub config_hash: &'a str,
    /// Version of the detector.
    pub detector_version: &'a str,
}

/// One alert, as it stands after one step of its life. Unknown fields are to be
/// ignored, and unknown words to be expected: both are added within a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertBody {
    /// Id of this step: UUIDv5 of `alert_id` and `sequence`. The same step found
    /// twice has the same id.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
    /// What moved: a new episode, a higher severity, a person's or a date's change
    /// of its state, its end, or its return within the cooldown.
    #[serde(with = "vocabulary")]
    #[schemars(with = "OneOf<TransitionKind>")]
    pub transition: TransitionKind,
    /// Counts the steps of all alerts of the account, from 1, without a gap.
    pub sequence: u64,
    /// Id of the episode: UUIDv5 of the key and of its first breach.
    #[schemars(extend("format" = "uuid"))]
    pub alert_id: String,
    /// Account, signal and subject, percent-escaped and joined by `|`; at most 255
    /// characters. The key to deduplicate by.
    pub alert_key: String,
    /// The account it is about.
    pub account_id: String,
    /// The signal that fired.
    #[serde(with = "vocabulary")]
    #[schemars(with = "OneOf<SignalId>")]
    pub signal: SignalId,
    /// The user or contact it is about; null where it is the account as a whole.
    pub subject: Option<String>,
    /// Where it stands.
    #[serde(with = "vocabulary")]
    #[schemars(with = "OneOf<AlertPhase>")]
    pub state: AlertPhase,
    /// How urgent it is: worth knowing, act this week, act today. Never falls
    /// within an episode.
    #[serde(with = "vocabulary")]
    #[schemars(with = "OneOf<Severity>")]
    pub severity: Severity,
    /// What to do first: higher comes first. Weighs severity, value of the account,
    /// nearness of its renewal and confidence; no unit.
    pub priority: f64,
    /// How often this signal has been right, 0 to 1; 1 where that is not known.
    pub confidence: f64,
    /// One plain sentence with its numbers.
    pub reason: String,
    /// The numbers behind it, by name, in reading order. Which, depends on the
    /// signal.
    pub evidence: EvidenceBody,
    /// What usually lies behind this sign.
    pub likely_causes: Vec<String>,
    /// What to do about it.
    pub playbook: PlaybookBody,
    /// The days that were judged.
    pub window: WindowBody,
    /// What was measured, in the signal's unit.
    pub observed: f64,
    /// What would be normal for this account, in the same unit.
    pub expected: f64,
    /// The bound that was crossed, in the same unit.
    pub threshold: f64,
    /// The last twelve weekly counts, oldest first, for a sparkline.
    pub series: Vec<u32>,
    /// The account at that time.
    pub account: AccountSummary,
    /// When the condition first held in this episode (event time).
    pub first_breach_at: UtcTime,
    /// When it was opened, or last reopened (event time).
    pub opened_at: UtcTime,
    /// When it last moved (event time).
    pub updated_at: UtcTime,
    /// When it ended (event time); null while it has not.
    pub resolved_at: Option<UtcTime>,
    /// Why it ended; null while it has not.
    #[serde(with = "vocabulary::optional")]
    #[schemars(with = "Option<OneOf<ResolveReason>>")]
    pub resolve_reason: Option<ResolveReason>,
    /// How often it came back within its cooldown.
    pub reopen_count: u32,
    /// Who acted on it last; null where nobody has.
    pub acted_by: Option<String>,
    /// Until when it is put off (event time); null where it is not.
    pub snoozed_until: Option<UtcTime>,
    /// The key of the alert that explains this one; null where there is none.
    pub inhibited_by: Option<String>,
    /// The signal's own statistic, such as log odds or a share; comparable within
    /// a signal only.
    pub score: f64,
    /// In what sort of run it was found; act on `live` only.
    pub mode: Mode,
    /// The record of the log that made it move; null where files were read.
    pub input: Option<InputCoordinates>,
    /// Hash of the rules in force.
    pub config_hash: String,
    /// Version of the detector that found it.
    pub detector_version: String,
    /// Version of this body: 1.
    pub schema_version: u32,
}

/// What to do about a sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct PlaybookBody {
    /// Stable name, to look it up by.
    pub id: String,
    /// Its title, for people.
    pub title: String,
    /// What to do, in order.
    pub steps: Vec<String>,
}

/// A span of days, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct WindowBody {
    /// First day judged.
    pub start: CalendarDate,
    /// Last day judged.
    pub end: CalendarDate,
}

/// What a person wants to know of an account before a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct AccountSummary {
    /// Its name; null where unknown.
    pub name: Option<String>,
    /// How closely customer success looks after it.
    #[serde(with = "vocabulary")]
    #[schemars(with = "OneOf<Segment>")]
    pub segment: Segment,
    /// Name of its plan; null where unknown.
    pub plan: Option<String>,
    /// Monthly recurring revenue; null where unknown.
    pub mrr: Option<MoneyBody>,
    /// When its current term ends; null where unknown.
    pub renewal_date: Option<CalendarDate>,
    /// The CSM in charge; null where unknown.
    pub owner: Option<String>,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct MoneyBody {
    /// In minor units of the currency (cents).
    pub amount: i64,
    /// ISO 4217 code, upper case.
    pub currency: String,
}

impl AlertBody {
    /// The body of one transition.
    pub fn new(transition: &Transition, stamp: &Stamp<'_>) -> Self {
        let alert = &transition.alert;
        let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            id: transition.id.to_string(),
            transition: transition.kind,
            sequence: transition.sequence,
            alert_id: alert.alert_id.to_string(),
            alert_key: alert.alert_key.clone(),
            account_id: alert.account_id.to_string(),
            signal: alert.signal,
            subject: alert.subject.as_ref().map(ToString::to_string),
            state: alert.phase,
            severity: alert.severity,
            priority: published(alert.priority),
            confidence: published(alert.confidence),
            reason: alert.reason.clone(),
            evidence: EvidenceBody::from(&alert.evidence),
            likely_causes: alert
                .likely_causes
                .iter()
                .map(|&cause| cause.to_owned())
                .collect(),
            playbook: PlaybookBody {
                id: alert.playbook.id.to_owned(),
                title: alert.playbook.title.to_owned(),
                steps: alert
                    .playbook
                    .steps
                    .iter()
                    .map(|&step| step.to_owned())
                    .collect(),
            },
            window: WindowBody {
                start: CalendarDate(alert.window.start),
                end: CalendarDate(alert.window.end),
            },
            observed: published(alert.observed),
            expected: published(alert.expected),
            threshold: published(alert.threshold),
            series: alert.series.clone(),
            account: AccountSummary {
                name: owned(&alert.account.name),
                segment: alert.segment,
                plan: owned(&alert.account.plan),
                mrr: alert.account.mrr.as_ref().map(|mrr| MoneyBody {
                    amount: mrr.amount,
                    currency: mrr.currency.to_string(),
                }),
                renewal_date: alert.account.renewal_date.map(CalendarDate),
                owner: owned(&alert.account.owner),
            },
            first_breach_at: UtcTime(alert.first_breach_at),
            opened_at: UtcTime(alert.opened_at),
            updated_at: UtcTime(alert.updated_at),
            resolved_at: alert.resolved_at.map(UtcTime),
            resolve_reason: alert.resolve_reason,
            reopen_count: alert.reopen_count,
            acted_by: owned(&alert.acted_by),
            snoozed_until: alert.snoozed_until.map(UtcTime),
            inhibited_by: alert.inhibited_by.clone(),
            score: published(alert.score),
            mode: stamp.mode,
            input: stamp.input,
            config_hash: stamp.config_hash.to_owned(),
            detector_version: stamp.detector_version.to_owned(),
            schema_version: SCHEMA_VERSION,
        }
    }

    /// Its canonical bytes: one JSON object without a line break.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a body of texts and finite numbers is always JSON")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::alert::example;

    #[test]
    fn the_body_has_these_bytes() {
        let body = AlertBody::new(&example::opened(), &example::STAMP);
        let json = String::from_utf8(body.to_json()).expect("UTF-8") + "\n";
        expect_file!["../../samples/alert.body.v1.json"].assert_eq(&json);
    }

    #[test]
    fn the_same_transition_gives_the_same_bytes() {
        let bytes = || AlertBody::new(&example::opened(), &example::STAMP).to_json();
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn a_body_reads_back_from_its_own_bytes() {
        for body in [
            AlertBody::new(&example::opened(), &example::STAMP),
            AlertBody::new(&example::resolved(), &example::FROM_FILES),
        ] {
            let again: AlertBody = serde_json::from_slice(&body.to_json()).expect("reads back");
            assert_eq!(again, body);
        }
    }

    #[test]
    fn a_body_with_fields_of_a_newer_version_still_reads() {
        let body = AlertBody::new(&example::opened(), &example::STAMP);
        let json = String::from_utf8(body.to_json()).expect("UTF-8");
        let newer = json.replacen('{', r#"{"some_day":[1,2],"#, 1);
        assert_eq!(
            serde_json::from_str::<AlertBody>(&newer).expect("reads"),
            body
        );
    }

    #[test]
    fn the_end_of_an_episode_says_when_and_why() {
        let body = AlertBody::new(&example::resolved(), &example::FROM_FILES);
        let value = serde_json::to_value(&body).expect("serialises");
        assert_eq!(value["transition"], "resolved");
        assert_eq!(value["resolved_at"], "2026-03-12T00:00:00Z");
        assert_eq!(value["resolve_reason"], "account_ended");
        assert_eq!(value["input"], serde_json::Value::Null);
    }

    #[test]
    fn numbers_are_written_with_four_decimals_and_one_zero() {
        let mut transition = example::opened();
        transition.alert.score = 1.0 / 3.0;
        transition.alert.observed = -0.000_000_1;
        let json = AlertBody::new(&transition, &example::STAMP).to_json();
        let json = String::from_utf8(json).expect("UTF-8");
        assert!(
            json.contains(r#""score":0.3333,"#) && json.contains(r#""observed":0.0,"#),
            "{json}"
        );
    }
}
