//! What happens with input that is not as it should be, on the real binary:
//! records, configurations, command lines, and a state directory in use.

#[path = "bad_input/command_lines.rs"]
mod command_lines;
#[path = "bad_input/configurations.rs"]
mod configurations;
#[path = "bad_input/largest.rs"]
mod largest;
#[path = "bad_input/mutations.rs"]
mod mutations;
#[path = "bad_input/records.rs"]
mod records;
#[path = "bad_input/services.rs"]
mod services;

use std::{
    fs,
    path::{Path, PathBuf},
};

use churnwatch_testkit::{
    cli::{self, repository},
    timeline,
};
use churnwatch_wire::DeadLetterLine;

/// A directory for one test.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    /// Replays a log, as if it had been taken in on day 400 of the stories.
    fn replay(&self, log: &Path) -> Replayed {
        let (alerts, dead_letters) = (self.path("alerts"), self.path("dead-letters"));
        let now = timeline::noon(400).to_string();
        let mut args: Vec<&Path> = ["-v", "replay", "--now", &now].map(Path::new).to_vec();
        args.extend([Path::new("--input"), log, Path::new("--output"), &alerts]);
        args.extend([Path::new("--dead-letters"), &dead_letters]);
        let said = cli::run(args).succeeded().stderr;
        let dead_letters = fs::read_to_string(dead_letters).expect("dead letters are UTF-8");
        let letter = |line| serde_json::from_str(line).expect("a dead letter is JSON");
        Replayed {
            alerts: fs::read_to_string(alerts).expect("alerts are UTF-8"),
            dead_letters: dead_letters.lines().map(letter).collect(),
            said,
        }
    }
}

/// What came of a replay.
struct Replayed {
    alerts: String,
    dead_letters: Vec<DeadLetterLine>,
    /// The log, on the standard error.
    said: String,
}

/// Good events, in which several signals fire.
fn good_log() -> String {
    let stories = [
        "usage_silent-stops",
        "ticket_spike-bad-release",
        "inactive_seats-roll-out-stopped",
    ];
    let texts = stories.map(|story| {
        let path = repository()
            .join("tests/scenarios")
            .join(story)
            .join("timeline.txt");
        fs::read_to_string(path).expect("a story")
    });
    timeline::compile(&texts.join("\n"))
}

/// A log of good lines with others strewn in, and on which lines those stand,
/// from 0.
fn strewn(good: &str, others: &[Vec<u8>]) -> (Vec<u8>, Vec<i64>) {
    let good: Vec<&str> = good.lines().collect();
    let mut log = Vec::new();
    let mut places = Vec::new();
    let mut others = others.iter();
    let each = (good.len() / others.len().max(1)).max(1);
    let at_a_time = others.len().div_ceil(good.len() / each);
    let mut lines = 0;
    let mut push = |line: &[u8]| {
        log.extend_from_slice(line);
        log.push(b'\n');
        lines += 1;
        lines - 1
    };
    for (number, line) in good.iter().enumerate() {
        push(line.as_bytes());
        if number % each == 0 {
            places.extend(others.by_ref().take(at_a_time).map(|other| push(other)));
            push(b"");
        }
    }
    places.extend(others.map(|other| push(other)));
    (log, places)
}
