//! `cargo xtask bounds`: memory, state and restore of one process, measured.

use std::ffi::OsString;

use crate::failure::Result;
use crate::kafka::{self, UpOptions};
use crate::process;

pub(crate) const HELP: &str = "\
Measure the bounds of one process against a real broker: its memory under load
and while it restores, the bytes of state for each account, and how many rows a
second come back from an empty disk; or how long a hand-over takes.

Usage: cargo xtask bounds [OPTIONS]

Options:
  --accounts N    Accounts (default 1000000)
  --events N      Events, over all accounts (default 20000000)
  --days N        Days that the events spread over (default 8)
  --memory MIB    What the process is told to stay within (default 512)
  --partitions N  Partitions of the log (default 12)
  --workers N     Workers of the process (default 2)
  --handover      Measure instead how long a partition stands still when its
                  owner leaves, is killed, or shares with one that joins
  -h, --help      Print this help

The defaults take half an hour or so, and 20 GB of disk. Ends with 1 where more
memory was resident than `--memory`.
";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    let broker = kafka::up(UpOptions {
        for_this_process: true,
        ..UpOptions::default()
    })?;
    let result = process::cargo([
        "run",
        "--package",
        "churnwatch-testkit",
        "--bin",
        "bounds",
        "--",
    ])
    .and_then(|mut bounds| {
        bounds
            .args(arguments)
            .env("KAFKA_BOOTSTRAP", &broker.bootstrap);
        process::run(&mut bounds)
    });
    if !broker.started_here {
        return result;
    }
    result.and(kafka::down())
}
