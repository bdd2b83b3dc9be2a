mod properties;

use super::{live::priority, *};
use crate::{
    account::{Profile, Touched},
    alert::{AlertPhase, Evidence, ResolveReason, Severity, TransitionKind},
    signal::{
        ticket_spike::TicketSpike,
        timeline::{Alone, DAY_0, Loop, Timeline, check_signal, moves, opened, play},
        usage_silent::UsageSilent,
    },
};
use expect_test::expect;

const NOTHING: [&str; 0] = [];

/// Daily use that stops after day 60: usage_silent opens on day 70 and becomes
/// critical on day 73.
const SILENT: &str = "day 0..60 core by u1\n day 100 end";

fn silent(more: &str) -> Vec<String> {
    moves(UsageSilent::default(), &format!("{SILENT}\n{more}"))
}

#[test]
fn acknowledging_says_so_and_does_not_hide_an_escalation() {
    assert_eq!(
        silent("day 71 acknowledge usage_silent"),
        [
            "day 70 opened warning",
            "day 71 updated acknowledged",
            "day 73 escalated critical"
        ]
    );
}

#[test]
fn a_snooze_ends_by_its_date() {
    assert_eq!(
        silent("day 75 snooze usage_silent until=day80"),
        [
            "day 70 opened warning",
            "day 73 escalated critical",
            "day 75 updated snoozed",
            "day 79 updated open"
        ]
    );
}

#[test]
fn a_snooze_without_a_date_lasts_a_week() {
    // From noon on day 75: the first look after noon on day 82.
    assert_eq!(
        silent("day 75 snooze usage_silent")[3],
        "day 82 updated open"
    );
}

#[test]
fn a_snooze_ends_by_escalation() {
    let played = play(
        &UsageSilent::default().alone(),
        &Timeline::parse(&format!(
            "{SILENT}\n day 71 snooze usage_silent until=day90"
        )),
    );
    let last = played.transitions.last().expect("moved");
    assert_eq!(
        (last.kind, last.alert.phase),
        (TransitionKind::Escalated, AlertPhase::Open)
    );
    assert_eq!(last.alert.snoozed_until, None);
    assert_eq!(last.alert.acted_by.as_deref(), Some("ann"));
}

#[test]
fn what_a_person_resolved_stays_quiet_while_the_sign_holds() {
    assert_eq!(
        silent("day 75 resolve usage_silent"),
        [
            "day 70 opened warning",
            "day 73 escalated critical",
            "day 75 resolved manual",
        ]
    );
}

#[test]
fn what_a_person_resolved_speaks_again_when_it_is_worse() {
    assert_eq!(
        silent("day 71 resolve usage_silent"),
        [
            "day 70 opened warning",
            "day 71 resolved manual",
            "day 73 opened critical",
        ]
    );
}

#[test]
fn a_command_for_an_alert_that_is_not_open_is_reported_and_does_nothing() {
    let play = |more: &str| {
        play(
            &UsageSilent::default().alone(),
            &Timeline::parse(&format!("{SILENT}\n{more}")),
        )
    };
    for more in [
        "day 65 acknowledge usage_silent",
        "day 75 acknowledge usage_drop",
        "day 75 resolve usage_silent u1",
    ] {
        let played = play(more);
        assert_eq!(
            (played.unknown_alerts, played.transitions.len()),
            (1, 2),
            "{more}"
        );
    }
    // A second resolve finds it resolved.
    let more = "day 75 resolve usage_silent\n day 75 resolve usage_silent";
    assert_eq!(play(more).unknown_alerts, 1);
}

