//! The configuration file: one YAML document, read and checked whole before
//! anything starts.
//!
//! An unknown key is refused with its line and a suggestion, a value out of
//! range or a contradiction with the key and the reason. A field's doc comment
//! is its entry in the manual ([`reference_markdown`]).

mod manual;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use churnwatch_core::Rules;
use churnwatch_kafka::{KafkaSettings, Span};
use churnwatch_pipeline::Bound;
use churnwatch_store::StateVersion;
use miette::{LabeledSpan, NamedSource, SourceSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::memory::{self, Asked, MemoryLimit, Shares};
pub(crate) use manual::reference_markdown;

/// Everything there is to configure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// How to reach Kafka. Not used by `replay` and `demo`.
    pub(crate) kafka: KafkaSettings,
    /// Directory of the local state; made where it is missing. It holds a copy
    /// of what is committed, and can be rebuilt from Kafka at any time.
    pub(crate) state_dir: PathBuf,
    /// Threads that detect, each with its own consumer and producer; at most
    /// as many as the log has partitions are of use. Default 1.
    pub(crate) workers: usize,
    /// Memory of the process, in MiB, or `auto`: nine tenths of what the cgroup
    /// allows, and where it allows all, 768 and 256 for each worker. Default
    /// `auto`. Every part (store, accounts, queues) gets its share of it; what
    /// is too little is refused, and so is more than the cgroup allows.
    pub(crate) memory_mib: MemoryLimit,
    /// When work is committed, and what is kept in memory.
    pub(crate) detect: DetectConfig,
    /// Memory of the local state, and the form in which it is written.
    pub(crate) store: StoreConfig,
    /// The HTTP endpoints for people and Prometheus.
    pub(crate) http: HttpConfig,
    /// What is judged, and how.
    pub(crate) rules: Rules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kafka: KafkaSettings::default(),
            state_dir: PathBuf::from("churnwatch-state"),
            workers: 1,
            memory_mib: MemoryLimit::Auto,
            detect: DetectConfig::default(),
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            rules: Rules::default(),
        }
    }
}

/// When work is committed, and what is kept in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DetectConfig {
    /// Longest time between a record and its commit. Default 1s.
    pub(crate) commit_interval: Span,
    /// Shortest time between two commits that are made because an alert is
    /// waiting. Default 20ms.
    pub(crate) min_commit_interval: Span,
    /// Changed accounts at which a commit is made, if their share of
    /// `memory_mib` is not full before. Default 10000.
    pub(crate) max_dirty_accounts: usize,
    /// Records at which a commit is made. Default 100000.
    pub(crate) max_records: usize,
    /// Accounts kept decoded in memory for each partition, at most. Default: as
    /// many as their share of `memory_mib` holds.
    pub(crate) cached_accounts: Option<usize>,
    /// Longest time a committed row waits before it is put on disk; what is
    /// not is read from the changelog after a crash. Default 30s.
    pub(crate) flush_interval: Span,
    /// After how long without records a worker writes the time into its
    /// partition of the log, if a look is due by it. `off` where history is
    /// loaded, or where something else writes clocks. Default 10s.
    pub(crate) idle_clock: IdleClock,
    /// When a partition is stopped because too many of its records cannot be
    /// used. Not used by `replay` and `demo`: a file ends, and is reported on
    /// as a whole.
    pub(crate) breaker: BreakerConfig,
}

/// When a partition is stopped because too many of its records cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BreakerConfig {
    /// Share of the last records above which it is stopped, in percent, 1 to
    /// 100. 100 switches it off, and lets partitions go on that stand still.
    /// Default 50.
    pub(crate) percent: u32,
    /// How many records are looked back on, 100 to 100000; counted in tenths.
    /// Default 1000.
    pub(crate) records: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            percent: 50,
            records: 1_000,
        }
    }
}

impl BreakerConfig {
    /// `None` where it is off.
    pub(crate) fn bound(&self) -> Option<Bound> {
        let Self { percent, records } = *self;
        (percent < 100).then_some(Bound { percent, records })
    }
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            commit_interval: Span::from_secs(1),
            min_commit_interval: Span::from_millis(20),
            max_dirty_accounts: 10_000,
            max_records: 100_000,
            cached_accounts: None,
            flush_interval: Span::from_secs(30),
            idle_clock: IdleClock::After(Span::from_secs(10)),
            breaker: BreakerConfig::default(),
        }
    }
}

