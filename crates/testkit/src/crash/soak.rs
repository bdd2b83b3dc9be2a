//! A long run in one deployment: a steady load, members that are killed,
//! stopped, sent away and brought back, and one check at the end.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use churnwatch_core::EventTime;
use churnwatch_faults::Defence;
use serde_json::{Value, json};

use super::round::{text_of, verdict};
use super::slice::cannot_be_used;
use super::{Faults, Finding, Load, Members, Owners, Pace, Tally};
use crate::broker::{Deployment, Expected, LIMIT, Outgoing};
use crate::random::Random;
use crate::world::Compared;

/// How often the members are looked after.
const TICK: Duration = Duration::from_millis(50);
/// A record that cannot be used is put in behind so many events.
const BAD_EVERY: usize = 997;
/// How long the group waits for a silent member, in seconds.
const SESSION_SECONDS: u64 = 3;
/// Time in which as many faults happen as [`FAULTS_A_SPELL`] says; then the
/// members have as long to themselves as they need to get even.
const SPELL: Duration = Duration::from_secs(20);
const FAULTS_A_SPELL: usize = 5;

/// A long run.
#[derive(Debug, Clone)]
pub struct Soak {
    /// Draws everything.
    pub seed: u64,
    /// How long the load goes on.
    pub length: Duration,
    /// Events a second.
    pub rate: usize,
    /// Defences that are switched off.
    pub without: Vec<Defence>,
}

/// How it went.
#[derive(Debug)]
pub struct SoakReport {
    /// Spells of faults, each followed by a rest.
    pub rounds: usize,
    /// Records written to the log.
    pub records: usize,
    /// What happened.
    pub tally: Tally,
    /// Highest resident memory of one process, in bytes.
    pub most_resident: u64,
    /// What was compared, and the commits; or what was found.
    pub verdict: Result<(Compared, Owners), Finding>,
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} records, {} faults ({}), {} restarts, at most {} MiB resident in one process; ",
            self.rounds,
            self.records,
            self.tally.count(),
            self.tally,
            self.tally.restarts,
            self.most_resident >> 20
        )?;
        match &self.verdict {
            Ok((compared, owners)) => write!(f, "0 differences in {compared}, {owners}"),
            Err(finding) => write!(f, "{finding}"),
        }
    }
}

impl Soak {
    /// Runs it, and checks what is left behind; says how it goes once a minute.
    pub fn run(&self) -> SoakReport {
        let mut report = SoakReport {
            rounds: 0,
            records: 0,
            tally: Tally::default(),
            most_resident: 0,
            verdict: Err(Finding::Broken("it did not begin".to_owned())),
        };
        let run = AssertUnwindSafe(|| self.run_to_the_check(&mut report));
        let verdict = panic::catch_unwind(run);
        report.verdict = match verdict {
            Ok(verdict) => verdict,
            Err(panic) => Err(Finding::Broken(text_of(&*panic))),
        };
        report
    }

