//! Alerts on Kafka: the CloudEvents envelope and headers of the history topic,
//! and the record of the topic of open alerts.
//!
//! The envelope is CloudEvents 1.0 in structured mode. The headers repeat its
//! attributes, as binary mode would have them, so that a consumer can drop what
//! it does not want without parsing JSON.

use churnwatch_core::alert::{AlertPhase, Transition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AlertBody;
use crate::rfc3339::UtcTime;

/// The `source` of every alert.
const SOURCE: &str = "churnwatch";

/// The `$id` of the body's JSON Schema.
const DATA_SCHEMA: &str = "urn:churnwatch:schema:alert.body.v1";

/// A CloudEvents 1.0 event around an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Version of CloudEvents: `1.0`.
    pub specversion: String,
    /// Id of this step of the alert; the same step found twice has the same id.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
    /// Who says so: `churnwatch`.
    pub source: String,
    /// `churnwatch.alert.` and the transition: `opened`, `escalated`, `updated`,
    /// `resolved` or `reopened`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The account it is about.
    pub subject: String,
    /// Event time of the step.
    pub time: UtcTime,
    /// Media type of `data`: `application/json`.
    pub datacontenttype: String,
    /// The `$id` of the JSON Schema of `data`.
    pub dataschema: String,
    /// The record key: the account.
    pub partitionkey: String,
    /// Counts the steps of all alerts of the account, from 1: twenty digits, so
    /// that it sorts as text as it does as a number.
    #[schemars(regex(pattern = "^[0-9]{20}$"))]
    pub sequence: String,
    /// The alert.
    pub data: AlertBody,
}

impl Envelope {
    /// The envelope of one transition around its body.
    pub fn new(transition: &Transition, data: AlertBody) -> Self {
        let account = transition.alert.account_id.as_str();
        Self {
            specversion: "1.0".to_owned(),
            id: transition.id.to_string(),
            source: SOURCE.to_owned(),
            kind: event_type(transition),
            subject: account.to_owned(),
            time: UtcTime(transition.at),
            datacontenttype: "application/json".to_owned(),
            dataschema: DATA_SCHEMA.to_owned(),
            partitionkey: account.to_owned(),
            sequence: sequence(transition),
            data,
        }
    }

    /// Its canonical bytes: one JSON object without a line break.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope of texts and finite numbers is always JSON")
    }
}

/// The headers of an alert's record on the history topic, all UTF-8.
pub fn headers(transition: &Transition) -> Vec<(&'static str, String)> {
    let alert = &transition.alert;
    vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", transition.id.to_string()),
        ("ce_source", SOURCE.to_owned()),
        ("ce_type", event_type(transition)),
        ("ce_subject", alert.account_id.to_string()),
        ("ce_time", transition.at.to_string()),
        ("ce_sequence", sequence(transition)),
        ("ce_partitionkey", alert.account_id.to_string()),
        ("content-type", "application/cloudevents+json".to_owned()),
        ("signal", alert.signal.as_str().to_owned()),
        ("severity", alert.severity.as_str().to_owned()),
    ]
}

/// Key and value of the alert's record on the topic of open alerts: a tombstone
/// once it is over, so that compaction keeps exactly what is open.
pub fn current_record(transition: &Transition, body: &AlertBody) -> (String, Option<Vec<u8>>) {
    let over = transition.alert.phase == AlertPhase::Resolved;
    (
        transition.alert.alert_key.clone(),
        (!over).then(|| body.to_json()),
    )
}

fn event_type(transition: &Transition) -> String {
    format!("churnwatch.alert.{}", transition.kind.as_str())
}

fn sequence(transition: &Transition) -> String {
    format!("{:020}", transition.sequence)
}

#[cfg(test)]
mod tests {
    use expect_test::{expect, expect_file};

    use super::*;
    use crate::alert::example;

    fn body(transition: &Transition) -> AlertBody {
        AlertBody::new(transition, &example::STAMP)
    }

    #[test]
    fn the_envelope_has_these_bytes() {
        let transition = example::opened();
        let envelope = Envelope::new(&transition, body(&transition));
        let json = String::from_utf8(envelope.to_json()).expect("UTF-8") + "\n";
        expect_file!["../../samples/alert.envelope.v1.json"].assert_eq(&json);
    }

    #[test]
    fn an_envelope_reads_back_from_its_own_bytes() {
        let transition = example::resolved();
        let envelope = Envelope::new(&transition, body(&transition));
        let again: Envelope = serde_json::from_slice(&envelope.to_json()).expect("reads back");
        assert_eq!(again, envelope);
    }

    #[test]
    fn headers_carry_what_a_filter_needs() {
        let lines: Vec<_> = headers(&example::opened())
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        expect![[r#"
            ce_specversion: 1.0
            ce_id: 9d6bab72-f024-5623-8a2d-6c15907128dc
            ce_source: churnwatch
            ce_type: churnwatch.alert.opened
            ce_subject: acme
            ce_time: 2026-03-03T00:00:00Z
            ce_sequence: 00000000000000000017
            ce_partitionkey: acme
            content-type: application/cloudevents+json
            signal: champion_quiet
            severity: warning"#]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn headers_and_envelope_say_the_same() {
        let transition = example::opened();
        let envelope = serde_json::to_value(Envelope::new(&transition, body(&transition)))
            .expect("serialises");
        let mut compared = 0;
        for (name, value) in headers(&transition) {
            if let Some(attribute) = name.strip_prefix("ce_") {
                assert_eq!(envelope[attribute], value, "{attribute}");
                compared += 1;
            }
        }
        assert_eq!(compared, 8);
    }

    #[test]
    fn sequences_sort_as_text() {
        let mut transition = example::opened();
        transition.sequence = 9;
        let nine = sequence(&transition);
        transition.sequence = 10;
        assert!(nine < sequence(&transition));
        transition.sequence = u64::MAX;
        assert_eq!(sequence(&transition).len(), 20);
    }

    #[test]
    fn an_open_alert_has_its_body_under_its_key_and_a_resolved_one_a_tombstone() {
        let (opened, resolved) = (example::opened(), example::resolved());
        let (key, value) = current_record(&opened, &body(&opened));
        assert_eq!(key, "acme|champion_quiet|u-7");
        assert_eq!(value, Some(body(&opened).to_json()));
        assert_eq!(current_record(&resolved, &body(&resolved)), (key, None));
    }
}
