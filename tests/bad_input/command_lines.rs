//! Command lines, inputs and outputs that cannot be used, and the commands
//! that only print.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use churnwatch_core::SignalId;
use churnwatch_testkit::cli;
use serde_json::Value;

use super::{Bench, good_log};

#[test]
fn a_wrong_command_line_ends_with_64_and_says_what_would_be_right() {
    for (args, expected) in [
        (&["replay"][..], "--input"),
        (&["repaly"], "replay"),
        (
            &["replay", "--input", "x", "--until", "yesterday"],
            "RFC 3339",
        ),
        (
            &["replay", "--input", "x", "--now", "2026-01-05"],
            "RFC 3339",
        ),
        (&["--log-format", "xml", "schema"], "human or json"),
        (&["completions", "fishy"], "fish"),
        (&["schema", "nothing"], "alert.envelope.v1"),
        (&["topics", "create", "--partitions", "0"], "1..=10000"),
        (&["demo", "--rate", "5"], "--produce"),
        (&[], "Usage"),
    ] {
        let message = cli::run(args).failed(64);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for args in [["--help"], ["--version"], ["help"]] {
        let ran = cli::run(args).succeeded();
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{args:?}");
    }
    let help = cli::run(["--help"]).succeeded().stdout;
    for code in ["64", "66", "69", "70", "74", "75", "78"] {
        assert!(help.contains(code), "the help does not name {code}");
    }
}

#[test]
fn an_input_that_cannot_be_read_ends_with_66_and_is_named_once() {
    let bench = Bench::new();
    let good = bench.write("good.ndjson", good_log());
    let gzipped = bench.write("cut.ndjson.gz", cut_gzip());
    let [good, gzipped] = [&good, &gzipped].map(|path| path.to_str().expect("a plain path"));
    for (inputs, named) in [
        (
            vec!["/nonexistent/events.ndjson"],
            "/nonexistent/events.ndjson",
        ),
        (
            vec![good, "/nonexistent/events.ndjson"],
            "/nonexistent/events.ndjson",
        ),
        (vec!["/"], "/"),
        (vec![gzipped], gzipped),
    ] {
        let output = bench.path("alerts");
        let mut args = vec![
            "replay",
            "--output",
            output.to_str().expect("a plain path"),
            "--input",
        ];
        args.extend(inputs);
        let message = cli::run(args).failed(66);
        assert!(message.contains(&format!("{named}: ")), "{message}");
        let cause = message.trim().rsplit(": ").next().unwrap_or_default();
        assert_eq!(message.matches(cause).count(), 1, "{message}");
    }
}

/// A gzipped file whose end is missing.
fn cut_gzip() -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(good_log().as_bytes()).expect("compressed");
    let whole = gz.finish().expect("compressed");
    whole[..whole.len() / 2].to_vec()
}

#[test]
fn an_output_that_cannot_be_written_ends_with_74() {
    let bench = Bench::new();
    let log = bench.write("events.ndjson", good_log());
    let log = log.to_str().expect("a plain path");
    let written = bench.path("alerts");
    let written = written.to_str().expect("a plain path");
    let nowhere = "/nonexistent/file";
    for args in [
        vec!["--output", nowhere],
        vec!["--output", written, "--dead-letters", nowhere],
        vec!["--output", written, "--scores", nowhere],
    ] {
        let message = cli::run(["replay", "--input", log].into_iter().chain(args)).failed(74);
        assert!(message.contains(&format!("{nowhere}: ")), "{message}");
    }
    if cfg!(target_os = "linux") {
        let message = cli::run(["replay", "--input", log, "--output", "/dev/full"]).failed(74);
        assert!(message.contains("cannot be written"), "{message}");
    }
}

#[test]
fn logs_may_be_json_and_results_never_mix_with_them() {
    let bench = Bench::new();
    let log = bench.write("events.ndjson", "rubbish\n");
    let log = log.to_str().expect("a plain path");
    let ran = cli::run(["-v", "--log-format", "json", "replay", "--input", log]).succeeded();
    assert_eq!(ran.stdout, "");
    let lines: Vec<Value> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).expect("a log line is JSON"))
        .collect();
    assert!(
        lines.iter().any(|line| line["level"] == "WARN"),
        "{}",
        ran.stderr
    );
}

#[test]
fn completions_are_scripts_for_their_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = cli::run(["completions", shell]).succeeded().stdout;
        for word in ["replay", "validate", "dead-letters"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        let Ok(mut checker) = Command::new(shell)
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        else {
            println!("left out: {shell} is not installed, its script was not parsed");
            continue;
        };
        checker
            .stdin
            .take()
            .expect("piped")
            .write_all(script.as_bytes())
            .expect("it reads");
        let checked = checker.wait_with_output().expect("it ends");
        assert!(
            checked.status.success(),
            "{shell}: {}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for args in [
        "completions bash",
        "config show",
        "schema",
        "schema asyncapi",
        "schema events.v1",
    ] {
        let mut printing = cli::churnwatch()
            .args(args.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(printing.stdout.take());
        let ended = printing.wait_with_output().expect("it ends");
        assert_eq!(
            ended.status.code(),
            Some(0),
            "{args}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}

#[test]
fn every_schema_that_is_listed_is_printed() {
    let list = cli::run(["schema"]).succeeded().stdout;
    let names: Vec<&str> = list.lines().collect();
    assert!(
        names.contains(&"events.v1") && names.contains(&"asyncapi"),
        "{list}"
    );
    for name in names {
        let text = cli::run(["schema", name]).succeeded().stdout;
        let schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
        let key = if name == "asyncapi" {
            "asyncapi"
        } else {
            "$schema"
        };
        assert!(schema[key].is_string(), "{name} does not say what it is");
    }
}

#[test]
fn the_demo_shows_the_same_alerts_in_every_form_and_all_signals() {
    let bench = Bench::new();
    let dir = bench.path("demo");
    let dir = dir.to_str().expect("a plain path");
    let demo = |form| {
        cli::run(["demo", "--dir", dir, "--output", form])
            .succeeded()
            .stdout
    };
    let lines: Vec<Value> = demo("ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an alert is JSON"))
        .collect();
    let document: Vec<Value> = serde_json::from_str(&demo("json")).expect("one document");
    assert_eq!(lines, document);
    let signals: BTreeSet<&str> = lines
        .iter()
        .filter_map(|alert| alert["signal"].as_str())
        .collect();
    let all: BTreeSet<&str> = SignalId::ALL.iter().map(|signal| signal.as_str()).collect();
    assert_eq!(signals, all);
    let table = demo("table");
    assert!(!table.contains("NOT as told"), "{table}");
    for line in &lines {
        assert!(table.contains(line["account_id"].as_str().expect("an account")));
    }
    let written =
        std::fs::read_to_string(bench.path("demo/alerts.ndjson")).expect("the full records");
    assert_eq!(written.lines().count(), lines.len());
}
