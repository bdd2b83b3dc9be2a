//! `cargo xtask crash` and `cargo xtask soak`: the program `crash` of the
//! testkit, with a broker brought up for it.
//!
//! What is drawn, done and compared stands there; here are its command lines.

use std::ffi::OsString;

use crate::failure::{Failure, Result};
use crate::kafka::{self, UpOptions};
use crate::process;
use crate::setup::{self, Purpose};

pub(crate) const HELP: &str = "\
Run the detector on a real broker and interrupt it, round after round: its
processes are killed (from outside, and at named moments of a commit, a restore
or a rebalance), stopped for longer than their session, sent away and brought
back. After each round alerts, open alerts, dead letters and state are compared
with an undisturbed run on the same log.

Usage: cargo xtask crash [--rounds N] [--seed S] [--at-a-time J] [--without D,..]

Options:
  --rounds N     How many rounds (default: 20)
  --seed S       The first round's seed, the next ones count up from it (default:
                 from the clock); the same seed draws the same faults
  --at-a-time J  Rounds that run side by side (default: 1)
  --without D    Switch defences off, by their names: then a difference must be
                 found (the list: crates/faults/src/lib.rs)
  -h, --help     Print this help

Exit code:
  0  every round left behind what it has to
  1  one did not; the first difference is shown in full
";

pub(crate) const SOAK_HELP: &str = "\
Run the detector on a real broker under a steady load, with its processes
killed, stopped, sent away and brought back at random, and compare everything
that is left behind at the end. Prints a line a minute: records, faults, resident
memory of each process.

Usage: cargo xtask soak [--minutes M] [--seed S] [--rate R] [--without D,..]

Options:
  --minutes M  How long the load goes on (default: 30)
  --seed S     Draws the faults (default: from the clock)
  --rate R     Events a second (default: 300)
  --without D  As in `cargo xtask crash`
  -h, --help   Print this help

Exit code: as in `cargo xtask crash`.
";

/// The load of `soak`, in minutes, where none is given.
const MINUTES: &str = "30";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    checked(
        &arguments,
        &["--rounds", "--seed", "--at-a-time", "--without"],
    )?;
    with_a_broker(arguments)
}

pub(crate) fn soak(mut arguments: Vec<OsString>) -> Result<()> {
    checked(&arguments, &["--minutes", "--seed", "--rate", "--without"])?;
    if !arguments.iter().any(|argument| argument == "--minutes") {
        arguments.extend(["--minutes".into(), MINUTES.into()]);
    }
    with_a_broker(arguments)
}

/// Options come in pairs; what is wrong with a value the program says itself.
fn checked(arguments: &[OsString], known: &[&str]) -> Result<()> {
    let options = arguments.iter().step_by(2);
    for option in options {
        if !known.iter().any(|known| option == known) {
            return Err(Failure::usage(format!(
                "no option is called `{}`; known are {}",
                option.to_string_lossy(),
                known.join(", ")
            )));
        }
    }
    Ok(())
}

fn with_a_broker(arguments: Vec<OsString>) -> Result<()> {
    setup::ensure(Purpose::Tests)?;
    let broker = kafka::up(UpOptions {
        for_this_process: true,
        ..UpOptions::default()
    })?;
    let result = run_on(&broker.bootstrap, arguments);
    if !broker.started_here {
        return result;
    }
    let stopped = kafka::down();
    result.and(stopped)
}

fn run_on(bootstrap: &str, arguments: Vec<OsString>) -> Result<()> {
    let mut crash = process::cargo([
        "run",
        "--package",
        "churnwatch-testkit",
        "--bin",
        "crash",
        "--",
    ])?;
    process::run(crash.args(arguments).env("KAFKA_BOOTSTRAP", bootstrap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_the_other_command_is_refused() {
        let arguments = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let known = ["--rounds", "--seed"];
        assert!(checked(&arguments(&["--rounds", "3", "--seed", "7"]), &known).is_ok());
        let failure = checked(&arguments(&["--minutes", "3"]), &known).expect_err("unknown");
        assert!(failure.message().contains("--minutes"));
    }
}
