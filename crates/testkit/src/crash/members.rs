//! The processes of a run, and what befalls them: each is a slot with a name
//! and a disk of its own, in which one process after the other lives.
//!
//! ```text
//!           kill (from outside, or at a moment within)
//!  Running ────────────────────────────────> Down ── after a while ──> Running
//!     │ SIGTERM: leaves in good order ────────^
//!     └ stop (from outside, or at a moment) ──> Stopped ── past its session, or not ──> Running
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use churnwatch_faults::{Defence, Moment};
use serde_json::Value;

use crate::broker::{Deployment, Process};
use crate::random::Random;

/// Longest time between two interruptions of the same slot.
const LONGEST_PAUSE_MS: usize = 1_500;
/// Commits of a process among which the fatal one is drawn.
const COMMITS: usize = 12;

/// What may befall the members of a run.
#[derive(Debug, Clone)]
pub struct Faults {
    /// How often, over all members.
    pub budget: usize,
    /// Of a hundred interruptions, how many are ordered from within, at a
    /// moment.
    pub at_moments: usize,
    /// Whether members are also sent away in good order.
    pub leave: bool,
    /// How long the group waits for a silent member.
    pub session: Duration,
    /// Defences that are switched off.
    pub without: Vec<Defence>,
}

/// What has happened so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Processes started after the first of each slot.
    pub restarts: usize,
    /// How often each fault came true.
    pub faults: BTreeMap<String, usize>,
}

impl Tally {
    /// Faults that came true.
    pub fn count(&self) -> usize {
        self.faults.values().sum()
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.restarts += other.restarts;
        for (fault, count) in &other.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
    }

    fn note(&mut self, fault: String) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (fault, count)) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let times = if *count == 1 {
                String::new()
            } else {
                format!(" x{count}")
            };
            write!(f, "{separator}{fault}{times}")?;
        }
        Ok(())
    }
}

/// A fault that a process was told to bring about by itself.
#[derive(Debug, Clone, Copy)]
struct Order {
    kill: bool,
    moment: Moment,
    count: usize,
}

impl Order {
    fn draw(random: &mut Random) -> Self {
        let moment = random.one_of(Moment::ALL);
        let rare = matches!(
            moment,
            Moment::DuringRestore | Moment::DuringAssignment | Moment::DuringRevocation
        );
        Self {
            // A stop there would be one at any time.
            kill: random.percent(65),
            moment,
            count: random.between(1, if rare { 3 } else { COMMITS }),
        }
    }

    fn name(self) -> String {
        let action = if self.kill { "kill" } else { "stop" };
        format!("{action}@{}", self.moment.name())
    }

    fn env(self) -> String {
        format!("{}:{}", self.name(), self.count)
    }
}

enum State {
    Running {
        process: Process,
        order: Option<Order>,
        /// It was told to end.
        leaving: bool,
    },
    Stopped {
        process: Process,
        until: Instant,
    },
    Down {
        until: Instant,
    },
}

struct Slot {
    name: String,
    settings: Value,
    state: State,
    starts: usize,
    /// No interruption from outside before this.
    quiet_until: Instant,
}

/// The members of one run.
pub struct Members<'a> {
    deployment: &'a Deployment,
    slots: Vec<Slot>,
    random: Random,
    faults: Faults,
    left: usize,
    tally: Tally,
}

impl<'a> Members<'a> {
    /// One slot for each settings; the first begins at once, the others soon.
    pub fn new(
        deployment: &'a Deployment,
        settings: &[Value],
        faults: Faults,
        mut random: Random,
    ) -> Self {
        let now = Instant::now();
        let slots = settings.iter().enumerate().map(|(index, settings)| {
            let later = if index == 0 {
                0
            } else {
                random.between(0, LONGEST_PAUSE_MS)
            };
            Slot {
                name: format!("m{index}"),
                settings: settings.clone(),
                state: State::Down {
                    until: now + millis(later),
                },
                starts: 0,
                quiet_until: now,
            }
        });
        Self {
            slots: slots.collect(),
            deployment,
            left: faults.budget,
            faults,
            random,
            tally: Tally::default(),
        }
    }

    /// Looks after every slot once: notices what happened, brings back what is
    /// due, and interrupts somebody now and then.
    ///
    /// # Panics
    /// A process ended that nobody told to: shows its log.
    pub fn tick(&mut self) {
        for index in 0..self.slots.len() {
            self.notice(index);
            self.bring_back(index);
        }
        if self.left > 0 && self.random.percent(4) {
            self.interrupt();
        }
    }

    /// Whether nothing will happen any more by itself.
    pub fn has_faults_left(&self) -> bool {
        self.left > 0
    }

