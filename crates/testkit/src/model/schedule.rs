//! A schedule from its seed to its verdict.
//!
//! ```text
//! things happen ── misfortune? ── things happen ── a person puts it right ── things happen
//!   ── calm: nothing goes wrong any more, everybody starts, the log is read to its end
//!   ── what is committed = what an undisturbed run leaves behind?
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use churnwatch_faults::{Defence, Plan, plan};
use churnwatch_pipeline::Committed;
use churnwatch_telemetry::Metrics;

use super::{
    broker::Broker,
    counts::Counts,
    faults::{Faults, Misfortune},
    log::Log,
    process::remove,
    random::Random,
    run::Run,
};

/// Rounds of everybody in which a calm world must have read its log.
const CALM_ROUNDS: usize = 500;
/// Rounds without a commit after which nothing more is to come: the looks at the
/// end of a log may need more commits than its records.
const QUIET_ROUNDS: usize = 50;

/// Where to look for damage.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Defences that are off.
    pub without: BTreeSet<Defence>,
    /// One of these misfortunes comes, if there are any; `None`: any or none.
    pub only: Option<Vec<Misfortune>>,
    /// Makes some faults more frequent.
    pub press: Option<fn(&mut Faults)>,
    /// Transactions never time out: whoever left one open has to end it.
    pub patient: bool,
    /// Prints every step.
    pub aloud: bool,
}

/// What became of a schedule.
#[derive(Debug)]
pub struct Outcome {
    /// How much happened.
    pub counts: Counts,
    /// What is wrong.
    pub fault: Option<Fault>,
}

/// What is wrong after a schedule.
#[derive(Debug)]
pub struct Fault {
    /// The seed of the schedule.
    pub seed: u64,
    /// What is wrong.
    pub what: Wrong,
    /// The last steps.
    pub steps: String,
}

/// How something can be wrong.
#[derive(Debug)]
pub enum Wrong {
    /// What is committed is not what has to be.
    Differs(String),
    /// Somebody did what nobody may.
    Forbidden(String),
    /// Left alone, the processes do not come to the end of the log.
    Stuck(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(what) | Self::Forbidden(what) => f.write_str(what),
            Self::Stuck(why) => write!(f, "the end of the log is not reached\n{why}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "schedule CHURNWATCH_TEST_SEED={}\nlast steps:\n{}\n{}",
            self.seed, self.steps, self.what
        )
    }
}

/// Something that a person has to put right.
enum Trouble {
    None,
    Trimmed(usize),
    Reset(i32, Committed),
    /// The disks know of a history that began behind what is left.
    Disks,
}

/// Plays one schedule; `disks` is a directory for the state of its processes.
///
/// # Panics
/// The loop panics.
pub(super) fn play(seed: u64, setup: &Setup, disks: &Path, metrics: &Arc<Metrics>) -> Outcome {
    let mut random = Random::new(seed);
    let log = Log::numbered(random.below(1 << 20));
    let slots: Vec<PathBuf> = (0..random.within(1..4))
        .map(|slot| disks.join(format!("slot-{slot}")))
        .collect();
    let misfortune = Misfortune::draw(&mut random, setup.only.as_deref());
    let run = Run::new(log, random, slots.clone(), Arc::clone(metrics), setup);
    let mortal = Rc::clone(&run);
    plan(Some(Plan {
        crash: Some(Box::new(move |moment| mortal.dies_at(moment))),
        without: setup.without.clone(),
    }));
    let wrong = run.play(misfortune);
    plan(None);
    for slot in &run.slots {
        slot.borrow_mut().process = None;
    }
    run.states.borrow_mut().clear();
    for disk in slots {
        remove(&disk);
        remove(&disk.with_extension("copy"));
    }
    Outcome {
        counts: run.counts(),
        fault: wrong.map(|what| Fault {
            seed,
            what,
            steps: run.last_steps(),
        }),
    }
}

impl Run {
    fn play(self: &Rc<Self>, misfortune: Option<Misfortune>) -> Option<Wrong> {
        self.count(|c| c.schedules += 1);
        for at in 0..self.slots.len() {
            self.start(at);
        }
        let strikes = self.below(150);
        let copied = strikes.saturating_sub(self.below(15));
        let repaired = strikes + 10 + self.below(60);
        let mut former = None;
        let mut trouble = Trouble::None;
        for at in 0..repaired + 20 + self.below(100) {
            if misfortune == Some(Misfortune::ClusterRewound) && at == copied {
                self.note("the cluster is copied".to_owned());
                former = Some(self.broker.borrow().clone());
            }
            if let Some(misfortune) = misfortune
                && at == strikes
            {
                trouble = self.strike(misfortune, former.take());
            }
            if at == repaired {
                self.repair(&mut trouble);
            }
            self.happen();
            if self.broker.borrow().violation.is_some() {
                break;
            }
        }
        let wrong = self.come_to_rest(&mut trouble);
        let broker = self.broker.borrow();
        if let Some(what) = &broker.violation {
            return Some(Wrong::Forbidden(what.clone()));
        }
        wrong.or_else(|| match broker.world().check(&self.log.expected) {
            Ok(compared) => {
                self.count(|c| c.alerts += compared.alerts as u64);
                None
            }
            Err(difference) => Some(Wrong::Differs(difference.to_string())),
        })
    }

