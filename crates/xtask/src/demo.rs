//! `cargo xtask demo`: from a bare machine to a table of alerts.

use std::ffi::OsString;

use crate::failure::Result;
use crate::setup::{self, Purpose};
use crate::{process, workspace};

pub(crate) const HELP: &str = "\
Install what the build needs, build the program, and run its demonstration: a
told fleet of some hundred accounts over half a year, judged by the detector.

Usage: cargo xtask demo [ARGUMENTS...]

Every argument is handed to `churnwatch demo`; for those it knows:
  cargo run --package churnwatch-cli --bin churnwatch -- demo --help
";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    if !workspace::binary_was_built() {
        eprintln!(
            "demo: building. The first build compiles RocksDB and librdkafka and takes 10 to 25 minutes, \
             depending on the machine; later ones take seconds."
        );
    }
    let mut churnwatch = process::churnwatch(["demo"])?;
    process::run(churnwatch.args(arguments))
}