#[test]
fn the_end_of_an_account_resolves_all_and_nothing_fires_after_it() {
    let story = "day 0..60 core by u1
        day 75 account ended=day75
        day 80 ticket P1 x9\n day 90 ticket P1 x9 dated day 74\n day 200 end";
    check_signal(
        Rules::default(),
        story,
        expect![[r#"
        day 70 opened warning: no core action for 10 days (since 2026-03-06); usually active on 6.3 days a week, expected back by 2026-03-08; odds of having left 6.9 to 1
        day 73 escalated critical: no core action for 13 days (since 2026-03-06); usually active on 6.3 days a week, expected back by 2026-03-08; odds of having left 67 to 1
        day 75 resolved account_ended: no core action for 14 days (since 2026-03-06); usually active on 6.3 days a week, expected back by 2026-03-08; odds of having left 141 to 1"#]],
    );
}

#[test]
fn an_end_in_the_future_waits_for_its_day() {
    assert_eq!(
        silent("day 72 account ended=day80")[1..],
        ["day 73 escalated critical", "day 79 resolved account_ended"]
    );
}

#[test]
fn an_account_that_comes_back_is_judged_again() {
    let story = "day 0..60 core by u1
        day 75 account ended=day75
        day 90 account ended=null\n day 90..150 core by u1\n day 200 end";
    let lines = moves(UsageSilent::default(), story);
    assert_eq!(lines[2], "day 75 resolved account_ended");
    assert!(lines[3].contains("opened warning"), "{lines:?}");
}

#[test]
fn repeats_are_known_by_their_id() {
    let story = "day 0 ticket P3 id=7\n day 0 ticket P3 id=7\n day 0 ticket P3 id=8";
    let played = play(&TicketSpike::default().alone(), &Timeline::parse(story));
    assert_eq!(
        (played.repeats, played.transitions.len()),
        (1, 0),
        "two tickets, not three"
    );
    let story = "day 0 ticket P3 id=7\n day 0 13:00 ticket P3 id=7";
    assert_eq!(
        play(&Rules::default(), &Timeline::parse(story)).repeats,
        1,
        "an hour later"
    );
    let story = "day 0 ticket P3 id=7\n day 0 13:01 ticket P3 id=9\n day 0 13:01 ticket P3 id=7";
    assert_eq!(
        play(&Rules::default(), &Timeline::parse(story)).repeats,
        0,
        "forgotten"
    );
}

#[test]
fn first_events_out_of_order_begin_the_account_at_the_earliest() {
    let straight = "day 0 core by u1\n day 1 core by u1\n day 2 core by u1\n day 60 end";
    let crossed = "day 2 11:00 core by u1 dated day 2\n day 2 11:30 core by u1 dated day 0
        day 2 core by u1 dated day 1\n day 60 end";
    let rules = UsageSilent::default().alone();
    let rhythm = |story: &str| play(&rules, &Timeline::parse(story)).account.history.rhythm;
    let (straight, crossed) = (
        rhythm(straight).expect("active"),
        rhythm(crossed).expect("active"),
    );
    assert_eq!(
        (straight.active_days, straight.exposure),
        (crossed.active_days, crossed.exposure)
    );
}

#[test]
fn priority_is_severity_times_value_times_renewal_times_confidence() {
    let at = |severity, days: Option<i32>| priority(severity, days.map(Day), Day(0), 1.0);
    // 1, 3, 9 times (.5 + 1.5 x .5).
    assert_eq!(at(Severity::Info, None), 1.25);
    assert_eq!(at(Severity::Warning, None), 3.75);
    assert_eq!(at(Severity::Critical, None), 11.25);
    let renewal = |days| at(Severity::Warning, Some(days)) / 3.75;
    let steps = [-1, 0, 30, 31, 90, 91, 180, 181].map(renewal);
    assert_eq!(steps, [1.0, 2.0, 2.0, 1.5, 1.5, 1.2, 1.2, 1.0]);
    assert_eq!(priority(Severity::Warning, None, Day(0), 0.5), 1.875);
}

/// Dormant from day 821 on: 760 days after day 60.
fn dormant_until(day: i32) -> Timeline {
    Timeline::parse(&format!("day 0..60 core 3 by u1,u2\n day {day} end"))
}

#[test]
fn an_account_falls_dormant_two_years_after_its_last_activity() {
    let rules = Rules::default();
    assert!(
        play(&rules, &dormant_until(820))
            .account
            .next_due()
            .is_some()
    );
    assert_eq!(play(&rules, &dormant_until(821)).account.next_due(), None);
}

#[test]
fn a_late_event_wakes_an_account_without_a_second_look_at_a_day() {
    let mut story = dormant_until(821);
    let late = "day 822 seat u1 role_changed role=champion dated day 815\n day 822 end";
    let late = Timeline::parse(late);
    story.events.extend(late.events);
    story.end = late.end;
    // The loop asserts that looks only go forward.
    let account = play(&Rules::default(), &story).account;
    assert_eq!(account.history.closed_through, DAY_0.plus(822));
}

/// Plays a timeline with a look at every day, dormant or not.
fn play_awake(rules: &Rules, timeline: &Timeline) -> Vec<Transition> {
    let mut account = AccountState::unseen("acme".into());
    let mut transitions = Vec::new();
    let mut day = timeline.events[0].0.utc_day();
    let mut events = timeline.events.iter().peekable();
    let end = timeline.end.expect("an end");
    while day <= end {
        while let Some((_, event)) = events.next_if(|(at, _)| *at < day.end()) {
            transitions.extend(apply(&mut account, rules, Input::Event(event)).transitions);
        }
        let close = apply(&mut account, rules, Input::Close(&FleetDay::calendar(day)));
        transitions.extend(close.transitions);
        day = day.plus(1);
    }
    transitions
}

#[test]
fn who_wakes_after_years_is_judged_as_if_looked_at_every_day() {
    let rules = Rules::default();
    for gap in [900, 1_000, 2_500] {
        let (from, to) = (60 + gap, 140 + gap);
        let story = format!(
            "day 0..60 core 3 by u1,u2
             workdays {from}..{to} core 9 by u1,u3
             day {} ticket P2 x4\n day {} end",
            from + 20,
            to + 60
        );
        let timeline = Timeline::parse(&story);
        let (woken, awake) = (
            play(&rules, &timeline).transitions,
            play_awake(&rules, &timeline),
        );
        assert!(woken.len() > 4, "{}", woken.len());
        assert_eq!(woken.len(), awake.len());
        for (one, other) in woken.iter().zip(&awake) {
            assert_eq!(
                (one.id, one.at, &one.alert.reason),
                (other.id, other.at, &other.alert.reason)
            );
            let score = (one.alert.score - other.alert.score).abs();
            assert!(score < 1e-9 * one.alert.score.abs().max(1.0), "{score}");
        }
    }
}

#[test]
fn nothing_fires_in_an_account_that_had_ended() {
    assert_eq!(
        opened(
            Rules::default(),
            "day 0 account ended=day0\n day 5 ticket P1 x9"
        ),
        NOTHING
    );
}

#[test]
fn a_resolved_account_keeps_its_reason() {
    let played = play(
        &Rules::default(),
        &Timeline::parse("day 0..60 core by u1\n day 75 account ended=day75\n day 80 end"),
    );
    let reasons: Vec<Option<ResolveReason>> = played
        .account
        .hot
        .alerts
        .iter()
        .filter_map(|alert| alert.episode.as_ref())
        .map(|episode| episode.resolve_reason)
        .collect();
    assert!(!reasons.is_empty());
    assert!(
        reasons
            .iter()
            .all(|reason| *reason == Some(ResolveReason::AccountEnded))
    );
}

#[test]
fn an_erased_account_ends_its_alerts_without_saying_anything_of_it() {
    let timeline = Timeline::parse(&format!(
        "day 0 account segment=high mrr=5000 renewal=day90\n{SILENT}\nday 75 erase"
    ));
    let played = play(&UsageSilent::default().alone(), &timeline);
    let (opened, ended) = (
        &played.transitions[0],
        played.transitions.last().expect("ended"),
    );
    assert_eq!(ended.kind, TransitionKind::Resolved);
    let (before, alert) = (&opened.alert, &ended.alert);
    assert_eq!(alert.resolve_reason, Some(ResolveReason::Erased));
    assert_eq!(
        (alert.alert_id, &alert.alert_key),
        (before.alert_id, &before.alert_key)
    );
    assert_ne!(before.account, Profile::default());
    assert_eq!(alert.account, Profile::default());
    assert_eq!(alert.evidence, Evidence::default());
    assert!(!before.series.is_empty() && alert.series.is_empty());
    assert_eq!(
        (alert.observed, alert.expected, alert.score),
        (0.0, 0.0, 0.0)
    );
    // Nothing is left that could be due, and nobody looks again.
    assert!(played.account.is_unseen());
    assert_eq!(played.account.next_due(), None);
    assert!(played.account.seats.is_empty() && played.account.touched.erased);
}

#[test]
fn what_comes_after_an_erasure_is_a_new_account() {
    let story = |from: i32| {
        format!(
            "day {}..{} core by u1\n day {} end",
            from,
            from + 60,
            from + 100
        )
    };
    let erased = play(
        &UsageSilent::default().alone(),
        &Timeline::parse(&format!(
            "day 0..60 core by u1,u2\nday 75 erase\n{}",
            story(80)
        )),
    );
    let fresh = play(
        &UsageSilent::default().alone(),
        &Timeline::parse(&story(80)),
    );
    let after: Vec<Transition> = erased
        .transitions
        .into_iter()
        .filter(|transition| transition.at > DAY_0.plus(80).start())
        .collect();
    assert!(!fresh.transitions.is_empty());
    assert_eq!(after, fresh.transitions);
}

#[test]
fn to_erase_what_is_not_known_does_nothing() {
    let played = play(
        &UsageSilent::default().alone(),
        &Timeline::parse("day 5 erase\nday 6 erase"),
    );
    assert!(played.transitions.is_empty() && played.account.is_unseen());
    assert_eq!(played.account.touched, Touched::default());
}