    /// No more faults from now on; who is down or stopped comes back soon.
    pub fn heal(&mut self) {
        self.left = 0;
        let now = Instant::now();
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Stopped { until, .. } | State::Down { until } => *until = now,
                State::Running { .. } => {}
            }
        }
    }

    /// What has happened so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Resident memory of each process that runs, in bytes.
    pub fn resident_bytes(&self) -> Vec<u64> {
        self.slots
            .iter()
            .filter_map(|slot| match &slot.state {
                State::Running { process, .. } | State::Stopped { process, .. } => {
                    process.resident_bytes()
                }
                State::Down { .. } => None,
            })
            .collect()
    }

    /// What each slot is at, and the end of each log; for whoever waited in vain.
    pub fn told(&self) -> String {
        let mut told = String::new();
        for slot in &self.slots {
            let (state, log) = match &slot.state {
                State::Running { process, .. } => ("running", process.last_said()),
                State::Stopped { process, .. } => ("stopped", process.last_said()),
                State::Down { .. } => ("down", String::new()),
            };
            told.push_str(&format!("\n--- {} is {state}\n{log}", slot.name));
        }
        told
    }

    /// Ends all of them in good order. A process may still follow an order
    /// that it was given before.
    ///
    /// # Panics
    /// One ends otherwise: shows its log.
    pub fn stop(self) -> Tally {
        let mut tally = self.tally;
        for slot in self.slots {
            let State::Running { process, order, .. } = slot.state else {
                continue;
            };
            let ended = process.terminate_faulty();
            if let (None, Some(order)) = (ended.code, order.filter(|order| order.kill)) {
                tally.note(order.name());
                continue;
            }
            assert_eq!(ended.code, Some(0), "{}: {}", slot.name, ended.log);
        }
        tally
    }

    /// Notices an end, or a stop.
    fn notice(&mut self, index: usize) {
        let now = Instant::now();
        let slot = &mut self.slots[index];
        let State::Running {
            process,
            order,
            leaving,
        } = &mut slot.state
        else {
            return;
        };
        let (order, leaving) = (*order, *leaving);
        if let Some(status) = process.try_end() {
            let killed_itself = order.is_some_and(|order| order.kill) && status.code().is_none();
            if killed_itself {
                self.tally.note(order.map_or_else(String::new, Order::name));
            } else {
                assert!(
                    leaving && status.success(),
                    "{} ended with {status}:\n{}",
                    slot.name,
                    process.log()
                );
            }
            slot.state = State::Down {
                until: now + pause(&mut self.random, self.faults.session),
            };
        } else if process.is_stopped()
            && let Some(order) = order.filter(|order| !order.kill)
        {
            self.tally.note(order.name());
            let until = now + pause(&mut self.random, self.faults.session);
            self.note_stopped(index, until);
        }
    }

    /// Starts or continues what is due.
    fn bring_back(&mut self, index: usize) {
        let now = Instant::now();
        match &self.slots[index].state {
            State::Down { until } if *until <= now => {
                let order = self.next_order();
                let slot = &mut self.slots[index];
                let mut env = Vec::new();
                let fault = order.map(Order::env);
                if let Some(fault) = &fault {
                    env.push(("CHURNWATCH_FAULT", fault.as_str()));
                }
                let without: Vec<_> = self.faults.without.iter().map(|d| d.name()).collect();
                let without = without.join(",");
                env.push(("CHURNWATCH_WITHOUT", without.as_str()));
                let process = self
                    .deployment
                    .start_with_faults(&slot.name, &slot.settings, &env);
                self.tally.restarts += usize::from(slot.starts > 0);
                slot.starts += 1;
                slot.quiet_until = Instant::now() + millis(self.random.between(200, 1_500));
                slot.state = State::Running {
                    process,
                    order,
                    leaving: false,
                };
            }
            State::Stopped { until, .. } if *until <= now => {
                let down = State::Down { until: now };
                let slot = &mut self.slots[index];
                let State::Stopped { process, .. } = std::mem::replace(&mut slot.state, down)
                else {
                    unreachable!("it was stopped a moment ago");
                };
                process.signal("CONT");
                slot.quiet_until = now + millis(self.random.between(200, 1_500));
                slot.state = State::Running {
                    process,
                    order: None,
                    leaving: false,
                };
            }
            _ => {}
        }
    }

    /// What the next process is told to do to itself.
    fn next_order(&mut self) -> Option<Order> {
        if self.left == 0 || !self.random.percent(self.faults.at_moments) {
            return None;
        }
        self.left -= 1;
        Some(Order::draw(&mut self.random))
    }

    /// Does something to somebody, from outside.
    fn interrupt(&mut self) {
        let now = Instant::now();
        let index = self.random.between(0, self.slots.len());
        let kind = self.random.between(0, 100);
        let until = now + pause(&mut self.random, self.faults.session);
        let slot = &mut self.slots[index];
        let State::Running {
            process,
            order: None,
            leaving,
        } = &mut slot.state
        else {
            return;
        };
        if *leaving || now < slot.quiet_until {
            return;
        }
        self.left -= 1;
        match kind {
            0..25 => {
                self.tally.note("stop".to_owned());
                process.signal("STOP");
                self.note_stopped(index, until);
            }
            25..50 if self.faults.leave => {
                self.tally.note("leave".to_owned());
                process.signal("TERM");
                *leaving = true;
            }
            _ => {
                self.tally.note("kill".to_owned());
                let down = std::mem::replace(&mut slot.state, State::Down { until });
                if let State::Running { process, .. } = down {
                    process.kill();
                }
            }
        }
    }

    fn note_stopped(&mut self, index: usize, until: Instant) {
        let slot = &mut self.slots[index];
        let down = State::Down { until };
        if let State::Running { process, .. } = std::mem::replace(&mut slot.state, down) {
            slot.state = State::Stopped { process, until };
        }
    }
}

/// At once, or soon, or only after the group has given the place away.
fn pause(random: &mut Random, session: Duration) -> Duration {
    match random.between(0, 100) {
        0..40 => Duration::ZERO,
        40..70 => millis(random.between(0, LONGEST_PAUSE_MS)),
        _ => session + millis(random.between(200, LONGEST_PAUSE_MS)),
    }
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}
