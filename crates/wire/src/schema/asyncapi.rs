//! The topics as one AsyncAPI 3 document, which refers to the schema files that
//! lie beside it.

use serde_json::{Map, Value, json};

use super::{event_name, file_name, kinds};

/// Said wherever a topic is documented that our transactions write to.
const READ_COMMITTED: &str = "Written in Kafka transactions: subscribers must read with \
    `isolation.level=read_committed`, which is not the default of the Java client; otherwise \
    they also see records of aborted transactions, which never happened.";

/// How JSON Schema 2020-12 is named as a schema format.
const SCHEMA_FORMAT: &str = "application/schema+json;version=draft-2020-12";

/// The AsyncAPI 3 document of all public topics.
pub fn asyncapi() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Churnwatch",
            "version": "1",
            "description": "Churnwatch reads what happens to accounts from one log and writes \
                alerts about accounts that may leave. Versions are in the names of the topics; \
                within a version, changes are additive: ignore unknown fields, expect unknown words.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": channels(),
        "operations": {
            "readEvents": operation("receive", "events", "Churnwatch reads the log."),
            "writeAlerts": operation("send", "alerts", "Churnwatch says what it has found."),
            "writeCurrentAlerts": operation("send", "currentAlerts", "Churnwatch keeps what is open."),
            "writeDeadLetters": operation("send", "deadLetters", "Churnwatch sets aside what it cannot use."),
        },
        "components": { "messages": messages() },
    })
}

fn channels() -> Value {
    let kinds = kinds();
    let names: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
    json!({
        "events": channel(
            "churn.events.v1",
            "The canonical log. Keyed by `account_id` with the murmur2 partitioner, as Java clients \
                do; `message.timestamp.type=LogAppendTime`. Keep records long enough to warm an \
                empty detector up: 400 days are advised. Clocks stand in every partition.",
            &names,
            json!({ "cleanup.policy": ["delete"], "retention.ms": 34_560_000_000_u64 }),
        ),
        "alerts": channel(
            "churn.alerts.v1",
            &format!(
                "The history of all alerts: one record for each step of an alert's life. Keyed by \
                 account. {READ_COMMITTED}"
            ),
            &["alert"],
            json!({ "cleanup.policy": ["delete"], "retention.ms": 7_776_000_000_u64 }),
        ),
        "currentAlerts": channel(
            "churn.alerts.current.v1",
            &format!(
                "What is open now. Keyed by `alert_key`; a tombstone (null) ends an alert. \
                 {READ_COMMITTED}"
            ),
            &["currentAlert"],
            json!({ "cleanup.policy": ["compact"] }),
        ),
        "deadLetters": channel(
            "churn.dead-letters.v1",
            &format!(
                "Records of the log that could not be used: key and value are the raw bytes, the \
                 headers say where they came from and what is wrong. {READ_COMMITTED}"
            ),
            &["deadLetter"],
            json!({ "cleanup.policy": ["delete"] }),
        ),
    })
}

fn channel(topic: &str, description: &str, messages: &[&str], configuration: Value) -> Value {
    let messages: Map<_, _> = messages
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                json!({ "$ref": format!("#/components/messages/{name}") }),
            )
        })
        .collect();
    json!({
        "address": topic,
        "description": description,
        "messages": messages,
        "bindings": {
            "kafka": {
                "topic": topic,
                "topicConfiguration": configuration,
                "bindingVersion": "0.5.0",
            },
        },
    })
}

fn operation(action: &str, channel: &str, summary: &str) -> Value {
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": summary,
    })
}

