//! Dead letters: records that could not be used, kept as they came, with the
//! reason around them in the headers that Kafka Connect's users know.
//!
//! On Kafka, key and value are the raw bytes, so that a repaired producer's
//! records can be sent again. Files get a [`DeadLetterLine`] instead.

use base64::{Engine, prelude::BASE64_STANDARD};
use churnwatch_core::time::EventTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{rejection::Rejection, rfc3339::UtcTime};

/// What all our headers begin with.
const PREFIX: &str = "__connect.errors.";

/// A rejected record and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic it was read from; for a file, its name.
    pub topic: String,
    /// The partition, from 0; for a file 0.
    pub partition: i32,
    /// The offset in that partition, from 0; for a file the line, from 0.
    pub offset: i64,
    /// The record's own timestamp, in milliseconds since the Unix epoch, where it
    /// has one.
    pub timestamp_ms: Option<i64>,
    /// The raw key.
    pub key: Option<Vec<u8>>,
    /// The raw value.
    pub value: Option<Vec<u8>>,
    /// The record's own headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Why it was refused.
    pub rejection: Rejection,
}

impl DeadLetter {
    /// The headers of the dead letter: Kafka Connect's, then the original ones.
    ///
    /// Original headers that carry Connect's prefix are left out: they tell of an
    /// earlier rejection, and readers that take the last header of a name would
    /// take them for this one.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let ours = [
            ("topic", Some(self.topic.clone())),
            ("partition", Some(self.partition.to_string())),
            ("offset", Some(self.offset.to_string())),
            ("timestamp", self.timestamp_ms.map(|ms| ms.to_string())),
            (
                "stage",
                Some(self.rejection.reason.stage().as_str().to_owned()),
            ),
            (
                "exception.class.name",
                Some(self.rejection.reason.as_str().to_owned()),
            ),
            ("exception.message", Some(self.rejection.message.clone())),
        ];
        let ours = ours.into_iter().filter_map(|(name, value)| {
            Some((format!("{PREFIX}{name}"), Some(value?.into_bytes())))
        });
        let original = self
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with(PREFIX));
        ours.chain(original.cloned()).collect()
    }

    /// The dead letter as one line of a file, without the line break.
    pub fn to_line(&self) -> Vec<u8> {
        let line = DeadLetterLine::from(self);
        serde_json::to_vec(&line).expect("a line of texts and numbers is always JSON")
    }
}

/// A dead letter in a file: one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterLine {
    /// The topic it was read from; for a file, its name.
    pub topic: String,
    /// The partition, from 0; for a file 0.
    pub partition: i32,
    /// The offset in that partition, from 0; for a file the line, from 0.
    pub offset: i64,
    /// The record's own timestamp; null where it has none.
    pub timestamp: Option<UtcTime>,
    /// The step that refused it: `decode`, `validate` or `skew`.
    pub stage: String,
    /// The kind of rejection, as the metric's label has it.
    pub reason: String,
    /// What is wrong with which field, and what to do.
    pub message: String,
    /// The record key; null where it has none.
    pub key: Option<Payload>,
    /// The record value; null where it has none.
    pub value: Option<Payload>,
    /// The record's own headers, in order.
    pub headers: Vec<HeaderLine>,
}

/// A header of the original record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct HeaderLine {
    /// Its name.
    pub name: String,
    /// Its value; null where it has none.
    pub value: Option<Payload>,
}

/// Raw bytes in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Payload {
    /// Bytes that are UTF-8, as they are.
    Text(String),
    /// Any other bytes, in base64 with padding (RFC 4648, section 4).
    Base64(String),
}

impl Payload {
    /// Wraps raw bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    /// The raw bytes; `None` where the base64 is broken.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64(text) => BASE64_STANDARD.decode(text).ok(),
        }
    }
}

