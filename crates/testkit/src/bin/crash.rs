//! `cargo xtask crash`: rounds of interruptions against the broker that
//! `KAFKA_BOOTSTRAP` names, each checked; and `cargo xtask soak` with `--minutes`.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use churnwatch_faults::Defence;
use churnwatch_testkit::cli;
use churnwatch_testkit::crash::{Finding, Report, Round, Soak, Tally};
use churnwatch_testkit::random;

struct Arguments {
    rounds: usize,
    minutes: Option<u64>,
    rate: usize,
    seed: u64,
    at_a_time: usize,
    without: Vec<Defence>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("crash: {reason}");
            return ExitCode::from(64);
        }
    };
    // Built before the clock starts.
    cli::binary();
    cli::binary_with_faults();
    let passed = match arguments.minutes {
        Some(minutes) => soak(&arguments, minutes),
        None => rounds(&arguments),
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        rounds: 20,
        minutes: None,
        rate: 300,
        seed: random::seed(),
        at_a_time: 1,
        without: Vec::new(),
    };
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} wants a value"))?;
        let number = || {
            let number = value.parse::<u64>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| format!("{word} wants a positive number: {value}"))
        };
        match word.as_str() {
            "--rounds" => arguments.rounds = number()? as usize,
            "--minutes" => arguments.minutes = Some(number()?),
            "--rate" => arguments.rate = number()? as usize,
            "--seed" => arguments.seed = number()?,
            "--at-a-time" => arguments.at_a_time = number()? as usize,
            "--without" => {
                for name in value.split(',') {
                    let defence = Defence::named(name);
                    let defence = defence.ok_or_else(|| format!("no defence is called {name}"))?;
                    arguments.without.push(defence);
                }
            }
            _ => return Err(format!("no option is called {word}")),
        }
    }
    Ok(arguments)
}

/// Rounds with the seeds from the given one on; gives whether all were in order.
fn rounds(arguments: &Arguments) -> bool {
    let began = Instant::now();
    let seeds: VecDeque<u64> = (0..arguments.rounds as u64)
        .map(|round| arguments.seed.wrapping_add(round))
        .collect();
    let (seeds, reports) = (Mutex::new(seeds), Mutex::new(Vec::new()));
    let next = || seeds.lock().expect("nobody panics with it").pop_front();
    thread::scope(|scope| {
        for _ in 0..arguments.at_a_time {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    let without = arguments.without.clone();
                    let report = Round { seed, without }.run();
                    let mut reports = reports.lock().expect("nobody panics with it");
                    println!("round {}, {report}", reports.len() + 1);
                    reports.push(report);
                }
            });
        }
    });
    let reports = reports.into_inner().expect("nobody panicked with it");
    summarize(&reports, began.elapsed(), arguments.seed)
}

fn summarize(reports: &[Report], took: Duration, seed: u64) -> bool {
    let mut tally = Tally::default();
    let (mut alerts, mut rows, mut commits) = (0, 0, 0);
    for report in reports {
        tally.add(&report.tally);
        if let Ok((compared, owners)) = &report.verdict {
            alerts += compared.alerts;
            rows += compared.rows;
            commits += owners.commits;
        }
    }
    let found: Vec<(&Report, &Finding)> = reports
        .iter()
        .filter_map(|report| Some((report, report.verdict.as_ref().err()?)))
        .collect();
    println!(
        "{} rounds from seed {seed} in {} s: {} faults, {} restarts; {commits} commits, {alerts} alerts and \
         {rows} rows compared; {} rounds with a difference\nfaults: {tally}",
        reports.len(),
        took.as_secs(),
        tally.count(),
        tally.restarts,
        found.len()
    );
    if let Some((report, finding)) = found.first() {
        println!("the first difference, of seed {}:\n{finding}", report.seed);
    }
    found.is_empty()
}

fn soak(arguments: &Arguments, minutes: u64) -> bool {
    println!("seed {}", arguments.seed);
    let soak = Soak {
        seed: arguments.seed,
        length: Duration::from_secs(60 * minutes),
        rate: arguments.rate,
        without: arguments.without.clone(),
    };
    let report = soak.run();
    println!("{report}");
    report.verdict.is_ok()
}
