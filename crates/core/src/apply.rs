//! Where an account changes: [`apply`], a pure function of the account, the
//! rules and one input.
//!
//! ```text
//! Event --> repeat? --> count it (open day, or a closed day when late) --> signals that judge facts
//! Close --> fold the open day into history --> every signal's look --> lives --> transitions
//! ```

use crate::{
    account::{AccountState, ClockReading, MAX_RECENT_TICKETS, Profile, RecentTicket, SeatStatus},
    alert::{self, Alert, AlertPhase, Evidence, Severity, Transition, TransitionKind},
    event::{
        Command, CommandAction, Event, Fact, ProfilePatch, SeatAction, SeatChange, Segment, Ticket,
        Usage,
    },
    fleet::FleetDay,
    ids::UserId,
    life::{AlertState, Muted, Reading},
    rules::Rules,
    signal::{SignalId, View, ticket_spike},
    time::{DAY_MS, Day, EventTime},
};

/// Users without seat, role or use are forgotten after this many days.
const FORGET_USERS_DAYS: i32 = 400;
/// Alerts remembered of one account, open or not: they stand in one row, which
/// has to fit a record. A new one takes the place of the one that ended longest
/// ago; while none has ended, no more are opened.
const MAX_ALERTS: usize = 256;
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
        erase(account, rules, event.time, &mut outcome);
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
            count_usage(account, rules, usage, day);
            // Usage is judged at the day's look, nothing else is to be done.
            return outcome;
        }
        Fact::Ticket(ticket) => count_ticket(account, ticket, event.time, day),
        Fact::Account(patch) => change_profile(account, rules, patch, event.time, &mut outcome),
        Fact::Seat(change) => change_seat(account, change),
        Fact::Contact(touch) => account.hot.contacts.touch(touch, event.time),
        Fact::Command(command) => {
            obey(account, rules, command, event.time, &mut outcome);
            return outcome;
        }
        // It came before everything else.
        Fact::Erase => return outcome,
    }
    if ended || has_ended(account) {
        return outcome;
    }
    let fleet = FleetDay::calendar(event.time.utc_day());
    let mut found = Vec::new();
    let view = View {
        rules,
        account,
        now: event.time,
        day,
        fleet: &fleet,
    };
    rules.signals.on_fact(&view, &event.fact, &mut found);
    live(
        account,
        rules,
        &fleet,
        event.time,
        day,
        found,
        false,
        &mut outcome,
    );
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
    account
        .history
        .profile
        .ended_at
        .is_some_and(|ended| Some(ended) <= known)
}

fn count_usage(account: &mut AccountState, rules: &Rules, usage: &Usage, day: Day) {
    let core = rules.is_core_action(usage, &account.history.profile);
    let volume = if rules.usage.volume_features.contains(usage.feature.as_str()) {
        usage.quantity
    } else {
        0.0
    };
    if !core && volume == 0.0 {
        return;
    }
    let features_before = account.history.features.len();
    let feature = if core {
        account.history.feature_index(&usage.feature)
    } else {
        None
    };
    account.touched.history |= account.history.features.len() != features_before;
    if day <= account.history.closed_through {
        if core {
            count_late_usage(account, usage, day, feature);
        }
        if volume > 0.0 {
            account.touched.history = true;
            account.history.volume_weeks.add(day.week(), volume as u32);
        }
        return;
    }
    let open = account.open_day(day);
    open.volume += volume;
    if !core {
        return;
    }
    open.core = open.core.saturating_add(1);
    if let Some(index) = feature {
        let index = index as u16;
        match open.features.iter_mut().find(|(known, _)| *known == index) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => open.features.push((index, 1)),
        }
    }
    if let Some(user) = &usage.user {
        account.user_acts(user, day, feature.map_or(0, |index| 1 << index));
    }
}

