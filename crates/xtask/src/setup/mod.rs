//! `cargo xtask setup`: what the build and the tests need from the system.
//!
//! A [`Need`] is a tool or library, the reason for it, a way to see whether it
//! is there, and the Debian package that brings it. `setup` looks at each need,
//! does nothing when all are met, and otherwise installs the missing packages
//! through apt, or lists them where there is no apt.

mod apt;
mod needs;

use std::ffi::OsString;

use crate::failure::{Failure, Result};
use crate::process;
use needs::Need;

pub(crate) const HELP: &str = "\
Install the system packages that the build needs, and with --for-tests also
what the tests need. What is there already is left alone; if nothing is missing
this does nothing.

Usage: cargo xtask setup [--for-tests]

Options:
  --for-tests  Also what the tests need: rustfmt and clippy, Python for the
               linters, and Java 17 and Maven for brokers
  -h, --help   Print this help

On Debian and its relatives packages are installed by apt-get (through sudo
unless you are root). On other systems the missing things are listed for you to
install.
";

/// What the machine is to be made ready for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building and running the program.
    Build,
    /// Building, and every check that needs no broker.
    TestsWithoutBroker,
    /// Building, and every check.
    Tests,
}

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    let mut purpose = Purpose::Build;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("for-tests") => purpose = Purpose::Tests,
            other => return Err(other.unexpected().into()),
        }
    }
    ensure(purpose)
}

/// Installs what is missing for `purpose`; quiet and quick when nothing is.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let mut needs: Vec<&Need> = needs::FOR_BUILD.iter().collect();
    if purpose != Purpose::Build {
        needs.extend(needs::FOR_LINTERS);
    }
    if purpose == Purpose::Tests {
        // Whatever broker the other tests use, some kill and restart their own.
        needs.extend(needs::FOR_BROKER);
    }
    let missing: Vec<&Need> = needs.into_iter().filter(|need| !(need.is_met)()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    if purpose != Purpose::Build {
        ensure_rust_components()?;
    }
    Ok(())
}

fn install(missing: &[&Need]) -> Result<()> {
    eprintln!("setup: this machine lacks");
    eprint!("{}", described(missing));
    if !process::is_on_path("apt-get") {
        return Err(Failure::new(format!(
            "this machine has no apt-get, so nothing was installed; install these by your own package manager \
             (in brackets: the names of the Debian packages), then run this again:\n{}",
            described(missing)
        )));
    }
    apt::install(missing)?;
    let still_missing: Vec<&Need> = missing
        .iter()
        .copied()
        .filter(|need| !(need.is_met)())
        .collect();
    if still_missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the packages were installed, but these are still not found; is another version first in PATH?\n{}",
        described(&still_missing)
    )))
}

fn described(needs: &[&Need]) -> String {
    needs
        .iter()
        .map(|need| {
            format!(
                "  - {}: {} [{}]\n",
                need.name,
                need.reason,
                need.packages.join(" or ")
            )
        })
        .collect()
}

/// rustfmt and clippy are part of the toolchain, not of the system; rustup's
/// minimal profile leaves them out.
fn ensure_rust_components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if process::capture(&mut process::cargo([subcommand, "--version"])?).is_ok() {
            continue;
        }
        if !process::is_on_path("rustup") {
            return Err(Failure::new(format!(
                "`cargo {subcommand}` is missing; install {component} for this toolchain"
            )));
        }
        eprintln!("setup: adding {component} to the Rust toolchain, for the checks");
        process::run_aside(std::process::Command::new("rustup").args([
            "component",
            "add",
            component,
        ]))?;
    }
    Ok(())
}
