//! Where an account changes: [`apply`], a pure function of the account, the
//! rules and one input.
//!
//! ```text
//! Event --> repeat? --> count it (open day, or a closed day when late) --> signals that judge facts
//! Close --> fold the open day into history --> every signal's look --> lives --> transitions
//! ```

mod command;
mod count;
mod live;

use crate::{
    account::{AccountState, ClockReading},
    alert::Transition,
    event::{Event, Fact},
    fleet::FleetDay,
    ids::UserId,
    rules::Rules,
    signal::{SignalId, View},
    time::{DAY_MS, Day, EventTime},
};

/// Users without seat, role or use are forgotten after this many days.
const FORGET_USERS_DAYS: i32 = 400;
/// An account whose last activity lies this far back, with nothing open, is
/// not looked at any more until something happens.
const DORMANT_DAYS: i32 = 760;

/// What may reach an account.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Something happened.
    Event(&'a Event),
    /// A UTC day has closed: the fleet's record of it.
    Close(&'a FleetDay),
}

/// What followed from an input.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Alerts that moved, in order.
    pub transitions: Vec<Transition>,
    /// Statistics of this look, where [`Rules::report_scores`] asks for them.
    pub scores: Vec<Score>,
    /// The event's id was seen before; nothing was applied.
    pub repeat: bool,
    /// The event fell on a day that is closed already.
    pub on_closed_day: bool,
    /// A command named an alert that is not open; nothing was done.
    pub unknown_alert: bool,
}

/// A signal's statistic at a daily look.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Which signal.
    pub signal: SignalId,
    /// About whom within the account.
    pub subject: Option<UserId>,
    /// When.
    pub at: EventTime,
    /// The statistic.
    pub score: f64,
    /// Whether an alert opened at this look.
    pub opens: bool,
}

/// Applies an input to an account.
///
/// The caller closes every UTC day up to an event's time (as far as its
/// sources' watermarks allow) before it hands the event over: see
/// [`AccountState::next_due`].
pub fn apply(account: &mut AccountState, rules: &Rules, input: Input<'_>) -> Outcome {
    match input {
        Input::Event(event) => apply_event(account, rules, event),
        Input::Close(fleet) => close(account, rules, fleet),
    }
}

/// When and by what an account is judged.
#[derive(Clone, Copy)]
struct Moment<'a> {
    rules: &'a Rules,
    fleet: &'a FleetDay,
    now: EventTime,
    /// The last closed day for a look; the day of the fact for a fact.
    day: Day,
}

