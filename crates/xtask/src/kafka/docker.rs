//! The broker as a container, where a Docker engine answers.

use std::process::Command;

use super::properties::{self, Listener};
use super::state::Running;
use super::{KAFKA_VERSION, START_LIMIT, probe, server};
use crate::failure::{Failure, Result};
use crate::process;

const CONTAINER: &str = "churnwatch-tests-kafka";

/// Whether a Docker engine answers; the client alone is not enough.
pub(super) fn engine_answers() -> bool {
    // Unlike `docker info`, this fails in every version where no engine answers.
    process::is_on_path("docker")
        && process::succeeds("docker", ["version", "--format", "{{.Server.Version}}"])
}

/// Starts a container with a fresh broker and waits until it answers.
pub(super) fn start() -> Result<(String, Running)> {
    let [port, _] = server::free_ports()?;
    let bootstrap = format!("127.0.0.1:{port}");
    let clients = [Listener::plain("0.0.0.0:9092", &bootstrap)];
    // Left over by a machine that went down, for one.
    process::succeeds("docker", ["rm", "--force", CONTAINER]);
    let mut command = Command::new("docker");
    command.args(["run", "--detach", "--name", CONTAINER]);
    command.arg(format!("--publish=127.0.0.1:{port}:9092"));
    for (name, value) in properties::single_node(&clients, "127.0.0.1:9093") {
        command.arg(format!("--env={}={value}", environment_name(name)));
    }
    command.arg(format!("apache/kafka:{KAFKA_VERSION}"));
    process::run_aside(&mut command)?;
    let mut reason = String::new();
    let answered = process::wait_until(START_LIMIT, || match probe::answers(&bootstrap) {
        Ok(()) => true,
        Err(why) => {
            reason = why;
            !is_running(CONTAINER)
        }
    });
    if answered && is_running(CONTAINER) {
        eprintln!("kafka: broker at {bootstrap} (container {CONTAINER})");
        return Ok((
            bootstrap,
            Running::Container {
                name: CONTAINER.to_owned(),
            },
        ));
    }
    let log = process::capture(Command::new("docker").args(["logs", "--tail", "20", CONTAINER]))
        .unwrap_or_default();
    process::succeeds("docker", ["rm", "--force", CONTAINER]);
    Err(Failure::new(format!(
        "the broker's container does not answer ({reason}); the end of its log:\n{log}"
    )))
}

pub(super) fn is_running(name: &str) -> bool {
    process::capture(Command::new("docker").args([
        "inspect",
        "--format",
        "{{.State.Running}}",
        name,
    ]))
    .is_ok_and(|said| said.trim() == "true")
}

/// Stops and removes the container; its data go with it.
pub(super) fn stop(name: &str) -> Result<()> {
    process::succeeds("docker", ["stop", "--time", "20", name]);
    process::capture(Command::new("docker").args(["rm", "--force", "--volumes", name])).map(|_| ())
}

/// The image takes each setting from a variable: `log.dirs` from `KAFKA_LOG_DIRS`.
fn environment_name(property: &str) -> String {
    format!("KAFKA_{}", property.to_uppercase().replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::environment_name;

    #[test]
    fn a_setting_is_spelled_as_the_image_reads_it() {
        assert_eq!(
            environment_name("listener.security.protocol.map"),
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"
        );
    }
}
