//! Many schedules, until one goes wrong.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use churnwatch_telemetry::Metrics;

use super::{
    counts::Counts,
    schedule::{Fault, Setup, play},
};

/// What a search came upon.
#[derive(Debug, Default)]
pub struct Found {
    /// How much happened in all schedules.
    pub counts: Counts,
    /// The first fault.
    pub fault: Option<Fault>,
}

/// The seed that is asked for by `CHURNWATCH_TEST_SEED`, if any.
///
/// # Panics
/// It is no number.
pub fn seed_of_this_run() -> Option<u64> {
    let seed = std::env::var("CHURNWATCH_TEST_SEED").ok()?;
    Some(seed.parse().expect("CHURNWATCH_TEST_SEED is a number"))
}

/// Plays `schedules` schedules on `threads` threads, with seeds from a random
/// one on, until one goes wrong. With `CHURNWATCH_TEST_SEED` it plays that one
/// schedule, step by step for everybody to see.
///
/// # Panics
/// The loop panics: says by which seed.
pub fn search(schedules: u64, threads: u64, setup: &Setup) -> Found {
    if let Some(seed) = seed_of_this_run() {
        let setup = Setup {
            aloud: true,
            ..setup.clone()
        };
        return search_from(seed, 1, 1, &setup);
    }
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let first = since_epoch.expect("a clock after 1970").as_micros() as u64;
    println!("seeds from CHURNWATCH_TEST_SEED={first} on");
    search_from(first, schedules, threads, setup)
}

fn search_from(first: u64, schedules: u64, threads: u64, setup: &Setup) -> Found {
    let (metrics, wrong) = (Arc::new(Metrics::new("model")), AtomicBool::new(false));
    let work = |thread: u64| {
        let disks = disks();
        let mut found = Found::default();
        for seed in (first + thread..first + schedules).step_by(threads as usize) {
            if wrong.load(Ordering::Relaxed) {
                break;
            }
            let told = TellSeed(seed);
            let outcome = play(seed, setup, disks.path(), &metrics);
            drop(told);
            found.counts += outcome.counts;
            if outcome.fault.is_some() {
                wrong.store(true, Ordering::Relaxed);
                found.fault = outcome.fault;
                break;
            }
        }
        found
    };
    let found = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(found) => found,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect::<Vec<_>>()
    });
    found.into_iter().fold(Found::default(), |mut all, one| {
        all.counts += one.counts;
        all.fault = all.fault.or(one.fault);
        all
    })
}

/// Says which schedule it was, should it panic.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in the schedule CHURNWATCH_TEST_SEED={}", self.0);
        }
    }
}

/// In memory where the system has a file system there: what is on these disks
/// is worth nothing afterwards.
fn disks() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("churnwatch-model-");
    if memory.is_dir() {
        builder.tempdir_in(memory)
    } else {
        builder.tempdir()
    }
    .expect("a directory for the disks")
}
