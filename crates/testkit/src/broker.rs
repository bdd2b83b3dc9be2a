//! A real Kafka broker, and the detector as child processes on it.
//!
//! ```text
//! Deployment ── its own topics, group and directories on the shared broker
//!    │ config(..) ──> start() ──> Process   the binary, with its log and its endpoints
//!    │ produce(..)                records   what stands in a topic, read committed
//!    └ wait_until_read()          Alerts    the history by account, to compare byte by byte
//! ```
//!
//! Nothing here sleeps to let time pass: whoever waits, waits for a state that
//! it can see, within a limit.

pub(crate) mod alerts;
mod dataset;
mod deployment;
mod expected;
mod operator;
mod process;
mod records;

use std::time::{Duration, Instant, SystemTime};

use churnwatch_core::EventTime;

pub use self::{
    alerts::{Alerts, open_by_history, open_by_topic},
    dataset::Dataset,
    deployment::{Deployment, Group},
    expected::Expected,
    process::{Ended, Process},
    records::{Outgoing, Producer, Record, produce, read_all, read_from},
};

/// The longest that anything is waited for.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How often somebody who waits looks.
const LOOK: Duration = Duration::from_millis(20);

/// Where the broker listens.
///
/// # Panics
/// No broker is named: a suite that says nothing about the broker must not pass.
pub fn bootstrap() -> String {
    std::env::var("KAFKA_BOOTSTRAP")
        .ok()
        .filter(|servers| !servers.is_empty())
        .expect(
            "KAFKA_BOOTSTRAP names no broker: run `cargo xtask test`, which starts one, or \
         `cargo xtask kafka up` and export what it prints",
        )
}

/// The wall clock.
///
/// # Panics
/// It stands before 1970.
pub fn now() -> EventTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since_epoch.expect("a clock after 1970").as_millis();
    EventTime::from_millis(millis.try_into().expect("a clock of this aeon"))
}

/// Waits until `look` gives something.
///
/// # Panics
/// It gives nothing within [`LIMIT`]; `what` says what was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_work(what, &mut [], look)
}

/// As [`wait_for`], for what these processes have to bring about.
///
/// # Panics
/// One of them ends, or it does not come about within [`LIMIT`]: shows their
/// logs.
#[track_caller]
pub fn wait_for_work<T>(
    what: &str,
    processes: &mut [&mut Process],
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        for process in &mut *processes {
            process.expect_alive();
        }
        if began.elapsed() > LIMIT {
            let logs: Vec<String> = processes
                .iter()
                .map(|process| process.last_said())
                .collect();
            panic!("waited {LIMIT:?} in vain for {what}\n{}", logs.join("\n\n"));
        }
        std::thread::sleep(LOOK);
    }
}
