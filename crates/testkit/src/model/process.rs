//! A process of the detector on the model, and what befalls it and its disk.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use churnwatch_pipeline::batch::Origin;
use churnwatch_pipeline::scores::Scores;
use churnwatch_pipeline::{Detector, Settings};
use churnwatch_store::{RowChange, StateDir, StoreOptions, key};
use churnwatch_telemetry::Health;
use churnwatch_wire::Mode;

use crate::reference::BREAKER;

use super::{
    log::{CONFIG_HASH, TOPIC},
    member::{ModelChangelog, ModelSink, ModelSource, member},
    run::Run,
    topic::Row,
};

/// Longer than any schedule takes.
const NEVER: Duration = Duration::from_secs(3_600);

pub(super) struct Process {
    pub(super) detector: Detector<ModelSource, ModelSink, ModelChangelog>,
    stop: Arc<AtomicBool>,
    health: Health,
}

impl Run {
    /// Starts a process where none runs.
    pub(super) fn start(self: &Rc<Self>, at: usize) {
        let Ok(mut slot) = self.slots[at].try_borrow_mut() else {
            return;
        };
        if slot.process.is_some() {
            return;
        }
        if self.may(|f| f.damage) {
            self.damage(at, &slot.disk);
        }
        self.say(at, || "starts".to_owned());
        let state = StateDir::open(&slot.disk, options()).expect("nobody else has this disk");
        self.states.borrow_mut().insert(at, state.clone());
        let (stop, health) = (Arc::<AtomicBool>::default(), Health::new());
        let (source, sink, changelog) = member(self, at);
        let detector = Detector::new(
            source,
            sink,
            changelog,
            state,
            Arc::clone(&self.log.rules),
            self.settings(at),
            Scores::default(),
            Arc::clone(&self.metrics),
            health.clone(),
            Arc::clone(&stop),
        );
        slot.process = Some(Process {
            detector,
            stop,
            health,
        });
    }

    /// Commits at once or seldom, caches much or little: none of it may show.
    fn settings(&self, slot: usize) -> Settings {
        let random = &mut self.random.borrow_mut();
        let seldom = !self.calm.get() && random.chance(500);
        let interval = if seldom { NEVER } else { Duration::ZERO };
        let waits = seldom && random.chance(500);
        Settings {
            worker: format!("slot-{slot}"),
            origin: Origin {
                mode: Mode::Live,
                topic: TOPIC.to_owned(),
                with_input: true,
                config_hash: CONFIG_HASH.to_owned(),
                detector_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            partitions: self
                .log
                .partitions
                .len()
                .try_into()
                .expect("few partitions"),
            keyed: true,
            commit_interval: interval,
            min_commit_interval: if waits { NEVER } else { Duration::ZERO },
            max_dirty_accounts: random.within(1..8),
            max_dirty_bytes: usize::MAX,
            max_records: random.within(1..40),
            account_bytes: usize::MAX,
            breaker: Some(BREAKER),
            cached_accounts: random.within(0..6),
            flush_interval: NEVER,
            idle_clock: None,
            until: None,
            max_backoff: Duration::ZERO,
            restore_retry: Duration::ZERO,
        }
    }

    /// The process dies between two rounds.
    pub(super) fn kill(&self, at: usize) {
        if let Ok(mut slot) = self.slots[at].try_borrow_mut()
            && slot.process.take().is_some()
        {
            self.states.borrow_mut().remove(&at);
            self.say(at, || "is killed".to_owned());
            self.count(|c| c.crashes += 1);
        }
    }

    /// The process is told to stop, and makes its last round. It may leave the
    /// group, or keep its place there.
    pub(super) fn stop(self: &Rc<Self>, at: usize) {
        let Ok(slot) = self.slots[at].try_borrow() else {
            return;
        };
        let Some(process) = &slot.process else { return };
        process.stop.store(true, Ordering::Relaxed);
        drop(slot);
        self.say(at, || "is told to stop".to_owned());
        self.step(at);
        if self.chance(500) {
            self.throw_out(at);
        }
    }

    /// What the process has in memory goes to its disk.
    pub(super) fn flush(&self, at: usize) {
        if let Some(state) = self.states.borrow().get(&at) {
            state.flush().expect("a disk that works");
            self.say(at, || "flushes".to_owned());
        }
    }

    /// While its process is down, a disk is lost, copied, or replaced by its
    /// copy.
    pub(super) fn disturb_disk(&self, at: usize) {
        let Ok(mut slot) = self.slots[at].try_borrow_mut() else {
            return;
        };
        if slot.process.is_some() || !slot.disk.exists() {
            return;
        }
        let kept = slot.disk.with_extension("copy");
        match self.below(3) {
            0 => {
                self.say(at, || "loses its disk".to_owned());
                remove(&slot.disk);
                self.count(|c| c.disks += 1);
            }
            1 => {
                self.say(at, || "has its disk copied".to_owned());
                remove(&kept);
                copy(&slot.disk, &kept);
                slot.copy = Some(kept);
            }
            _ if slot.copy.take().is_some() => {
                self.say(at, || "gets the copy of its disk".to_owned());
                remove(&slot.disk);
                fs::rename(&kept, &slot.disk).expect("the copy can be put back");
                self.count(|c| c.disks += 1);
            }
            _ => {}
        }
    }

    /// While its process is down, a row on a disk is lost, or becomes an older
    /// one.
    pub(super) fn damage_disk(&self, at: usize) {
        let Ok(slot) = self.slots[at].try_borrow() else {
            return;
        };
        if slot.process.is_none() {
            self.damage(at, &slot.disk);
        }
    }

    fn damage(&self, at: usize, disk: &Path) {
        if !disk.exists() {
            return;
        }
        let partition = self.below(self.log.partitions.len());
        let broker = self.broker.borrow();
        let rows: Vec<&Row> = broker.changelog[partition].committed().collect();
        let Some((key, value)) = self.random.borrow_mut().one_of(&rows) else {
            return;
        };
        let partition = i32::try_from(partition).expect("few partitions");
        let state = StateDir::open(disk, options()).expect("nobody else has this disk");
        let known = state.partitions().expect("a disk that works");
        if *key == key::task() || !known.contains(&partition) {
            return;
        }
        self.say(at, || {
            format!("has a row of {partition} damaged on its disk")
        });
        self.count(|c| c.disks += 1);
        let row = RowChange {
            key: key.clone(),
            value: value.clone().filter(|_| self.chance(500)),
        };
        let mut store = state.partition(partition).expect("a disk that works");
        store.restore_rows(&[row]).expect("a disk that works");
        store.flush().expect("a disk that works");
    }

    /// Why processes are not ready.
    pub(super) fn causes(&self) -> String {
        let mut told = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            match slot.try_borrow().ok().as_deref() {
                Some(super::run::Slot {
                    process: Some(process),
                    ..
                }) => told.push(format!("slot {at}: {:?}", process.health.readiness())),
                _ => told.push(format!("slot {at} is down")),
            }
        }
        told.join("\n")
    }
}

/// Small, and not flushed when they are closed: what dies has not flushed.
fn options() -> StoreOptions {
    StoreOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 19,
        background_jobs: 1,
        crash_test: true,
        ..StoreOptions::default()
    }
}

pub(super) fn remove(directory: &Path) {
    if directory.exists() {
        fs::remove_dir_all(directory).expect("a disk can be removed");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a disk can be read") {
        let entry = entry.expect("a disk can be read");
        let kind = entry.file_type().expect("a disk can be read");
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}
