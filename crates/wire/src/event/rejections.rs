//! Every good record and every rejection as it looks, side by side.

use std::{cell::RefCell, collections::BTreeSet};

use expect_test::{Expect, expect, expect_file};

use churnwatch_core::event::{Fact, Patch};

use super::*;

const SAMPLES: &str = include_str!("../../samples/events.v1.ndjson");

#[test]
fn a_good_record_of_every_kind_decodes_to_this() {
    let decoded: Vec<_> = SAMPLES
        .lines()
        .map(|line| format!("{:#?}", decode(line.as_bytes()).expect(line)))
        .collect();
    expect_file!["snapshots/events.txt"].assert_eq(&(decoded.join("\n") + "\n"));
}

fn event(value: &str) -> Event {
    match decode(value.as_bytes()) {
        Ok(Record::Event(event)) => event,
        other => panic!("{value}: {other:?}"),
    }
}

/// A usage record with these fields beside the common ones.
fn usage(fields: &str) -> String {
    format!(r#"{{"kind":"usage","account_id":"acme","time":"2026-03-01T09:30:00Z",{fields}}}"#)
}

/// An account record with these fields beside the common ones.
fn account(fields: &str) -> String {
    format!(r#"{{"kind":"account","account_id":"acme","time":"2026-03-01T09:30:00Z",{fields}}}"#)
}

#[test]
fn what_a_record_leaves_out_has_its_default() {
    let event = event(&usage(r#""feature":"f""#));
    expect![[r#"
        Event {
            account: "acme",
            time: 2026-03-01T09:30:00Z,
            id: None,
            source: "log",
            fact: Usage(
                Usage {
                    user: None,
                    feature: "f",
                    quantity: 1.0,
                    actor: Person,
                },
            ),
        }
    "#]]
    .assert_debug_eq(&event);
}

#[test]
fn null_is_absent_but_in_a_merge_patch() {
    assert_eq!(
        event(&usage(
            r#""feature":"f","user_id":null,"quantity":null,"source":null"#
        )),
        event(&usage(r#""feature":"f""#))
    );
    let Fact::Account(patch) = event(&account(r#""name":null,"plan":"pro""#)).fact else {
        panic!("an account record");
    };
    assert_eq!(patch.name, Patch::Remove);
    assert_eq!(patch.plan, Patch::Set("pro".into()));
    assert_eq!(patch.owner, Patch::Keep);
}

#[test]
fn a_record_is_the_same_wherever_its_kind_stands_and_however_it_is_spaced() {
    let first = event(&usage(r#""feature":"f""#));
    for value in [
        r#"{"account_id":"acme","time":"2026-03-01T09:30:00Z","feature":"f","kind":"usage"}"#,
        "\n{ \"kind\" : \"usage\" ,\t\"account_id\":\"acme\",\"time\":\"2026-03-01T09:30:00Z\",\"feature\":\"f\" }\n",
        r#"{"kind":"us\u0061ge","account_id":"ac\u006de","time":"2026-03-01T09:30:00Z","feature":"f"}"#,
        r#"{"\u006bind":"usage","account_id":"acme","time":"2026-03-01T09:30:00Z","feature":"f"}"#,
    ] {
        assert_eq!(event(value), first, "{value}");
    }
}

#[test]
fn unknown_fields_are_ignored_whatever_they_hold() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for extra in [r#"{"a":[1,{}]}"#, "1e999", "null", &deep] {
        let value = usage(&format!(r#""feature":"f","colour":{extra}"#));
        assert_eq!(event(&value), event(&usage(r#""feature":"f""#)));
    }
}

#[test]
fn ids_are_kept_as_a_hash_that_never_changes() {
    let id = |id: &str| event(&usage(&format!(r#""feature":"f","id":"{id}""#))).id;
    // The hash is in stored state: these are for ever.
    assert_eq!(id("evt-0001"), Some(EventId(10_861_329_703_438_394_787)));
    assert_ne!(id("evt-0001"), id("evt-0002"));
}

#[test]
fn a_quantity_has_one_zero() {
    let Fact::Usage(usage) = event(&usage(r#""feature":"f","quantity":-0.0"#)).fact else {
        panic!("a usage record");
    };
    assert_eq!(usage.quantity.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_whole_number_may_be_written_with_a_point() {
    let seats = |number: &str| match event(&account(&format!(r#""seats_purchased":{number}"#))).fact
    {
        Fact::Account(patch) => patch.seats_purchased,
        other => panic!("{other:?}"),
    };
    assert_eq!(seats("50"), Patch::Set(50));
    assert_eq!(seats("50.0"), Patch::Set(50));
    assert_eq!(seats("5e1"), Patch::Set(50));
}

#[test]
fn names_of_exactly_the_longest_length_are_accepted() {
    let longest = "x".repeat(512);
    assert_eq!(
        event(&usage(&format!(r#""feature":"{longest}""#)))
            .account
            .as_str(),
        "acme"
    );
    let value = format!(
        r#"{{"kind":"usage","account_id":"{longest}","time":"2026-03-01T09:30:00Z","feature":"f"}}"#
    );
    assert_eq!(event(&value).account.as_str(), longest);
}

#[test]
fn a_value_of_exactly_the_largest_size_is_accepted() {
    let mut value = usage(r#""feature":"f""#);
    value.push_str(&" ".repeat(VALUE_MAX_BYTES - value.len()));
    assert_eq!(event(&value).account.as_str(), "acme");
}

/// Rejections seen so far, to prove that none is left out.
#[derive(Default)]
struct Seen(RefCell<BTreeSet<RejectReason>>);

impl Seen {
    fn rejected(&self, value: impl AsRef<[u8]>, expected: Expect) {
        self.saw(decode(value.as_ref()).expect_err("a rejection"), expected);
    }

    fn saw(&self, rejection: Rejection, expected: Expect) {
        assert!(rejection.message.chars().count() < 400, "{rejection}");
        self.0.borrow_mut().insert(rejection.reason);
        expected.assert_eq(&rejection.to_string());
    }
}

#[test]
fn every_rejection_names_the_field_and_says_what_to_do() {
    let seen = Seen::default();

    // Not a record.
    seen.saw(decode_record(None).expect_err("a tombstone"), expect!["null_value: the record has no value: nothing can be deleted from the log, write an event"]);
    seen.rejected(
        vec![b' '; VALUE_MAX_BYTES + 1],
        expect!["too_large: the value is 1048577 bytes long: keep it within 1048576 bytes"],
    );
    seen.rejected(
        b"{\"kind\":\"usage\xff\"}",
        expect!["not_utf8: the value is not UTF-8 from byte 14 on: encode it as UTF-8"],
    );
    seen.rejected("", expect![[r#"not_json: the value is not JSON (""): EOF while parsing a value at line 1 column 0; write one object a record"#]]);
    seen.rejected("not json", expect![[r#"not_json: the value is not JSON ("not json"): expected ident at line 1 column 2; write one object a record"#]]);
    seen.rejected(r#"{"kind":"usage","account_id":"acme""#, expect![[r#"not_json: the value is not JSON ("{\"kind\":\"usage\",\"account_id\":\"acme\""): EOF while parsing an object at line 1 column 35; write one object a record"#]]);
    seen.rejected(usage(r#""feature":"f""#) + "}", expect![[r#"not_json: the value is not JSON ("{\"kind\":\"usage\",\"account_id\":\"acme\",\"time\":\"2026-03-01T09:30:00Z"…): trailing characters at line 1 column 81; write one object a record"#]]);
    seen.rejected(usage(r#""feature":"f","quantity":NaN"#), expect![[r#"not_json: the value is not JSON ("{\"kind\":\"usage\",\"account_id\":\"acme\",\"time\":\"2026-03-01T09:30:00Z"…): expected value at line 1 column 92; write one object a record"#]]);
    seen.rejected(usage(r#""feature":"f","quantity":-Infinity"#), expect![[r#"not_json: the value is not JSON ("{\"kind\":\"usage\",\"account_id\":\"acme\",\"time\":\"2026-03-01T09:30:00Z"…): invalid number at line 1 column 93; write one object a record"#]]);
    seen.rejected(
        usage(r#""feature":"f","feature":"g""#),
        expect!["not_json: feature stands in the record twice: write each field once"],
    );
    seen.rejected(
        usage(r#""feature":"f","kind":"ticket""#),
        expect!["not_json: kind stands in the record twice: write each field once"],
    );
    seen.rejected(
        usage(r#""feature":"\ud800""#),
        expect![[r#"not_json: feature is "\ud800", which is not valid: unexpected end of hex escape at line 1 column 8"#]],
    );
    seen.rejected(r#"["usage","acme"]"#, expect![[r#"not_an_object: the value is no JSON object ("[\"usage\",\"acme\"]"): write one object a record"#]]);
    seen.rejected("[".repeat(100_000), expect![[r#"not_an_object: the value is no JSON object ("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["…): write one object a record"#]]);
    seen.rejected(
        "5",
        expect![[r#"not_an_object: the value is no JSON object ("5"): write one object a record"#]],
    );

    // Not a record of a known kind.
    seen.rejected(
        "{}",
        expect!["missing_field: kind is missing: it is required, write it"],
    );
    seen.rejected(
        r#"{"kind":7}"#,
        expect!["wrong_type: kind is 7: write a string"],
    );
    seen.rejected(
        r#"{"kind":null}"#,
        expect!["missing_field: kind is null: it is required, write its value"],
    );
    seen.rejected(r#"{"kind":"Usage"}"#, expect![[r#"unknown_kind: kind is "Usage": use one of usage, ticket, account, seat, contact, command, erase, clock, resume"#]]);
    seen.rejected(r#"{"account_id":"acme","kind":"telemetry"}"#, expect![[r#"unknown_kind: kind is "telemetry": use one of usage, ticket, account, seat, contact, command, erase, clock, resume"#]]);
    seen.rejected(r#"{"kind":"telemetry","#, expect![[r#"not_json: the value is not JSON ("{\"kind\":\"telemetry\","): EOF while parsing a value at line 1 column 20; write one object a record"#]]);

    // Of the wrong shape.
    seen.rejected(
        r#"{"kind":"usage","time":"2026-03-01T09:30:00Z","feature":"f"}"#,
        expect!["missing_field: account_id is missing: it is required, write it"],
    );
    seen.rejected(
        usage(r#""user_id":"u""#),
        expect!["missing_field: feature is missing: it is required, write it"],
    );
    seen.rejected(
        usage(r#""feature":null"#),
        expect!["missing_field: feature is null: it is required, write its value"],
    );
    seen.rejected(
        usage(r#""feature":["f"]"#),
        expect![[r#"wrong_type: feature is ["f"]: write a string"#]],
    );
    seen.rejected(usage(&format!(r#""feature":{}"#, "[".repeat(100_000) + &"]".repeat(100_000))), expect!["wrong_type: feature is [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…: write a string"]);
    seen.rejected(
        usage(r#""feature":"f","quantity":"3""#),
        expect![[r#"wrong_type: quantity is "3": write a number"#]],
    );
    seen.rejected(
        usage(r#""feature":"f","user_id":42"#),
        expect!["wrong_type: user_id is 42: write a string"],
    );
    seen.rejected(
        account(r#""mrr":[100,"EUR"]"#),
        expect![[r#"wrong_type: mrr is [100,"EUR"]: write an object"#]],
    );
    seen.rejected(
        account(r#""mrr":{"amount":100}"#),
        expect![[r#"wrong_type: mrr is {"amount":100}: missing field `currency`"#]],
    );
    seen.rejected(
        account(r#""mrr":{"amount":"100","currency":"EUR"}"#),
        expect![[r#"wrong_type: mrr is {"amount":"100","currency":"EUR"}: write a number"#]],
    );
    seen.rejected(
        account(r#""seats_purchased":2.5"#),
        expect!["wrong_type: seats_purchased is 2.5: write a whole number"],
    );
    seen.rejected(
        account(r#""core_features":"f""#),
        expect![[r#"wrong_type: core_features is "f": write an array"#]],
    );
    seen.rejected(
        account(r#""core_features":["f",null]"#),
        expect![[r#"wrong_type: core_features is ["f",null]: write a string"#]],
    );
    seen.rejected(
        account(r#""auto_renew":"yes""#),
        expect![[r#"wrong_type: auto_renew is "yes": write a boolean"#]],
    );
    let snooze = r#"{"kind":"command","account_id":"acme","time":"2026-03-01T09:30:00Z","action":"snooze","alert_key":"k","by":"jo"}"#;
    seen.rejected(
        snooze,
        expect!["missing_field: until is missing: a snooze has to say when it ends"],
    );

    // Names.
    let of_account = |id: &str| {
        format!(
            r#"{{"kind":"usage","account_id":"{id}","time":"2026-03-01T09:30:00Z","feature":"f"}}"#
        )
    };
    seen.rejected(
        of_account(""),
        expect!["account_id_empty: account_id is empty: name the account the record is about"],
    );
    seen.rejected(of_account(&"x".repeat(10_000)), expect![[r#"account_id_too_long: account_id is 10000 bytes long ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"…): shorten it to 512 bytes"#]]);
    seen.rejected(
        of_account("a\\u0000b"),
        expect![[r#"bad_name: account_id holds control characters ("a\0b"): remove them"#]],
    );
    seen.rejected(
        of_account("a\\u0085b"),
        expect![[r#"bad_name: account_id holds control characters ("a\u{85}b"): remove them"#]],
    );
    seen.rejected(
        usage(r#""feature":"""#),
        expect![
            "bad_name: feature is empty: give a name, or leave the field out where it is optional"
        ],
    );
    seen.rejected(usage(&format!(r#""feature":"{}""#, "é".repeat(300))), expect![[r#"name_too_long: feature is 600 bytes long ("éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"…): shorten it to 512 bytes"#]]);
    seen.rejected(
        usage(r#""feature":"f","id":"""#),
        expect!["bad_name: id is empty: give a name, or leave the field out where it is optional"],
    );
    seen.rejected(
        account(r#""core_features":["f","a\nb"]"#),
        expect![[
            r#"bad_name: core_features holds control characters ("a\nb"): remove them (entry 1)"#
        ]],
    );

    // Times.
    let at = |time: &str| {
        format!(r#"{{"kind":"usage","account_id":"acme","time":"{time}","feature":"f"}}"#)
    };
    seen.rejected(at("yesterday"), expect![[r#"bad_time: time is no time ("yesterday"): write RFC 3339 with an offset, such as 2026-03-01T09:30:00Z"#]]);
    seen.rejected(at("2026-03-01T09:30:00"), expect![[r#"bad_time: time is no time ("2026-03-01T09:30:00"): write RFC 3339 with an offset, such as 2026-03-01T09:30:00Z"#]]);
    seen.rejected(at("2026-02-30T09:30:00Z"), expect![[r#"bad_time: time is no time ("2026-02-30T09:30:00Z"): write RFC 3339 with an offset, such as 2026-03-01T09:30:00Z"#]]);
    seen.rejected(
        account(r#""renewal_date":"31.12.2026""#),
        expect![[r#"bad_time: renewal_date is no date ("31.12.2026"): write it as 2026-03-01"#]],
    );

    // Numbers.
    seen.rejected(
        usage(r#""feature":"f","quantity":-1"#),
        expect!["out_of_range: quantity is -1: give a number from 0 to 1000000000000"],
    );
    seen.rejected(
        usage(r#""feature":"f","quantity":1000000000001"#),
        expect!["out_of_range: quantity is 1000000000001: give a number from 0 to 1000000000000"],
    );
    seen.rejected(
        usage(r#""feature":"f","quantity":1e400"#),
        expect!["out_of_range: quantity is 1e400: give a number that 64 bits can hold"],
    );
    seen.rejected(
        account(r#""mrr":{"amount":-1,"currency":"EUR"}"#),
        expect!["out_of_range: mrr.amount is -1: give a number from 0 to 1000000000000000"],
    );
    seen.rejected(
        account(r#""seats_purchased":10000001"#),
        expect!["out_of_range: seats_purchased is 10000001: give a number from 0 to 10000000"],
    );
    seen.rejected(
        account(r#""seats_purchased":99999999999999999999"#),
        expect!["out_of_range: seats_purchased is 1e+20: give a number from 0 to 10000000"],
    );
    seen.rejected(
        account(r#""term_months":0"#),
        expect!["out_of_range: term_months is 0: give a number from 1 to 1200"],
    );
    let features = vec![r#""f""#; 1_001].join(",");
    seen.rejected(
        account(&format!(r#""core_features":[{features}]"#)),
        expect!["out_of_range: core_features has 1001 entries: name at most 1000"],
    );
    let ticket = |field: &str| {
        format!(
            r#"{{"kind":"ticket","account_id":"acme","time":"2026-03-01T09:30:00Z","ticket_id":"t","action":"opened",{field}}}"#
        )
    };
    seen.rejected(
        ticket(r#""sentiment":1.5"#),
        expect!["out_of_range: sentiment is 1.5: give a number from -1 to 1"],
    );
    let clock = |shard: &str, shards: &str| {
        format!(
            r#"{{"kind":"clock","source":"crm","shard":{shard},"shards":{shards},"time":"2026-03-01T09:30:00Z"}}"#
        )
    };
    seen.rejected(
        clock("0", "0"),
        expect!["out_of_range: shards is 0: give a number from 1 to 4096"],
    );
    seen.rejected(
        clock("0", "4097"),
        expect!["out_of_range: shards is 4097: give a number from 1 to 4096"],
    );
    seen.rejected(
        clock("4", "4"),
        expect!["out_of_range: shard is 4 of shards 4: count shards from 0"],
    );
    seen.rejected(
        clock("-1", "4"),
        expect!["out_of_range: shard is -1: give a number from 0 to 4095"],
    );

    // Words.
    seen.rejected(
        ticket(r#""severity":"urgent""#),
        expect![[r#"unknown_value: severity is "urgent": use one of P1, P2, P3, P4"#]],
    );
    seen.rejected(
        usage(r#""feature":"f","actor":"robot""#),
        expect![[r#"unknown_value: actor is "robot": use one of person, service"#]],
    );
    seen.rejected(
        account(r#""segment":"HIGH""#),
        expect![[r#"unknown_value: segment is "HIGH": use one of high, low, tech"#]],
    );
    seen.rejected(account(r#""time_zone":"Europe/Atlantis""#), expect![[r#"unknown_value: time_zone is no time zone we know ("Europe/Atlantis"): use an IANA name such as Europe/Berlin"#]]);
    seen.rejected(account(r#""mrr":{"amount":1,"currency":"euro"}"#), expect![[r#"unknown_value: mrr.currency is no currency ("euro"): use an ISO 4217 code in upper case, such as EUR"#]]);

    // Keys.
    let record = decode(usage(r#""feature":"f""#).as_bytes()).expect("good");
    seen.saw(
        check_key(None, &record).expect_err("no key"),
        expect![[r#"key_missing: the record has no key: key it by its account_id "acme""#]],
    );
    seen.saw(check_key(Some(b"acme2"), &record).expect_err("another key"), expect![[r#"key_mismatch: the record key "acme2" is not the account_id "acme": key every event by its account"#]]);
    seen.saw(check_key(Some(&[0xff; 2_000]), &record).expect_err("no text"), expect![[r#"key_mismatch: the record key "����������������������������������������������������������������"… is not the account_id "acme": key every event by its account"#]]);

    // The pipeline, which knows when a record was appended, rejects this one.
    let mut seen = seen.0.into_inner();
    assert!(seen.insert(RejectReason::TimeAhead));
    assert_eq!(seen, RejectReason::ALL.iter().copied().collect());
}

#[test]
fn an_event_is_keyed_by_its_account_and_a_clock_by_anything() {
    let record = decode(usage(r#""feature":"f""#).as_bytes()).expect("good");
    assert_eq!(check_key(Some(b"acme"), &record), Ok(()));
    let clock = SAMPLES
        .lines()
        .find(|line| line.contains(r#""kind":"clock""#))
        .expect("a sample of a clock");
    let clock = decode(clock.as_bytes()).expect("good");
    assert!(matches!(clock, Record::Clock(_)));
    assert_eq!(check_key(None, &clock), Ok(()));
    assert_eq!(check_key(Some(b"any"), &clock), Ok(()));
}
