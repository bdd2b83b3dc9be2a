//! `cargo xtask bounds`: how much memory a process takes, how large its state
//! is, and how fast it comes back, on the broker that `KAFKA_BOOTSTRAP` names.
//!
//! ```text
//! load      events through one process with so much memory; what is resident, all the way
//! sizes     bytes of state for each account, on disk and as rows
//! restore   an empty disk, until it is ready: rows a second, and where the time goes
//! handover  (--handover) how long a partition stands still when its owner changes
//! ```
//!
//! Ends with 1 where more was resident than configured.

mod handover;
mod load;
mod restore;
mod watch;

use std::{
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use churnwatch_core::time::DAY_MS;
use churnwatch_testkit::broker::{Deployment, Process, now};
use serde_json::{Value, json};

use self::{
    load::Load,
    watch::{Memory, Watch, mib},
};

const HELP: &str = "\
Measures the bounds of one process; see `cargo xtask bounds --help`.
";

/// What is run.
struct Arguments {
    accounts: u64,
    events: u64,
    days: u64,
    memory_mib: u64,
    partitions: u32,
    workers: u64,
    handover: bool,
}

impl Arguments {
    /// From the command line: pairs of a name and a number.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            accounts: 1_000_000,
            events: 20_000_000,
            days: 8,
            memory_mib: 512,
            partitions: 12,
            workers: 2,
            handover: false,
        };
        while let Some(name) = arguments.next() {
            if name == "--handover" {
                parsed.handover = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or(format!("{name}: a number is missing"))?;
            let value: u64 = value
                .replace('_', "")
                .parse()
                .map_err(|_| format!("{name}: {value} is no number"))?;
            match &*name {
                "--accounts" => parsed.accounts = value.max(1),
                "--events" => parsed.events = value.max(1),
                "--days" => parsed.days = value.max(1),
                "--memory" => parsed.memory_mib = value,
                "--partitions" => {
                    parsed.partitions = value.try_into().map_err(|_| "too many partitions")?;
                }
                "--workers" => parsed.workers = value,
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{HELP}error: {error}");
            return ExitCode::from(64);
        }
    };
    if arguments.handover {
        handover::measure(&arguments);
        return ExitCode::SUCCESS;
    }
    let fits = measure(&arguments);
    if fits {
        println!("within the bound");
        ExitCode::SUCCESS
    } else {
        println!("ABOVE THE BOUND");
        ExitCode::FAILURE
    }
}

/// Gives whether the memory stayed within its bound.
fn measure(arguments: &Arguments) -> bool {
    let deployment = Deployment::new("bounds", arguments.partitions);
    let load = Load {
        accounts: arguments.accounts,
        events: arguments.events,
        days: arguments.days,
        start: now().plus_millis(-(arguments.days as i64 + 1) * DAY_MS),
    };
    let settings = settings(arguments);
    println!(
        "{} accounts, {} events over {} days, {} partitions, {} workers, {} MiB",
        arguments.accounts,
        arguments.events,
        arguments.days,
        arguments.partitions,
        arguments.workers,
        arguments.memory_mib
    );
    let mut process = deployment.start("a", &settings);
    let watch = Watch::begin(process.id());
    // Before that a fresh broker may not have a coordinator to ask.
    process.wait_until_ready();
    let began = Instant::now();
    thread::scope(|scope| {
        let events = deployment.events();
        let bootstrap = &deployment.bootstrap;
        let producer = scope.spawn(move || load.produce(bootstrap, &events, 0..load.events));
        follow(&deployment, &mut process, arguments.events, began, || {
            producer.is_finished()
        });
    });
    let took = began.elapsed();
    let dues = process.metric("churnwatch_due_times_bytes");
    let cached = process.metric("churnwatch_accounts_cached");
    let cached_bytes = process.metric("churnwatch_accounts_cached_bytes");
    let written = process.metric("churnwatch_commits_total");
    let ended = process.stop();
    let (mean, highest) = watch.end();
    println!(
        "load: {} events in {:.0} s, {:.0} events/s, {written} commits, end in {:.1} s",
        arguments.events,
        took.as_secs_f64(),
        arguments.events as f64 / took.as_secs_f64(),
        ended.took.as_secs_f64(),
    );
    println!(
        "memory under load: {mean:.0} MiB resident on the average, {highest:.0} MiB at most, of {} MiB",
        arguments.memory_mib
    );
    let accounts = arguments.accounts as f64;
    println!(
        "memory of an account: {:.1} bytes for its due time, {:.0} bytes while decoded ({cached} are)",
        dues / accounts,
        cached_bytes / cached.max(1.0),
    );
    let disk = bytes_below(&deployment.state_dir("a"));
    println!(
        "state on disk: {:.0} bytes an account",
        disk as f64 / accounts
    );
    let restored = restore::measure(arguments, &deployment, &settings);
    highest.max(restored) <= arguments.memory_mib as f64
}

fn settings(arguments: &Arguments) -> Value {
    json!({
        "memory_mib": arguments.memory_mib,
        "workers": arguments.workers,
        "kafka": {"session_timeout": "30s", "transaction_timeout": "15s"},
    })
}

/// Waits until all is committed, and tells how it goes.
fn follow(
    deployment: &Deployment,
    process: &mut Process,
    events: u64,
    began: Instant,
    produced: impl Fn() -> bool,
) {
    let group = deployment.group();
    let mut told = Instant::now();
    loop {
        process.expect_alive();
        let committed = group.committed();
        if produced() && committed >= events as i64 {
            return;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let memory = Memory::of(process.id()).unwrap_or_default();
            let metric = |name: &str| process.metric(&format!("churnwatch_{name}")) / 1048576.0;
            let rocksdb = |part: &str| {
                let label = format!("part=\"{part}\"");
                process.metric_where("churnwatch_rocksdb_memory_bytes", &label) / 1048576.0
            };
            println!(
                "{:5.0} s {committed:>10} events  resident {:.0} MiB (anonymous {:.0}, highest {:.0}): \
                 block cache {:.0}, write buffers {:.0}, tables {:.0}, accounts {:.0}, due times {:.1}",
                began.elapsed().as_secs_f64(),
                mib(memory.resident),
                mib(memory.anonymous),
                mib(memory.highest),
                rocksdb("block_cache"),
                rocksdb("memtables"),
                rocksdb("table_readers"),
                metric("accounts_cached_bytes"),
                metric("due_times_bytes"),
            );
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let bytes = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let about = entry.metadata().expect("about it");
        if about.is_dir() {
            bytes_below(&entry.path())
        } else {
            about.len()
        }
    });
    bytes.sum()
}
