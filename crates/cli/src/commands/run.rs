//! `churnwatch run`: detect on Kafka, until told to stop.
//!
//! Workers are plain threads, each with its own consumer and producer. The
//! HTTP endpoints and the signals of the operating system are the only async
//! part, on a small runtime of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use churnwatch_core::Rules;
use churnwatch_kafka::{
    GroupWatch, KafkaChangelog, KafkaSink, KafkaSource, Reporting,
    topics::{self, TopicsError},
};
use churnwatch_pipeline::{DetectError, Detector, Settings, Sink, batch::Origin, scores::Scores};
use churnwatch_store::{StateDir, StateVersion, StoreOptions};
use churnwatch_telemetry::{Health, MemoryPart, Metrics};
use churnwatch_wire::Mode;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
    memory::{Shares, resident_bytes},
};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// Do not warn about topics with fewer copies than a cluster should keep.
    #[arg(long)]
    dev: bool,
}

/// A worker without a heartbeat for this long counts as stalled.
const MAX_HEARTBEAT_AGE: Duration = Duration::from_secs(60);
/// Longest back-off while the broker cannot be reached at the start.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

pub(crate) fn run(args: RunArgs) -> Result<(), Exit> {
    let mut config = Config::load(args.config.config.as_deref())?;
    let token = config.http_token().map_err(|message| Exit {
        failure: Failure::Config,
        error: anyhow::anyhow!(message),
    })?;
    let shares = shares(&config)?;
    config.kafka.queues = shares.queues;
    let config = Arc::new(config);
    let options = StoreOptions {
        state_version: config.store.version(),
        ..shares.store_options()
    };
    let state = StateDir::open(&config.state_dir, options)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let health = Health::awaiting(["broker"]);
    let stop = Arc::new(AtomicBool::new(false));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .or_exit(Failure::Internal)?;
    let server = runtime.block_on(churnwatch_ops::Server::bind(
        churnwatch_ops::Settings {
            address: config.http.listen,
            max_heartbeat_age: MAX_HEARTBEAT_AGE,
            token,
        },
        churnwatch_ops::Shown {
            metrics: metrics.clone(),
            health: health.clone(),
            views: None,
        },
    ));
    let server = server.or_exit(Failure::Config)?;
    tracing::info!(address = %server.address(), "serving /metrics, /livez and /readyz");
    let (stopped, wait_for_stop) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(server.serve(async {
        // An error means that the sender is gone, which is the end as well.
        wait_for_stop.await.unwrap_or_default();
    }));
    runtime.spawn(stop_on_signals(stop.clone()));

    let result = detect(&args, &config, &shares, &state, &metrics, &health, &stop);
    drop(stopped);
    if let Err(error) = runtime.block_on(serving) {
        tracing::warn!(%error, "the HTTP server did not end well");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Sets `stop` at the first SIGTERM or SIGINT; ends the program at a later one,
/// which is not the same one passed on twice by whoever supervises us.
async fn stop_on_signals(stop: Arc<AtomicBool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be received; stop the process by SIGKILL, nothing is lost");
        return;
    };
    let mut first = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.store(true, Ordering::Relaxed);
        let asked = *first.get_or_insert_with(Instant::now);
        if asked.elapsed() > Duration::from_secs(1) {
            tracing::warn!("stopping at once; what is not committed will be read again");
            std::process::exit(130);
        }
        tracing::info!("stopping: committing what is applied, then leaving the group");
    }
}

/// The division of the memory, told once.
fn shares(config: &Config) -> Result<Shares, Exit> {
    let shares = config.shares().map_err(|message| Exit {
        failure: Failure::Config,
        error: anyhow::anyhow!(message),
    })?;
    let mib = |bytes: usize| bytes >> 20;
    tracing::info!(
        memory_mib = shares.limit_mib,
        block_cache_mib = mib(shares.block_cache_bytes),
        write_buffer_mib = mib(shares.write_buffer_bytes),
        accounts_mib = mib(shares.account_bytes * config.workers),
        "memory"
    );
    Ok(shares)
}

