//! One schedule under way: the broker, the processes, and what happens next.
//!
//! Everything runs in one thread. A process makes a step of its loop, and is
//! asked at every point between two requests whether it dies there, or sleeps:
//! then others make steps before it goes on.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use churnwatch_faults::{Crash, Moment};
use churnwatch_pipeline::detect::Round;
use churnwatch_store::StateDir;
use churnwatch_telemetry::Metrics;

use super::{
    broker::{Bounds, Broker},
    counts::Counts,
    faults::Faults,
    log::Log,
    process::Process,
    random::Random,
    schedule::Setup,
};

/// Steps that are shown of a schedule that fails.
const LAST_STEPS: usize = 60;
/// Most that happens while a process sleeps.
const LONGEST_SLEEP: usize = 40;

pub(super) struct Run {
    pub(super) log: Arc<Log>,
    pub(super) broker: RefCell<Broker>,
    pub(super) random: RefCell<Random>,
    faults: Faults,
    pub(super) slots: Vec<RefCell<Slot>>,
    /// The open state directories of the processes.
    pub(super) states: RefCell<BTreeMap<usize, StateDir>>,
    /// Whose step is being made.
    current: Cell<usize>,
    /// A process sleeps within its step.
    asleep: Cell<bool>,
    /// Nothing goes wrong any more.
    pub(super) calm: Cell<bool>,
    /// Transactions do not time out.
    pub(super) patient: bool,
    steps: RefCell<VecDeque<String>>,
    /// Whether every step is printed as it happens.
    aloud: bool,
    counts: RefCell<Counts>,
    numbers: Cell<u64>,
    pub(super) metrics: Arc<Metrics>,
}

/// A place for a process: its name in the group, and its disk.
pub(super) struct Slot {
    pub(super) process: Option<Process>,
    pub(super) disk: PathBuf,
    /// An earlier state of the disk.
    pub(super) copy: Option<PathBuf>,
}

/// A death between two requests.
struct Died;

impl Run {
    pub(super) fn new(
        log: Arc<Log>,
        mut random: Random,
        disks: Vec<PathBuf>,
        metrics: Arc<Metrics>,
        setup: &Setup,
    ) -> Rc<Self> {
        let mut faults = Faults::draw(&mut random);
        if let Some(press) = setup.press {
            press(&mut faults);
        }
        if setup.patient {
            faults.time_out = 0;
        }
        let bounds = (0..log.partitions.len()).map(|partition| Bounds {
            first: 0,
            end: log.end(partition),
        });
        let slots = disks.into_iter().map(|disk| {
            RefCell::new(Slot {
                process: None,
                disk,
                copy: None,
            })
        });
        let run = Self {
            broker: RefCell::new(Broker::new(bounds.collect())),
            faults,
            random: RefCell::new(random),
            slots: slots.collect(),
            states: RefCell::default(),
            current: Cell::new(0),
            asleep: Cell::new(false),
            calm: Cell::new(false),
            patient: setup.patient,
            steps: RefCell::default(),
            aloud: setup.aloud,
            counts: RefCell::default(),
            numbers: Cell::new(0),
            log,
            metrics,
        };
        Rc::new(run)
    }

    /// Whether something of this chance, in thousandths, happens.
    pub(super) fn chance(&self, thousandths: usize) -> bool {
        self.random.borrow_mut().chance(thousandths)
    }