impl From<&DeadLetter> for DeadLetterLine {
    fn from(letter: &DeadLetter) -> Self {
        let payload = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(Payload::of);
        let headers = letter.headers.iter();
        Self {
            topic: letter.topic.clone(),
            partition: letter.partition,
            offset: letter.offset,
            timestamp: letter
                .timestamp_ms
                .map(|ms| UtcTime(EventTime::from_millis(ms))),
            stage: letter.rejection.reason.stage().as_str().to_owned(),
            reason: letter.rejection.reason.as_str().to_owned(),
            message: letter.rejection.message.clone(),
            key: payload(&letter.key),
            value: payload(&letter.value),
            headers: headers
                .map(|(name, value)| HeaderLine {
                    name: name.clone(),
                    value: payload(value),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use expect_test::expect;

    use super::*;
    use crate::{RejectReason, decode};

    pub(crate) fn letter() -> DeadLetter {
        let value = b"{\"kind\":\"usage\xff".to_vec();
        DeadLetter {
            topic: "churn.events.v1".to_owned(),
            partition: 3,
            offset: 41_207,
            timestamp_ms: Some(1_772_357_400_000),
            key: Some(b"acme".to_vec()),
            rejection: decode(&value).expect_err("not UTF-8"),
            value: Some(value),
            headers: vec![
                ("trace".to_owned(), Some(b"4bf9".to_vec())),
                ("__connect.errors.offset".to_owned(), Some(b"7".to_vec())),
                ("empty".to_owned(), None),
            ],
        }
    }

    #[test]
    fn headers_tell_where_it_came_from_and_why_before_the_original_ones() {
        let lines: Vec<_> = letter()
            .headers()
            .into_iter()
            .map(|(name, value)| {
                let value = value.map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
                format!("{name}: {}", value.as_deref().unwrap_or("(null)"))
            })
            .collect();
        expect![[r#"
            __connect.errors.topic: churn.events.v1
            __connect.errors.partition: 3
            __connect.errors.offset: 41207
            __connect.errors.timestamp: 1772357400000
            __connect.errors.stage: decode
            __connect.errors.exception.class.name: not_utf8
            __connect.errors.exception.message: the value is not UTF-8 from byte 14 on: encode it as UTF-8
            trace: 4bf9
            empty: (null)"#]].assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_record_without_a_timestamp_gets_no_timestamp_header() {
        let letter = DeadLetter {
            timestamp_ms: None,
            ..letter()
        };
        assert!(
            letter
                .headers()
                .iter()
                .all(|(name, _)| !name.ends_with("timestamp"))
        );
    }

    #[test]
    fn a_line_keeps_bytes_that_are_no_text() {
        let letter = letter();
        let line = letter.to_line();
        expect![[r#"{"topic":"churn.events.v1","partition":3,"offset":41207,"timestamp":"2026-03-01T09:30:00Z","stage":"decode","reason":"not_utf8","message":"the value is not UTF-8 from byte 14 on: encode it as UTF-8","key":{"text":"acme"},"value":{"base64":"eyJraW5kIjoidXNhZ2X/"},"headers":[{"name":"trace","value":{"text":"4bf9"}},{"name":"__connect.errors.offset","value":{"text":"7"}},{"name":"empty","value":null}]}"#]].assert_eq(&String::from_utf8(line.clone()).expect("UTF-8"));
        let again: DeadLetterLine = serde_json::from_slice(&line).expect("reads back");
        assert_eq!(again.value.and_then(|value| value.bytes()), letter.value);
        assert_eq!(again.key, Some(Payload::Text("acme".to_owned())));
    }

    #[test]
    fn a_tombstone_is_kept_as_one() {
        let letter = DeadLetter {
            value: None,
            rejection: Rejection::new(RejectReason::NullValue, "no value"),
            ..letter()
        };
        let again: DeadLetterLine = serde_json::from_slice(&letter.to_line()).expect("reads back");
        assert_eq!(again.value, None);
    }
}