/// A length of time, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdleClock {
    /// Never.
    Off,
    /// After so long.
    After(Span),
}

impl IdleClock {
    pub(crate) fn after(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(span) => Some(span.get()),
        }
    }
}

impl Serialize for IdleClock {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::After(span) => span.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for IdleClock {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// `off` is a word to some readers of YAML and a boolean to others.
        struct Word;
        impl serde::de::Visitor<'_> for Word {
            type Value = IdleClock;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`off`, or a length of time such as \"10s\"")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<IdleClock, E> {
                if on {
                    Err(E::custom("give a length of time, such as \"10s\""))
                } else {
                    Ok(IdleClock::Off)
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IdleClock, E> {
                if text == "off" {
                    return Ok(IdleClock::Off);
                }
                text.parse().map(IdleClock::After).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Word)
    }
}

impl JsonSchema for IdleClock {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IdleClock".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// Memory of the local state, in MiB, for all partitions together, and the form
/// in which it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// Blocks read from disk, with their indexes and filters, in MiB. Default:
    /// a share of `memory_mib`.
    pub(crate) block_cache_mib: Option<usize>,
    /// Rows that are not yet on disk, in MiB. Default: a share of `memory_mib`.
    pub(crate) write_buffer_mib: Option<usize>,
    /// The state version in which rows are written, 1 or 2. Set it to the one
    /// that the release you come from writes while members of that release are
    /// still running; every older one is read in any case. With 1 there is no
    /// breaker. Default 2, the newest.
    pub(crate) state_version: u8,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            block_cache_mib: None,
            write_buffer_mib: None,
            state_version: StateVersion::NEWEST.number(),
        }
    }
}

impl StoreConfig {
    pub(crate) fn version(&self) -> StateVersion {
        StateVersion::of(self.state_version).unwrap_or_default()
    }
}

/// The HTTP endpoints for people and Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpConfig {
    /// Address and port of `/metrics`, `/livez` and `/readyz`. Default
    /// 127.0.0.1:8080: reachable from this machine only.
    pub(crate) listen: SocketAddr,
    /// File with a bearer token; where it is set, everything but `/livez` and
    /// `/readyz` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token_file: None,
        }
    }
}

/// What is wrong with a configuration file, with the line at fault where one is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConfigError {
    message: String,
    help: Option<String>,
    source_code: NamedSource<String>,
    span: Option<SourceSpan>,
}

impl miette::Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.span
            .is_some()
            .then_some(&self.source_code as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            Some("here".to_owned()),
            span,
        ))))
    }
}

