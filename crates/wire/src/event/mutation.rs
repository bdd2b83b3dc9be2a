//! Good records with something wrong in them: none may panic, and each that is
//! refused has to say which field is at fault.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::RejectReason;

const SAMPLES: &str = include_str!("../../samples/events.v1.ndjson");

fn samples() -> Vec<Map<String, Value>> {
    let object = |line| serde_json::from_str(line).expect("a sample is an object");
    SAMPLES.lines().map(object).collect()
}

/// What is put in the place of every field in turn.
fn replacements() -> Vec<Value> {
    let mut deep = json!([]);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(513)),
        json!("x".repeat(10_000)),
        json!("nothing we know"),
        json!("2026-13-01T00:00:00Z"),
        json!([]),
        json!([null]),
        json!(["", 5]),
        json!({}),
        json!({ "amount": -5, "currency": "EUR" }),
        json!({ "amount": 5, "currency": "" }),
        deep,
    ]
}

/// Decodes `value`, of which only `field` has been touched, and holds the
/// rejection, if there is one, to its promise.
fn check(field: &str, value: &Value) -> Option<RejectReason> {
    let text = value.to_string();
    match decode(text.as_bytes()) {
        Ok(_) => None,
        Err(rejection) => {
            assert!(
                rejection.message.contains(field),
                "{field}: {rejection}\n{text}"
            );
            assert!(rejection.message.chars().count() < 400, "{rejection}");
            Some(rejection.reason)
        }
    }
}

#[test]
fn a_record_without_one_of_its_fields_decodes_or_says_which_is_missing() {
    let mut missing = Vec::new();
    for sample in samples() {
        for field in sample.keys() {
            let mut mutated = sample.clone();
            mutated.remove(field);
            if let Some(reason) = check(field, &Value::Object(mutated)) {
                assert_eq!(reason, RejectReason::MissingField, "{field}");
                missing.push(format!(
                    "{}.{field}",
                    sample["kind"].as_str().expect("a kind")
                ));
            }
        }
    }
    expect_test::expect!["usage.account_id usage.feature usage.kind usage.time ticket.account_id ticket.action ticket.kind ticket.ticket_id ticket.time account.account_id account.kind account.time seat.account_id seat.action seat.kind seat.time seat.user_id contact.account_id contact.action contact.contact_id contact.kind contact.time command.account_id command.action command.alert_key command.by command.kind command.time command.until clock.kind clock.shard clock.shards clock.source clock.time resume.by resume.kind resume.offset resume.until erase.account_id erase.by erase.kind erase.time"].assert_eq(&missing.join(" "));
}

#[test]
fn a_record_with_another_value_in_a_field_decodes_or_says_what_is_wrong_with_it() {
    let mut refused = 0;
    for sample in samples() {
        for field in sample.keys() {
            for replacement in replacements() {
                let mut mutated = sample.clone();
                mutated.insert(field.clone(), replacement);
                refused += usize::from(check(field, &Value::Object(mutated)).is_some());
            }
        }
    }
    assert!(refused > 900, "only {refused} were refused");
}

#[test]
fn what_the_decoder_accepts_is_valid_by_the_published_schema() {
    let schemas = crate::schemas();
    let events = schemas
        .iter()
        .find(|(name, _)| name == "events.v1.schema.json");
    let (_, events) = events.expect("the schema of all events");
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(events)
        .expect("a valid schema");
    let mut accepted = 0;
    for sample in samples() {
        for field in sample.keys() {
            for replacement in replacements() {
                let mut mutated = sample.clone();
                mutated.insert(field.clone(), replacement);
                let mutated = Value::Object(mutated);
                if decode(mutated.to_string().as_bytes()).is_ok() {
                    assert!(validator.is_valid(&mutated), "{field}: {mutated}");
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted > 100, "only {accepted} were accepted");
}

#[test]
fn a_field_of_another_type_is_always_refused() {
    for sample in samples() {
        for (field, value) in &sample {
            for other in [
                json!(true),
                json!(5),
                json!("nothing we know"),
                json!([5]),
                json!({ "a": 5 }),
            ] {
                let same_type = std::mem::discriminant(value) == std::mem::discriminant(&other);
                // The one null of the samples stands for a time.
                if same_type {
                    continue;
                }
                let mut mutated = sample.clone();
                mutated.insert(field.clone(), other);
                let reason = check(field, &Value::Object(mutated));
                assert!(
                    matches!(
                        reason,
                        Some(RejectReason::WrongType | RejectReason::BadTime)
                    ),
                    "{field}: {reason:?}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn bytes_changed_at_random_never_panic(
        sample in 0_usize..7,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let mut bytes = SAMPLES.lines().nth(sample).expect("a sample").as_bytes().to_vec();
        for (place, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        if let Err(rejection) = decode(&bytes) {
            prop_assert!(!rejection.message.is_empty());
        }
    }

    #[test]
    fn a_record_cut_short_is_not_json(sample in 0_usize..7, end in any::<prop::sample::Index>()) {
        let line = SAMPLES.lines().nth(sample).expect("a sample").as_bytes();
        let rejection = decode(&line[..end.index(line.len())]).expect_err("cut short");
        prop_assert_eq!(rejection.reason, RejectReason::NotJson);
    }

    #[test]
    fn any_bytes_at_all_are_refused_with_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let rejection = decode(&bytes).expect_err("noise");
        prop_assert!(!rejection.message.is_empty());
    }
}
