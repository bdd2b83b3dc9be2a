//! Lets readings move the lives of alerts, and publishes what moved.

use super::{Moment, Outcome, Score};
use crate::{
    account::AccountState,
    alert::{self, Alert, Severity, Transition, TransitionKind},
    life::{AlertState, Reading},
    signal::SignalId,
    time::Day,
};

/// Alerts remembered of one account, open or not: they stand in one row, which
/// has to fit a record. A new one takes the place of the one that ended longest
/// ago; while none has ended, no more are opened.
const MAX_ALERTS: usize = 256;

/// Lets every reading move its alert's life, and publishes what moved. `look`
/// tells a daily look from a fact.
pub(super) fn advance(
    account: &mut AccountState,
    moment: Moment<'_>,
    found: Vec<(SignalId, Reading)>,
    look: bool,
    outcome: &mut Outcome,
) {
    let Moment { rules, now, .. } = moment;
    let cooldown_days = i64::from(rules.alerts.cooldown_days);
    for (signal, mut reading) in found {
        let life = rules.signals.life(signal);
        if life.renewal_raises && reading.breach == Some(Severity::Warning) {
            let near = i64::from(rules.alerts.renewal_days);
            if moment
                .view(account)
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
                report(moment, signal, &reading, look, None, outcome);
                continue;
            }
            None => {
                let alerts = &mut account.hot.alerts;
                if alerts.len() >= MAX_ALERTS && !forget_one_that_is_over(alerts) {
                    report(moment, signal, &reading, look, None, outcome);
                    continue;
                }
                alerts.push(AlertState::new(signal, reading.subject.clone()));
                alerts.len() - 1
            }
        };
        account.touched.hot = true;
        let moved = account.hot.alerts[index].advance(&reading, &life, now, look, cooldown_days);
        report(moment, signal, &reading, look, moved, outcome);
        if let Some(kind) = moved {
            publish(account, moment, index, kind, outcome);
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
    moment: Moment<'_>,
    signal: SignalId,
    reading: &Reading,
    look: bool,
    moved: Option<TransitionKind>,
    outcome: &mut Outcome,
) {
    let opens = matches!(
        moved,
        Some(TransitionKind::Opened | TransitionKind::Reopened)
    );
    if moment.rules.report_scores && ((look && reading.comparable) || opens) {
        outcome.scores.push(Score {
            signal,
            subject: reading.subject.clone(),
            at: moment.now,
            score: reading.numbers.score,
            opens,
        });
    }
}

/// Puts an alert as it stands now into words.
pub(super) fn publish(
    account: &mut AccountState,
    moment: Moment<'_>,
    index: usize,
    kind: TransitionKind,
    outcome: &mut Outcome,
) {
    let Moment {
        rules, now, day, ..
    } = moment;
    account.touched.hot = true;
    account.hot.sequence += 1;
    let sequence = account.hot.sequence;
    let view = moment.view(account);
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
pub(super) fn priority(severity: Severity, renewal: Option<Day>, day: Day, confidence: f64) -> f64 {
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