    fn run_to_the_check(&self, report: &mut SoakReport) -> Result<(Compared, Owners), Finding> {
        const PARTITIONS: u32 = 8;
        let mut random = Random::of(self.seed);
        let deployment = Deployment::new("soak", PARTITIONS);
        let group = deployment.group();
        let count = self.rate * self.length.as_secs() as usize;
        let began = Instant::now();
        let records = log(count, PARTITIONS as i32);
        let mut load = Load::start(&deployment, records, Pace::per_second(self.rate));
        let settings = [settings(true), settings(true), settings(false)];
        let mut next_line = Duration::from_secs(60);
        while !load.is_done() || report.rounds == 0 {
            // Each spell has processes of its own, on the disks of the last.
            let faults = Faults {
                budget: FAULTS_A_SPELL,
                at_moments: 50,
                leave: true,
                session: Duration::from_secs(SESSION_SECONDS),
                without: self.without.clone(),
            };
            let members = random.between(1, settings.len() + 1);
            let drawn = Random::of(random.between(0, usize::MAX) as u64);
            let mut members = Members::new(&deployment, &settings[..members], faults, drawn);
            let spell = Instant::now();
            let mut even_since = Instant::now();
            loop {
                members.tick();
                let in_spell = spell.elapsed() < SPELL && !load.is_done();
                if !in_spell {
                    members.heal();
                    let behind = load.sent() as i64 - group.committed();
                    if behind < (2 * self.rate) as i64 {
                        break;
                    }
                    assert!(
                        even_since.elapsed() < 2 * LIMIT,
                        "{behind} records behind for {:?}{}",
                        even_since.elapsed(),
                        members.told()
                    );
                } else {
                    even_since = Instant::now();
                }
                let resident = members.resident_bytes();
                let most = resident.iter().copied().max().unwrap_or(0);
                report.most_resident = report.most_resident.max(most);
                if began.elapsed() >= next_line {
                    let shown: Vec<u64> = resident.iter().map(|bytes| bytes >> 20).collect();
                    println!(
                        "minute {}: {} records written, {} committed, {} rounds, {} faults, {} restarts, \
                         resident MiB {shown:?}",
                        next_line.as_secs() / 60,
                        load.sent(),
                        group.committed(),
                        report.rounds,
                        report.tally.count() + members.tally().count(),
                        report.tally.restarts + members.tally().restarts,
                    );
                    next_line += Duration::from_secs(60);
                }
                thread::sleep(TICK);
            }
            report.records = load.sent();
            report.tally.add(&members.stop());
            report.rounds += 1;
        }
        load.wait();
        report.records = load.sent();
        // One more process reads what is left.
        let mut last = deployment.start("m0", &settings[0]);
        deployment.wait_until_read(&mut [&mut last]);
        last.stop();
        verdict(&deployment).map_err(Finding::Difference)
    }
}

fn settings(with_name: bool) -> Value {
    json!({
        "workers": 2,
        "kafka": {
            "session_timeout": format!("{SESSION_SECONDS}s"),
            "transaction_timeout": "2s",
            "static_membership": with_name,
        },
        "detect": {
            "commit_interval": "300ms",
            "max_records": 500,
            "max_dirty_accounts": 100,
            "cached_accounts": 60,
            "flush_interval": "1s",
        },
    })
}

/// The fleet's half year over and over, each time moved in time so that the
/// last one ends where it does in truth; then the clocks.
fn log(count: usize, partitions: i32) -> impl Iterator<Item = Outgoing> + Send + 'static {
    let dataset = &Expected::fleet().dataset;
    let events = &dataset.events;
    let first = time_of(events.first().expect("a fleet has events")).as_millis();
    // Whole days, so that days begin and end as they did.
    let day = 86_400_000;
    let span = (dataset.last.as_millis() - first) / day * day + day;
    let times = count.div_ceil(events.len());
    let moved = (0..times).flat_map(move |time| {
        let back = span * (times - 1 - time) as i64;
        events.iter().map(move |event| at(event, back))
    });
    let skipped = times * events.len() - count;
    let moved = moved.skip(skipped).enumerate();
    let with_bad = moved.flat_map(|(index, event)| {
        let bad = (index % BAD_EVERY == BAD_EVERY / 2).then(|| cannot_be_used(&event, index));
        bad.into_iter().chain([event])
    });
    let last = dataset.last;
    with_bad.chain((0..partitions).map(move |partition| Outgoing::clock(partition, last)))
}

fn body(event: &Outgoing) -> Value {
    let value = event.value.as_deref().expect("an event has a value");
    serde_json::from_slice(value).expect("an event is JSON")
}

fn time_of(event: &Outgoing) -> EventTime {
    let time = body(event)["time"].as_str().map(EventTime::parse);
    let time = time.expect("an event has a time");
    time.expect("and it can be read")
}

fn at(event: &Outgoing, back_ms: i64) -> Outgoing {
    let mut body = body(event);
    let time = time_of(event).plus_millis(-back_ms);
    body["time"] = Value::from(time.to_string());
    if let Some(id) = body.get("id").and_then(Value::as_str) {
        body["id"] = Value::from(format!("{id}-{back_ms}"));
    }
    Outgoing {
        value: Some(body.to_string().into_bytes()),
        ..event.clone()
    }
}
