//! What a test has asked for: of the whole process by its environment, or of
//! one thread by a [`Plan`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::{Defence, Moment};

/// What a thread does at its moments, and which defences it goes without.
#[derive(Default)]
pub struct Plan {
    /// Asked at each moment: whether to crash there, by a panic with [`Crash`].
    #[allow(clippy::type_complexity)]
    pub crash: Option<Box<dyn FnMut(Moment) -> bool>>,
    /// Defences that are off.
    pub without: BTreeSet<Defence>,
}

/// What a planned crash panics with; raised without the panic hook, so that
/// nothing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash(pub Moment);

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// Sets what this thread does from now on, and gives what was set before.
pub fn plan(plan: Option<Plan>) -> Option<Plan> {
    PLAN.with_borrow_mut(|current| std::mem::replace(current, plan))
}

pub(crate) fn pass(moment: Moment) {
    let crash = PLAN.with_borrow_mut(|plan| {
        let crash = plan.as_mut().and_then(|plan| plan.crash.as_mut());
        crash.is_some_and(|crash| crash(moment))
    });
    if crash {
        std::panic::resume_unwind(Box::new(Crash(moment)));
    }
    let action = {
        let mut orders = orders().lock().unwrap_or_else(PoisonError::into_inner);
        orders.pass(moment)
    };
    if let Some(action) = action {
        action.carry_out();
    }
}

pub(crate) fn holds(defence: Defence) -> bool {
    let off = PLAN.with_borrow(|plan| {
        plan.as_ref()
            .is_some_and(|plan| plan.without.contains(&defence))
    });
    !off && !without().contains(&defence)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
}

impl Action {
    /// Sends the signal to this very process; by the program `kill`, since this
    /// crate uses nothing but the standard library.
    fn carry_out(self) {
        let signal = match self {
            Self::Kill => "-KILL",
            Self::Stop => "-STOP",
        };
        let id = std::process::id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "a fault that was asked for could not be brought about"
        );
    }
}

/// What the environment asks for: at which passing of a moment what happens.
#[derive(Debug, Default, PartialEq, Eq)]
struct Orders {
    passed: BTreeMap<Moment, u64>,
    due: BTreeMap<(Moment, u64), Action>,
}

impl Orders {
    fn pass(&mut self, moment: Moment) -> Option<Action> {
        let count = self.passed.entry(moment).or_default();
        *count += 1;
        self.due.remove(&(moment, *count))
    }

    /// Reads `ACTION@MOMENT:COUNT`, several by commas.
    fn parse(text: &str) -> Result<Self, String> {
        let mut orders = Self::default();
        for order in text.split(',').filter(|order| !order.is_empty()) {
            let parsed = order.split_once('@').and_then(|(action, place)| {
                let action = match action {
                    "kill" => Action::Kill,
                    "stop" => Action::Stop,
                    _ => return None,
                };
                let (moment, count) = place.split_once(':')?;
                Some(((Moment::named(moment)?, count.parse().ok()?), action))
            });
            let (place, action) =
                parsed.ok_or_else(|| format!("{order:?} is not ACTION@MOMENT:COUNT"))?;
            orders.due.insert(place, action);
        }
        Ok(orders)
    }
}

/// A misspelt order must not look like a fault that was survived.
fn orders() -> &'static Mutex<Orders> {
    static ORDERS: OnceLock<Mutex<Orders>> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let text = std::env::var("CHURNWATCH_FAULT").unwrap_or_default();
        Mutex::new(Orders::parse(&text).unwrap_or_else(|error| panic!("CHURNWATCH_FAULT: {error}")))
    })
}

fn without() -> &'static BTreeSet<Defence> {
    static WITHOUT: OnceLock<BTreeSet<Defence>> = OnceLock::new();
    WITHOUT.get_or_init(|| {
        let text = std::env::var("CHURNWATCH_WITHOUT").unwrap_or_default();
        text.split(',')
            .filter(|name| !name.is_empty())
            .map(|name| {
                Defence::named(name)
                    .unwrap_or_else(|| panic!("CHURNWATCH_WITHOUT: no defence {name:?}"))
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_due_at_its_passing_and_once() {
        let mut orders = Orders::parse("kill@after_produce:2,stop@before_begin:1").unwrap();
        assert_eq!(orders.pass(Moment::AfterProduce), None);
        assert_eq!(orders.pass(Moment::AfterProduce), Some(Action::Kill));
        assert_eq!(orders.pass(Moment::AfterProduce), None);
        assert_eq!(orders.pass(Moment::BeforeBegin), Some(Action::Stop));
    }

    #[test]
    fn a_misspelt_order_is_refused() {
        for text in [
            "kill@never:1",
            "kil@after_produce:1",
            "kill@after_produce",
            "kill",
        ] {
            assert!(Orders::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_plan_crashes_and_disarms_its_own_thread_only() {
        let before = plan(Some(Plan {
            crash: Some(Box::new(|moment| moment == Moment::BeforeStore)),
            without: [Defence::Digest].into(),
        }));
        assert!(before.is_none());
        assert!(!holds(Defence::Digest) && holds(Defence::RollBack));
        pass(Moment::BeforeBegin);
        let crashed = std::panic::catch_unwind(|| pass(Moment::BeforeStore)).unwrap_err();
        assert_eq!(
            crashed.downcast_ref::<Crash>(),
            Some(&Crash(Moment::BeforeStore))
        );
        std::thread::spawn(|| {
            assert!(holds(Defence::Digest));
            pass(Moment::BeforeStore);
        })
        .join()
        .unwrap();
        plan(None);
    }
}
