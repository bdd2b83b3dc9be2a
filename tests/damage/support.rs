//! A log in pieces, and hands on the files of a state directory.

use std::{path::PathBuf, sync::OnceLock};

use churnwatch_core::{EventTime, Rules};
use churnwatch_testkit::{
    broker::{Dataset, Deployment, Outgoing, Process, wait_for},
    world::{Compared, Difference, World},
};
use serde_json::{Value, json};

pub(crate) const PARTITIONS: u32 = 2;
/// Which part of the fleet's accounts is taken, of how many.
const PARTS: usize = 10;
const PART: usize = 0;
/// The instance that works.
pub(crate) const A: &str = "a";

/// Flushes soon, so that what was read is on disk; places in the group are
/// given away soon.
pub(crate) fn settings() -> Value {
    json!({
        "kafka": {"session_timeout": "2s", "transaction_timeout": "2s"},
        "detect": {"flush_interval": "200ms"},
    })
}

/// The bundled fleet.
fn fleet() -> &'static Dataset {
    static FLEET: OnceLock<Dataset> = OnceLock::new();
    FLEET.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory can be made");
        Dataset::demo(dir.path())
    })
}

/// The accounts of a part of the fleet, so that a test takes seconds, and behind
/// them the clock in every partition.
fn log() -> Vec<Outgoing> {
    let is_kept = |outgoing: &&Outgoing| {
        let account = outgoing.key.as_deref().unwrap_or_default();
        account.iter().map(|byte| usize::from(*byte)).sum::<usize>() % PARTS == PART
    };
    let clocks = (0..PARTITIONS as i32).map(|partition| Outgoing::clock(partition, fleet().last));
    let kept = fleet().events.iter().filter(is_kept).cloned();
    kept.chain(clocks).collect()
}

/// One test's topics, and its log on its way there.
pub(crate) struct Run {
    pub(crate) deployment: Deployment,
    log: Vec<Outgoing>,
    fed: usize,
}

impl Run {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            deployment: Deployment::new(name, PARTITIONS),
            log: log(),
            fed: 0,
        }
    }

    /// Writes the next share of the log.
    pub(crate) fn feed(&mut self, one_of: usize) {
        let piece = self.fed..(self.fed + self.log.len() / one_of).min(self.log.len());
        self.fed = piece.end;
        self.deployment.produce(&self.log[piece]);
    }

    pub(crate) fn feed_the_rest(&mut self) {
        let piece = self.fed..self.log.len();
        self.fed = piece.end;
        self.deployment.produce(&self.log[piece]);
    }

    /// Moves every partition's time on, by which whole days may end.
    pub(crate) fn feed_clocks(&self, time: EventTime) {
        for partition in 0..PARTITIONS as i32 {
            self.deployment.produce(&[Outgoing::clock(partition, time)]);
        }
    }

    /// When the last event happened.
    pub(crate) fn last(&self) -> EventTime {
        fleet().last
    }

    pub(crate) fn start(&self) -> Process {
        self.deployment.start(A, &settings())
    }

    pub(crate) fn start_without(&self, defences: &str) -> Process {
        let without = [("CHURNWATCH_WITHOUT", defences)];
        self.deployment.start_with_faults(A, &settings(), &without)
    }

    pub(crate) fn wait_until_read(&self, process: &mut Process) {
        self.deployment.wait_until_read(&mut [process]);
    }

    /// Feeds a share and reads it in a life of its own.
    pub(crate) fn read_a_share(&mut self, one_of: usize) {
        self.feed(one_of);
        let mut process = self.start();
        self.wait_until_read(&mut process);
        process.stop();
    }

    /// Reads what is left and looks at everything.
    pub(crate) fn end(mut self, mut process: Process, name: &str) -> Compared {
        self.feed_the_rest();
        self.wait_until_read(&mut process);
        process.stop();
        self.check(name)
    }

    /// Compares everything that was left behind with what the log gives.
    pub(crate) fn check(&self, name: &str) -> Compared {
        let compared = World::check_committed(&self.deployment, &Rules::default(), name);
        println!("{name}: {compared}");
        compared
    }

    /// The first difference, which has to be there.
    #[track_caller]
    pub(crate) fn expect_difference(&self, name: &str) -> Difference {
        let found = World::committed(&self.deployment);
        let expected = World::expected(&self.deployment, &Rules::default(), &found);
        let difference = found
            .check(&expected)
            .err()
            .unwrap_or_else(|| panic!("{name}: the check found nothing"));
        println!("{name}: {}", difference.what);
        *difference
    }

    /// The files of a partition's database with this ending, in order.
    pub(crate) fn files(&self, partition: i32, ending: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.database(partition))
            .expect("a database")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        files.sort();
        files
    }

    /// The tables of a partition; none while its directory is made anew.
    pub(crate) fn tables(&self, partition: i32) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.database(partition));
        let files = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        files
            .filter(|path| path.extension().is_some_and(|ending| ending == "sst"))
            .collect()
    }

    /// The table of a partition that has most rows.
    pub(crate) fn table(&self, partition: i32) -> PathBuf {
        let tables = self.tables(partition).into_iter();
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        tables.max_by_key(size).expect("a partition with rows")
    }

    pub(crate) fn database(&self, partition: i32) -> PathBuf {
        let state = self.deployment.state_dir(A);
        state.join(format!("p-{partition:05}"))
    }

    pub(crate) fn lose_the_disk(&self) {
        std::fs::remove_dir_all(self.deployment.state_dir(A)).expect("the state can be deleted");
    }
}

/// Waits until a process says on `/readyz` why it is not ready.
#[track_caller]
pub(crate) fn expect_stopped(process: &Process, reason: &str) {
    let mut last = String::new();
    wait_for(reason, || {
        let (status, body) = process.get("/readyz");
        let found = status == 503 && body.contains(reason);
        if body != last {
            println!("readyz: {status} {body}");
            last = body;
        }
        found.then_some(())
    });
    assert_eq!(process.get("/livez").0, 200, "a restart would not help");
}

/// Inverts one bit of a byte of a file, where it lies; from the end where
/// `at` is negative.
pub(crate) fn flip(file: &std::path::Path, at: i64) {
    let mut bytes = std::fs::read(file).expect("a file can be read");
    let at = if at < 0 { bytes.len() as i64 + at } else { at };
    bytes[at as usize] ^= 0x10;
    std::fs::write(file, bytes).expect("a file can be written");
}
