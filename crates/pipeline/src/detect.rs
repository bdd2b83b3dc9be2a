//! The detect loop, and one event's whole journey through it.
//!
//! A **worker** is one thread with its own source and sink; it owns the
//! **tasks** of the partitions assigned to it.
//!
//! ```text
//! Source::poll -> wire::decode -> load account -> core::apply(state, input) -> Outcome
//!       undecodable -> dead letter                                  |
//!             transaction { alerts, changelog, dead letters, offsets } -> then the store { rows, position }
//! ```
//!
//! Everything between two commits is an **epoch**: it happens as a whole or not
//! at all. After any doubt the loop drops what it holds in memory and reads the
//! committed position back; it never guesses.

mod assignment;
mod disk;
mod memory;
mod stops;
mod upkeep;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use churnwatch_core::{Clock, EventTime, Rules, SourceName, breaker::Bound, watermark::Timeliness};
use churnwatch_faults::{Defence, Moment, holds, pass};
use churnwatch_store::{StateDir, StoreError};
use churnwatch_telemetry::{
    BatchCounters, CommitResult, GaugeShare, Health, LatencyFrom, Metrics, RebalanceEvent,
};
use churnwatch_wire::{Record, RejectReason, Rejection};

use self::disk::Disk;
use self::memory::Dirty;
use crate::{
    batch::{Batch, Origin},
    error::DetectError,
    restore::{Place, Restore, RestoreError, Step},
    scores::Scores,
    sink::{CommitError, Epoch, Sink},
    source::{Changelog, NoHeaders, PartitionId, Polled, RecordRef, Source, SourceError},
    task::Task,
};

/// How a worker works; nothing here influences what it finds, and only the
/// breaker how far it gets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the worker, for logs and health.
    pub worker: String,
    /// How alerts of this run are marked.
    pub origin: Origin,
    /// Partitions of the log.
    pub partitions: u32,
    /// Whether records must be keyed by their account (on Kafka; files have
    /// no keys).
    pub keyed: bool,
    /// Longest time between a record and its commit.
    pub commit_interval: Duration,
    /// Shortest time between two commits made because an alert is waiting.
    pub min_commit_interval: Duration,
    /// Changed accounts at which an epoch is committed.
    pub max_dirty_accounts: usize,
    /// Memory of changed accounts at which an epoch is committed, in bytes,
    /// roughly.
    pub max_dirty_bytes: usize,
    /// Records at which an epoch is committed.
    pub max_records: usize,
    /// Accounts kept decoded in each partition, at most.
    pub cached_accounts: usize,
    /// Memory for due times and decoded accounts of all partitions of the
    /// worker, in bytes: the accounts get what the due times leave of it.
    pub account_bytes: usize,
    /// Longest time a committed row may wait before it is put on disk.
    pub flush_interval: Duration,
    /// How long a partition must be idle before the worker writes a clock
    /// record into it; `None`: never.
    pub idle_clock: Option<Duration>,
    /// Above which share of rejected records a partition stops; `None`: never,
    /// as for files, which end anyway and are reported on as a whole.
    pub breaker: Option<Bound>,
    /// Where the input ends (files): time goes on to here, or to the last
    /// event.
    pub until: Option<EventTime>,
    /// Longest wait between two attempts while the broker cannot be reached.
    pub max_backoff: Duration,
    /// How long a restore waits that the broker could not serve; other
    /// partitions go on meanwhile.
    pub restore_retry: Duration,
}

/// One worker.
pub struct Detector<S, K, C> {
    source: S,
    sink: K,
    changelog: C,
    state: StateDir,
    rules: Arc<Rules>,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Health,
    stop: Arc<AtomicBool>,
    tasks: BTreeMap<PartitionId, Task>,
    restores: BTreeMap<PartitionId, Restore>,
    batch: Batch,
    shares: Shares,
    /// Where the breaker has stopped partitions, as far as it was told.
    stops: BTreeMap<PartitionId, i64>,
    last_commit: Instant,
    /// When each partition last delivered a record or got a clock.
    last_record: BTreeMap<PartitionId, Instant>,
    last_upkeep: Instant,
    /// How long was waited after the last error.
    backoff: Duration,
    /// Whether the group has given us an assignment yet.
    has_joined: bool,
    disk: Disk,
    /// Whether more looks are due than the open epoch had room for.
    looks_wait: bool,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Go round again.
    GoOn,
    /// The input has ended, or the worker was told to stop; everything applied
    /// is committed.
    Done,
}

