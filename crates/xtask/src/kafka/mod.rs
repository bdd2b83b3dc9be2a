//! `cargo xtask kafka`: one real broker for the tests.
//!
//! Where it comes from is the [`Provider`]: a broker that the caller names in
//! `KAFKA_BOOTSTRAP`, else a container where a Docker engine answers
//! ([`docker`]), else Apache Kafka's own jars, fetched by Maven ([`jars`]) and
//! run on the Java of the machine ([`server`]). All are given the same
//! [`properties`], and count as up when they answer a Kafka request ([`probe`]).
//!
//! What runs is written down in a [`state`] file under the cache, so that the
//! calls `up`, `status` and `down` of different processes see the same broker.
//! A lock beside it keeps two calls from starting two.
//!
//! Beside that one there may be any number of [`private`] brokers, for tests
//! that kill and restart theirs, or want other listeners.

mod docker;
mod jars;
pub(crate) mod java;
mod private;
mod probe;
mod properties;
mod server;
mod state;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::failure::{Failure, Result, While};
use crate::{process, workspace};
use state::{Running, State};

pub(crate) const HELP: &str = "\
Own one real Kafka broker for the tests.

Usage: cargo xtask kafka up [--keep]
       cargo xtask kafka status
       cargo xtask kafka down
       cargo xtask kafka private --dir DIR [--temporary]
                                 [--listener NAME=PROTOCOL,BIND,ADVERTISED]...
                                 [--set KEY=VALUE]... [--add-scram USER]...

  up      Start a broker, unless one is up, and print KAFKA_BOOTSTRAP=HOST:PORT
          on standard output once it answers
  status  Print the same if a broker is up; exit code 1 if none is
  down    Stop the broker, and wait until it has ended
  private Run one more broker, with its data in DIR, until standard input ends or
          the broker does. Once it answers, its addresses are printed, NAME=HOST:PORT
          a line, and then LOG=FILE and PID=NUMBER. A later call with the same DIR
          starts it again on the same ports, with its data and its settings

Options of `private`; all but --temporary are for its first start:
  --temporary Remove DIR when standard input ends
  --listener  One more listener beside PLAINTEXT: its name, its security protocol,
              where it binds and where clients are told to find it. Port 0 of BIND
              is any free port; without ADVERTISED it is the same
  --set       A setting of the broker, instead of or beside the usual ones
  --add-scram A user with a password, as in SCRAM-SHA-256=[name=NAME,password=PASSWORD]

Options:
  --keep      Start with the data of the last run (default: with none;
              a container always starts with none)
  -h, --help  Print this help

The broker is, in this order: the one named by KAFKA_BOOTSTRAP; a container, if
a Docker engine answers; a Java process from the jars of Apache Kafka, fetched
once by Maven. It listens on the loopback address only, on free ports. Its data,
its log and the jars are under ${CHURNWATCH_CACHE:-~/.cache/churnwatch}/kafka.
";

/// The version of Apache Kafka that is fetched and run. The compose file runs
/// the same one.
const KAFKA_VERSION: &str = "4.4.0";

/// How long a broker may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long a broker may take to stop by itself before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Where a broker comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Somebody else's broker, at this `HOST:PORT` list.
    External(String),
    /// A container run by the Docker engine of this machine.
    Docker,
    /// Apache Kafka's jars on this machine's Java.
    Jars,
}

impl Provider {
    /// The provider that this machine and its environment call for.
    pub(crate) fn chosen() -> Self {
        match std::env::var("KAFKA_BOOTSTRAP") {
            Ok(servers) if !servers.trim().is_empty() => {
                Provider::External(servers.trim().to_owned())
            }
            _ if docker::engine_answers() => Provider::Docker,
            _ => Provider::Jars,
        }
    }
}

/// How [`up`] is to start a broker.
#[derive(Clone, Copy, Default)]
pub(crate) struct UpOptions {
    /// Keep the data of the last run.
    pub(crate) keep_data: bool,
    /// The broker is for this process only: if this process dies without
    /// stopping it, the next `up` replaces the broker by a fresh one.
    pub(crate) for_this_process: bool,
}

/// A broker that answers.
pub(crate) struct Broker {
    /// What to hand to clients as bootstrap servers.
    pub(crate) bootstrap: String,
    /// Whether this call started it, so that the caller is to stop it.
    pub(crate) started_here: bool,
}

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    if arguments.first().is_some_and(|first| first == "private") {
        return private::run(arguments.into_iter().skip(1));
    }
    let mut command = None;
    let mut options = UpOptions::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Value(value) if command.is_none() => {
                command = Some(value.to_string_lossy().into_owned())
            }
            lexopt::Arg::Long("keep") => options.keep_data = true,
            other => return Err(other.unexpected().into()),
        }
    }
    match command.as_deref() {
        Some("up") => println!("KAFKA_BOOTSTRAP={}", up(options)?.bootstrap),
        Some("status") => println!("KAFKA_BOOTSTRAP={}", status()?),
        Some("down") => down()?,
        _ => {
            return Err(Failure::usage(
                "say `kafka up`, `kafka status`, `kafka down` or `kafka private`",
            ));
        }
    }
    Ok(())
}