fn count_late_usage(account: &mut AccountState, usage: &Usage, day: Day, feature: Option<usize>) {
    account.touched.history = true;
    account.history.late_core_action(day);
    if let Some(index) = feature {
        account.history.features[index].weeks.add(day.week(), 1);
    }
    let Some(user) = &usage.user else { return };
    let (at, w) = account.history.clock_at(day);
    let seat = account.seat(user);
    seat.features |= feature.map_or(0, |index| 1 << index);
    if let Some(before) = seat.act_late(at, w) {
        account.history.user_was_active(before, day);
    }
}

fn count_ticket(account: &mut AccountState, ticket: &Ticket, time: EventTime, day: Day) {
    let weight = ticket_spike::weight(ticket.action);
    if weight == 0 {
        return;
    }
    if day <= account.history.closed_through {
        account.touched.history = true;
        account.history.late_tickets(day, weight);
    } else {
        account.open_day(day).tickets += weight;
    }
    let tickets = &mut account.hot.tickets;
    let index = tickets.partition_point(|known| known.time <= time);
    tickets.insert(
        index,
        RecentTicket {
            time,
            ticket: ticket.ticket.clone(),
            severity: ticket.severity,
            area: ticket.area.clone(),
            sentiment: ticket.sentiment,
            weight,
        },
    );
    if tickets.len() > MAX_RECENT_TICKETS {
        tickets.remove(0);
    }
}

fn change_profile(
    account: &mut AccountState,
    rules: &Rules,
    patch: &ProfilePatch,
    now: EventTime,
    outcome: &mut Outcome,
) {
    account.touched.history = true;
    account.history.profile.merge(patch.clone());
    if account
        .history
        .profile
        .ended_at
        .is_some_and(|ended| ended <= now)
    {
        end_account(account, rules, now, outcome);
    }
}

fn change_seat(account: &mut AccountState, change: &SeatChange) {
    if let Some(role) = change.role {
        account.set_role(&change.user, role);
    }
    let seat = account.seat(&change.user);
    match change.action {
        SeatAction::Invited if seat.status == SeatStatus::Activated => {}
        SeatAction::Invited => seat.status = SeatStatus::Invited,
        SeatAction::Activated => seat.status = SeatStatus::Activated,
        SeatAction::Deactivated => seat.status = SeatStatus::Deactivated,
        SeatAction::RoleChanged => {}
    }
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
    let ends = account.history.profile.ended_at;
    if has_ended(account) || ends.is_some_and(|ended| ended <= now) {
        end_account(account, rules, now, &mut outcome);
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
    let mut found = Vec::new();
    rules.signals.on_look(
        &View {
            rules,
            account,
            now,
            day,
            fleet,
        },
        &mut found,
    );
    live(account, rules, fleet, now, day, found, true, &mut outcome);
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

/// Lets every reading move its alert's life, and publishes what moved.
#[expect(
    clippy::too_many_arguments,
    reason = "one private step, named arguments at both calls"
)]
fn live(
    account: &mut AccountState,
    rules: &Rules,
    fleet: &FleetDay,
    now: EventTime,
    day: Day,
    found: Vec<(SignalId, Reading)>,
    look: bool,
    outcome: &mut Outcome,
) {
    let cooldown_days = i64::from(rules.alerts.cooldown_days);
    for (signal, mut reading) in found {
        let life = rules.signals.life(signal);
        if life.renewal_raises && reading.breach == Some(Severity::Warning) {
            let view = View {
                rules,
                account,
                now,
                day,
                fleet,
            };
            let near = i64::from(rules.alerts.renewal_days);
            if view
                .days_to_renewal()
                .is_some_and(|days| (0..=near).contains(&i64::from(days)))
                && near > 0
            {
                reading.breach = Some(Severity::Critical);
            }
        }
        let index = account
            .hot
            .alerts
            .iter()
            .position(|alert| alert.signal == signal && alert.subject == reading.subject);
        let index = match index {
            Some(index) => index,
            None if reading.breach.is_none() => {
                report(rules, signal, &reading, now, look, None, outcome);
                continue;
            }
            None => {
                let alerts = &mut account.hot.alerts;
                if alerts.len() >= MAX_ALERTS && !forget_one_that_is_over(alerts) {
                    report(rules, signal, &reading, now, look, None, outcome);
                    continue;
                }
                alerts.push(AlertState::new(signal, reading.subject.clone()));
                alerts.len() - 1
            }
        };
        account.touched.hot = true;
        let moved = account.hot.alerts[index].advance(&reading, &life, now, look, cooldown_days);
        report(rules, signal, &reading, now, look, moved, outcome);
        if let Some(kind) = moved {
            publish(account, rules, fleet, now, day, index, kind, outcome);
        }
    }
}

