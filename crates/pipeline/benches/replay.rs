//! The whole detector on a file, beside decoding the same lines and doing
//! nothing else: what the rest costs. Both on one thread. At the end the bytes
//! of state of an account.
//!
//! `cargo bench --profile dev -p churnwatch-pipeline`; `EVENTS=FILE` takes a
//! file of canonical events instead of made-up ones.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use churnwatch_core::{EventTime, Rules};
use churnwatch_pipeline::{
    CommitError, Detector, Epoch, PartitionId, Settings, Sink, Source,
    batch::Origin,
    files::{FileSource, NoChangelog},
    scores::Scores,
    source::Polled,
};
use churnwatch_store::{StateDir, StoreOptions};
use churnwatch_telemetry::{Health, Metrics};
use churnwatch_wire::Mode;
use divan::{Bencher, counter::ItemsCount};

const ACCOUNTS: usize = 300;
const DAYS: i64 = 180;

fn main() {
    divan::main();
    let rows: BTreeMap<Vec<u8>, usize> = replay();
    let accounts = rows.keys().filter(|key| key.first() == Some(&1)).count();
    let bytes: usize = rows.iter().map(|(key, value)| key.len() + value).sum();
    println!(
        "state: {} rows, {} bytes, of {accounts} accounts: {} bytes an account",
        rows.len(),
        bytes,
        bytes / accounts.max(1)
    );
}

/// The file of events: made up, or the one that `EVENTS` names.
fn events() -> (PathBuf, usize) {
    static FILE: Mutex<Option<(PathBuf, usize)>> = Mutex::new(None);
    let mut file = FILE
        .lock()
        .expect("no bench panics while it holds the lock");
    file.get_or_insert_with(|| {
        if let Some(path) = std::env::var_os("EVENTS") {
            let path = PathBuf::from(path);
            let count = count_records(&path);
            return (path, count);
        }
        let path = std::env::temp_dir().join(format!("churnwatch-bench-{}.ndjson", std::process::id()));
        let mut out = std::io::BufWriter::new(std::fs::File::create(&path).expect("a temporary file"));
        let mut count = 0;
        for day in 0..DAYS {
            for account in 0..ACCOUNTS {
                // Some are busy, most are not, and weekends are quiet.
                let busy = if account % 10 == 0 { 40 } else { 4 };
                let today = if day % 7 >= 5 { busy / 4 } else { busy };
                for event in 0..today {
                    let time = EventTime::from_millis(1_767_571_200_000)
                        .plus_days(day)
                        .plus_millis(event * 60_000);
                    let user = (event as usize * 7 + account) % 12;
                    writeln!(
                        out,
                        r#"{{"kind":"usage","account_id":"acct-{account:04}","time":"{time}","user_id":"u-{account:04}-{user:02}","feature":"feature-{}"}}"#,
                        user % 5
                    )
                    .expect("a temporary file can be written");
                    count += 1;
                }
            }
        }
        out.flush().expect("a temporary file can be written");
        (path, count)
    })
    .clone()
}

fn count_records(path: &PathBuf) -> usize {
    let mut count = 0;
    each_line(path, |_| count += 1);
    count
}

fn each_line(path: &PathBuf, mut each: impl FnMut(&[u8])) {
    let mut source = FileSource::open(std::slice::from_ref(path), None).expect("a readable file");
    source
        .resume(PartitionId(0), 0)
        .expect("files can always be resumed");
    loop {
        let polled = source.poll(Duration::ZERO, &mut |record| {
            each(record.value.unwrap_or_default())
        });
        if polled.expect("a readable file") == Polled::Ended {
            return;
        }
    }
}

#[divan::bench(sample_count = 10)]
fn decode_alone(bencher: Bencher) {
    let (path, count) = events();
    bencher.counter(ItemsCount::new(count)).bench(|| {
        each_line(&path, |line| {
            divan::black_box(churnwatch_wire::decode(line)).ok();
        });
    });
}

#[divan::bench(sample_count = 10)]
fn whole_replay(bencher: Bencher) {
    let (_, count) = events();
    bencher.counter(ItemsCount::new(count)).bench(replay);
}

/// Counts the alerts, and keeps the size of each row.
struct Sizes {
    rows: Arc<Mutex<BTreeMap<Vec<u8>, usize>>>,
    alerts: AtomicUsize,
}

impl Sink for Sizes {
    fn commit(&mut self, epoch: &Epoch) -> Result<Vec<i64>, CommitError> {
        self.alerts.fetch_add(epoch.alerts.len(), Ordering::Relaxed);
        let mut rows = self.rows.lock().expect("no panic while it is held");
        for (key, value) in epoch.partitions.iter().flat_map(|part| &part.rows) {
            match value {
                Some(value) => rows.insert(key.clone(), value.len()),
                None => rows.remove(key),
            };
        }
        Ok(vec![-1; epoch.partitions.len()])
    }

    fn reset(&mut self) -> Result<(), CommitError> {
        Ok(())
    }

    fn write_clock(&mut self, _partition: PartitionId, _value: Vec<u8>) {}
}

/// Runs the detector on the events; gives the size of every row of its state.
fn replay() -> BTreeMap<Vec<u8>, usize> {
    let (path, _) = events();
    let rows = Arc::new(Mutex::new(BTreeMap::new()));
    let metrics = Arc::new(Metrics::new("bench"));
    let settings = Settings {
        worker: "bench".to_owned(),
        origin: Origin {
            mode: Mode::Replay,
            topic: "bench".to_owned(),
            with_input: false,
            config_hash: String::new(),
            detector_version: String::new(),
        },
        partitions: 1,
        keyed: false,
        commit_interval: Duration::from_secs(3_600),
        min_commit_interval: Duration::from_secs(1),
        max_dirty_accounts: 10_000,
        max_records: 100_000,
        max_dirty_bytes: 256 << 20,
        cached_accounts: 50_000,
        account_bytes: 512 << 20,
        flush_interval: Duration::from_secs(30),
        idle_clock: None,
        breaker: None,
        until: None,
        max_backoff: Duration::from_secs(5),
        restore_retry: Duration::from_secs(1),
    };
    let mut detector = Detector::new(
        FileSource::open(&[path], None).expect("a readable file"),
        Sizes {
            rows: rows.clone(),
            alerts: AtomicUsize::new(0),
        },
        NoChangelog,
        StateDir::temporary(StoreOptions::default()).expect("a temporary directory"),
        Arc::new(Rules::default()),
        settings,
        Scores::default(),
        metrics,
        Health::new(),
        Arc::new(AtomicBool::new(false)),
    );
    detector.run().expect("files and a fresh state");
    drop(detector);
    std::mem::take(&mut *rows.lock().expect("no panic while it is held"))
}