fn detect(
    args: &RunArgs,
    config: &Arc<Config>,
    shares: &Shares,
    state: &StateDir,
    metrics: &Arc<Metrics>,
    health: &Health,
    stop: &Arc<AtomicBool>,
) -> Result<(), Exit> {
    let Some(partitions) = check_topics(config, args.dev, health, stop)? else {
        return Ok(());
    };
    if config.workers > partitions as usize {
        tracing::warn!(
            workers = config.workers,
            partitions,
            "more workers than partitions: some have nothing to do"
        );
    }
    let version = config.store.version();
    if version < StateVersion::NEWEST {
        tracing::warn!(
            written = %version,
            newest = %StateVersion::NEWEST,
            "rows are written in an older state version: remove store.state_version once all \
             members run this release"
        );
    }
    let mut workers = Vec::new();
    for index in 0..config.workers {
        let detector = detector(
            index, partitions, config, shares, state, metrics, health, stop,
        )?;
        let name = format!("detect-{index}");
        let work = work(detector, stop.clone());
        let worker = thread::Builder::new()
            .name(name)
            .spawn(work)
            .or_exit(Failure::Internal)?;
        workers.push(worker);
    }
    // Only now: the workers have said by themselves that they wait for the group, and in between
    // nobody would have had a cause.
    health.set_cause("broker", None);
    let memory = watch_memory(
        shares.limit_mib,
        state.clone(),
        metrics.clone(),
        stop.clone(),
    );
    watch_group(config, partitions, metrics, health, stop)?;
    let mut result = Ok(());
    for worker in workers {
        let ended = worker.join().unwrap_or_else(|_| {
            Err(Exit {
                failure: Failure::Internal,
                error: anyhow::anyhow!("a worker panicked"),
            })
        });
        result = result.and(ended);
    }
    stop.store(true, Ordering::Relaxed);
    if memory.join().is_err() {
        tracing::debug!("the memory gauge ended early");
    }
    result
}