fn messages() -> Value {
    let mut messages = Map::new();
    for (kind, schema) in kinds() {
        let key = if matches!(kind, "clock" | "resume") {
            json!({ "description": "None; it is about no account." })
        } else {
            json!({ "type": "string", "description": "The `account_id`." })
        };
        messages.insert(
            kind.to_owned(),
            json!({
                "name": kind,
                "summary": schema["description"],
                "payload": payload(&event_name(kind)),
                "bindings": { "kafka": { "key": key, "bindingVersion": "0.5.0" } },
            }),
        );
    }
    messages.insert(
        "alert".to_owned(),
        json!({
            "name": "alert",
            "summary": "One step of an alert's life, as a CloudEvents 1.0 envelope.",
            "contentType": "application/cloudevents+json",
            "headers": headers(&[
                ("ce_specversion", "Version of CloudEvents."),
                ("ce_id", "Id of the step; the same step written twice has the same id."),
                ("ce_source", "`churnwatch`."),
                ("ce_type", "`churnwatch.alert.` and the transition."),
                ("ce_subject", "The account."),
                ("ce_time", "Event time of the step, RFC 3339 in UTC."),
                ("ce_sequence", "Counts the steps of the account's alerts; sorts as text."),
                ("ce_partitionkey", "The account."),
                ("content-type", "Media type of the value."),
                ("signal", "The signal that fired."),
                ("severity", "How urgent the alert is."),
            ]),
            "payload": payload("alert.envelope.v1"),
            "bindings": kafka_key("The account."),
        }),
    );
    messages.insert(
        "currentAlert".to_owned(),
        json!({
            "name": "currentAlert",
            "summary": "An open alert, or a tombstone once it is over.",
            "payload": payload("alert.body.v1"),
            "bindings": kafka_key("The `alert_key`."),
        }),
    );
    messages.insert("deadLetter".to_owned(), json!({
        "name": "deadLetter",
        "summary": "A record that could not be used, as it came.",
        "contentType": "application/octet-stream",
        "headers": headers(&[
            ("__connect.errors.topic", "The topic it was read from."),
            ("__connect.errors.partition", "The partition, in decimal digits."),
            ("__connect.errors.offset", "The offset, in decimal digits."),
            ("__connect.errors.timestamp", "The record's own timestamp, in milliseconds since the Unix epoch."),
            ("__connect.errors.stage", "The step that refused it: decode, validate or skew."),
            ("__connect.errors.exception.class.name", "The kind of rejection."),
            ("__connect.errors.exception.message", "What is wrong with which field, and what to do."),
        ]),
        "payload": { "description": "The raw value of the record." },
        "bindings": kafka_key("The raw key of the record."),
    }));
    Value::Object(messages)
}

fn payload(name: &str) -> Value {
    json!({ "schemaFormat": SCHEMA_FORMAT, "schema": { "$ref": file_name(name) } })
}

fn kafka_key(description: &str) -> Value {
    let key = json!({ "type": "string", "description": description });
    json!({ "kafka": { "key": key, "bindingVersion": "0.5.0" } })
}

fn headers(headers: &[(&str, &str)]) -> Value {
    let properties: Map<_, _> = headers
        .iter()
        .map(|(name, description)| {
            (
                (*name).to_owned(),
                json!({ "type": "string", "description": description }),
            )
        })
        .collect();
    json!({ "type": "object", "properties": properties })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{alert::example, schemas};

    /// Every `$ref` in the document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|inner| references(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = asyncapi();
        let files: BTreeSet<_> = schemas().into_iter().map(|(name, _)| name).collect();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            match reference.strip_prefix('#') {
                Some(pointer) => assert!(document.pointer(pointer).is_some(), "{reference}"),
                None => assert!(files.contains(&reference), "{reference}"),
            }
        }
    }

    #[test]
    fn whoever_subscribes_is_told_to_read_committed() {
        let document = asyncapi();
        for channel in ["alerts", "currentAlerts", "deadLetters"] {
            let description = document["channels"][channel]["description"].as_str();
            assert!(
                description.is_some_and(|text| text.contains("isolation.level=read_committed"))
            );
        }
    }

    #[test]
    fn the_headers_that_are_documented_are_those_that_are_written() {
        let document = asyncapi();
        let documented = |message: &str| -> BTreeSet<String> {
            let headers = &document["components"]["messages"][message]["headers"]["properties"];
            headers
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect()
        };
        let written = crate::headers(&example::opened());
        assert_eq!(
            documented("alert"),
            written.iter().map(|(name, _)| (*name).to_owned()).collect()
        );
        let letter = crate::dead_letter::tests::letter();
        let ours = letter.headers().into_iter().map(|(name, _)| name);
        assert_eq!(
            documented("deadLetter"),
            ours.filter(|name| name.starts_with("__connect")).collect()
        );
    }
}
