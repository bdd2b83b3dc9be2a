//! `churnwatch inspect`: what stands in a state directory, and whether it is
//! what was committed. Nothing is changed in it.

use std::path::PathBuf;

use churnwatch_core::AccountId;
use churnwatch_store::{PartitionStore, StateDir, StoreError, StoreOptions, show};
use clap::Args;
use serde::Serialize;

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
    output::{self, Format},
};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// State directory; the process that works on it must be stopped. Default:
    /// the one of the configuration.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Only this partition.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// Show the rows of this account instead.
    #[arg(long, value_name = "ID")]
    account: Option<String>,

    /// Read every row, and compare what they add up to with the committed
    /// digest; ends with code 70 where a partition differs or cannot be read.
    #[arg(long)]
    verify: bool,

    /// How the result is shown. Default: a table on a terminal, else ndjson.
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Format>,
}

/// One partition as it lies on the disk.
#[derive(Debug, Default, Serialize)]
struct Partition {
    partition: i32,
    /// Commits so far; `None` before the first.
    epoch: Option<u64>,
    /// The next offset of the log to read.
    next_offset: Option<i64>,
    /// Where the epoch stands in the changelog.
    changelog_offset: Option<i64>,
    /// The committed digest.
    digest: Option<String>,
    /// Accounts; counted with `--verify` only.
    accounts: Option<u64>,
    /// Rows; an estimate without `--verify`.
    rows: Option<u64>,
    /// Bytes of keys and values with `--verify`, else of the files, roughly.
    bytes: Option<u64>,
    /// `not read`, `verified`, `empty` or `damaged`.
    state: &'static str,
    /// What is wrong with it.
    damage: Option<String>,
}

/// A row of an account.
#[derive(Debug, Serialize)]
struct Row {
    partition: i32,
    /// The key's bytes, in hexadecimal digits.
    key: String,
    /// Its fields in words, or why it cannot be read.
    row: String,
}

pub(crate) fn run(args: InspectArgs) -> Result<(), Exit> {
    let config = match &args.state_dir {
        Some(_) => Config::default(),
        None => Config::load(args.config.config.as_deref())?,
    };
    let path = args.state_dir.as_ref().unwrap_or(&config.state_dir);
    let state = StateDir::open_read_only(path, StoreOptions::default())?;
    let there = state.partitions()?;
    let partitions = match args.partition {
        None => there,
        Some(one) if there.contains(&one) => vec![one],
        Some(missing) => {
            return Err(Exit {
                failure: Failure::Input,
                error: anyhow::anyhow!(
                    "{} has no partition {missing}; it has {there:?}",
                    path.display()
                ),
            });
        }
    };
    match &args.account {
        Some(account) => show_account(&args, &state, &partitions, &AccountId::from(&**account)),
        None => show_partitions(&args, &state, &partitions),
    }
}

fn show_partitions(args: &InspectArgs, state: &StateDir, partitions: &[i32]) -> Result<(), Exit> {
    let rows: Vec<Partition> = partitions
        .iter()
        .map(|&partition| look_at(state, partition, args.verify))
        .collect();
    let headings = [
        "partition",
        "epoch",
        "offset",
        "changelog offset",
        "digest",
        "accounts",
        "rows",
        "bytes",
        "state",
    ];
    output::show(
        Format::or_by_terminal(args.format),
        &rows,
        &headings,
        |row| {
            // What was not counted is only about right.
            let about = if row.accounts.is_some() { "" } else { "~" };
            vec![
                row.partition.to_string(),
                text(row.epoch),
                text(row.next_offset),
                text(row.changelog_offset),
                row.digest.clone().unwrap_or_default(),
                text(row.accounts),
                row.rows.map_or(String::new(), |n| format!("{about}{n}")),
                row.bytes.map_or(String::new(), |n| format!("{about}{n}")),
                match &row.damage {
                    Some(damage) => format!("{}: {damage}", row.state),
                    None => row.state.to_owned(),
                },
            ]
        },
    )
    .or_exit(Failure::Output)?;
    fail_if_damaged(rows.iter().filter_map(|row| row.damage.as_ref()))
}

fn text<N: ToString>(number: Option<N>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

/// Each damage names its partition.
fn fail_if_damaged<'a>(damages: impl Iterator<Item = &'a String>) -> Result<(), Exit> {
    let damages: Vec<&str> = damages.map(String::as_str).collect();
    if damages.is_empty() {
        return Ok(());
    }
    Err(Exit {
        failure: Failure::Internal,
        error: anyhow::anyhow!("the state is damaged: {}", damages.join("\n       ")),
    })
}

/// Damage of every kind is a finding, and no reason to leave out the others.
fn look_at(state: &StateDir, partition: i32, verify: bool) -> Partition {
    let mut seen = Partition {
        partition,
        state: "not read",
        ..Partition::default()
    };
    if let Err(error) = state
        .partition(partition)
        .and_then(|store| fill_in(&mut seen, &store, verify))
    {
        seen.state = "damaged";
        let error = error.to_string();
        let names_it = error.contains(&format!("partition {partition}"));
        seen.damage = Some(if names_it {
            error
        } else {
            format!("partition {partition}: {error}")
        });
    }
    seen
}

fn fill_in(seen: &mut Partition, store: &PartitionStore, verify: bool) -> Result<(), StoreError> {
    if let Some(task) = store.task() {
        seen.epoch = Some(task.epoch);
        seen.next_offset = Some(task.next_offset);
        seen.changelog_offset = Some(task.changelog_offset);
        seen.digest = Some(format!("{:032x}", task.digest));
    } else {
        seen.state = "empty";
    }
    seen.rows = Some(store.approximate_rows()?);
    seen.bytes = Some(store.approximate_bytes()?);
    if verify {
        let scan = store.verify(&mut |_, _| {})?;
        seen.accounts = Some(scan.accounts);
        seen.rows = Some(scan.rows);
        seen.bytes = Some(scan.bytes);
        if store.task().is_some() {
            seen.state = "verified";
        }
    }
    Ok(())
}

fn show_account(
    args: &InspectArgs,
    state: &StateDir,
    partitions: &[i32],
    account: &AccountId,
) -> Result<(), Exit> {
    let mut found = Vec::new();
    let mut damages = Vec::new();
    for &partition in partitions {
        match state
            .partition(partition)
            .and_then(|store| store.rows_of(account))
        {
            Ok(rows) => found.extend(rows.into_iter().map(|(key, value)| {
                let row = show(&key, &value, partition).unwrap_or_else(|error| {
                    damages.push(error.to_string());
                    error.to_string()
                });
                let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
                Row {
                    partition,
                    key,
                    row,
                }
            })),
            Err(error) => damages.push(error.to_string()),
        }
    }
    if found.is_empty() && damages.is_empty() {
        return Err(Exit {
            failure: Failure::Input,
            error: anyhow::anyhow!("there is no account {account:?} in this state"),
        });
    }
    match Format::or_by_terminal(args.format) {
        // Rows are long: below each other they read better than in cells.
        Format::Table => {
            let shown: String = found
                .iter()
                .map(|row| format!("partition {}: {}\n\n", row.partition, row.row))
                .collect();
            output::print(&shown)
        }
        format => output::show(format, &found, &[], |_| Vec::new()),
    }
    .or_exit(Failure::Output)?;
    fail_if_damaged(damages.iter())
}
