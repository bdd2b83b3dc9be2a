//! `churnwatch replay`: the whole detector on files, without any broker.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context;
use churnwatch_core::{EventTime, Rules};
use churnwatch_pipeline::{
    Detector, Settings,
    batch::Origin,
    files::{FileSink, FileSource, NoChangelog, Progress},
    scores::Scores,
};
use churnwatch_store::StateDir;
use churnwatch_telemetry::{Health, Metrics};
use churnwatch_wire::Mode;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files of canonical events, one JSON object a line, plain or gzipped;
    /// `-` is the standard input. Several are merged by time.
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,

    /// Where alerts go, one a line; `-` is the standard output.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    config: ConfigFile,

    /// Time at which the replay ends (RFC 3339). Default: the last event.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<EventTime>,

    /// When the log took the events in (RFC 3339), for lines that carry no
    /// `appended_at`; without it, times in the future are not noticed.
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<EventTime>,

    /// Also write each signal's statistic at its daily looks, fired or not.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,

    /// Where records that could not be used go, with the reason.
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
}

fn time(text: &str) -> Result<EventTime, String> {
    EventTime::parse(text).map_err(|error| error.to_string())
}

/// What a replay is made of.
pub(crate) struct Replay<'a> {
    pub(crate) input: &'a [PathBuf],
    pub(crate) output: &'a Path,
    pub(crate) dead_letters: Option<&'a Path>,
    pub(crate) scores: Option<&'a Path>,
    pub(crate) until: Option<EventTime>,
    pub(crate) now: Option<EventTime>,
    pub(crate) config: &'a Config,
}

/// What became of the records of a replay.
pub(crate) struct Summary {
    pub(crate) records: u64,
    pub(crate) metrics: Arc<Metrics>,
}

impl Summary {
    /// The value of a counter, over all labels.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.metrics
            .encode()
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

pub(crate) fn run(args: ReplayArgs) -> Result<(), Exit> {
    let config = Config::load(args.config.config.as_deref())?;
    let summary = replay(&Replay {
        input: &args.input,
        output: &args.output,
        dead_letters: args.dead_letters.as_deref(),
        scores: args.scores.as_deref(),
        until: args.until,
        now: args.now,
        config: &config,
    })?;
    let rejected = summary.total("churnwatch_rejected_total");
    if rejected > 0.0 {
        let where_to = match &args.dead_letters {
            Some(path) => format!("they stand in {}", path.display()),
            None => "see them with --dead-letters FILE".to_owned(),
        };
        tracing::warn!(
            "{rejected} of {} records could not be used; {where_to}",
            summary.records
        );
    }
    let expired = summary.total("churnwatch_expired_total");
    if expired > 0.0 {
        tracing::warn!("{expired} events were older than the grace period and not applied");
    }
    let repeats = summary.total("churnwatch_duplicates_total");
    if repeats > 0.0 {
        tracing::info!("{repeats} events repeated the id of another and were applied once");
    }
    if args.now.is_none() {
        tracing::info!("times in the future were not checked: give --now to do so");
    }
    Ok(())
}

/// Runs the detector on files.
pub(crate) fn replay(replay: &Replay<'_>) -> Result<Summary, Exit> {
    let source = FileSource::open(replay.input, replay.now).or_exit(Failure::Input)?;
    let progress = source.progress();
    let alerts = create(replay.output).or_exit(Failure::Output)?;
    let dead_letters = replay
        .dead_letters
        .map(create)
        .transpose()
        .or_exit(Failure::Output)?;
    let scores = match replay.scores {
        Some(path) => Scores::to(create(path).or_exit(Failure::Output)?),
        None => Scores::default(),
    };
    let config = replay.config;
    let rules = Rules {
        report_scores: replay.scores.is_some(),
        ..config.rules.clone()
    };
    let shares = config.shares().map_err(|message| Exit {
        failure: Failure::Config,
        error: anyhow::anyhow!(message),
    })?;
    let state = StateDir::temporary(shares.store_options())?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let name = replay
        .input
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>();
    let settings = Settings {
        worker: "replay".to_owned(),
        origin: Origin {
            mode: Mode::Replay,
            topic: name.join(","),
            with_input: false,
            config_hash: config.rules_hash(),
            detector_version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        partitions: 1,
        keyed: false,
        commit_interval: Duration::from_secs(3_600),
        min_commit_interval: Duration::from_secs(1),
        max_dirty_accounts: config.detect.max_dirty_accounts,
        max_records: config.detect.max_records,
        // One thread, whatever the number of workers of a service.
        max_dirty_bytes: shares.dirty_bytes * config.workers,
        cached_accounts: config.detect.cached_accounts.unwrap_or(usize::MAX),
        account_bytes: shares.account_bytes * config.workers,
        flush_interval: config.detect.flush_interval.get(),
        idle_clock: None,
        breaker: None,
        until: replay.until,
        max_backoff: Duration::from_secs(5),
        restore_retry: Duration::from_secs(1),
    };
    let stop = stop_on_signal();
    let watch = Watch::begin(progress.clone());
    let mut detector = Detector::new(
        source,
        FileSink::new(alerts, dead_letters),
        NoChangelog,
        state,
        Arc::new(rules),
        settings,
        scores,
        metrics.clone(),
        Health::new(),
        stop,
    );
    let result = detector.run();
    watch.end();
    result?;
    Ok(Summary {
        records: progress.records(),
        metrics,
    })
}

/// A replay that is interrupted ends; what it wrote stands.
fn stop_on_signal() -> Arc<AtomicBool> {
    // The default action of SIGINT and SIGTERM serves: the state is thrown away.
    Arc::new(AtomicBool::new(false))
}

fn create(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    Ok(Box::new(BufWriter::with_capacity(1 << 16, file)))
}

/// Shows progress with an estimate, on a terminal only.
struct Watch {
    bar: ProgressBar,
    thread: Option<(std::thread::JoinHandle<()>, Arc<AtomicBool>)>,
}

impl Watch {
    fn begin(progress: Arc<Progress>) -> Self {
        if !io::stderr().is_terminal() || progress.total_bytes == 0 {
            return Self {
                bar: ProgressBar::hidden(),
                thread: None,
            };
        }
        let bar = ProgressBar::new(progress.total_bytes);
        let style = ProgressStyle::with_template(
            "{bar:32} {percent:>3} %  {msg} events  {elapsed} gone, {eta} to go",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        let done = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (bar, done) = (bar.clone(), done.clone());
            move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    bar.set_position(progress.bytes());
                    bar.set_message(progress.records().to_string());
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        Self {
            bar,
            thread: Some((thread, done)),
        }
    }

    fn end(self) {
        if let Some((thread, done)) = self.thread {
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            if thread.join().is_err() {
                tracing::debug!("the progress display failed");
            }
        }
        self.bar.finish_and_clear();
    }
}