impl Config {
    /// Reads and checks a file; `None` gives the defaults.
    ///
    /// # Errors
    /// The file cannot be read, is no YAML, or says something that cannot be.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Box<ConfigError>> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            message: format!("the configuration {name} cannot be read: {error}"),
            help: None,
            source_code: NamedSource::new(&name, String::new()),
            span: None,
        })?;
        Self::parse(&name, &text)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Box<ConfigError>> {
        let source_code = || NamedSource::new(name, text.to_owned());
        let has_content = text.lines().any(|line| {
            !matches!(line.trim().chars().next(), None | Some('#')) && line.trim() != "---"
        });
        if !has_content {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| {
            let message = plain_message(&error);
            Box::new(ConfigError {
                help: suggestion(&message),
                span: error
                    .location()
                    .and_then(|at| span_at(text, at.line(), at.column())),
                source_code: source_code(),
                message,
            })
        })?;
        if let Some((key, message)) = config.problems().into_iter().next() {
            return Err(Box::new(ConfigError {
                span: span_of_key(text, &key),
                message: format!("{key}: {message}"),
                help: None,
                source_code: source_code(),
            }));
        }
        Ok(config)
    }

    /// What cannot be: key and reason.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems: Vec<(String, String)> = self
            .kafka
            .validate()
            .into_iter()
            .map(|problem| (format!("kafka.{}", problem.key), problem.message))
            .collect();
        if let Err(error) = self.rules.check() {
            problems.push((format!("rules.{}", error.key), error.message));
        }
        let mut refuse = |wrong: bool, key: &str, message: &str| {
            if wrong {
                problems.push((key.to_owned(), message.to_owned()));
            }
        };
        let detect = &self.detect;
        refuse(
            !(1..=256).contains(&self.workers),
            "workers",
            "give a number from 1 to 256",
        );
        refuse(
            detect.max_dirty_accounts == 0,
            "detect.max_dirty_accounts",
            "give at least 1",
        );
        refuse(
            detect.max_records == 0,
            "detect.max_records",
            "give at least 1",
        );
        refuse(
            detect.cached_accounts == Some(0),
            "detect.cached_accounts",
            "give at least 1",
        );
        refuse(
            detect.commit_interval.get().is_zero(),
            "detect.commit_interval",
            "give at least 1ms",
        );
        refuse(
            detect.min_commit_interval > detect.commit_interval,
            "detect.min_commit_interval",
            "is longer than detect.commit_interval: no alert would be committed in time",
        );
        refuse(
            detect.commit_interval.get() >= self.kafka.transaction_timeout.get(),
            "detect.commit_interval",
            "is not shorter than kafka.transaction_timeout: the broker would abort every commit",
        );
        refuse(
            !(1..=100).contains(&detect.breaker.percent),
            "detect.breaker.percent",
            "give a number from 1 to 100; 100 switches the breaker off",
        );
        refuse(
            !(100..=100_000).contains(&detect.breaker.records),
            "detect.breaker.records",
            "give a number from 100 to 100000",
        );
        refuse(
            StateVersion::of(self.store.state_version).is_none(),
            "store.state_version",
            "this release writes the state versions 1 and 2",
        );
        refuse(
            self.store.block_cache_mib.is_some_and(|mib| mib < 8),
            "store.block_cache_mib",
            "give at least 8",
        );
        refuse(
            self.store.write_buffer_mib.is_some_and(|mib| mib < 8),
            "store.write_buffer_mib",
            "give at least 8",
        );
        if let Err((key, message)) = Shares::divide(&self.asked(), None) {
            problems.push((key.to_owned(), message));
        }
        problems
    }

    fn asked(&self) -> Asked {
        Asked {
            limit: self.memory_mib,
            workers: self.workers,
            block_cache_mib: self.store.block_cache_mib,
            write_buffer_mib: self.store.write_buffer_mib,
        }
    }

    /// What each part of the process gets, within what the kernel allows.
    ///
    /// # Errors
    /// That is too little, or less than is configured: key and reason.
    pub(crate) fn shares(&self) -> Result<Shares, String> {
        Shares::divide(&self.asked(), memory::allowed_mib())
            .map_err(|(key, message)| format!("{key}: {message}"))
    }

    /// Hash of the rules: what an alert carries, so that two alerts can be told
    /// to have been judged alike.
    pub(crate) fn rules_hash(&self) -> String {
        let rules =
            serde_json::to_vec(&self.rules).expect("rules of numbers and names are always JSON");
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&rules))
    }

    /// The bearer token, if one is asked for.
    ///
    /// # Errors
    /// The file is missing, unreadable or empty: key and reason.
    pub(crate) fn http_token(&self) -> Result<Option<churnwatch_ops::BearerToken>, String> {
        let Some(path) = &self.http.token_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("http.token_file: {}: {error}", path.display()))?;
        churnwatch_ops::BearerToken::new(&text)
            .map(Some)
            .map_err(|error| format!("http.token_file: {}: {error}", path.display()))
    }
}

/// The message of a YAML error without the place, which is shown beside it.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text
        .lines()
        .next()
        .unwrap_or("the configuration cannot be read");
    let end = line.rfind(" at line ").unwrap_or(line.len());
    line[..end].to_owned()
}

