//! `cargo xtask test`: every check and every test, in one order, as continuous
//! integration runs it.
//!
//! A step has a name, says when it begins and how long it took, and shows what
//! it prints. The first failure ends the run; a broker that the run started is
//! stopped either way.

mod cargo_tests;
mod steps;

use std::ffi::OsString;

use crate::failure::Result;
use crate::kafka::{self, Broker, UpOptions};
use crate::setup::{self, Purpose};
use crate::{deny, doc_links, generate, lint_deploy, process};
use steps::Steps;

pub(crate) const HELP: &str = "\
Run every check and every test, the real-broker suite included.

Usage: cargo xtask test [--without-broker] [-- CARGO_TEST_ARGUMENTS...]

Options:
  --without-broker  Leave out the tests that need a Kafka broker, and say which
  -h, --help        Print this help

The arguments after `--` are handed to `cargo test`.

Steps, in this order; the first failure ends the run:
  setup               what is missing on this machine is installed
  format              cargo fmt --all --check
  clippy              cargo clippy --workspace --all-targets, warnings denied
  dependencies        cargo xtask deny
  broker up           cargo xtask kafka up; without a broker the run fails
  tests               cargo test --workspace, with KAFKA_BOOTSTRAP
  documentation       cargo doc --no-deps --workspace, warnings denied
  generated files     cargo xtask generate --check
  documentation links cargo xtask doc-links
  deployment files    cargo xtask lint-deploy, and churnwatch validate of their
                      configuration
  broker down         only if this run started it
";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    let mut with_broker = true;
    let mut cargo_test_arguments = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--without-broker") => with_broker = false,
            Some("--") => cargo_test_arguments.extend(rest.by_ref()),
            _ => {
                return Err(lexopt::Error::UnexpectedOption(
                    argument.to_string_lossy().into_owned(),
                )
                .into());
            }
        }
    }
    let mut steps = Steps::default();
    let result = every_step(&mut steps, with_broker, &cargo_test_arguments);
    let left_out = if with_broker {
        ""
    } else {
        "; left out, by --without-broker: the tests that need a broker"
    };
    steps.conclude(result, left_out)
}

fn every_step(
    steps: &mut Steps,
    with_broker: bool,
    cargo_test_arguments: &[OsString],
) -> Result<()> {
    let purpose = if with_broker {
        Purpose::Tests
    } else {
        Purpose::TestsWithoutBroker
    };
    steps.run("setup", || setup::ensure(purpose))?;
    steps.run("format", || {
        process::run(&mut process::cargo(["fmt", "--all", "--check"])?)
    })?;
    steps.run("clippy", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        process::run(&mut process::cargo(arguments)?)
    })?;
    steps.run("dependencies", deny::check)?;
    if !with_broker {
        return steps_beside_the_broker(steps, None, cargo_test_arguments);
    }
    let options = UpOptions {
        for_this_process: true,
        ..UpOptions::default()
    };
    let broker = steps.run("broker up", || kafka::up(options))?;
    let result = steps_beside_the_broker(steps, Some(&broker), cargo_test_arguments);
    if !broker.started_here {
        return result;
    }
    let stopped = steps.run("broker down", kafka::down);
    result.and(stopped)
}

fn steps_beside_the_broker(
    steps: &mut Steps,
    broker: Option<&Broker>,
    cargo_test_arguments: &[OsString],
) -> Result<()> {
    steps.run("tests", || match broker {
        Some(broker) => cargo_tests::run_all(&broker.bootstrap, cargo_test_arguments),
        None => cargo_tests::run_without_broker(cargo_test_arguments),
    })?;
    steps.run("documentation", || {
        let mut doc = process::cargo(["doc", "--no-deps", "--workspace"])?;
        process::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.run("generated files", generate::check)?;
    steps.run("documentation links", doc_links::check)?;
    steps.run("deployment files", || {
        lint_deploy::check()?;
        // The linters know nothing of our own settings; the binary does.
        let arguments = [
            "validate",
            "--offline",
            "--config",
            lint_deploy::CONFIGURATION,
        ];
        process::run(&mut process::churnwatch(arguments)?)
    })
}
