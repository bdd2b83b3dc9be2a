//! Running other programs, and looking after those that keep running.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};
use crate::workspace;

/// How often a condition is looked at while waiting for it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The cargo that runs this program, in the repository's root.
pub(crate) fn cargo<I, S>(arguments: I) -> Result<Command>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root()?);
    // Set by `cargo run` for this package; another package's build must not see them.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    Ok(command)
}

/// The project's own binary, built first if need be.
pub(crate) fn churnwatch<const N: usize>(arguments: [&str; N]) -> Result<Command> {
    let mut command = cargo([
        "run",
        "--package",
        "churnwatch-cli",
        "--bin",
        "churnwatch",
        "--",
    ])?;
    command.args(arguments);
    Ok(command)
}

/// Runs a program with its output shown, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`{}` failed ({status})",
        command_line(command)
    )))
}

/// As [`run`], with the program's standard output sent to standard error:
/// for what is done on the way to an answer.
pub(crate) fn run_aside(command: &mut Command) -> Result<()> {
    run(command.stdin(Stdio::null()).stdout(std::io::stderr()))
}

/// Runs a program quietly and returns its standard output; its standard error
/// becomes part of the failure.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
        .join("\n");
    Err(Failure::new(format!(
        "`{}` failed ({}): {}",
        command_line(command),
        output.status,
        said.trim()
    )))
}

/// Whether a program exists and succeeds; it is heard by nobody.
pub(crate) fn succeeds<const N: usize>(program: &str, arguments: [&str; N]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether `program` is a file in one of the folders of `PATH`.
pub(crate) fn is_on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Waits until `condition` holds, at most for `limit`; says whether it did.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Whether process `pid` runs and has `mark` in its command line. The mark
/// tells it from a stranger that was given the same number later; a process
/// that has ended but was not yet waited for has no command line.
pub(crate) fn is_running(pid: u32, mark: &str) -> bool {
    let command_line = if Path::new("/proc/self/cmdline").exists() {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .ok()
    } else {
        capture(Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()])).ok()
    };
    command_line.is_some_and(|line| line.contains(mark))
}

/// Asks process `pid` to end, and kills it when it has not after `limit`.
/// Returns whether it ended by itself.
pub(crate) fn stop(pid: u32, mark: &str, limit: Duration) -> bool {
    send_signal(pid, "TERM");
    if wait_until(limit, || !is_running(pid, mark)) {
        return true;
    }
    send_signal(pid, "KILL");
    wait_until(Duration::from_secs(10), || !is_running(pid, mark));
    false
}

/// The shell's own `kill`: a bare machine may lack the program of that name.
pub(crate) fn send_signal(pid: u32, signal: &str) {
    let script = format!("kill -{signal} {pid}");
    succeeds("sh", ["-c", &script]);
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::new(format!("`{program}` could not be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_what_it_said() {
        let failure = capture(Command::new("sh").args(["-c", "echo no room >&2; exit 3"]))
            .expect_err("must fail");
        assert!(
            failure.message().contains("sh -c") && failure.message().contains("no room"),
            "{}",
            failure.message()
        );
    }

    #[test]
    fn a_process_is_stopped_and_is_not_mistaken_for_another() {
        let mut child = Command::new("sleep")
            .arg("4321")
            .spawn()
            .expect("sleep exists");
        let pid = child.id();
        // A new process is there a moment before its command line is.
        assert!(wait_until(Duration::from_secs(10), || is_running(
            pid, "4321"
        )));
        assert!(!is_running(pid, "no such mark"));
        assert!(stop(pid, "4321", Duration::from_secs(10)));
        assert!(!is_running(pid, "4321"));
        child.wait().expect("the child can be waited for");
    }
}
