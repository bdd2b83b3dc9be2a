//! `cargo xtask`: everything around the code that cargo does not do itself.
//!
//! Each subcommand is one module, with its help text beside its code:
//!
//! - [`setup`] installs the system packages that the build and the tests need;
//! - [`demo`] sets up, builds and runs the demonstration;
//! - [`mod@test`] is the whole check, step by step, as continuous integration runs it;
//! - [`kafka`] owns one real broker for the tests;
//! - [`bounds`] measures memory, state and restore of a process;
//! - [`crash`] interrupts the detector in every way a seed draws, round by round, or for long;
//! - [`generate`] writes, or checks, the files that derive from the code;
//! - [`doc_links`] checks every relative link in the Markdown files;
//! - [`same_alerts`] compares the alerts of two runs, byte by byte;
//! - [`lint_deploy`] checks the compose file and the Dockerfile without an engine;
//! - [`deny`] checks the dependencies: licences, sources, known vulnerabilities;
//! - [`fuzz`] runs the fuzz targets.
//!
//! Underneath lie [`workspace`] (where things are), [`process`] (running other
//! programs), [`python_tools`] (tools that come by pip) and [`failure`] (what went wrong and what to do about it).
//!
//! Answers go to standard output, everything that is said on the way to
//! standard error, so that `eval "$(cargo xtask kafka up)"` works.

mod bounds;
mod crash;
mod demo;
mod deny;
mod doc_links;
mod failure;
mod fuzz;
mod generate;
mod kafka;
mod lint_deploy;
mod process;
mod python_tools;
mod same_alerts;
mod setup;
mod test;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use failure::{Failure, Result};

const HELP: &str = "\
Set-up, demonstration, tests and checks of Churnwatch.

Usage: cargo xtask <COMMAND> [ARGUMENTS]

Commands:
  setup        Install the system packages that the build needs
  demo         Set up, build and run the demonstration
  test         Run every check and every test, the real-broker suite included
  kafka        Start, stop or show the broker used by the tests
  crash        Rounds of interruptions drawn from a seed, each checked
  soak         A long run under load and interruptions, checked at its end
  bounds       Measure memory, state and restore of a process
  generate     Write, or check, the generated documents and schemas
  doc-links    Check the relative links and anchors of the Markdown files
  same-alerts  Compare two files of alerts, account by account
  lint-deploy  Check the compose file and the Dockerfile, offline
  deny         Check the dependencies against deny.toml
  fuzz         Run the fuzz targets
  help         Print this help

`cargo xtask <COMMAND> --help` says more about each.

Environment:
  CHURNWATCH_CACHE  Where downloads and the broker's state are kept
                    (default: ~/.cache/churnwatch)
  KAFKA_BOOTSTRAP   HOST:PORT of a running broker to use instead of an own one
";

/// A subcommand: its name, its help text, and what runs it.
struct Subcommand {
    name: &'static str,
    help: &'static str,
    run: fn(Vec<OsString>) -> Result<()>,
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "setup",
        help: setup::HELP,
        run: setup::run,
    },
    Subcommand {
        name: "demo",
        help: demo::HELP,
        run: demo::run,
    },
    Subcommand {
        name: "test",
        help: test::HELP,
        run: test::run,
    },
    Subcommand {
        name: "kafka",
        help: kafka::HELP,
        run: kafka::run,
    },
    Subcommand {
        name: "crash",
        help: crash::HELP,
        run: crash::run,
    },
    Subcommand {
        name: "soak",
        help: crash::SOAK_HELP,
        run: crash::soak,
    },
    Subcommand {
        name: "bounds",
        help: bounds::HELP,
        run: bounds::run,
    },
    Subcommand {
        name: "generate",
        help: generate::HELP,
        run: generate::run,
    },
    Subcommand {
        name: "doc-links",
        help: doc_links::HELP,
        run: doc_links::run,
    },
    Subcommand {
        name: "same-alerts",
        help: same_alerts::HELP,
        run: same_alerts::run,
    },
    Subcommand {
        name: "lint-deploy",
        help: lint_deploy::HELP,
        run: lint_deploy::run,
    },
    Subcommand {
        name: "deny",
        help: deny::HELP,
        run: deny::run,
    },
    Subcommand {
        name: "fuzz",
        help: fuzz::HELP,
        run: fuzz::run,
    },
];

fn main() -> ExitCode {
    match dispatch(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cargo xtask: {}", failure.message());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(mut arguments: Vec<OsString>) -> Result<()> {
    if arguments.is_empty() {
        eprint!("{HELP}");
        return Err(Failure::usage("a command is missing"));
    }
    let name = arguments.remove(0).to_string_lossy().into_owned();
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let Some(subcommand) = SUBCOMMANDS.iter().find(|known| known.name == name) else {
        let known: Vec<_> = SUBCOMMANDS.iter().map(|known| known.name).collect();
        return Err(Failure::usage(format!(
            "no command is called `{name}`; known are {}",
            known.join(", ")
        )));
    };
    // Only the first argument: what follows may belong to the program called.
    if arguments
        .first()
        .is_some_and(|first| first == "--help" || first == "-h")
    {
        print!("{}", subcommand.help);
        return Ok(());
    }
    (subcommand.run)(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_names_every_subcommand_in_its_order() {
        let mut rest = HELP;
        for subcommand in SUBCOMMANDS {
            let line = format!("\n  {} ", subcommand.name);
            let at = rest
                .find(&line)
                .unwrap_or_else(|| panic!("{} is not listed in order", subcommand.name));
            rest = &rest[at + 1..];
        }
    }

    #[test]
    fn every_subcommand_explains_its_own_usage() {
        for subcommand in SUBCOMMANDS {
            let usage = format!("Usage: cargo xtask {}", subcommand.name);
            assert!(
                subcommand.help.contains(&usage),
                "{} lacks `{usage}`",
                subcommand.name
            );
        }
    }

    #[test]
    fn an_unknown_command_is_refused_with_the_known_ones() {
        let failure = dispatch(vec!["tset".into()]).expect_err("must be refused");
        assert_eq!(failure.exit_code(), failure::EXIT_USAGE);
        assert!(failure.message().contains("`tset`") && failure.message().contains("same-alerts"));
    }
}
