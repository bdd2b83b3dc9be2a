//! What people do to alerts, and how an account ends.

use super::{Moment, Outcome, live};
use crate::{
    account::{AccountState, Profile},
    alert::{self, AlertPhase, Evidence, ResolveReason, TransitionKind},
    event::{Command, CommandAction, Segment},
    fleet::FleetDay,
    life::Muted,
    rules::Rules,
    time::EventTime,
};

/// A person's action on an alert.
pub(super) fn obey(
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
            let kind = episode.resolve(ResolveReason::Manual, now);
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
pub(super) fn end(
    account: &mut AccountState,
    rules: &Rules,
    now: EventTime,
    outcome: &mut Outcome,
) {
    for index in 0..account.hot.alerts.len() {
        account.hot.alerts[index].pending = None;
        let Some(episode) = &mut account.hot.alerts[index].episode else {
            continue;
        };
        if episode.phase != AlertPhase::Resolved {
            let kind = episode.resolve(ResolveReason::AccountEnded, now);
            publish_now(account, rules, now, index, kind, outcome);
        }
    }
}

/// Forgets an account. Whoever holds an open alert of it is told that it is
/// over, without anything that is being erased.
pub(super) fn erase(
    account: &mut AccountState,
    rules: &Rules,
    now: EventTime,
    outcome: &mut Outcome,
) {
    let first = outcome.transitions.len();
    for index in 0..account.hot.alerts.len() {
        let Some(episode) = &mut account.hot.alerts[index].episode else {
            continue;
        };
        if episode.phase != AlertPhase::Resolved {
            let kind = episode.resolve(ResolveReason::Erased, now);
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
    let moment = Moment {
        rules,
        fleet: &fleet,
        now,
        day,
    };
    live::publish(account, moment, index, kind, outcome);
}
