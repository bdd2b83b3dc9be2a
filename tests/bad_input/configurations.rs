//! Configurations that cannot be: a clear message and an exit code, before
//! anything starts.

use churnwatch_testkit::cli;

use super::Bench;

/// What is wrong, the text, and what the message has to contain.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "an unknown key",
        "workrs: 2",
        &[
            "unknown field `workrs`",
            "did you mean `workers`?",
            "1 │ workrs: 2",
        ],
    ),
    (
        "an unknown key far down",
        "rules:\n  signals:\n    usage_drop:\n      enabled: true\n      min_fal: {high: 0.3, low: 0.3, tech: 0.3}\n",
        &[
            "unknown field `min_fal`",
            "did you mean `min_fall`?",
            "5 │       min_fal:",
        ],
    ),
    (
        "a signal that is not there",
        "rules: {signals: {usage_dorp: {}}}",
        &["did you mean `usage_drop`?"],
    ),
    (
        "a wrong unit",
        "detect: {commit_interval: 5 parsecs}",
        &["parsecs", "use ms, s, m, h or d", "1 │ detect"],
    ),
    (
        "no unit",
        "detect: {commit_interval: 5}",
        &["unit", "1 │ detect"],
    ),
    ("another type", "workers: many", &["1 │ workers: many"]),
    (
        "a number out of range",
        "workers: 0",
        &["workers: give a number from 1 to 256", "1 │ workers: 0"],
    ),
    (
        "a bound above the one that it has to lie below",
        "detect:\n  min_commit_interval: 2s\n",
        &[
            "detect.min_commit_interval: is longer than detect.commit_interval",
            "2 │   min_commit_interval",
        ],
    ),
    (
        "bounds of a signal that contradict each other",
        "rules:\n  signals:\n    usage_silent: {critical: 1.0}\n",
        &[
            "rules.signals.usage_silent.threshold.high: ",
            "3 │     usage_silent",
        ],
    ),
    (
        "bands of a signal that contradict each other",
        "rules: {signals: {inactive_seats: {low: {warning: 0.2, critical: 0.3}}}}",
        &["rules.signals.inactive_seats.low.critical: 0.3 is not below warning 0.2"],
    ),
    (
        "segments that leave nothing between them",
        "rules: {segments: {high_from_mrr: 1, tech_below_mrr: 2}}",
        &[
            "rules.segments.high_from_mrr: 1 lies below",
            "no account would be low touch",
        ],
    ),
    (
        "more disorder than grace",
        "rules: {time: {disorder_seconds: 172800, grace_days: 1}}",
        &["rules.time.disorder_seconds: allows more disorder than the grace period"],
    ),
    (
        "a property that would break a promise",
        "kafka: {producer_properties: {enable.idempotence: \"false\"}}",
        &["kafka.producer_properties", "enable.idempotence"],
    ),
    ("no YAML", "workers: [1, 2", &["1 │ workers"]),
    ("no mapping", "just words", &["just words"]),
    (
        "a key given twice",
        "workers: 1\nworkers: 2\n",
        &["workers"],
    ),
];

#[test]
fn a_configuration_that_cannot_be_is_refused_with_its_line_and_what_to_do() {
    let bench = Bench::new();
    for (what, text, expected) in REFUSED {
        let config = bench.write("churnwatch.yaml", text);
        let config = config.to_str().expect("a plain path");
        let message = cli::run(["validate", "--offline", "--config", config]).failed(78);
        // The display may break a line where it is full.
        let message = message
            .lines()
            .map(|line| line.trim_start_matches("  │ "))
            .collect::<Vec<_>>();
        let (lines, joined) = (message.join("\n"), message.join(" "));
        for words in *expected {
            assert!(
                lines.contains(words) || joined.contains(words),
                "{what}: {words:?} is not in\n{lines}"
            );
        }
    }
}

