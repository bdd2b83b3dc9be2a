//! Stories with known endings, and what a replay promises about any of them.
//!
//! A directory of `scenarios/` is one test: events and configuration go into
//! `churnwatch replay`, and the alerts must be those written down, to the byte.
//!
//! | file | what |
//! |---|---|
//! | `story.md` | what happens, in a line or two |
//! | `timeline.txt` | the events, in the language of [`churnwatch_testkit::timeline`] |
//! | `events.ndjson`, `events.ndjson.gz` | or the events themselves |
//! | `churnwatch.yaml` | the configuration; the defaults where it is absent |
//! | `expected.ndjson` | the alerts, whole, in the order in which they are found |
//!
//! In `expected.ndjson` the detector's version and the hash of the rules are
//! `*`: they change with every release and with every new setting, which is not
//! what a story is about. `UPDATE_EXPECT=1` writes the files anew.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use churnwatch_core::SignalId;
use churnwatch_testkit::{
    cli::{self, Ran, repository},
    timeline,
};
use serde_json::Value;

fn scenarios() -> Vec<PathBuf> {
    let root = repository().join("tests/scenarios");
    let entries = fs::read_dir(&root)
        .expect("the scenarios")
        .map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn name(scenario: &Path) -> &str {
    scenario
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a plain name")
}

/// A directory for one test, with helpers around the binary.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// The alerts of a replay, as they were written.
    fn replay(&self, inputs: &[&Path], more: &[&str]) -> String {
        let output = self.path("alerts.ndjson");
        let mut args = vec![
            "replay".into(),
            "--output".into(),
            output.clone().into_os_string(),
        ];
        args.push("--input".into());
        args.extend(inputs.iter().map(|input| input.as_os_str().to_owned()));
        args.extend(more.iter().map(Into::into));
        let Ran { stderr, .. } = cli::run(args).succeeded();
        assert!(
            !stderr.contains("could not be used"),
            "every record is a good one: {stderr}"
        );
        fs::read_to_string(output).expect("alerts are UTF-8")
    }

    /// The alerts of a replay under a configuration.
    fn replay_with(&self, input: &Path, config: &str) -> String {
        let config = self.write("churnwatch.yaml", config);
        self.replay(
            &[input],
            &["--config", config.to_str().expect("a plain path")],
        )
    }
}

/// The events of a scenario, as a file.
fn events(scenario: &Path, bench: &Bench) -> PathBuf {
    let timeline = scenario.join("timeline.txt");
    if timeline.exists() {
        return bench.write("events.ndjson", timeline::compile(&read(&timeline)));
    }
    let plain = scenario.join("events.ndjson");
    if plain.exists() {
        plain
    } else {
        scenario.join("events.ndjson.gz")
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn alerts(scenario: &Path) -> String {
    let bench = Bench::new();
    let events = events(scenario, &bench);
    let config = scenario.join("churnwatch.yaml");
    let config = config
        .exists()
        .then(|| config.to_str().expect("a plain path").to_owned());
    let more: Vec<&str> = config
        .iter()
        .flat_map(|config| ["--config", config])
        .collect();
    bench
        .replay(&[&events], &more)
        .lines()
        .map(|line| without_version(line) + "\n")
        .collect()
}

/// The line with `*` for the detector's version and for the hash of the rules.
fn without_version(line: &str) -> String {
    ["detector_version", "config_hash"]
        .iter()
        .fold(line.to_owned(), |line, field| {
            let start = line
                .find(&format!("\"{field}\":\""))
                .expect("every alert says how it was judged");
            let start = start + field.len() + 4;
            let length = line[start..].find('"').expect("a string ends");
            format!("{}*{}", &line[..start], &line[start + length..])
        })
}

/// What moved, a line each: for people who compare.
fn moves(alerts: &str) -> String {
    let short = |line: &str| {
        let alert: Value = serde_json::from_str(line).expect("an alert is JSON");
        let text = |field: &str| alert[field].as_str().unwrap_or("-").to_owned();
        format!(
            "  {} {} {} {} {}: {}\n",
            text("updated_at"),
            text("account_id"),
            text("signal"),
            text("transition"),
            text("severity"),
            text("reason")
        )
    };
    alerts.lines().map(short).collect()
}

/// The first line in which two texts differ, of each.
fn first_difference(expected: &str, actual: &str) -> String {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (expected.next(), actual.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let (one, other) = (one.unwrap_or("(nothing)"), other.unwrap_or("(nothing)"));
                return format!("line {number}\n  expected {one}\n  found    {other}");
            }
        }
    }
    "only in line breaks".to_owned()
}

