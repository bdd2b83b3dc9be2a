//! Installing packages on Debian and its relatives.

use std::process::Command;

use super::needs::Need;
use crate::failure::{Failure, Result};
use crate::process::{capture, is_on_path, run_aside, succeeds};

/// Installs the package of each need, without asking anything.
pub(super) fn install(missing: &[&Need]) -> Result<()> {
    let mut update = apt_get()?;
    update.arg("update");
    eprintln!("setup: apt-get update");
    if let Err(failure) = run_aside(&mut update) {
        // One foreign package source out of order must not stop the rest:
        // whether the lists at hand are good enough, the next step shows.
        eprintln!(
            "setup: {}; going on with the package lists at hand",
            failure.message()
        );
    }
    let packages = packages_for(missing, can_be_installed);
    eprintln!("setup: apt-get install {}", packages.join(" "));
    run_aside(
        apt_get()?
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&packages),
    )
    .map_err(|failure| {
        Failure::new(format!(
            "{}; install by hand what apt names above, then run this again",
            failure.message()
        ))
    })
}

/// Asked by a dry run, since apt also "shows" names that some package only
/// mentions and nothing provides.
fn can_be_installed(package: &str) -> bool {
    succeeds("apt-get", ["-qq", "--simulate", "install", package])
}

/// The first package of each need that can be installed, each once.
fn packages_for(missing: &[&Need], can_be_installed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in missing {
        let found = need
            .packages
            .iter()
            .find(|package| can_be_installed(package));
        let package = found.unwrap_or(&need.packages[0]);
        if !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

/// `apt-get` as root: directly, or through sudo.
fn apt_get() -> Result<Command> {
    // Through `env`, because sudo clears the environment.
    let quiet_apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let mut command = if capture(Command::new("id").arg("-u"))?.trim() == "0" {
        Command::new(quiet_apt[0])
    } else if is_on_path("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.arg(quiet_apt[0]);
        sudo
    } else {
        return Err(Failure::new(
            "installing packages needs root, and there is no sudo; run `cargo xtask setup` as root once, \
             or install the packages listed above",
        ));
    };
    command.args(&quiet_apt[1..]);
    // Another apt may be at work, as on a machine that has just been started.
    command.args([
        "-qq",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::Retries=3",
    ]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(packages: &'static [&'static str]) -> Need {
        Need {
            name: "",
            reason: "",
            packages,
            is_met: || false,
        }
    }

    #[test]
    fn the_first_package_that_can_be_installed_is_taken_and_none_twice() {
        let needs = [
            need(&["java-21", "java-17"]),
            need(&["make"]),
            need(&["make"]),
        ];
        let missing: Vec<&Need> = needs.iter().collect();
        assert_eq!(
            packages_for(&missing, |package| package != "java-21"),
            ["java-17", "make"]
        );
    }

    #[test]
    fn where_none_can_be_installed_the_first_is_named_so_that_apt_says_why() {
        let needs = [need(&["java-21", "java-17"])];
        assert_eq!(packages_for(&[&needs[0]], |_| false), ["java-21"]);
    }
}
