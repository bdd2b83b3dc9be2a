//! Records that cannot be used, and records that look as if.

use churnwatch_testkit::timeline;
use churnwatch_wire::VALUE_MAX_BYTES;

use super::{Bench, good_log, strewn};

/// A use of the product by an account of its own, with fields put in or over.
fn usage(fields: &str) -> Vec<u8> {
    format!(
        r#"{{"kind":"usage","account_id":"odd","time":"{}","feature":"work"{fields}}}"#,
        timeline::noon(60)
    )
    .into_bytes()
}

fn with(old: &str, new: &str) -> Vec<u8> {
    let line = String::from_utf8(usage("")).expect("UTF-8");
    assert!(line.contains(old), "{old} is not in {line}");
    line.replace(old, new).into_bytes()
}

/// Bad records, each with the reason under which it has to be kept.
fn bad_records() -> Vec<(&'static str, Vec<u8>)> {
    let long_id = "x".repeat(10_000);
    let time = timeline::noon(60).to_string();
    let padding = format!(r#","note":"{}""#, "x".repeat(VALUE_MAX_BYTES));
    let mut not_utf8 = usage(r#","user_id":"u-"#);
    not_utf8.extend(b"\xff\xfe\"}");
    vec![
        ("not_json", b"not json".to_vec()),
        ("not_json", b"{\"kind\":\"usage\"".to_vec()),
        ("not_json", usage(r#","feature":"twice""#)),
        ("not_json", usage(",\"quantity\":NaN")),
        ("not_json", usage(",\"quantity\":-Infinity")),
        ("not_an_object", b"null".to_vec()),
        ("not_an_object", b"[1,2]".to_vec()),
        ("not_an_object", b"\"usage\"".to_vec()),
        ("not_utf8", not_utf8),
        ("too_large", usage(&padding)),
        ("unknown_kind", with("\"usage\"", "\"usages\"")),
        ("missing_field", with("\"kind\":\"usage\",", "")),
        ("missing_field", with("\"account_id\":\"odd\",", "")),
        ("missing_field", with("\"odd\"", "null")),
        ("wrong_type", with("\"odd\"", "17")),
        ("wrong_type", with("\"usage\"", "[]")),
        ("account_id_empty", with("\"odd\"", "\"\"")),
        ("account_id_too_long", with("odd", &long_id)),
        ("bad_name", with("odd", "o\\u0000d")),
        ("name_too_long", with("work", &long_id)),
        ("bad_time", with(&time, "yesterday")),
        ("bad_time", with(&time, "2026-02-30T12:00:00Z")),
        ("bad_time", with(&time, "2026-03-01T12:00:00")),
        ("wrong_type", with(&format!("\"{time}\""), "1772357400")),
        ("time_ahead", with(&time, "2036-03-01T12:00:00Z")),
        (
            "time_ahead",
            usage(r#","appended_at":"2026-03-01T12:00:00Z""#),
        ),
        ("out_of_range", usage(",\"quantity\":-1")),
        ("out_of_range", usage(",\"quantity\":1e13")),
        ("out_of_range", usage(",\"quantity\":1e400")),
        ("wrong_type", usage(",\"quantity\":\"NaN\"")),
        ("wrong_type", usage(",\"quantity\":\"3\"")),
        ("unknown_value", usage(",\"actor\":\"robot\"")),
    ]
}

#[test]
fn each_bad_record_is_kept_with_its_reason_and_its_place_and_nothing_else_is_harmed() {
    let bench = Bench::new();
    let good = good_log();
    let clean = bench.replay(&bench.write("good.ndjson", &good));
    assert!(clean.alerts.lines().count() >= 8, "{}", clean.alerts);
    assert!(clean.dead_letters.is_empty());

    let (reasons, lines): (Vec<_>, Vec<_>) = bad_records().into_iter().unzip();
    let (log, places) = strewn(&good, &lines);
    let path = bench.write("mixed.ndjson", log);
    let mixed = bench.replay(&path);
    assert_eq!(mixed.alerts, clean.alerts);
    assert_eq!(mixed.dead_letters.len(), lines.len());
    for (letter, ((reason, line), place)) in mixed
        .dead_letters
        .iter()
        .zip(reasons.iter().zip(&lines).zip(places))
    {
        assert_eq!(letter.reason, *reason, "{}", letter.message);
        assert_eq!(letter.topic, path.display().to_string());
        assert_eq!(
            (letter.partition, letter.offset),
            (0, place),
            "{}",
            letter.message
        );
        let value = letter.value.as_ref().and_then(|value| value.bytes());
        assert!(
            value.as_ref() == Some(line),
            "the record is kept as it came: {}",
            letter.message
        );
        assert!(
            !letter.message.is_empty() && letter.message.len() < 500,
            "{}",
            letter.message
        );
    }
    let count = format!("{} of", lines.len());
    assert!(
        mixed.said.contains(&count),
        "the replay says how many: {}",
        mixed.said
    );
}

#[test]
fn a_line_longer_than_any_event_does_not_swallow_the_next() {
    let bench = Bench::new();
    let mut log = vec![b'x'; 5 << 20];
    log.push(b'\n');
    log.extend(good_log().into_bytes());
    let replayed = bench.replay(&bench.write("long.ndjson", log));
    assert_eq!(replayed.dead_letters.len(), 1);
    assert_eq!(replayed.dead_letters[0].reason, "too_large");
    let clean = bench.replay(&bench.write("good.ndjson", good_log()));
    assert_eq!(replayed.alerts, clean.alerts);
}

#[test]
fn what_only_looks_odd_is_used() {
    let bench = Bench::new();
    let odd = [
        usage(",\"quantity\":0"),
        usage(",\"quantity\":1e12"),
        usage(",\"quantity\":null,\"user_id\":null"),
        usage(",\"field_of_next_year\":{\"deep\":[1,null]}"),
        usage(&format!(r#","note":"{}""#, "x".repeat(1_000_000))),
        with("odd", &"o".repeat(512)),
        with("odd", "o|d %2F \u{1F600}"),
        with("T12:00:00Z", "T14:00:00.123456+02:00"),
        [usage(""), b"\r".to_vec()].concat(),
    ];
    // On their day, for an event ahead of the others would make those late.
    let good = good_log();
    let day = timeline::noon(60).to_string();
    let at = good
        .find(&day)
        .map_or(0, |at| good[..at].rfind('\n').map_or(0, |end| end + 1));
    let log = [
        &good.as_bytes()[..at],
        &odd.join(&b'\n'),
        b"\n",
        &good.as_bytes()[at..],
    ]
    .concat();
    let replayed = bench.replay(&bench.write("odd.ndjson", log));
    assert!(
        replayed.dead_letters.is_empty(),
        "{:?}",
        replayed.dead_letters
    );
    let clean = bench.replay(&bench.write("good.ndjson", good_log()));
    assert_eq!(replayed.alerts, clean.alerts);
}

#[test]
fn an_event_before_the_grace_period_is_counted_and_neither_applied_nor_kept() {
    let bench = Bench::new();
    let good = good_log();
    let clean = bench.replay(&bench.write("good.ndjson", &good));
    // Calder's people come back, weeks after anybody would have known.
    let late = format!(
        r#"{{"kind":"usage","account_id":"calder","time":"{}","feature":"report","user_id":"c1"}}"#,
        timeline::noon(120)
    );
    let log = format!("{good}{late}\n");
    let replayed = bench.replay(&bench.write("late.ndjson", log));
    assert_eq!(replayed.alerts, clean.alerts);
    assert!(replayed.dead_letters.is_empty());
    assert!(
        replayed
            .said
            .contains("1 events were older than the grace period"),
        "{}",
        replayed.said
    );
    assert!(!clean.said.contains("grace period"), "{}", clean.said);
}

#[test]
fn an_event_with_a_known_id_is_counted_and_applied_once() {
    let bench = Bench::new();
    let good = good_log();
    let numbered = |times: usize, with_id: bool| -> String {
        let line = |(number, line): (usize, &str)| {
            let id = if with_id {
                format!("\"id\":\"e-{number}\",")
            } else {
                String::new()
            };
            format!("{{{id}{}\n", &line[1..]).repeat(times)
        };
        good.lines()
            .filter(|line| !line.contains("\"clock\""))
            .enumerate()
            .map(line)
            .collect()
    };
    let once = bench.replay(&bench.write("once.ndjson", numbered(1, true)));
    let twice = bench.replay(&bench.write("twice.ndjson", numbered(2, true)));
    assert_eq!(twice.alerts, once.alerts);
    assert!(twice.dead_letters.is_empty());
    let events = numbered(1, true).lines().count();
    let counted = format!("{events} events repeated the id");
    assert!(twice.said.contains(&counted), "{}", twice.said);
    assert!(!once.said.contains("repeated the id"), "{}", once.said);
    let without_ids = bench.replay(&bench.write("plain.ndjson", numbered(2, false)));
    assert_ne!(
        without_ids.alerts, once.alerts,
        "twice the use is not the same"
    );
}