#[test]
fn every_story_ends_as_written() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        let actual = alerts(&scenario);
        let file = scenario.join("expected.ndjson");
        if update {
            println!("{}\n{}", name(&scenario), moves(&actual));
            fs::write(&file, actual).expect("written");
            continue;
        }
        let expected = read(&file);
        if actual != expected {
            wrong.push(format!(
                "{}: {}\n expected\n{} found\n{}",
                name(&scenario),
                first_difference(&expected, &actual),
                moves(&expected),
                moves(&actual)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n(UPDATE_EXPECT=1 takes what was found)",
        wrong.join("\n")
    );
}

#[test]
fn every_scenario_tells_its_story() {
    for scenario in scenarios() {
        let story = read(&scenario.join("story.md"));
        assert!(
            story.lines().any(|line| line.len() > 20),
            "{} says nothing",
            name(&scenario)
        );
    }
}

/// A scenario named `<signal>-not-...` must not raise the signal, any other
/// `<signal>-...` must.
#[test]
fn every_signal_has_a_story_in_which_it_fires_and_one_in_which_it_does_not() {
    for &signal in SignalId::ALL {
        let opens = |scenario: &&PathBuf| {
            read(&scenario.join("expected.ndjson")).lines().any(|line| {
                let alert: Value = serde_json::from_str(line).expect("an alert is JSON");
                alert["signal"] == signal.as_str() && alert["transition"] == "opened"
            })
        };
        let all = scenarios();
        let own = all
            .iter()
            .filter(|scenario| name(scenario).starts_with(&format!("{}-", signal.as_str())));
        let (quiet, firing): (Vec<_>, Vec<_>) = own
            .partition(|scenario| name(scenario).starts_with(&format!("{}-not-", signal.as_str())));
        assert!(
            !firing.is_empty() && !quiet.is_empty(),
            "{signal:?} lacks a story or its twin"
        );
        for scenario in firing {
            assert!(opens(&scenario), "{} does not raise it", name(scenario));
        }
        for scenario in quiet {
            assert!(!opens(&scenario), "{} raises it", name(scenario));
        }
    }
}

#[test]
fn alerts_say_by_which_version_and_which_rules_they_were_found() {
    let bench = Bench::new();
    let log = bench.write("events.ndjson", fleet());
    let stamps = |alerts: String| -> Vec<(String, String)> {
        let stamp = |line| {
            let alert: Value = serde_json::from_str(line).expect("an alert is JSON");
            let text = |field: &str| alert[field].as_str().expect("a string").to_owned();
            (text("detector_version"), text("config_hash"))
        };
        let mut stamps: Vec<_> = alerts.lines().map(stamp).collect();
        stamps.dedup();
        stamps
    };
    let version = cli::run(["--version"]).succeeded().stdout;
    let version = version.trim().trim_start_matches("churnwatch ");
    let defaults = stamps(bench.replay(&[&log], &[]));
    assert_eq!(
        defaults.len(),
        1,
        "one run has one version and one set of rules"
    );
    assert_eq!(defaults[0].0, version);
    assert_eq!(
        stamps(bench.replay_with(&log, "workers: 2")),
        defaults,
        "no rule was changed"
    );
    let changed = stamps(bench.replay_with(&log, "rules: {alerts: {cooldown_days: 15}}"));
    assert_ne!(changed[0].1, defaults[0].1);
}

// What a replay promises, on the accounts of all timelines in one log.

/// The timelines as one fleet: their accounts have names of their own.
fn fleet() -> String {
    let timelines = scenarios()
        .into_iter()
        .map(|scenario| scenario.join("timeline.txt"));
    let texts: Vec<String> = timelines
        .filter(|path| path.exists())
        .map(|path| read(&path))
        .collect();
    timeline::compile(&texts.join("\n"))
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bench = Bench::new();
    let log = bench.write("events.ndjson", fleet());
    let once = bench.replay(&[&log], &[]);
    assert!(once.lines().count() > 20, "a fleet with something to find");
    assert_eq!(bench.replay(&[&log], &[]), once);
}

#[test]
fn neither_commits_nor_memory_change_what_is_found() {
    let bench = Bench::new();
    let log = bench.write("events.ndjson", fleet());
    let default = by_account(&bench.replay(&[&log], &[]));
    for key in ["max_records", "max_dirty_accounts", "cached_accounts"] {
        for value in [1, 7, 1_000] {
            let other =
                by_account(&bench.replay_with(&log, &format!("detect: {{{key}: {value}}}")));
            assert!(
                other == default,
                "{key} {value}: {}",
                first_difference(&default, &other)
            );
        }
    }
    let all = "detect: {max_records: 1, max_dirty_accounts: 1, cached_accounts: 1}";
    assert_eq!(by_account(&bench.replay_with(&log, all)), default);
}

/// The same lines, account by account in the order of their sequence: where a
/// commit falls may change the order between accounts, never within one.
fn by_account(alerts: &str) -> String {
    let mut lines: Vec<(String, u64, &str)> = alerts
        .lines()
        .map(|line| {
            let alert: serde_json::Value = serde_json::from_str(line).expect("an alert");
            let account = alert["account_id"].as_str().expect("a text").to_owned();
            (account, alert["sequence"].as_u64().expect("a number"), line)
        })
        .collect();
    lines.sort();
    lines.iter().map(|(.., line)| format!("{line}\n")).collect()
}

#[test]
fn a_file_reads_alike_plain_gzipped_and_from_a_pipe() {
    let bench = Bench::new();
    let text = fleet();
    let plain = bench.write("plain.ndjson", &text);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).expect("compressed");
    let gzipped = bench.write("gzipped", gz.finish().expect("compressed"));
    let default = bench.replay(&[&plain], &[]);
    assert_eq!(bench.replay(&[&gzipped], &[]), default);
    let piped = cli::churnwatch()
        .args(["replay", "--input", "-", "--output", "-"])
        .stdin(Stdio::from(fs::File::open(&plain).expect("opened")))
        .output()
        .expect("the binary starts");
    assert_eq!(
        String::from_utf8(piped.stdout).expect("alerts are UTF-8"),
        default
    );
}

