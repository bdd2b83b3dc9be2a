//! `cargo test`, with a broker or without.

use std::ffi::OsString;

use serde_json::Value;

use crate::failure::{Failure, Result, While};
use crate::process;

/// The package with the tests that span crates.
const PACKAGE: &str = "churnwatch-tests";

/// Its test targets that need a broker.
const NEED_BROKER: [&str; 5] = ["broker_faults", "crash", "hostile", "kafka", "secure"];

/// The package whose every integration test needs a broker.
const BROKER_PACKAGE: &str = "churnwatch-kafka";

/// Every test of the workspace, against the broker at `bootstrap`.
pub(super) fn run_all(bootstrap: &str, arguments: &[OsString]) -> Result<()> {
    let mut test = process::cargo(["test", "--workspace"])?;
    process::run(test.args(arguments).env("KAFKA_BOOTSTRAP", bootstrap))
}

/// Every test but those that need a broker.
pub(super) fn run_without_broker(arguments: &[OsString]) -> Result<()> {
    println!(
        "    left out, by --without-broker: the tests {} of {PACKAGE}, and those of {BROKER_PACKAGE} but its unit tests",
        NEED_BROKER.join(", ")
    );
    let mut units = process::cargo([
        "test",
        "--workspace",
        "--exclude",
        PACKAGE,
        "--exclude",
        BROKER_PACKAGE,
    ])?;
    process::run(units.args(arguments).env_remove("KAFKA_BOOTSTRAP"))?;
    let mut units = process::cargo(["test", "--package", BROKER_PACKAGE, "--lib"])?;
    process::run(units.args(arguments).env_remove("KAFKA_BOOTSTRAP"))?;

    let metadata = process::capture(&mut process::cargo([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ])?)?;
    let mut test = process::cargo(["test", "--package", PACKAGE])?;
    for target in targets_without_broker(&metadata)? {
        test.args(["--test", &target]);
    }
    process::run(test.args(arguments).env_remove("KAFKA_BOOTSTRAP"))
}

/// The test targets of the package that need no broker, by what cargo says of
/// it: a target added later is run unless it is listed here as needing one.
fn targets_without_broker(metadata: &str) -> Result<Vec<String>> {
    let metadata: Value = serde_json::from_str(metadata)
        .while_doing(|| "read what `cargo metadata` says".to_owned())?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages
        .into_iter()
        .find(|package| package["name"] == PACKAGE)
        .ok_or_else(|| Failure::new(format!("the workspace has no package {PACKAGE}")))?;
    let targets = package["targets"].as_array().into_iter().flatten();
    let tests = targets.filter(|target| {
        target["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"))
    });
    let names = tests.filter_map(|target| target["name"].as_str());
    Ok(names
        .filter(|name| !NEED_BROKER.contains(name))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_targets_that_need_a_broker_are_left_out() {
        let target = |name: &str, kind: &str| serde_json::json!({"name": name, "kind": [kind]});
        let targets = [
            target("golden", "test"),
            target("kafka", "test"),
            target("crash", "test"),
            target("added_later", "test"),
        ];
        let metadata = serde_json::json!({"packages": [
            {"name": "other", "targets": [target("theirs", "test")]},
            {"name": PACKAGE, "targets": targets},
        ]});
        let found = targets_without_broker(&metadata.to_string()).expect("readable");
        assert_eq!(found, ["golden", "added_later"]);
    }
}
