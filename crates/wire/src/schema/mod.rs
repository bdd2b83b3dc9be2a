//! The contracts as documents: a JSON Schema 2020-12 for every record, and one
//! AsyncAPI 3 document for the topics.
//!
//! All of it comes from the Rust types: a field's doc comment is its published
//! description, its type gives its bounds and words. [`schemas`] is what
//! `docs/schemas/` holds; [`is_additive`] says whether a newer version of a
//! schema may take its place.

mod additive;
mod asyncapi;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

pub use self::{additive::is_additive, asyncapi::asyncapi};
use crate::{
    AlertBody, DeadLetterLine, Envelope,
    event::{
        AccountRecord, ClockRecord, CommandRecord, ContactRecord, EraseRecord, ResumeRecord,
        SeatRecord, TicketRecord, UsageRecord,
    },
};

/// Who writes what a schema describes, and so which changes of it are harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Producers write it and we read it: we may come to accept more.
    Input,
    /// We write it and subscribers read it: we may come to say more.
    Output,
}

impl Direction {
    /// The value of the schema's `x-direction`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// Every JSON Schema with the name of its file, sorted by name.
pub fn schemas() -> Vec<(String, Value)> {
    let kinds = kinds();
    let mut schemas = vec![
        ("events.v1".to_owned(), any_event(&kinds)),
        (
            "alert.body.v1".to_owned(),
            root::<AlertBody>("alert.body.v1", Direction::Output),
        ),
        (
            "alert.envelope.v1".to_owned(),
            root::<Envelope>("alert.envelope.v1", Direction::Output),
        ),
        (
            "dead-letter.v1".to_owned(),
            root::<DeadLetterLine>("dead-letter.v1", Direction::Output),
        ),
    ];
    schemas.extend(
        kinds
            .into_iter()
            .map(|(kind, schema)| (event_name(kind), schema)),
    );
    schemas.sort_by(|(one, _), (other, _)| one.cmp(other));
    schemas
        .into_iter()
        .map(|(name, schema)| (file_name(&name), schema))
        .collect()
}

/// The schema of every kind.
fn kinds() -> Vec<(&'static str, Value)> {
    fn kind<R: JsonSchema>(kind: &'static str) -> (&'static str, Value) {
        (kind, root::<R>(&event_name(kind), Direction::Input))
    }
    vec![
        kind::<UsageRecord>("usage"),
        kind::<TicketRecord>("ticket"),
        kind::<AccountRecord>("account"),
        kind::<SeatRecord>("seat"),
        kind::<ContactRecord>("contact"),
        kind::<CommandRecord>("command"),
        kind::<EraseRecord>("erase"),
        kind::<ClockRecord>("clock"),
        kind::<ResumeRecord>("resume"),
    ]
}

fn event_name(kind: &str) -> String {
    format!("event.{kind}.v1")
}

fn file_name(name: &str) -> String {
    format!("{name}.schema.json")
}

fn id(name: &str) -> String {
    format!("urn:churnwatch:schema:{name}")
}

/// The self-contained schema of one type.
fn root<T: JsonSchema>(name: &str, direction: Direction) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let settings = match direction {
        Direction::Input => settings.for_deserialize(),
        Direction::Output => settings.for_serialize(),
    };
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), id(name).into());
    schema.insert("title".to_owned(), name.into());
    schema.insert("x-direction".to_owned(), direction.as_str().into());
    let mut schema = schema.to_value();
    unwrap_lines(&mut schema);
    schema
}