#[test]
fn files_by_kind_merge_into_the_log_that_they_came_from() {
    let bench = Bench::new();
    let text = fleet();
    // Where two events share their minute, files are read in the order given.
    let mut lines: Vec<&str> = text.lines().collect();
    let is_usage = |line: &&str| line.starts_with("{\"kind\":\"usage\"");
    lines.sort_by_key(|line| (time(line), !is_usage(line)));
    let (usage, rest): (Vec<_>, Vec<_>) = lines.iter().copied().partition(is_usage);
    assert!(
        usage.len() > 1_000 && rest.len() > 50,
        "both have something in them"
    );
    let joined = |lines: Vec<&str>| {
        lines
            .into_iter()
            .flat_map(|line| [line, "\n"])
            .collect::<String>()
    };
    let usage = bench.write("usage.ndjson", joined(usage));
    let rest = bench.write("rest.ndjson", joined(rest));
    let whole = bench.write("whole.ndjson", joined(lines));
    let merged = bench.replay(&[&usage, &rest], &[]);
    assert!(!merged.is_empty());
    assert_eq!(merged, bench.replay(&[&whole], &[]));
}

fn time(line: &str) -> String {
    let event: Value = serde_json::from_str(line).expect("an event is JSON");
    event["time"]
        .as_str()
        .expect("every record has a time")
        .to_owned()
}

#[test]
fn time_goes_on_to_until_and_silence_is_found_there() {
    let bench = Bench::new();
    let log = bench.write(
        "events.ndjson",
        timeline::compile("workdays 0..116 solo usage feature=work"),
    );
    assert_eq!(
        bench.replay(&[&log], &[]),
        "",
        "the log ends with its last event"
    );
    let until = |day| {
        let moment = timeline::noon(day).to_string();
        moves(&bench.replay(&[&log], &["--until", &moment]))
    };
    // The core's own test of this rhythm works the days out by other means.
    assert_eq!(until(128), "");
    assert!(
        until(129).contains("usage_silent opened warning"),
        "{}",
        until(129)
    );
    assert!(
        until(200).contains("usage_silent escalated critical"),
        "{}",
        until(200)
    );
}

#[test]
fn real_companies_get_the_same_alerts_from_little_memory() {
    let log = repository().join("../shared/data/openstack/events.ndjson.gz");
    if !log.exists() {
        println!("left out: {} is absent", log.display());
        return;
    }
    let bench = Bench::new();
    let default = bench.replay(&[&log], &[]);
    assert!(default.lines().count() > 1_000);
    let little = bench.replay_with(&log, "detect: {cached_accounts: 5, max_records: 997}");
    assert!(little == default, "{}", first_difference(&default, &little));
}

#[test]
fn the_output_of_a_replay_is_data_and_nothing_else() {
    let bench = Bench::new();
    let log = bench.write("events.ndjson", fleet());
    let ran = cli::run([
        "-vv",
        "replay",
        "--output",
        "-",
        "--input",
        log.to_str().expect("a plain path"),
    ]);
    let ran = ran.succeeded();
    assert!(
        ran.stdout
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    assert!(!ran.stderr.is_empty(), "the log goes to the standard error");
    // A reader that has seen enough is no error.
    let cut = Command::new("sh")
        .args([
            "-c",
            "\"$0\" replay --output - --input \"$1\" | head -n 1; exit ${PIPESTATUS:-0}",
        ])
        .args([cli::binary(), &log])
        .output()
        .expect("a shell");
    assert!(cut.status.success());
    assert!(
        cut.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&cut.stderr)
    );
}