/// Makes sure that a broker is up and answers.
pub(crate) fn up(options: UpOptions) -> Result<Broker> {
    let provider = Provider::chosen();
    if let Provider::External(bootstrap) = provider {
        return reachable(&bootstrap).map(|()| Broker {
            bootstrap,
            started_here: false,
        });
    }
    let home = Home::locked()?;
    if let Some(state) = state::read(&home.folder)? {
        match fit_for_use(&state) {
            Ok(()) => {
                return Ok(Broker {
                    bootstrap: state.bootstrap,
                    started_here: false,
                });
            }
            Err(reason) => {
                eprintln!("kafka: {reason}; starting a new one");
                stop(&home, &state)?;
            }
        }
    }
    let (bootstrap, running) = match provider {
        Provider::Docker => docker::start()?,
        _ => server::start(&home.folder, options.keep_data)?,
    };
    let owner = options.for_this_process.then(std::process::id);
    state::write(
        &home.folder,
        &State {
            bootstrap: bootstrap.clone(),
            running,
            owner,
        },
    )?;
    Ok(Broker {
        bootstrap,
        started_here: true,
    })
}

/// Stops the broker of this machine, if one is up. Another one, named by
/// `KAFKA_BOOTSTRAP`, is somebody else's and is left alone.
pub(crate) fn down() -> Result<()> {
    let home = Home::locked()?;
    let state = state::read(&home.folder)?;
    if let Provider::External(bootstrap) = Provider::chosen() {
        // Whoever has exported what `up` printed means the own one.
        if state.as_ref().is_none_or(|own| own.bootstrap != bootstrap) {
            eprintln!(
                "kafka: KAFKA_BOOTSTRAP={bootstrap} is not a broker started by this command; it is left alone"
            );
            return Ok(());
        }
    }
    match state {
        Some(state) => stop(&home, &state),
        None => {
            eprintln!("kafka: no broker is up");
            Ok(())
        }
    }
}

/// The bootstrap servers of the broker that is up, or why there is none.
fn status() -> Result<String> {
    if let Provider::External(bootstrap) = Provider::chosen() {
        return reachable(&bootstrap).map(|()| bootstrap);
    }
    let home = Home::locked()?;
    let Some(state) = state::read(&home.folder)? else {
        return Err(Failure::new(
            "no broker is up; `cargo xtask kafka up` starts one",
        ));
    };
    if !is_alive(&state.running) {
        return Err(Failure::new(format!(
            "the broker at {} has ended; `cargo xtask kafka up` starts one",
            state.bootstrap
        )));
    }
    probe::answers(&state.bootstrap).map_err(|reason| {
        Failure::new(format!(
            "the broker at {} runs ({}) but does not answer: {reason}",
            state.bootstrap, state.running
        ))
    })?;
    eprintln!("kafka: up, {}", state.running);
    Ok(state.bootstrap)
}

/// Whether the jars are here already, so that Maven is not needed.
pub(crate) fn jars_are_cached() -> bool {
    folder().is_ok_and(|folder| jars::are_cached(&folder))
}

/// A broker that somebody else runs is only asked whether it is there: it may
/// speak TLS, and then nothing more can be said without its settings.
fn reachable(bootstrap: &str) -> Result<()> {
    let mut reasons = Vec::new();
    for server in bootstrap.split(',').map(str::trim) {
        match probe::connect(server) {
            Ok(_) => return Ok(()),
            Err(reason) => reasons.push(format!("{server}: {reason}")),
        }
    }
    Err(Failure::new(format!(
        "KAFKA_BOOTSTRAP is set, but no broker of it can be reached ({}); start it, or unset KAFKA_BOOTSTRAP to use an own one",
        reasons.join("; ")
    )))
}

/// Why a broker that was started earlier cannot be used now, if so.
fn fit_for_use(state: &State) -> std::result::Result<(), String> {
    if !is_alive(&state.running) {
        return Err("the last broker has ended".to_owned());
    }
    let abandoned = state
        .owner
        .is_some_and(|owner| owner != std::process::id() && !process::is_running(owner, "xtask"));
    if abandoned {
        return Err(
            "the last broker was left behind by a test run that was interrupted".to_owned(),
        );
    }
    probe::answers(&state.bootstrap)
        .map_err(|reason| format!("the last broker does not answer ({reason})"))
}

fn is_alive(running: &Running) -> bool {
    match running {
        Running::Process { pid, mark, .. } => process::is_running(*pid, mark),
        Running::Container { name } => docker::is_running(name),
    }
}

fn stop(home: &Home, state: &State) -> Result<()> {
    let was_alive = is_alive(&state.running);
    match &state.running {
        Running::Process { pid, mark, .. } => {
            if was_alive && !process::stop(*pid, mark, STOP_LIMIT) {
                eprintln!(
                    "kafka: the broker did not stop within {} s and was killed",
                    STOP_LIMIT.as_secs()
                );
            }
        }
        Running::Container { name } => docker::stop(name)?,
    }
    state::remove(&home.folder)?;
    if was_alive {
        eprintln!("kafka: stopped the broker at {}", state.bootstrap);
    }
    Ok(())
}

/// The folder of everything that belongs to the broker.
fn folder() -> Result<PathBuf> {
    Ok(workspace::cache()?.join("kafka"))
}

/// That folder, held so that no other call starts or stops a broker meanwhile.
struct Home {
    folder: PathBuf,
    /// Released when the file is closed.
    _lock: std::fs::File,
}

impl Home {
    fn locked() -> Result<Self> {
        let folder = folder()?;
        std::fs::create_dir_all(&folder).while_doing(|| format!("create {}", folder.display()))?;
        let path = folder.join("lock");
        let lock =
            std::fs::File::create(&path).while_doing(|| format!("create {}", path.display()))?;
        lock.lock()
            .while_doing(|| format!("lock {}", path.display()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::KAFKA_VERSION;

    #[test]
    fn the_compose_file_runs_the_version_that_is_tested_against() {
        let compose = include_str!("../../../../docker-compose.yml");
        assert!(compose.contains(&format!("image: apache/kafka:{KAFKA_VERSION}\n")));
    }
}