#[test]
fn every_command_refuses_a_bad_configuration_before_it_starts_anything() {
    let bench = Bench::new();
    let state = bench.path("state");
    let text = format!("state_dir: {}\nworkrs: 2\n", state.display());
    let config = bench.write("churnwatch.yaml", text);
    let config = config.to_str().expect("a plain path");
    let (input, output) = (
        bench.write("events.ndjson", ""),
        bench.path("alerts.ndjson"),
    );
    let [input, output] = [&input, &output].map(|path| path.to_str().expect("a plain path"));
    let demo = bench.path("demo");
    for command in [
        vec!["run"],
        vec!["replay", "--input", input, "--output", output],
        vec!["demo", "--dir", demo.to_str().expect("a plain path")],
        vec!["validate"],
        vec!["topics", "create"],
        vec!["config", "show"],
    ] {
        let ran = cli::run(command.iter().copied().chain(["--config", config]));
        assert_eq!(ran.stdout, "", "{command:?}");
        let message = ran.failed(78);
        assert!(message.contains("workrs"), "{command:?}: {message}");
    }
    for path in [&state, &bench.path("alerts.ndjson"), &demo] {
        assert!(!path.exists(), "{} was made", path.display());
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let bench = Bench::new();
    let path = bench.path("nowhere.yaml");
    let args = [
        "validate",
        "--offline",
        "--config",
        path.to_str().expect("a plain path"),
    ];
    let message = cli::run(args)
        .failed(78)
        .split_whitespace()
        .collect::<String>();
    assert!(message.contains("nowhere.yamlcannotberead"), "{message}");
}

/// Secrets stand in files of their own, which may be absent.
#[test]
fn a_missing_secret_file_is_named_with_its_key() {
    let bench = Bench::new();
    let missing = bench.path("secret");
    let missing = missing.display();
    let sasl = format!("sasl: {{mechanism: PLAIN, username: u, password_file: {missing}}}");
    let cases = [
        (
            "http.token_file",
            format!("http: {{token_file: {missing}}}"),
        ),
        (
            "kafka.security.sasl.password_file",
            format!("kafka: {{security: {{protocol: sasl_plaintext, {sasl}}}}}"),
        ),
        (
            "kafka.security.tls.key_password_file",
            format!(
                "kafka: {{security: {{protocol: ssl, tls: {{certificate_file: {missing}, key_file: {missing}, key_password_file: {missing}}}}}}}"
            ),
        ),
    ];
    for (key, text) in cases {
        let config = bench.write("churnwatch.yaml", &text);
        let config = config.to_str().expect("a plain path");
        let message = cli::run(["validate", "--offline", "--config", config]).failed(78);
        assert!(message.contains(&format!("{key}: ")), "{key}: {message}");
        assert!(message.contains(&missing.to_string()), "{key}: {message}");
        let state = bench.path("state");
        let text = format!(
            "{text}\nstate_dir: {}\nhttp: {{listen: \"127.0.0.1:0\"}}\n",
            state.display()
        );
        if key.starts_with("kafka") {
            let config = bench.write("run.yaml", text);
            let message =
                cli::run(["run", "--config", config.to_str().expect("a plain path")]).failed(78);
            assert!(message.contains(&format!("{key}: ")), "{key}: {message}");
        }
    }
}

#[test]
fn what_config_show_prints_is_a_configuration_that_says_the_same() {
    let bench = Bench::new();
    let show = |text: &str| {
        let config = bench.write("churnwatch.yaml", text);
        let args = [
            "config",
            "show",
            "--config",
            config.to_str().expect("a plain path"),
        ];
        cli::run(args).succeeded().stdout
    };
    let defaults = cli::run(["config", "show"]).succeeded().stdout;
    assert_eq!(show("# nothing\n"), defaults);
    assert_eq!(show(&defaults), defaults);

    let password = bench.write("password", "hunter2");
    let own = format!(
        "workers: 3\n\
         detect: {{commit_interval: 1500ms, idle_clock: off}}\n\
         http: {{listen: \"[::1]:9000\", token_file: {password}}}\n\
         kafka: {{security: {{protocol: sasl_ssl, tls: {{verify_hostname: false}}, sasl: {{mechanism: SCRAM-SHA-512, \
         username: \"on: a #1 day\", password_file: {password}}}}}, properties: {{linger.ms: \"5\"}}}}\n\
         rules: {{usage: {{core_features: [\"yes\", \"0x1\", \"a: b\"]}}, signals: {{usage_drop: {{min_fall: {{high: 0.3, \
         low: 0.4, tech: 0.5}}}}}}}}\n",
        password = password.display()
    );
    let shown = show(&own);
    assert_ne!(shown, defaults);
    for words in [
        "workers: 3",
        "1500ms",
        "[::1]:9000",
        "SCRAM-SHA-512",
        "on: a #1 day",
        "a: b",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    assert!(
        !shown.contains("hunter2"),
        "secrets are named by their files only"
    );
    assert_eq!(show(&shown), shown);
}

#[test]
fn the_configuration_may_be_named_by_the_environment_and_the_option_wins() {
    let bench = Bench::new();
    let show = |args: &[&str], named: &str| {
        let named = bench.write("named.yaml", named);
        let output = cli::churnwatch()
            .args(["config", "show"])
            .args(args)
            .env("CHURNWATCH_CONFIG", named)
            .output()
            .expect("the binary starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(show(&[], "workers: 5").contains("workers: 5"));
    let given = bench.write("given.yaml", "workers: 6");
    let given = ["--config", given.to_str().expect("a plain path")];
    assert!(show(&given, "workers: 5").contains("workers: 6"));
}