/// This worker's part of gauges that all workers add up.
struct Shares {
    accounts_cached: GaugeShare,
    cached_bytes: GaugeShare,
    due_bytes: GaugeShare,
    partitions_assigned: GaugeShare,
    partitions_stopped: GaugeShare,
}

/// Why the breaker stops a partition: label `reason` of `paused_partitions`.
const ERROR_RATE: &str = "error_rate";
/// How long a poll waits when nothing presses.
const POLL: Duration = Duration::from_millis(50);
/// Time for a step of restoring between two polls.
const RESTORE_STEP: Duration = Duration::from_millis(200);
/// Accounts looked at before it is asked whether the epoch has room for more.
const LOOKS_AT_A_TIME: usize = 2_000;
/// Shortest wait after an error.
const MIN_BACKOFF: Duration = Duration::from_millis(50);

impl<S: Source, K: Sink, C: Changelog> Detector<S, K, C> {
    /// A worker that has not begun.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a worker, wired once"
    )]
    pub fn new(
        source: S,
        sink: K,
        changelog: C,
        state: StateDir,
        rules: Arc<Rules>,
        settings: Settings,
        scores: Scores,
        metrics: Arc<Metrics>,
        health: Health,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        health.set_cause(
            &format!("{} assignment", settings.worker),
            Some("the group has not assigned any partitions yet".to_owned()),
        );
        Self {
            batch: Batch::new(BatchCounters::new(&metrics), scores),
            shares: Shares {
                accounts_cached: GaugeShare::of(&metrics.accounts_cached),
                cached_bytes: GaugeShare::of(&metrics.accounts_cached_bytes),
                due_bytes: GaugeShare::of(&metrics.due_times_bytes),
                partitions_assigned: GaugeShare::of(&metrics.partitions_assigned),
                partitions_stopped: GaugeShare::of(&metrics.paused_partitions.with([ERROR_RATE])),
            },
            stops: BTreeMap::new(),
            source,
            sink,
            changelog,
            state,
            rules,
            settings,
            metrics,
            health,
            stop,
            tasks: BTreeMap::new(),
            restores: BTreeMap::new(),
            last_commit: now,
            last_record: BTreeMap::new(),
            last_upkeep: now,
            backoff: Duration::ZERO,
            has_joined: false,
            disk: Disk::default(),
            looks_wait: false,
        }
    }

    /// Runs until it is told to stop, or the input ends (files). Before it
    /// returns, everything applied is committed.
    ///
    /// # Errors
    /// What only a person can help with. What is not committed then will be
    /// read again at the next start.
    pub fn run(&mut self) -> Result<(), DetectError> {
        let result = loop {
            match self.step() {
                Ok(Round::GoOn) => {}
                Ok(Round::Done) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            self.drop_everything();
        }
        self.source.close();
        self.health.retire(&self.settings.worker);
        result
    }

    /// Goes round the loop once. [`Detector::run`] does nothing else; whoever
    /// steps by hand closes nothing and may simply drop the worker.
    ///
    /// # Errors
    /// As [`Detector::run`].
    pub fn step(&mut self) -> Result<Round, DetectError> {
        self.health.beat(&self.settings.worker, Instant::now());
        if self.stop.load(Ordering::Relaxed) {
            return self.leave().map(|()| Round::Done);
        }
        let polled = self.poll_once(self.poll_timeout());
        let step = match polled {
            Ok(Polled::Records(_) | Polled::Idle) => Ok(()),
            Ok(Polled::Assigned(partitions)) => self.assigned(&partitions),
            Ok(Polled::Revoked { partitions, lost }) => self.revoked(&partitions, lost),
            Ok(Polled::Ended) => return self.finish().map(|()| Round::Done),
            Err(error) => Err(error),
        }
        .and_then(|()| {
            self.note_joining();
            self.note_stops()
        })
        .and_then(|()| self.look_at_the_due())
        .and_then(|()| self.commit_if_due())
        .and_then(|()| self.restore_some())
        .and_then(|()| self.write_clocks())
        .and_then(|()| self.upkeep());
        match step {
            Ok(()) => {
                if self.backoff > Duration::ZERO {
                    self.backoff = Duration::ZERO;
                    self.report("broker", None);
                }
            }
            Err(error) => self.recover(error)?,
        }
        Ok(Round::GoOn)
    }

    /// One poll; each record makes its whole journey before the next.
    fn poll_once(&mut self, timeout: Duration) -> Result<Polled, DetectError> {
        let Self {
            source,
            tasks,
            batch,
            rules,
            settings,
            last_record,
            ..
        } = self;
        let mut failed = None;
        let mut dirty = Dirty::of(tasks.values());
        let polled = source.poll(timeout, &mut |record| {
            if failed.is_some() {
                return;
            }
            let Some(task) = tasks.get_mut(&record.partition) else {
                batch.counters.unowned_record();
                return;
            };
            if settings.idle_clock.is_some() {
                last_record.insert(record.partition, Instant::now());
            }
            if !task.breaker.is_reading() {
                task.breaker.look_ahead(&record, task.next_offset);
                return;
            }
            dirty.without(task);
            failed = journey(task, rules, settings, &record, batch, &dirty).err();
            dirty.with(task);
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(polled),
        }
    }

    /// Looks at accounts whose time has come without an event of their own, as
    /// many as the open epoch has room for.
    fn look_at_the_due(&mut self) -> Result<(), DetectError> {
        let is_full = |dirty: Dirty| dirty.room(&self.settings, &self.batch) == 0;
        if is_full(Dirty::of(self.tasks.values())) {
            // Or else a busy log would leave no room for looks, ever.
            self.commit()?;
        }
        let mut dirty = Dirty::of(self.tasks.values());
        self.looks_wait = false;
        for task in self.tasks.values_mut() {
            let cause = after(task);
            let (batch, origin) = (&mut self.batch, &self.settings.origin);
            loop {
                let room = dirty.room(&self.settings, batch);
                dirty.without(task);
                let more = task.fire_dues(&self.rules, room, |account, outcome| {
                    batch.take(account, outcome, &cause, origin);
                })?;
                dirty.with(task);
                if !more {
                    break;
                }
                self.health.beat(&self.settings.worker, Instant::now());
                if room == 0 {
                    self.looks_wait = true;
                    break;
                }
            }
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Duration {
        // A partition that is stopped waits for a person, not for the loop.
        if self.looks_wait || self.restores.values().any(Restore::is_due) {
            return Duration::ZERO;
        }
        let since = self.last_commit.elapsed();
        if !self.batch.alerts.is_empty() {
            return self
                .settings
                .min_commit_interval
                .saturating_sub(since)
                .min(POLL);
        }
        POLL
    }

    fn commit_if_due(&mut self) -> Result<(), DetectError> {
        let waited = self
            .batch
            .since
            .map_or(Duration::ZERO, |since| since.elapsed());
        let alert_waits = !(self.batch.alerts.is_empty() && self.batch.dead_letters.is_empty())
            && self.last_commit.elapsed() >= self.settings.min_commit_interval;
        let dirty = Dirty::of(self.tasks.values());
        let due = alert_waits
            || waited >= self.settings.commit_interval
            || dirty.room(&self.settings, &self.batch) == 0
            || self.batch.records >= self.settings.max_records;
        if due { self.commit() } else { Ok(()) }
    }

    /// Makes the open epoch so: one transaction, and only then the store.
    fn commit(&mut self) -> Result<(), DetectError> {
        let began = Instant::now();
        let mut epoch = Epoch::default();
        for task in self.tasks.values_mut() {
            epoch.partitions.extend(task.prepare()?);
        }
        if epoch.partitions.is_empty() {
            self.batch.committed();
            return Ok(());
        }
        epoch.alerts = std::mem::take(&mut self.batch.alerts);
        epoch.dead_letters = std::mem::take(&mut self.batch.dead_letters);
        if !holds(Defence::StoreAfterCommit) {
            self.store_epoch(&epoch)?;
        }
        pass(Moment::BeforeBegin);
        let offsets = self.sink.commit(&epoch).inspect_err(|error| {
            let result = match error {
                CommitError::InDoubt(_) => CommitResult::InDoubt,
                _ => CommitResult::Aborted,
            };
            self.metrics.commits_total.with([result.as_str()]).inc();
        })?;
        pass(Moment::BeforeStore);
        for (part, offset) in epoch.partitions.into_iter().zip(offsets) {
            if let Some(task) = self.tasks.get_mut(&part.partition) {
                task.committed(part, offset)?;
                pass(Moment::DuringStore);
            }
        }
        self.metrics
            .commits_total
            .with([CommitResult::Committed.as_str()])
            .inc();
        self.metrics
            .commit_seconds
            .observe(began.elapsed().as_secs_f64());
        self.metrics
            .batch_events
            .observe(self.batch.counters.events_applied() as f64);
        self.observe_latency(&epoch.alerts);
        if self.batch.unknown_alerts > 0 {
            tracing::info!(
                commands = self.batch.unknown_alerts,
                "commands named no open alert"
            );
            self.batch.unknown_alerts = 0;
        }
        self.batch.committed();
        self.last_commit = Instant::now();
        Ok(())
    }

    /// What stores do that know nothing of transactions, for tests only: the
    /// store first, and the commit behind it.
    fn store_epoch(&mut self, epoch: &Epoch) -> Result<(), DetectError> {
        for part in &epoch.partitions {
            if let Some(task) = self.tasks.get_mut(&part.partition) {
                task.store_before_commit(part)?;
            }
        }
        Ok(())
    }

    /// The input has ended: time goes on to where it is told to, and what is
    /// due by then is looked at.
    fn finish(&mut self) -> Result<(), DetectError> {
        for task in self.tasks.values_mut() {
            let end = self.settings.until.or(task.time().stream_time());
            if let Some(time) = end {
                let clock = Clock {
                    source: SourceName::log(),
                    shard: 0,
                    shards: 1,
                    time,
                };
                task.time_mut().clock(&clock);
            }
        }
        self.drain()
    }

    /// Told to stop: commits what can be committed. What cannot, since the
    /// group or the broker is just then busy with something else, will be read
    /// again; that is a stop in good order all the same.
    fn leave(&mut self) -> Result<(), DetectError> {
        match self.drain() {
            Err(DetectError::Commit(error))
                if !matches!(error, CommitError::Fatal(_) | CommitError::Output(_)) =>
            {
                tracing::warn!(%error, "leaving without the last commit; nothing is lost");
                Ok(())
            }
            // What the next start finds, it reads back from the changelog.
            Err(DetectError::Store(error))
                if self.changelog.is_durable() && (error.wants_room() || error.wants_rebuild()) =>
            {
                tracing::warn!(%error, "leaving with an older state on disk; nothing is lost");
                Ok(())
            }
            drained => drained,
        }
    }

    /// Commits what is applied, within the sink's own bounds.
    fn drain(&mut self) -> Result<(), DetectError> {
        loop {
            self.look_at_the_due()?;
            self.commit()?;
            if !self.looks_wait {
                break;
            }
        }
        for task in self.tasks.values_mut() {
            task.store.flush()?;
        }
        self.batch.scores.flush().map_err(CommitError::Output)?;
        Ok(())
    }

    /// Decides what an error means. Whatever it is, nothing that is not
    /// committed survives it.
    fn recover(&mut self, error: DetectError) -> Result<(), DetectError> {
        match &error {
            DetectError::Source(SourceError::Retry(_)) => {
                tracing::warn!(%error, "waiting for the broker");
                self.report("broker", Some(error.to_string()));
            }
            DetectError::Source(SourceError::Rejoin(_)) => {
                tracing::warn!(%error, "dropping what is not committed");
                self.roll_back(&[]);
            }
            DetectError::Commit(
                commit @ (CommitError::Aborted(_)
                | CommitError::InDoubt(_)
                | CommitError::Fenced(_)
                | CommitError::Retry(_)),
            ) => {
                tracing::warn!(%error, "dropping what is not committed");
                self.metrics
                    .producer_resets_total
                    .with([commit.reason()])
                    .inc();
                self.report("broker", Some(error.to_string()));
                if holds(Defence::RollBack) {
                    self.roll_back(&[]);
                }
                while let Err(error) = self.sink.reset() {
                    if let CommitError::Fatal(_) = error {
                        return Err(error.into());
                    }
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    self.report("broker", Some(error.to_string()));
                    self.wait();
                }
            }
            DetectError::Store(store) if self.changelog.is_durable() => {
                if store.wants_room() {
                    self.wait_for_room(store);
                    return Ok(());
                }
                let damaged = store.partition().filter(|_| store.wants_rebuild());
                let Some(partition) = damaged.map(PartitionId) else {
                    return Err(error);
                };
                tracing::warn!(%error, "dropping what is not committed, and rebuilding the state from the changelog");
                self.rebuild(partition);
            }
            _ => return Err(error),
        }
        self.wait();
        Ok(())
    }

    /// Waits a little longer each time, and keeps the heartbeat.
    fn wait(&mut self) {
        let longest = self.settings.max_backoff;
        self.backoff = (self.backoff * 2).max(MIN_BACKOFF).min(longest);
        let until = Instant::now() + self.backoff;
        while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
            self.health.beat(&self.settings.worker, Instant::now());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn drop_everything(&mut self) {
        self.batch.discard();
        self.tasks.clear();
        self.restores.clear();
    }

    fn report(&self, part: &str, cause: Option<String>) {
        self.health
            .set_cause(&format!("{} {part}", self.settings.worker), cause);
    }
}

/// One event's whole journey: from a record to what follows from it, up to the
/// commit that makes it so.
fn journey(
    task: &mut Task,
    rules: &Rules,
    settings: &Settings,
    record: &RecordRef<'_>,
    batch: &mut Batch,
    dirty_elsewhere: &Dirty,
) -> Result<(), DetectError> {
    let origin = &settings.origin;
    if record.offset < task.next_offset && holds(Defence::OrderedOffsets) {
        return Err(DetectError::OutOfOrder {
            partition: record.partition.0,
            got: record.offset,
            expected: task.next_offset,
        });
    }
    task.advance_to(record.offset);
    batch.records += 1;
    if batch.since.is_none() {
        batch.since = Some(Instant::now());
    }
    // 1. Bytes become an event, or a dead letter with the reason.
    let decoded = churnwatch_wire::decode_record(record.value)
        .and_then(|decoded| check(decoded, record, settings, rules));
    task.breaker.count(record.offset, decoded.is_err());
    match decoded {
        Err(rejection) => batch.dead_letter(record, rejection, origin),
        // 2. A clock moves time.
        Ok(Record::Clock(clock)) => task.time_mut().clock(&clock),
        // What it lets through is through: see `breaker`.
        Ok(Record::Resume(_)) => {}
        Ok(Record::Event(event)) => {
            let (source, kind) = (event.source.as_str(), event.fact.kind());
            // 3. An event is on time, late, or expired.
            let timeliness = task.observe(&event, rules);
            if timeliness == Timeliness::Expired {
                batch.counters.expired(source);
                return Ok(());
            }
            if timeliness == Timeliness::Late {
                batch.counters.late(source);
            }
            // 4. The account's own looks come before it, then the event itself.
            let mut repeat = false;
            task.apply(&event, rules, |outcome| {
                repeat |= outcome.repeat;
                batch.take(&event.account, outcome, record, origin);
            })?;
            if repeat {
                batch.counters.duplicate();
            } else {
                batch.counters.event(source, kind);
            }
        }
    }
    // 5. Time may have come for accounts that said nothing. No more of them than
    //    an epoch may hold: the loop looks at the others after its commit.
    loop {
        let mut dirty = *dirty_elsewhere;
        dirty.with(task);
        let room = dirty.room(settings, batch);
        let more = task.fire_dues(rules, room, |account, outcome| {
            batch.take(account, outcome, record, origin);
        })?;
        if !more || room == 0 {
            return Ok(());
        }
    }
}

/// Checks what the bytes alone cannot tell: the key and the clock of the sender.
fn check(
    decoded: Record,
    record: &RecordRef<'_>,
    settings: &Settings,
    rules: &Rules,
) -> Result<Record, Rejection> {
    if settings.keyed {
        churnwatch_wire::check_key(record.key, &decoded)?;
    }
    let time = match &decoded {
        Record::Event(event) => event.time,
        Record::Clock(clock) => clock.time,
        Record::Resume(_) => return Ok(decoded),
    };
    let ahead_seconds = rules.time.max_ahead_seconds;
    if let Some(appended_at) = record.appended_at
        && time > appended_at.plus_millis(i64::from(ahead_seconds) * 1_000)
    {
        return Err(Rejection::new(
            RejectReason::TimeAhead,
            format!(
                "field `time` {time} lies more than {ahead_seconds} s ahead of {appended_at}, when the log \
                 took the record in: set the sender's clock"
            ),
        ));
    }
    Ok(decoded)
}

/// Stands for "after everything read so far", as the cause of a look that no
/// single record brought about.
fn after(task: &Task) -> RecordRef<'static> {
    RecordRef {
        partition: task.partition,
        offset: task.next_offset - 1,
        appended_at: None,
        key: None,
        value: None,
        headers: &NoHeaders,
    }
}