/// The schema of any record of the log.
fn any_event(kinds: &[(&'static str, Value)]) -> Value {
    let mut defs = Map::new();
    let mut one_of = Vec::new();
    for (kind, schema) in kinds {
        let mut schema = schema.clone();
        if let Some(fields) = schema.as_object_mut() {
            // Inside another document these would start documents of their own.
            for own in ["$schema", "$id", "x-direction"] {
                fields.remove(own);
            }
        }
        defs.insert((*kind).to_owned(), schema);
        one_of.push(json!({ "$ref": format!("#/$defs/{kind}") }));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id("events.v1"),
        "title": "events.v1",
        "description": "Any record of churn.events.v1; `kind` tells which. Unknown fields are \
            ignored. The record key is `account_id`; clocks and resumes have none.",
        "x-direction": Direction::Input.as_str(),
        "oneOf": one_of,
        "$defs": defs,
    })
}

/// Doc comments are wrapped for the eye; descriptions are not.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text
                    .split('\n')
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" ");
            }
            fields.values_mut().for_each(unwrap_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_str;

    use super::*;
    use crate::{DeadLetter, alert::example, decode};

    const EVENTS: &str = include_str!("../../samples/events.v1.ndjson");

    fn schema(name: &str) -> Value {
        let file = file_name(name);
        let found = schemas().into_iter().find(|(named, _)| *named == file);
        found.unwrap_or_else(|| panic!("no schema {file}")).1
    }

    fn assert_valid(name: &str, instance: &Value) {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let errors: Vec<_> = validator
            .iter_errors(instance)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}\n{instance:#}");
    }

    #[test]
    fn every_schema_is_valid_against_the_dialect_it_names() {
        for (name, schema) in schemas() {
            assert_eq!(
                schema["$schema"], "https://json-schema.org/draft/2020-12/schema",
                "{name}"
            );
            jsonschema::draft202012::meta::validate(&schema)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn every_published_event_validates_and_decodes() {
        for line in EVENTS.lines() {
            let event: Value = from_str(line).expect("sample is JSON");
            let kind = event["kind"].as_str().expect("sample names its kind");
            assert_valid(&event_name(kind), &event);
            assert_valid("events.v1", &event);
            decode(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn alerts_as_they_are_written_validate() {
        for (transition, stamp) in [
            (example::opened(), example::STAMP),
            (example::resolved(), example::FROM_FILES),
        ] {
            let body = AlertBody::new(&transition, &stamp);
            assert_valid(
                "alert.body.v1",
                &serde_json::from_slice(&body.to_json()).expect("JSON"),
            );
            let envelope = Envelope::new(&transition, body).to_json();
            assert_valid(
                "alert.envelope.v1",
                &serde_json::from_slice(&envelope).expect("JSON"),
            );
        }
    }

    #[test]
    fn dead_letters_as_they_are_written_validate() {
        let letter = crate::dead_letter::tests::letter();
        let tombstone = DeadLetter {
            value: None,
            timestamp_ms: None,
            ..letter.clone()
        };
        for letter in [letter, tombstone] {
            let line = serde_json::from_slice(&letter.to_line()).expect("JSON");
            assert_valid("dead-letter.v1", &line);
        }
    }

    #[test]
    fn a_schema_refuses_what_the_decoder_refuses() {
        let good: Value = from_str(EVENTS.lines().next().expect("a sample")).expect("JSON");
        assert_eq!(good["kind"], "usage");
        let mutations: [(&str, Value); 6] = [
            ("feature", json!(5)),
            ("quantity", json!(-1)),
            ("quantity", json!(2e12)),
            ("account_id", json!("")),
            ("actor", json!("robot")),
            ("time", json!("yesterday")),
        ];
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema("event.usage.v1"))
            .expect("a valid schema");
        for (field, value) in mutations {
            let mut event = good.clone();
            event[field] = value;
            assert!(!validator.is_valid(&event), "{event}");
            assert!(decode(event.to_string().as_bytes()).is_err(), "{event}");
        }
    }

    #[test]
    fn every_field_is_described() {
        fn check(name: &str, schema: &Value) {
            if let Some(properties) = schema["properties"].as_object() {
                for (field, inner) in properties {
                    let described = inner["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty());
                    assert!(described, "{name}: {field} has no description");
                    check(&format!("{name}.{field}"), inner);
                }
            }
        }
        for (name, schema) in schemas() {
            check(&name, &schema);
        }
    }

    #[test]
    fn schemas_stand_alone_and_have_a_name_each() {
        let names: Vec<_> = schemas().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 13);
        for (name, schema) in schemas() {
            let id = schema["$id"].as_str().expect("an id");
            assert_eq!(
                name,
                file_name(id.trim_start_matches("urn:churnwatch:schema:"))
            );
        }
        let body = AlertBody::new(&example::opened(), &example::STAMP);
        let envelope = Envelope::new(&example::opened(), body);
        assert_eq!(schema("alert.body.v1")["$id"], envelope.dataschema);
    }

    #[test]
    fn a_replacement_by_itself_is_additive() {
        for (name, schema) in schemas() {
            assert_eq!(is_additive(&schema, &schema), Ok(()), "{name}");
        }
    }
}