    fn strike(&self, misfortune: Misfortune, former: Option<Broker>) -> Trouble {
        self.note(format!("{misfortune:?}"));
        self.count(|c| c.misfortunes += 1);
        if misfortune == Misfortune::LogTrimmed {
            return self.trim();
        }
        if self.chance(500) {
            (0..self.slots.len()).for_each(|at| self.flush(at));
        }
        self.everybody_dies();
        let mut broker = self.broker.borrow_mut();
        match misfortune {
            Misfortune::OffsetsForgotten => broker.offsets.clear(),
            Misfortune::ClusterRewound => {
                if let Some(former) = former {
                    *broker = former;
                    drop(broker);
                    self.everybody_dies();
                    let broker = self.broker.borrow();
                    let partitions = (0..).take(broker.log.len());
                    if partitions
                        .into_iter()
                        .any(|at| !broker.offsets.contains_key(&at))
                    {
                        return Trouble::Disks;
                    }
                }
            }
            Misfortune::OffsetReset => {
                let known: Vec<i32> = broker.offsets.keys().copied().collect();
                let partition = self.random.borrow_mut().one_of(&known);
                if let Some(partition) = partition {
                    let at = usize::try_from(partition).expect("a partition is not negative");
                    let end = usize::try_from(broker.log[at].end).unwrap_or_default();
                    let next_offset = self.below(end).try_into().unwrap_or_default();
                    self.note(format!("{partition} is reset to {next_offset}"));
                    let reset = Committed {
                        next_offset,
                        mark: None,
                    };
                    if let Some(former) = broker.offsets.insert(partition, reset) {
                        return Trouble::Reset(partition, former);
                    }
                }
            }
            Misfortune::LogTrimmed => {}
        }
        Trouble::None
    }

    /// Takes records away that nobody has read.
    fn trim(&self) -> Trouble {
        let mut broker = self.broker.borrow_mut();
        let at = self.below(broker.log.len());
        let partition = i32::try_from(at).expect("few partitions");
        let read = broker.offsets.get(&partition).map(|c| c.next_offset);
        // Where nothing was read yet, nobody can tell.
        let Some(read) = read.filter(|read| *read < broker.log[at].end) else {
            return Trouble::None;
        };
        let left = usize::try_from(broker.log[at].end - read).unwrap_or_default();
        let gone = 1 + self.below(left.min(6)) as i64;
        broker.log[at].first = read + gone;
        self.note(format!("{partition} begins at {}", read + gone));
        Trouble::Trimmed(at)
    }

    /// A person puts it right, and starts everybody anew.
    fn repair(self: &Rc<Self>, trouble: &mut Trouble) {
        match std::mem::replace(trouble, Trouble::None) {
            Trouble::None => return,
            Trouble::Disks => {
                self.everybody_dies();
                self.slots
                    .iter()
                    .for_each(|slot| remove(&slot.borrow().disk));
            }
            Trouble::Trimmed(at) => self.broker.borrow_mut().log[at].first = 0,
            Trouble::Reset(partition, former) => {
                self.everybody_dies();
                let mut broker = self.broker.borrow_mut();
                // Unless somebody went on from there.
                if broker
                    .offsets
                    .get(&partition)
                    .is_some_and(|now| now.mark.is_none())
                {
                    broker.offsets.insert(partition, former);
                }
            }
        }
        self.note("it is put right".to_owned());
        self.everybody_dies();
    }

    /// All processes are down, for long: their sessions and transactions are
    /// over.
    fn everybody_dies(&self) {
        for at in 0..self.slots.len() {
            self.kill(at);
            self.throw_out(at);
        }
        let mut broker = self.broker.borrow_mut();
        let random = &mut self.random.borrow_mut();
        while broker.deliver_late(random, false) {}
        while broker.time_out(random) {}
        while broker.write_some_marker(random) {}
    }

    /// Nothing goes wrong any more: how far does it come?
    fn come_to_rest(self: &Rc<Self>, trouble: &mut Trouble) -> Option<Wrong> {
        self.calm.set(true);
        self.note("calm".to_owned());
        self.repair(trouble);
        for at in 0..self.slots.len() {
            self.stop(at);
            self.kill(at);
        }
        let (mut progress, mut quiet) = (BTreeMap::new(), 0);
        for _ in 0..CALM_ROUNDS {
            {
                let mut broker = self.broker.borrow_mut();
                let random = &mut self.random.borrow_mut();
                let arrives = random.chance(500);
                broker.deliver_late(random, arrives);
                while broker.write_some_marker(random) {}
                if !self.patient {
                    while broker.time_out(random) {}
                }
                quiet = if *broker.progress() == progress {
                    quiet + 1
                } else {
                    0
                };
                progress.clone_from(broker.progress());
                if quiet >= QUIET_ROUNDS && broker.is_settled() && self.is_read(&broker) {
                    return None;
                }
                if broker.violation.is_some() {
                    return None;
                }
            }
            for at in 0..self.slots.len() {
                self.start(at);
                self.step(at);
            }
        }
        let broker = self.broker.borrow();
        let positions: Vec<String> = (0..)
            .zip(&broker.log)
            .map(|(at, bounds)| format!("{at} is at {} of {}", broker.reached(at), bounds.end))
            .collect();
        let causes = self.causes();
        Some(Wrong::Stuck(format!("{}\n{causes}", positions.join(", "))))
    }

    fn is_read(&self, broker: &Broker) -> bool {
        (0..self.log.partitions.len()).all(|at| {
            let partition = i32::try_from(at).expect("few partitions");
            broker.reached(partition) == self.log.end(at)
        })
    }
}
