//! Two transitions to test with; the first is also the published sample.

use churnwatch_core::{
    account::Profile,
    alert::{
        Alert, AlertPhase, Datum, Evidence, Playbook, ResolveReason, Severity, Transition,
        TransitionKind, Window, alert_id, alert_key, transition_id,
    },
    event::{Money, Segment},
    ids::{AccountId, UserId},
    signal::SignalId,
    time::{EventTime, parse_day},
};

use super::{InputCoordinates, Mode, Stamp};

/// A live run.
pub(crate) const STAMP: Stamp<'static> = Stamp {
    mode: Mode::Live,
    input: Some(InputCoordinates {
        partition: 3,
        offset: 41_207,
    }),
    config_hash: "9f2c41d07ab3e865",
    detector_version: "0.1.0",
};

fn time(text: &str) -> EventTime {
    EventTime::parse(text).expect("a valid time")
}

/// A champion has gone quiet.
pub(crate) fn opened() -> Transition {
    let (account_id, subject) = (AccountId::from("acme"), UserId::from("u-7"));
    let alert_key = alert_key(&account_id, SignalId::ChampionQuiet, Some(&subject));
    let first_breach_at = time("2026-03-01T00:00:00Z");
    let at = time("2026-03-03T00:00:00Z");
    let alert_id = alert_id(&alert_key, first_breach_at);
    let alert = Alert {
        alert_id,
        alert_key,
        account_id,
        signal: SignalId::ChampionQuiet,
        subject: Some(subject),
        phase: AlertPhase::Open,
        severity: Severity::Warning,
        priority: 2.25,
        confidence: 1.0,
        reason: "Champion u-7 has not been seen for 19 days; every 2 days is usual.".to_owned(),
        evidence: Evidence::default()
            .with("role", "champion")
            .with("declared", true)
            .with("last_seen", time("2026-02-12T15:20:00Z"))
            .with("days_silent", 19_u32)
            .with("usual_gap_days", 2.083_333)
            .with(
                "others",
                vec![Datum::Facts(vec![
                    ("user_id", "u-12".into()),
                    ("days_active", 11_u32.into()),
                ])],
            ),
        likely_causes: &["new job or role", "long absence"],
        playbook: Playbook {
            id: "champion_quiet",
            title: "Win a second champion",
            steps: &["Call the champion.", "Find out who else uses the product."],
        },
        window: Window {
            start: parse_day("2026-02-03").expect("a valid day"),
            end: parse_day("2026-03-02").expect("a valid day"),
        },
        observed: 19.0,
        expected: 2.083_333,
        threshold: 14.0,
        series: vec![9, 8, 9, 11, 7, 9, 10, 8, 9, 6, 0, 0],
        account: Profile {
            name: Some("Acme GmbH".into()),
            plan: Some("business".into()),
            mrr: Some(Money {
                amount: 480_000,
                currency: "EUR".into(),
            }),
            renewal_date: Some(parse_day("2026-06-30").expect("a valid day")),
            owner: Some("jo@vendor.example".into()),
            ..Profile::default()
        },
        segment: Segment::High,
        first_breach_at,
        opened_at: at,
        updated_at: at,
        resolved_at: None,
        resolve_reason: None,
        reopen_count: 0,
        acted_by: None,
        snoozed_until: None,
        inhibited_by: None,
        score: 3.456_78,
    };
    Transition {
        id: transition_id(alert_id, 17),
        sequence: 17,
        kind: TransitionKind::Opened,
        at,
        alert,
    }
}

/// The same alert at its end, after a person had put it off.
pub(crate) fn resolved() -> Transition {
    let mut transition = opened();
    let at = time("2026-03-12T00:00:00Z");
    transition.sequence = 18;
    transition.id = transition_id(transition.alert.alert_id, 18);
    transition.kind = TransitionKind::Resolved;
    transition.at = at;
    let alert = &mut transition.alert;
    alert.phase = AlertPhase::Resolved;
    alert.updated_at = at;
    alert.resolved_at = Some(at);
    alert.resolve_reason = Some(ResolveReason::AccountEnded);
    alert.acted_by = Some("jo".into());
    alert.snoozed_until = Some(time("2026-03-20T00:00:00Z"));
    transition
}

/// A run on files.
pub(crate) const FROM_FILES: Stamp<'static> = Stamp {
    mode: Mode::Replay,
    input: None,
    ..STAMP
};