    pub(super) fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().below(end)
    }

    /// Whether this goes wrong now.
    pub(super) fn may(&self, fault: impl Fn(&Faults) -> usize) -> bool {
        !self.calm.get() && self.chance(fault(&self.faults))
    }

    /// A number that was never given before.
    pub(super) fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    pub(super) fn say(&self, slot: usize, what: impl FnOnce() -> String) {
        self.note(format!("slot {slot} {}", what()));
    }

    pub(super) fn note(&self, step: String) {
        if self.aloud {
            println!("{step}");
        }
        let mut steps = self.steps.borrow_mut();
        if steps.len() == LAST_STEPS {
            steps.pop_front();
        }
        steps.push_back(step);
    }

    pub(super) fn last_steps(&self) -> String {
        let steps = self.steps.borrow();
        steps.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.borrow_mut());
    }

    pub(super) fn counts(&self) -> Counts {
        let broker = self.broker.borrow();
        Counts {
            rebalances: broker.group.generation.into(),
            committed: broker.ends.committed,
            aborted: broker.ends.aborted,
            late: broker.ends.late,
            ..*self.counts.borrow()
        }
    }

    /// Whether the process whose step is being made dies at a moment of the
    /// loop.
    pub(super) fn dies_at(&self, moment: Moment) -> bool {
        let dies = self.may(|f| f.crash);
        if dies {
            self.say(self.current.get(), || format!("dies {}", moment.name()));
        }
        dies
    }

    /// A point between two requests. Nothing may be borrowed here.
    pub(super) fn point(self: &Rc<Self>, slot: usize, what: &str) {
        if self.may(|f| f.crash) {
            self.say(slot, || format!("dies at: {what}"));
            resume_unwind(Box::new(Died));
        }
        if self.asleep.get() || !self.may(|f| f.sleep) {
            return;
        }
        self.say(slot, || format!("sleeps at: {what}"));
        self.count(|c| c.sleeps += 1);
        self.asleep.set(true);
        let long = 1 + self.below(LONGEST_SLEEP);
        let thrown_out = self.may(|f| f.expire).then(|| self.below(long));
        for at in 0..long {
            if thrown_out == Some(at) {
                self.throw_out(slot);
            }
            self.happen();
        }
        self.asleep.set(false);
        self.say(slot, || "wakes up".to_owned());
    }

    /// The group gives a slot's place away.
    pub(super) fn throw_out(&self, slot: usize) {
        let mut broker = self.broker.borrow_mut();
        if let Some(member) = broker.group.of_slot(slot) {
            self.note(format!("the group throws slot {slot} out"));
            let random = &mut self.random.borrow_mut();
            broker.group.remove(member, random);
            self.count(|c| c.thrown_out += 1);
        }
    }

    /// A process goes round its loop once, if it runs and is awake.
    pub(super) fn step(self: &Rc<Self>, at: usize) {
        let Ok(mut slot) = self.slots[at].try_borrow_mut() else {
            return;
        };
        let Some(process) = slot.process.as_mut() else {
            return;
        };
        self.count(|c| c.steps += 1);
        let before = self.current.replace(at);
        let stepped = catch_unwind(AssertUnwindSafe(|| process.detector.step()));
        self.current.set(before);
        match stepped {
            Ok(Ok(Round::GoOn)) => return,
            Ok(Ok(Round::Done)) => self.say(at, || "ends".to_owned()),
            Ok(Err(error)) => {
                self.say(at, || format!("ends: {error}"));
                self.count(|c| c.errors += 1);
            }
            Err(panic) if is_planned(&*panic) => self.count(|c| c.crashes += 1),
            Err(panic) => resume_unwind(panic),
        }
        slot.process = None;
        self.states.borrow_mut().remove(&at);
    }

    /// One of the things that may happen happens.
    pub(super) fn happen(self: &Rc<Self>) {
        let slot = self.below(self.slots.len());
        match self.below(100) {
            0..70 => self.step(slot),
            70..80 => {
                let mut broker = self.broker.borrow_mut();
                if broker.write_some_marker(&mut self.random.borrow_mut()) {
                    self.note("a marker is written".to_owned());
                }
            }
            80..85 => {
                let arrives = self.chance(700);
                let mut broker = self.broker.borrow_mut();
                if broker.deliver_late(&mut self.random.borrow_mut(), arrives) {
                    self.note(format!("a late request to commit: it arrives: {arrives}"));
                }
            }
            85..91 => self.start(slot),
            91..94 => self.flush(slot),
            94..96 => self.forget_the_dead(),
            _ => self.go_wrong(slot),
        }
    }

    fn go_wrong(self: &Rc<Self>, slot: usize) {
        // Each had its rate multiplied by the rarity of this call.
        if self.may(|f| f.crash * 8) {
            self.kill(slot);
        }
        if self.may(|f| f.stop * 10) {
            self.stop(slot);
        }
        if self.may(|f| f.disk * 10) {
            self.disturb_disk(slot);
        }
        if self.may(|f| f.damage * 10) {
            self.damage_disk(slot);
        }
        if self.may(|f| f.rebalance * 10) {
            self.note("the partitions are divided anew".to_owned());
            let random = &mut self.random.borrow_mut();
            self.broker.borrow_mut().group.rebalance(random);
        }
        if self.may(|f| f.time_out * 10)
            && self
                .broker
                .borrow_mut()
                .time_out(&mut self.random.borrow_mut())
        {
            self.note("a transaction times out".to_owned());
            self.count(|c| c.timed_out += 1);
        }
        if self.may(|f| f.compact * 10) {
            self.compact();
        }
    }

    fn compact(&self) {
        let mut broker = self.broker.borrow_mut();
        let partition = self.below(broker.changelog.len());
        let topic = &mut broker.changelog[partition];
        let end = self.below(usize::try_from(topic.end()).unwrap_or_default() + 1);
        let with_deletions = self.chance(300);
        let gone = topic.compact(end.try_into().unwrap_or(i64::MAX), with_deletions);
        if gone > 0 {
            self.note(format!(
                "compaction takes {gone} rows of {partition} below {end}; deletions: {with_deletions}"
            ));
            self.count(|c| c.compacted += gone as u64);
        }
    }

    /// The session of a member whose process is down is over.
    fn forget_the_dead(&self) {
        let members = self.broker.borrow().group.slots();
        let dead = members.into_iter().find(|slot| {
            let slot = self.slots[*slot].try_borrow();
            slot.is_ok_and(|slot| slot.process.is_none())
        });
        if let Some(slot) = dead {
            self.throw_out(slot);
        }
    }
}

fn is_planned(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Crash>() || panic.is::<Died>()
}