/// Makes room by what is no longer open, the longest ago first; says whether
/// there was any.
fn forget_one_that_is_over(alerts: &mut Vec<AlertState>) -> bool {
    let over = alerts
        .iter()
        .enumerate()
        .filter(|(_, alert)| alert.open_episode().is_none())
        .min_by_key(|(_, alert)| alert.episode.as_ref().map(|episode| episode.updated_at));
    let Some((index, _)) = over else { return false };
    alerts.remove(index);
    true
}

fn report(
    rules: &Rules,
    signal: SignalId,
    reading: &Reading,
    at: EventTime,
    look: bool,
    moved: Option<TransitionKind>,
    outcome: &mut Outcome,
) {
    let opens = matches!(
        moved,
        Some(TransitionKind::Opened | TransitionKind::Reopened)
    );
    if rules.report_scores && ((look && reading.comparable) || opens) {
        outcome.scores.push(Score {
            signal,
            subject: reading.subject.clone(),
            at,
            score: reading.numbers.score,
            opens,
        });
    }
}

/// Puts an alert as it stands now into words.
#[expect(
    clippy::too_many_arguments,
    reason = "one private step, named arguments at each call"
)]
fn publish(
    account: &mut AccountState,
    rules: &Rules,
    fleet: &FleetDay,
    now: EventTime,
    day: Day,
    index: usize,
    kind: TransitionKind,
    outcome: &mut Outcome,
) {
    account.touched.hot = true;
    account.hot.sequence += 1;
    let sequence = account.hot.sequence;
    let view = View {
        rules,
        account,
        now,
        day,
        fleet,
    };
    let state = &account.hot.alerts[index];
    let Some(episode) = &state.episode else {
        return;
    };
    let reading = Reading::of(state.subject.clone(), episode.numbers);
    let explanation = rules.signals.explain(state.signal, &view, &reading);
    let about = state.signal.about();
    let key = alert::alert_key(&account.id, state.signal, state.subject.as_ref());
    let alert_id = alert::alert_id(&key, episode.first_breach_at);
    let confidence = 1.0;
    let alert = Alert {
        alert_id,
        alert_key: key,
        account_id: account.id.clone(),
        signal: state.signal,
        subject: state.subject.clone(),
        phase: episode.phase,
        severity: episode.severity,
        priority: priority(
            episode.severity,
            view.profile().renewal_date,
            day,
            confidence,
        ),
        confidence,
        reason: explanation.reason,
        evidence: explanation.evidence,
        likely_causes: about.likely_causes,
        playbook: about.playbook,
        window: explanation.window,
        observed: episode.numbers.observed,
        expected: episode.numbers.expected,
        threshold: episode.numbers.threshold,
        series: explanation.series,
        segment: view.segment(),
        account: view.profile().clone(),
        first_breach_at: episode.first_breach_at,
        opened_at: episode.opened_at,
        updated_at: episode.updated_at,
        resolved_at: episode.resolved_at,
        resolve_reason: episode.resolve_reason,
        reopen_count: episode.reopen_count,
        acted_by: episode.acted_by.clone(),
        snoozed_until: episode.snoozed_until,
        inhibited_by: None,
        score: episode.numbers.score,
    };
    let id = alert::transition_id(alert_id, sequence);
    outcome.transitions.push(Transition {
        id,
        sequence,
        kind,
        at: now,
        alert,
    });
}