/// ``unknown field `x`, expected one of a, b``: the nearest of those.
fn suggestion(message: &str) -> Option<String> {
    if !(message.contains("unknown field") || message.contains("unknown variant")) {
        return None;
    }
    let wrong = message.split('`').nth(1)?;
    let (_, expected) = message.split_once("expected ")?;
    let near = expected
        .trim_start_matches("one of ")
        .split([',', ' '])
        .map(|known| known.trim_matches('`'))
        .filter(|known| !known.is_empty())
        .map(|known| (strsim::damerau_levenshtein(wrong, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(wrong.len()) / 2)
        .min()?;
    Some(format!("did you mean `{}`?", near.1))
}

/// The rest of the line from a position that counts from 1.
fn span_at(text: &str, line: u64, column: u64) -> Option<SourceSpan> {
    let line_index = usize::try_from(line).ok()?.checked_sub(1)?;
    let column_index = usize::try_from(column).ok()?.checked_sub(1)?;
    let line_start: usize = text
        .split_inclusive('\n')
        .take(line_index)
        .map(str::len)
        .sum();
    let line_text = text.get(line_start..)?.lines().next()?;
    let start: usize = line_text
        .chars()
        .take(column_index)
        .map(char::len_utf8)
        .sum();
    let length = line_text.len().saturating_sub(start).max(1);
    Some(SourceSpan::from((line_start + start, length)))
}

/// The line on which the last part of a dotted key stands below its parents.
fn span_of_key(text: &str, key: &str) -> Option<SourceSpan> {
    let mut start = 0;
    let mut found = None;
    let mut parts = key.split('.').peekable();
    for line in text.split_inclusive('\n') {
        let Some(part) = parts.peek() else { break };
        let name = line.trim_start().trim_start_matches(['"', '\'']);
        if name
            .strip_prefix(part)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':'))
        {
            let indent = line.len() - line.trim_start().len();
            found = Some(SourceSpan::from((start + indent, line.trim().len())));
            parts.next();
        }
        start += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, String, Option<String>) {
        let error = Config::parse("test.yaml", text).expect_err("refused");
        let line = error.span.map_or_else(String::new, |span| {
            text[span.offset()..]
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        (error.message.clone(), line, error.help.clone())
    }

    #[test]
    fn the_defaults_are_what_an_empty_file_gives() {
        assert_eq!(
            Config::parse("c", "# nothing\n").expect("valid"),
            Config::default()
        );
        assert!(Config::default().problems().is_empty());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_a_suggestion() {
        let (message, line, help) = refused(
            "workers: 2\nrules:\n  signals:\n    usage_drop:\n      min_fal: {high: 0.3, low: 0.3, tech: 0.3}\n",
        );
        assert!(message.contains("min_fal"), "{message}");
        assert!(line.contains("min_fal"), "{line}");
        assert_eq!(help.as_deref(), Some("did you mean `min_fall`?"));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        let (message, line, _) = refused("detect:\n  commit_interval: 5\n");
        assert!(message.contains("unit"), "{message}");
        assert!(line.contains('5'), "{line}");
    }

    #[test]
    fn the_idle_clock_can_be_turned_off() {
        for text in ["off", "\"off\"", "false"] {
            let config =
                Config::parse("c", &format!("detect: {{idle_clock: {text}}}")).expect("valid");
            assert_eq!(config.detect.idle_clock, IdleClock::Off, "{text}");
        }
        let config = Config::parse("c", "detect: {idle_clock: 3m}").expect("valid");
        assert_eq!(
            config.detect.idle_clock.after(),
            Some(Duration::from_secs(180))
        );
        let (message, ..) = refused("detect: {idle_clock: 3}\n");
        assert!(message.contains("such as \"10s\""), "{message}");
    }

    #[test]
    fn contradictions_are_refused_with_the_key_and_its_line() {
        let (message, line, _) = refused(
            "workers: 1\nrules:\n  signals:\n    usage_silent:\n      enabled: true\n      critical: 1.0\n",
        );
        assert!(
            message.starts_with("rules.signals.usage_silent.threshold.high: "),
            "{message}"
        );
        assert!(line.starts_with("usage_silent"), "{line}");
        let (message, line, _) = refused("detect:\n  min_commit_interval: 2s\n");
        assert!(
            message.starts_with("detect.min_commit_interval: is longer"),
            "{message}"
        );
        assert_eq!(line, "min_commit_interval: 2s");
    }

    #[test]
    fn what_is_shown_reads_back_as_it_was() {
        let shown = serde_saphyr::to_string(&Config::default()).expect("YAML");
        assert_eq!(
            Config::parse("shown", &shown).expect("valid"),
            Config::default()
        );
    }

    #[test]
    fn the_hash_follows_the_rules_and_nothing_else() {
        let one = Config::default();
        let two = Config {
            workers: 7,
            ..Config::default()
        };
        let three = Config::parse("c", "rules: {alerts: {cooldown_days: 15}}").expect("valid");
        assert_eq!(one.rules_hash(), two.rules_hash());
        assert_ne!(one.rules_hash(), three.rules_hash());
    }

    #[test]
    fn a_missing_token_file_is_named() {
        let config = Config::parse("c", "http: {token_file: /no/such/token}").expect("valid");
        let error = config.http_token().expect_err("missing");
        assert!(
            error.starts_with("http.token_file: /no/such/token"),
            "{error}"
        );
    }
}
