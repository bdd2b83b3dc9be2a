//! Events to run on, in the order in which they happened.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use churnwatch_core::EventTime;
use flate2::read::MultiGzDecoder;

use super::Outgoing;
use crate::cli;

/// A file of canonical events, sorted by time, and what stands in it.
pub struct Dataset {
    /// The file.
    pub path: PathBuf,
    /// Its events as records of the log, keyed by account.
    pub events: Vec<Outgoing>,
    /// The time of the last event.
    pub last: EventTime,
}

impl Dataset {
    /// The real events that stand beside the repository, or, where they do not,
    /// the bundled fleet, written into `dir`.
    ///
    /// # Panics
    /// Neither can be read.
    pub fn real_or_demo(dir: &Path) -> Self {
        let beside = cli::repository().join("../shared/data/openstack/events.ndjson.gz");
        if beside.exists() {
            Self::read(&beside)
        } else {
            Self::demo(dir)
        }
    }

    /// The bundled fleet, with every kind of event and every signal in it,
    /// written into `dir`.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn demo(dir: &Path) -> Self {
        let dir = dir.join("demo");
        cli::run([Path::new("demo"), Path::new("--dir"), &dir]).succeeded();
        Self::read(&dir.join("events.ndjson"))
    }

    /// Reads a file of events, plain or gzipped.
    ///
    /// # Panics
    /// It cannot be read, or holds something else than events.
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines: Box<dyn BufRead> = if path.extension().is_some_and(|ending| ending == "gz") {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(BufReader::new(file))
        };
        let events: Vec<Outgoing> = lines
            .lines()
            .map(|line| Outgoing::event(&line.expect("lines of UTF-8")))
            .collect();
        let last = events.last().expect("a data set has events");
        let last: serde_json::Value =
            serde_json::from_slice(last.value.as_ref().expect("events have values")).expect("JSON");
        let last = EventTime::parse(last["time"].as_str().expect("events have times"));
        Self {
            path: path.to_owned(),
            events,
            last: last.expect("a time"),
        }
    }
}