/// Severity (1, 3, 9) x account value x nearness of the renewal x confidence.
/// The account's value is its MRR percentile in the fleet; 0.5 where no fleet
/// record says more.
fn priority(severity: Severity, renewal: Option<Day>, day: Day, confidence: f64) -> f64 {
    const UNKNOWN_PERCENTILE: f64 = 0.5;
    let severity = match severity {
        Severity::Info => 1.0,
        Severity::Warning => 3.0,
        Severity::Critical => 9.0,
    };
    let renewal = match renewal.map(|renewal| renewal.since(day)) {
        Some(0..=30) => 2.0,
        Some(31..=90) => 1.5,
        Some(91..=180) => 1.2,
        _ => 1.0,
    };
    severity * (0.5 + 1.5 * UNKNOWN_PERCENTILE) * renewal * confidence
}

/// A person's action on an alert.
fn obey(
    account: &mut AccountState,
    rules: &Rules,
    command: &Command,
    now: EventTime,
    outcome: &mut Outcome,
) {
    let index = account.hot.alerts.iter().position(|alert| {
        alert.open_episode().is_some()
            && alert::alert_key(&account.id, alert.signal, alert.subject.as_ref())
                == *command.alert_key
    });
    let episode = index.and_then(|index| account.hot.alerts[index].episode.as_mut());
    let (Some(index), Some(episode)) = (index, episode) else {
        outcome.unknown_alert = true;
        return;
    };
    episode.acted_by = Some(command.by.clone());
    episode.updated_at = now;
    let kind = match command.action {
        CommandAction::Acknowledge => {
            episode.phase = AlertPhase::Acknowledged;
            episode.snoozed_until = None;
            TransitionKind::Updated
        }
        CommandAction::Snooze => {
            episode.phase = AlertPhase::Snoozed;
            episode.snoozed_until = Some(command.until.unwrap_or_else(|| now.plus_days(7)));
            TransitionKind::Updated
        }
        CommandAction::Resolve => {
            let kind = episode.resolve(alert::ResolveReason::Manual, now);
            let state = &mut account.hot.alerts[index];
            state.muted = Some(Muted {
                level: 0.0,
                by_hand: true,
            });
            kind
        }
    };
    publish_now(account, rules, now, index, kind, outcome);
}

/// Resolves what is open: nothing is judged after an account's end.
fn end_account(account: &mut AccountState, rules: &Rules, now: EventTime, outcome: &mut Outcome) {
    for index in 0..account.hot.alerts.len() {
        account.hot.alerts[index].pending = None;
        let Some(episode) = &mut account.hot.alerts[index].episode else {
            continue;
        };
        if episode.phase != AlertPhase::Resolved {
            let kind = episode.resolve(alert::ResolveReason::AccountEnded, now);
            publish_now(account, rules, now, index, kind, outcome);
        }
    }
}

/// Forgets an account. Whoever holds an open alert of it is told that it is
/// over, without anything that is being erased.
fn erase(account: &mut AccountState, rules: &Rules, now: EventTime, outcome: &mut Outcome) {
    let first = outcome.transitions.len();
    for index in 0..account.hot.alerts.len() {
        let Some(episode) = &mut account.hot.alerts[index].episode else {
            continue;
        };
        if episode.phase != AlertPhase::Resolved {
            let kind = episode.resolve(alert::ResolveReason::Erased, now);
            publish_now(account, rules, now, index, kind, outcome);
        }
    }
    for transition in &mut outcome.transitions[first..] {
        let alert = &mut transition.alert;
        alert.reason = "The account was erased on request.".to_owned();
        alert.evidence = Evidence::default();
        alert.series.clear();
        alert.account = Profile::default();
        alert.segment = Segment::default();
        alert.acted_by = None;
        (alert.observed, alert.expected, alert.threshold) = (0.0, 0.0, 0.0);
        alert.score = 0.0;
    }
    if !account.is_unseen() {
        account.erase();
    }
}

fn publish_now(
    account: &mut AccountState,
    rules: &Rules,
    now: EventTime,
    index: usize,
    kind: TransitionKind,
    outcome: &mut Outcome,
) {
    let fleet = FleetDay::calendar(now.utc_day());
    let day = account.history.closed_through;
    publish(account, rules, &fleet, now, day, index, kind, outcome);
}

#[cfg(test)]
mod tests;
