//! The log: on standard error, for people or as JSON, filtered by level and target.
//!
//! Standard output is for data and never carries a log line. What is logged is decided by the level
//! that the caller gives and, on top of it, by the environment variable [`LOG_ENV`]:
//!
//! ```text
//! CHURNWATCH_LOG=debug                          everything from debug up
//! CHURNWATCH_LOG=churnwatch_kafka=trace         one crate in detail, the rest at the given level
//! CHURNWATCH_LOG=warn,churnwatch_store=debug    both
//! ```
//!
//! Records of libraries that use the `log` crate, librdkafka's among them, arrive here too.

use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// Environment variable with filter directives, laid over the level argument.
pub const LOG_ENV: &str = "CHURNWATCH_LOG";

/// The levels a log can have, from silent to everything.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line; coloured when standard error is a terminal and `NO_COLOR` is not set.
    #[default]
    Human,
    /// One JSON object a line: `timestamp`, `level`, `target`, `message` and the event's fields.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::UnknownFormat {
                format: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Why the log could not be set up. All but the last are for the user to put right.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level argument is not one of [`LEVELS`].
    #[error("unknown log level, use one of {}: {level:?}", LEVELS.join(", "))]
    UnknownLevel {
        /// What was given.
        level: String,
    },
    /// The format is neither `human` nor `json`.
    #[error("unknown log format, use human or json: {format:?}")]
    UnknownFormat {
        /// What was given.
        format: String,
    },
    /// [`LOG_ENV`] holds something that is no directive.
    #[error(
        "{LOG_ENV} is not a list of levels or target=level, as in \"warn,churnwatch_kafka=debug\": {directive:?}"
    )]
    BadDirective {
        /// The directive that is at fault.
        directive: String,
    },
    /// [`LOG_ENV`] is not valid UTF-8.
    #[error("{LOG_ENV} is not valid UTF-8")]
    EnvNotUnicode,
    /// A log was set up before in this process.
    #[error("the log of this process is already set up")]
    AlreadySet,
}

/// Sets up the log of the process. Call it once, first thing.
///
/// # Errors
///
/// An unknown level, a directive in [`LOG_ENV`] that cannot be read, or a second call.
pub fn init(level: &str, format: LogFormat) -> Result<(), LoggingError> {
    let directives = match env::var(LOG_ENV) {
        Ok(directives) => directives,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => return Err(LoggingError::EnvNotUnicode),
    };
    let filter = filter(level, &directives)?;
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = io::stderr().is_terminal() && !no_color;
    subscriber(filter, format, colour, io::stderr)
        .try_init()
        .map_err(|_| LoggingError::AlreadySet)
}

/// The level, refined by the directives of the environment. A directive without a target replaces
/// the level.
fn filter(level: &str, directives: &str) -> Result<EnvFilter, LoggingError> {
    if !LEVELS.contains(&level) {
        return Err(LoggingError::UnknownLevel {
            level: level.to_owned(),
        });
    }
    let mut filter = EnvFilter::new(level);
    for directive in directives
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let bad = || LoggingError::BadDirective {
            directive: directive.to_owned(),
        };
        // The parser would take a mistyped level for a target and log nothing but that.
        let says_a_level = directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
        if !says_a_level {
            return Err(bad());
        }
        filter = filter.add_directive(directive.parse().map_err(|_| bad())?);
    }
    Ok(filter)
}

fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Human => Box::new(builder.with_ansi(colour).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged by three targets at each level, with this set-up.
    fn logged(level: &str, directives: &str, format: LogFormat) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let filter = filter(level, directives).unwrap();
        let subscriber = subscriber(filter, format, false, move || Sink(Arc::clone(&sink)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "churnwatch_store", partition = 3, "store info");
            tracing::debug!(target: "churnwatch_store", "store debug");
            tracing::warn!(target: "churnwatch_kafka", "kafka warn");
            tracing::debug!(target: "churnwatch_kafka", "kafka debug");
        });
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn messages(level: &str, directives: &str) -> Vec<String> {
        let text = logged(level, directives, LogFormat::Human);
        ["store info", "store debug", "kafka warn", "kafka debug"]
            .into_iter()
            .filter(|message| text.contains(message))
            .map(str::to_owned)
            .collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_level_bounds_what_is_logged() {
        assert_eq!(messages("info", ""), ["store info", "kafka warn"]);
        assert_eq!(messages("warn", ""), ["kafka warn"]);
        assert!(messages("off", "").is_empty());
    }

    #[test]
    fn a_directive_for_one_target_leaves_the_rest_at_the_level() {
        assert_eq!(
            messages("info", "churnwatch_kafka=debug"),
            ["store info", "kafka warn", "kafka debug"]
        );
    }

    #[test]
    fn a_level_in_the_environment_replaces_the_argument() {
        assert_eq!(messages("info", "warn"), ["kafka warn"]);
        assert_eq!(
            messages("info", " warn , churnwatch_store=debug "),
            ["store info", "store debug", "kafka warn"]
        );
    }

    #[test]
    fn a_mistyped_level_is_refused_and_not_taken_for_a_target() {
        for (level, directives, message) in [
            (
                "verbose",
                "",
                "unknown log level, use one of off, error, warn, info, debug, trace: \"verbose\"",
            ),
            (
                "info",
                "debg",
                "CHURNWATCH_LOG is not a list of levels or target=level, as in \"warn,churnwatch_kafka=debug\": \"debg\"",
            ),
            (
                "info",
                "warn,churnwatch_kafka=loud",
                "CHURNWATCH_LOG is not a list of levels or target=level, as in \"warn,churnwatch_kafka=debug\": \"churnwatch_kafka=loud\"",
            ),
        ] {
            assert_eq!(filter(level, directives).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_at_the_top() {
        let text = logged("info", "", LogFormat::Json);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for part in [
            r#""level":"INFO""#,
            r#""message":"store info""#,
            r#""partition":3"#,
            r#""target":"churnwatch_store""#,
        ] {
            assert!(lines[0].contains(part), "missing {part} in {}", lines[0]);
        }
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with('{') && line.ends_with('}'))
        );
        assert!(!text.contains("\"fields\""), "{text}");
    }

    #[test]
    fn a_line_for_people_has_no_colour_codes_when_colour_is_off() {
        let text = logged("info", "", LogFormat::Human);
        assert!(text.contains("store info partition=3"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn formats_are_named_in_configuration() {
        for format in [LogFormat::Human, LogFormat::Json] {
            assert_eq!(format.to_string().parse::<LogFormat>().unwrap(), format);
        }
        assert_eq!(
            "xml".parse::<LogFormat>().unwrap_err().to_string(),
            "unknown log format, use human or json: \"xml\""
        );
    }

    #[test]
    fn the_log_is_set_up_once_and_takes_in_what_libraries_log() {
        assert_eq!(log::max_level(), log::LevelFilter::Off);
        init("info", LogFormat::Human).unwrap();
        assert_ne!(log::max_level(), log::LevelFilter::Off);
        let second = init("info", LogFormat::Human);
        assert!(
            matches!(second, Err(LoggingError::AlreadySet)),
            "{second:?}"
        );
    }
}
