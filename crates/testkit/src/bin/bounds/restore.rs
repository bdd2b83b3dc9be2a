//! A restore from an empty disk.

use std::time::{Duration, Instant};

use churnwatch_testkit::broker::{Deployment, Process};
use serde_json::Value;

use super::{Arguments, watch::Watch};

/// Rows a second that a restore should reach.
const TARGET: f64 = 300_000.0;

/// Gives the most memory that was resident, in MiB.
pub(crate) fn measure(arguments: &Arguments, deployment: &Deployment, settings: &Value) -> f64 {
    let state = deployment.state_dir("a");
    std::fs::remove_dir_all(&state).expect("the state can be deleted");
    let process = deployment.start("a", settings);
    let watch = Watch::begin(process.id());
    let assigned = wait(&process, |process| {
        process.metric("churnwatch_partitions_assigned") as u32 == arguments.partitions
    });
    let ready = wait(&process, |process| process.get("/readyz").0 == 200);
    let took = ready - assigned;
    let log = process.log();
    process.stop();
    let (mean, highest) = watch.end();

    let restored = Restored::all(&log);
    let sum = |of: fn(&Restored) -> f64| restored.iter().map(of).sum::<f64>();
    let rows = sum(|one| one.rows);
    println!(
        "restore: {rows:.0} rows of {:.0} bytes in {:.1} s, {:.0} rows/s ({:.2} of the target of {TARGET:.0})",
        sum(|one| one.bytes) / rows,
        took.as_secs_f64(),
        rows / took.as_secs_f64(),
        rows / took.as_secs_f64() / TARGET,
    );
    println!(
        "  seconds of all workers: {:.1} waiting for records and taking them over, {:.1} writing, {:.1} proving",
        sum(|one| one.reading),
        sum(|one| one.writing),
        sum(|one| one.proving),
    );
    let accounts = sum(|one| one.accounts);
    println!(
        "  {accounts:.0} accounts of {:.1} rows and {:.0} bytes as rows; {:.1} rows and {:.0} bytes in the changelog before compaction",
        sum(|one| one.kept_rows) / accounts,
        sum(|one| one.kept_bytes) / accounts,
        rows / accounts,
        sum(|one| one.bytes) / accounts,
    );
    println!(
        "memory while restoring: {mean:.0} MiB resident on the average, {highest:.0} MiB at most",
    );
    highest
}

fn wait(process: &Process, is_so: impl Fn(&Process) -> bool) -> Instant {
    while !is_so(process) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Instant::now()
}

/// What a process says of a partition that it has restored.
struct Restored {
    rows: f64,
    bytes: f64,
    accounts: f64,
    kept_rows: f64,
    kept_bytes: f64,
    reading: f64,
    writing: f64,
    proving: f64,
}

impl Restored {
    fn all(log: &str) -> Vec<Self> {
        let lines = log.lines();
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let restored = lines.filter(|line| line["message"] == "restored");
        restored
            .map(|line| {
                let number = |name: &str| line[name].as_f64().expect("a number");
                Self {
                    rows: number("rows"),
                    bytes: number("bytes"),
                    accounts: number("accounts"),
                    kept_rows: number("kept_rows"),
                    kept_bytes: number("kept_bytes"),
                    reading: number("reading_seconds"),
                    writing: number("writing_seconds"),
                    proving: number("proving_seconds"),
                }
            })
            .collect()
    }
}
