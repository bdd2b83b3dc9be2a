//! One round: a few seconds, in which a few thousand events are read by
//! processes that are interrupted again and again, and then the check.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use churnwatch_core::Rules;
use churnwatch_faults::Defence;
use serde_json::{Value, json};

use super::{Faults, Load, Members, Owners, Pace, Slice, Tally};
use crate::broker::{Deployment, LIMIT};
use crate::random::Random;
use crate::world::{Compared, Difference, World};

/// How often the members are looked after.
const TICK: Duration = Duration::from_millis(20);
/// Commits that a round has at least.
const COMMITS: usize = 20;
/// How long the group waits for a silent member, in seconds.
const SESSION_SECONDS: u64 = 3;

/// What is drawn from the seed of a round.
#[derive(Debug, Clone)]
pub struct Round {
    /// The seed.
    pub seed: u64,
    /// Defences that are switched off.
    pub without: Vec<Defence>,
}

/// How a round went.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What it ran on.
    pub shape: String,
    /// What happened.
    pub tally: Tally,
    /// From its first topic to its verdict.
    pub took: Duration,
    /// What was compared, and the commits; or what was found.
    pub verdict: Result<(Compared, Owners), Finding>,
}

/// What is not as it has to be.
#[derive(Debug)]
pub enum Finding {
    /// What was left behind differs from what has to be.
    Difference(Box<Difference>),
    /// It did not get to its end: a process ended by itself, or stood still.
    Broken(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Difference(difference) => difference.fmt(f),
            Self::Broken(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match &self.verdict {
            Ok((compared, owners)) => format!("the same: {compared}, {owners}"),
            Err(Finding::Difference(_)) => "DIFFERENT".to_owned(),
            Err(Finding::Broken(_)) => "BROKEN".to_owned(),
        };
        write!(
            f,
            "seed {}: {}; {}; {} restarts; {:.1} s; {verdict}",
            self.seed,
            self.shape,
            self.tally,
            self.tally.restarts,
            self.took.as_secs_f64()
        )
    }
}

/// The settings of a round, drawn.
struct Shape {
    partitions: u32,
    settings: Vec<Value>,
    with_names: bool,
    workers: usize,
}

impl Shape {
    fn draw(random: &mut Random) -> Self {
        let workers = random.between(1, 3);
        let with_names = random.percent(60);
        let members = random.between(1, 4);
        let settings = json!({
            "workers": workers,
            "kafka": {
                "session_timeout": format!("{SESSION_SECONDS}s"),
                "transaction_timeout": random.one_of(&["1s", "2s"]),
                "static_membership": with_names,
            },
            "detect": {
                "commit_interval": random.one_of(&["50ms", "300ms"]),
                "max_records": random.one_of(&[30, 100, 300]),
                "max_dirty_accounts": random.one_of(&[4, 20, 1_000]),
                "cached_accounts": random.one_of(&[3, 1_000]),
                "flush_interval": random.one_of(&["300ms", "2s"]),
            },
        });
        Self {
            partitions: random.between(1, 5) as u32,
            settings: vec![settings; members],
            with_names,
            workers,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} partitions, {} members of {} workers, {} names",
            self.partitions,
            self.settings.len(),
            self.workers,
            if self.with_names { "with" } else { "without" }
        )
    }
}

impl Round {
    /// Runs it, and checks what is left behind.
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let mut random = Random::of(self.seed);
        let shape = Shape::draw(&mut random);
        let mut tally = Tally::default();
        // A thread of its own, whose panics say what went wrong.
        let verdict = thread::scope(|scope| {
            let (shape, tally) = (&shape, &mut tally);
            let run = move || self.run_to_the_check(shape, random, tally);
            let run = || panic::catch_unwind(AssertUnwindSafe(run));
            let joined = scope.spawn(run).join().expect("panics are caught within");
            joined.unwrap_or_else(|panic| Err(Finding::Broken(text_of(&*panic))))
        });
        Report {
            seed: self.seed,
            shape: shape.to_string(),
            tally,
            took: began.elapsed(),
            verdict,
        }
    }

    fn run_to_the_check(
        &self,
        shape: &Shape,
        mut random: Random,
        tally: &mut Tally,
    ) -> Result<(Compared, Owners), Finding> {
        let events = random.between(2_000, 4_000);
        let slice = Slice::draw(&mut random, events, shape.partitions);
        let pace = Pace::per_second(random.between(800, 2_000)).ahead(events / COMMITS);
        let faults = Faults {
            budget: random.between(2, 6),
            at_moments: 70,
            leave: true,
            session: Duration::from_secs(SESSION_SECONDS),
            without: self.without.clone(),
        };
        let deployment = Deployment::new("crash", shape.partitions);
        let group = deployment.group();
        let mut members = Members::new(&deployment, &shape.settings, faults, random);
        let mut load = Load::start(&deployment, slice.records.into_iter(), pace);
        while !load.is_done() {
            members.tick();
            thread::sleep(TICK);
        }
        load.wait();
        members.heal();
        let waiting_since = Instant::now();
        loop {
            members.tick();
            *tally = members.tally().clone();
            if group.progress().iter().all(|(at, end)| at == end) {
                break;
            }
            if waiting_since.elapsed() > LIMIT {
                let told = members.told();
                panic!("not everything was read {LIMIT:?} after the last fault{told}");
            }
            thread::sleep(TICK);
        }
        *tally = members.stop();
        verdict(&deployment).map_err(Finding::Difference)
    }
}

/// What a finished run has left behind, under the default rules: whether each
/// partition had one owner at a time, and whether everything is as it has to be.
///
/// # Errors
/// The first difference.
///
/// # Panics
/// There was no alert, which proves nothing.
pub fn verdict(deployment: &Deployment) -> Result<(Compared, Owners), Box<Difference>> {
    let owners = Owners::check(deployment)?;
    let found = World::committed(deployment);
    let expected = World::expected(deployment, &Rules::default(), &found);
    let compared = found.check(&expected)?;
    assert!(compared.alerts > 0, "no alert, which proves nothing");
    Ok((compared, owners))
}

pub(super) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}