type KafkaDetector = Detector<KafkaSource, KafkaSink, KafkaChangelog>;

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a worker, wired once"
)]
fn detector(
    index: usize,
    partitions: u32,
    config: &Config,
    shares: &Shares,
    state: &StateDir,
    metrics: &Arc<Metrics>,
    health: &Health,
    stop: &Arc<AtomicBool>,
) -> Result<KafkaDetector, Exit> {
    let reporting = Reporting {
        metrics: metrics.clone(),
        health: health.clone(),
    };
    let source =
        KafkaSource::new(&config.kafka, index, reporting.clone()).or_exit(Failure::Config)?;
    let mut sink = KafkaSink::new(&config.kafka, index, source.membership(), &reporting)
        .or_exit(Failure::Config)?;
    // Ends an unfinished transaction of this worker's predecessor, which would
    // hold the committed offsets back until its time-out. The loop tries again
    // where the broker is away.
    if let Err(error) = sink.reset() {
        tracing::warn!(%error, "the producer is not ready yet");
    }
    let changelog =
        KafkaChangelog::new(&config.kafka, index, &reporting).or_exit(Failure::Config)?;
    let rules = Rules {
        report_scores: false,
        ..config.rules.clone()
    };
    let settings = Settings {
        worker: format!("detect-{index}"),
        origin: Origin {
            mode: Mode::Live,
            topic: config.kafka.topics.events(),
            with_input: true,
            config_hash: config.rules_hash(),
            detector_version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        partitions,
        keyed: true,
        commit_interval: config.detect.commit_interval.get(),
        min_commit_interval: config.detect.min_commit_interval.get(),
        max_dirty_accounts: config.detect.max_dirty_accounts,
        max_records: config.detect.max_records,
        max_dirty_bytes: shares.dirty_bytes,
        cached_accounts: config.detect.cached_accounts.unwrap_or(usize::MAX),
        account_bytes: shares.account_bytes,
        flush_interval: config.detect.flush_interval.get(),
        idle_clock: config.detect.idle_clock.after(),
        // What it counts would be lost with each restart.
        breaker: config
            .detect
            .breaker
            .bound()
            .filter(|_| config.store.version().keeps_breaker()),
        until: None,
        max_backoff: Duration::from_secs(5),
        restore_retry: Duration::from_secs(1),
    };
    Ok(Detector::new(
        source,
        sink,
        changelog,
        state.clone(),
        Arc::new(rules),
        settings,
        Scores::default(),
        metrics.clone(),
        health.clone(),
        stop.clone(),
    ))
}

/// A worker's thread. One that ends, even by a panic, stops the others: a
/// supervisor starts the process anew, and a group that is half dead helps
/// nobody.
fn work(
    mut detector: KafkaDetector,
    stop: Arc<AtomicBool>,
) -> impl FnOnce() -> Result<(), Exit> + Send {
    move || {
        let _stops_the_others = StopOnDrop(stop);
        let result: Result<(), DetectError> = detector.run();
        if let Err(error) = &result {
            tracing::error!(%error, "a worker ends");
        }
        result.map_err(|error| match error {
            // What files would be for a replay is the broker here.
            DetectError::Source(_) | DetectError::Commit(_) => Exit {
                failure: Failure::Unavailable,
                error: error.into(),
            },
            other => other.into(),
        })
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks at the topics before anything starts; waits for a broker that does
/// not answer. `None` when told to stop meanwhile.
fn check_topics(
    config: &Config,
    dev: bool,
    health: &Health,
    stop: &AtomicBool,
) -> Result<Option<u32>, Exit> {
    let mut backoff = Duration::from_millis(500);
    loop {
        match topics::check(&config.kafka, dev) {
            Ok(report) => {
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
                if !report.errors.is_empty() {
                    let error = anyhow::anyhow!("{}", report.errors.join("\n       "));
                    return Err(Exit {
                        failure: Failure::Unavailable,
                        error,
                    });
                }
                return Ok(u32::try_from(report.partitions).ok());
            }
            Err(error @ TopicsError::Client(_)) => return Err(error).or_exit(Failure::Config),
            Err(error) => {
                tracing::warn!(%error, "waiting for the broker");
                health.set_cause("broker", Some(error.to_string()));
            }
        }
        let mut waited = Duration::ZERO;
        while waited < backoff {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(50));
            waited += Duration::from_millis(50);
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// Sees to it that no partition is left without an owner. Nobody waits for the
/// end of the thread: it holds nothing, and may be waiting for a broker.
fn watch_group(
    config: &Config,
    partitions: u32,
    metrics: &Arc<Metrics>,
    health: &Health,
    stop: &Arc<AtomicBool>,
) -> Result<(), Exit> {
    let reporting = Reporting {
        metrics: metrics.clone(),
        health: health.clone(),
    };
    let watch = GroupWatch::new(&config.kafka, partitions, &reporting).or_exit(Failure::Config)?;
    let stop = stop.clone();
    let named = thread::Builder::new().name("group-watch".to_owned());
    named
        .spawn(move || watch.run(&stop))
        .map(drop)
        .or_exit(Failure::Internal)
}

/// Keeps the gauges of memory.
fn watch_memory(
    limit_mib: usize,
    state: StateDir,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let limit_bytes = (limit_mib as u64) << 20;
        metrics.memory_limit_bytes.set(gauge(limit_bytes));
        let mut is_over = false;
        while !stop.load(Ordering::Relaxed) {
            if let Some(resident) = resident_bytes() {
                metrics.resident_memory_bytes.set(gauge(resident));
                if resident > limit_bytes && !is_over {
                    tracing::warn!(
                        resident_mib = resident >> 20,
                        memory_mib = limit_mib,
                        "more memory is resident than memory_mib"
                    );
                }
                is_over = resident > limit_bytes;
            }
            if let Ok(used) = state.memory() {
                let set = |part: MemoryPart, bytes: u64| {
                    let of_part = metrics.rocksdb_memory_bytes.with([part.as_str()]);
                    of_part.set(gauge(bytes));
                };
                set(MemoryPart::BlockCache, used.block_cache);
                set(MemoryPart::Memtables, used.memtables);
                set(MemoryPart::TableReaders, used.table_readers);
                set(MemoryPart::Pinned, used.pinned);
            }
            for _ in 0..20 {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(250));
            }
        }
    })
}