impl<'a> Moment<'a> {
    fn view(self, account: &'a AccountState) -> View<'a> {
        let Self {
            rules,
            fleet,
            now,
            day,
        } = self;
        View {
            rules,
            account,
            now,
            day,
            fleet,
        }
    }
}

impl AccountState {
    /// When the account must be looked at next: the end of the first UTC day
    /// without a look.
    pub fn next_due(&self) -> Option<EventTime> {
        self.hot.next_due
    }
}

fn apply_event(account: &mut AccountState, rules: &Rules, event: &Event) -> Outcome {
    let mut outcome = Outcome::default();
    if event.fact == Fact::Erase {
        command::erase(account, rules, event.time, &mut outcome);
        return outcome;
    }
    let day = event.time.local_day(account.zone());
    if account.is_unseen() {
        let touched = std::mem::take(&mut account.touched);
        *account = AccountState::begin(account.id.clone(), day);
        account.touched = touched;
    }
    if let Some(id) = event.id {
        let horizon_ms = i64::from(rules.time.dedupe_seconds) * 1_000;
        if account.is_repeat(id, event.time, horizon_ms, rules.time.dedupe_ids as usize) {
            outcome.repeat = true;
            return outcome;
        }
    }
    account.touched.hot = true;
    begin_earlier(account, event.time, day);
    wake(account, event.time, day);
    account.hot.last_event = account.hot.last_event.max(Some(event.time));
    outcome.on_closed_day = day <= account.history.closed_through;
    if day < account.history.first_day {
        account.touched.history = true;
        account.history.first_day = day;
    }
    let ended = has_ended(account);
    match &event.fact {
        Fact::Usage(usage) => {
            count::usage(account, rules, usage, day);
            // Usage is judged at the day's look, nothing else is to be done.
            return outcome;
        }
        Fact::Ticket(ticket) => count::ticket(account, ticket, event.time, day),
        Fact::Account(patch) => {
            count::profile(account, patch);
            if has_ended_by(account, event.time) {
                command::end(account, rules, event.time, &mut outcome);
            }
        }
        Fact::Seat(change) => count::seat(account, change),
        Fact::Contact(touch) => account.hot.contacts.touch(touch, event.time),
        Fact::Command(command) => {
            command::obey(account, rules, command, event.time, &mut outcome);
            return outcome;
        }
        // It came before everything else.
        Fact::Erase => return outcome,
    }
    if ended || has_ended(account) {
        return outcome;
    }
    let fleet = FleetDay::calendar(event.time.utc_day());
    let moment = Moment {
        rules,
        fleet: &fleet,
        now: event.time,
        day,
    };
    let mut found = Vec::new();
    rules
        .signals
        .on_fact(&moment.view(account), &event.fact, &mut found);
    live::advance(account, moment, found, false, &mut outcome);
    outcome
}

/// Makes sure that the account is looked at again.
fn wake(account: &mut AccountState, time: EventTime, day: Day) {
    if account.hot.next_due.is_none() {
        account.touched.history = true;
        account.history.wake(day);
        // A late event wakes too; days that had their look get no second one.
        let unseen = account.history.closed_through.plus(1);
        account.hot.next_due = Some(time.utc_day().max(unseen).end());
    }
}

/// Lets an account begin earlier, as long as none of its days has closed: its
/// first events may come out of order.
fn begin_earlier(account: &mut AccountState, time: EventTime, day: Day) {
    let history = &mut account.history;
    if day < history.first_day && history.closed_through.plus(1) == history.first_day {
        account.touched.history = true;
        history.first_day = day;
        history.closed_through = day.plus(-1);
        history.clock = ClockReading::before(day);
        account.hot.next_due = account.hot.next_due.min(Some(time.utc_day().end()));
    }
}

/// Whether the account had ended by the latest time that is known of it: a late
/// event does not bring it back.
fn has_ended(account: &AccountState) -> bool {
    let known = Some(account.history.closed_through.end()).max(account.hot.last_event);
    known.is_some_and(|known| has_ended_by(account, known))
}

fn has_ended_by(account: &AccountState, time: EventTime) -> bool {
    let ends = account.history.profile.ended_at;
    ends.is_some_and(|ended| ended <= time)
}

/// Closes a UTC day: the account's own days that have ended by then become
/// history, and every signal looks.
fn close(account: &mut AccountState, rules: &Rules, fleet: &FleetDay) -> Outcome {
    let mut outcome = Outcome::default();
    let now = fleet.day.end();
    account.touched.hot = true;
    account.hot.next_due = Some(fleet.day.plus(1).end());
    // The day that is in progress in the account's zone when UTC's day ends.
    let running = now.local_day(account.zone());
    let before = account.history.closed_through;
    while account.history.closed_through.plus(1) < running {
        account.close_day(fleet.clock);
    }
    let day = account.history.closed_through;
    let old = now.plus_millis(-8 * DAY_MS);
    account.hot.tickets.retain(|ticket| ticket.time > old);
    if has_ended(account) || has_ended_by(account, now) {
        command::end(account, rules, now, &mut outcome);
        if account.hot.open_days.is_empty() {
            account.hot.next_due = None;
        }
        return outcome;
    }
    if day > before && day.plus(1).week() != day.week() {
        let keep = rules
            .signals
            .champion_quiet
            .keep
            .of(rules.segment_of(&account.history.profile));
        rules.signals.champion_quiet.infer(account, day, keep);
        account.forget_users(FORGET_USERS_DAYS);
    }
    let moment = Moment {
        rules,
        fleet,
        now,
        day,
    };
    let mut found = Vec::new();
    rules.signals.on_look(&moment.view(account), &mut found);
    live::advance(account, moment, found, true, &mut outcome);
    let cooldown_days = i64::from(rules.alerts.cooldown_days);
    account
        .hot
        .alerts
        .retain(|alert| !alert.is_forgettable(now, cooldown_days));
    if is_dormant(account, day) {
        account.hot.next_due = None;
    }
    outcome
}

/// Whether nothing can come of looking until the next event.
fn is_dormant(account: &AccountState, day: Day) -> bool {
    account
        .hot
        .alerts
        .iter()
        .all(|alert| alert.open_episode().is_none() && alert.pending.is_none())
        && account.hot.open_days.is_empty()
        && account.history.is_empty_of_activity()
        && match &account.history.rhythm {
            Some(rhythm) => day.since(rhythm.last.day) > DORMANT_DAYS,
            None => day.since(account.history.first_day) > DORMANT_DAYS,
        }
}

#[cfg(test)]
mod tests;
