//! What is written down about the broker that runs, for the next call to find.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::{Failure, Result, While};

/// The broker that was started last and not yet stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    /// `HOST:PORT` for clients.
    pub(super) bootstrap: String,
    pub(super) running: Running,
    /// The process that the broker is to live no longer than, if any.
    pub(super) owner: Option<u32>,
}

/// What runs the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Running {
    /// A process of this machine. `mark` stands in its command line.
    Process {
        pid: u32,
        mark: String,
        log: PathBuf,
    },
    /// A container of this name.
    Container { name: String },
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Running::Process { pid, log, .. } => write!(f, "process {pid}, log {}", log.display()),
            Running::Container { name } => write!(f, "container {name}, see `docker logs {name}`"),
        }
    }
}

/// The state under `folder`; `None` where no broker was started.
pub(super) fn read(folder: &Path) -> Result<Option<State>> {
    let path = file(folder);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).while_doing(|| format!("read {}", path.display())),
    };
    parse(&text).map(Some).ok_or_else(|| {
        Failure::new(format!(
            "{} is damaged; stop any broker process by hand, then delete the file",
            path.display()
        ))
    })
}

/// Writes the state, whole or not at all.
pub(super) fn write(folder: &Path, state: &State) -> Result<()> {
    let running = match &state.running {
        Running::Process { pid, mark, log } => {
            json!({"process": {"pid": pid, "mark": mark, "log": log}})
        }
        Running::Container { name } => json!({"container": {"name": name}}),
    };
    let text =
        json!({"bootstrap": state.bootstrap, "running": running, "owner": state.owner}).to_string();
    let path = file(folder);
    let unfinished = path.with_extension("json.new");
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .while_doing(|| format!("write {}", path.display()))
}

pub(super) fn remove(folder: &Path) -> Result<()> {
    let path = file(folder);
    std::fs::remove_file(&path).while_doing(|| format!("remove {}", path.display()))
}

fn file(folder: &Path) -> PathBuf {
    folder.join("broker.json")
}

fn parse(text: &str) -> Option<State> {
    let value: Value = serde_json::from_str(text).ok()?;
    let running = &value["running"];
    let running = if let Some(process) = running.get("process") {
        Running::Process {
            pid: number(&process["pid"])?,
            mark: process["mark"].as_str()?.to_owned(),
            log: process["log"].as_str()?.into(),
        }
    } else {
        Running::Container {
            name: running["container"]["name"].as_str()?.to_owned(),
        }
    };
    Some(State {
        bootstrap: value["bootstrap"].as_str()?.to_owned(),
        running,
        owner: number(&value["owner"]),
    })
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_written_is_the_state_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(read(folder.path()).expect("readable"), None);
        let process = Running::Process {
            pid: 17,
            mark: "/x/server.properties".into(),
            log: "/x/log".into(),
        };
        for (running, owner) in [
            (process, Some(4)),
            (Running::Container { name: "c".into() }, None),
        ] {
            let state = State {
                bootstrap: "127.0.0.1:9".into(),
                running,
                owner,
            };
            write(folder.path(), &state).expect("writable");
            assert_eq!(read(folder.path()).expect("readable"), Some(state));
        }
        remove(folder.path()).expect("removable");
        assert_eq!(read(folder.path()).expect("readable"), None);
    }

    #[test]
    fn a_damaged_state_is_reported_and_not_taken_for_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("broker.json"), "{\"bootstrap\":1}").expect("writable");
        assert!(
            read(folder.path())
                .expect_err("must fail")
                .message()
                .contains("damaged")
        );
    }
}
