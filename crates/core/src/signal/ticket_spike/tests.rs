use expect_test::expect;

use super::TicketSpike;
use crate::signal::timeline::{check_signal, moves, opened, run, silenced};

const NOTHING: [&str; 0] = [];

/// A ticket a week for twelve weeks. On day 100 the 84 days before the window
/// hold eleven: (11 + 4 x .25) / (12 + 4) = .75 a week, phi 1. The chance of k
/// or more, from a program of its own (Poisson):
///
/// ```text
/// k     in 7 d (mean .75)   in 24 h (mean .107)
/// 3     .040505             .000189205
/// 4     .00729217           .0000050406
/// 5     .00106468
/// 6     .000130554
/// ```
const WEEKLY: &str = "every 7 d from 0 to 84 ticket P3";

fn with(change: impl FnOnce(&mut TicketSpike)) -> TicketSpike {
    let mut settings = TicketSpike::default();
    change(&mut settings);
    settings
}

fn burst(tickets: &str) -> String {
    format!("{WEEKLY}\n{tickets}")
}

/// A ticket a day from day 96 on: the week alone can see it.
fn spread(days: i32) -> String {
    format!("{WEEKLY}\n day 96..{} ticket P3", 95 + days)
}

#[test]
fn three_tickets_in_a_day_where_one_a_week_is_usual() {
    check_signal(
        TicketSpike::default(),
        &burst("day 100 ticket P2 area=api x4"),
        expect![[r#"
        day 100 opened warning: 3 tickets (weighted) in 24 h where 0.1 are usual; 100 % about api
        day 100 escalated critical: 4 tickets (weighted) in 24 h where 0.1 are usual; 100 % about api"#]],
    );
}

#[test]
fn the_rate_the_tail_and_the_score_are_those_worked_out_apart() {
    let alert = run(TicketSpike::default(), &spread(5)).remove(0).alert;
    assert_eq!((alert.observed, alert.expected), (5.0, 0.75));
    // -ln(.0010646777727858492)
    assert!(
        (alert.score - 6.845_082_774_5).abs() < 1e-6,
        "{}",
        alert.score
    );
}

#[test]
fn the_least_number_is_the_bound() {
    let at = |least| {
        let settings = with(|settings| settings.min_tickets.low = least);
        opened(settings, &burst("day 100 ticket P3 x3")).len()
    };
    assert_eq!([at(3), at(4)], [1, 0]);
}

#[test]
fn the_chance_in_a_week_is_the_bound() {
    let at = |chance, days| {
        opened(
            with(|settings| settings.max_chance_week.low = chance),
            &spread(days),
        )
    };
    assert_eq!(at(0.005, 4), NOTHING);
    assert_eq!(at(0.005, 5), ["day 100 warning"]);
    assert_eq!(at(0.0073, 4), ["day 99 warning"]);
    assert_eq!(at(0.0072, 4), NOTHING);
}

#[test]
fn the_chance_in_a_day_is_the_bound() {
    let at = |chance| {
        opened(
            with(|settings| settings.max_chance_day = chance),
            &burst("day 100 ticket P3 x3"),
        )
    };
    assert_eq!(at(0.0001893), ["day 100 warning"]);
    assert_eq!(at(0.0001892), NOTHING);
}

#[test]
fn the_least_ratio_is_the_bound() {
    // Five in a week where .75 are usual: 6.67 times.
    let at = |ratio| opened(with(|settings| settings.min_ratio.low = ratio), &spread(5)).len();
    assert_eq!([at(6.66), at(6.67)], [1, 0]);
}

#[test]
fn each_segment_has_its_own_bounds() {
    // Four in a week: .0073, enough for high touch (.01), not for the others.
    let of = |segment: &str, days| {
        opened(
            TicketSpike::default(),
            &format!("day 0 account segment={segment}\n{}", spread(days)),
        )
        .len()
    };
    assert_eq!([of("high", 4), of("low", 4), of("tech", 4)], [1, 0, 0]);
    assert_eq!([of("low", 5), of("tech", 5)], [1, 1]);
}

#[test]
fn the_first_tickets_of_a_new_account_are_judged_by_the_prior() {
    // .25 a week, phi 1 + .25/3: two are .032 in a week, three .0040 (.000117 in a day).
    assert_eq!(
        opened(TicketSpike::default(), "day 0 ticket P3 x2"),
        NOTHING
    );
    assert_eq!(
        opened(TicketSpike::default(), "day 0 ticket P3 x3"),
        ["day 0 warning"]
    );
    let alert = run(TicketSpike::default(), "day 0 ticket P3 x3")
        .remove(0)
        .alert;
    assert!(
        (alert.score - 5.510_862).abs() < 1e-4,
        "-ln(.004042629): {}",
        alert.score
    );
    let busy = with(|settings| settings.prior_per_week = 5.0);
    assert_eq!(opened(busy, "day 0 ticket P3 x3"), NOTHING);
}

#[test]
fn escalated_and_reopened_count_two_and_the_rest_nothing() {
    let of = |action: &str, count| {
        opened(
            TicketSpike::default(),
            &burst(&format!("day 100 ticket P3 action={action} x{count}")),
        )
        .len()
    };
    assert_eq!([of("opened", 2), of("opened", 3)], [0, 1]);
    assert_eq!([of("escalated", 1), of("escalated", 2)], [0, 1]);
    assert_eq!([of("reopened", 1), of("reopened", 2)], [0, 1]);
    assert_eq!(of("resolved", 20), 0);
}

#[test]
fn a_day_is_24_hours_to_the_millisecond() {
    let second = |time: &str, day: i32| {
        opened(
            TicketSpike::default(),
            &burst(&format!(
                "day 100 12:00 ticket P3 x2\n day {day} {time} ticket P3"
            )),
        )
    };
    assert_eq!(second("11:59", 101), ["day 101 warning"]);
    assert_eq!(
        second("12:00", 101),
        NOTHING,
        "24 h later the first two are out"
    );
}

/// The severities of what opened and escalated.
fn severities(story: &str) -> Vec<String> {
    moves(TicketSpike::default(), story)
        .into_iter()
        .map(|line| line.replace("day 100 ", ""))
        .collect()
}

#[test]
fn severity_points_make_it_critical() {
    // Three P2 are 9 points, a P4 makes 9.5, another one 10.
    let nine = "day 100 ticket P2 x3";
    assert_eq!(severities(&burst(nine)), ["opened warning"]);
    assert_eq!(
        severities(&burst(&format!("{nine}\n day 100 ticket P4"))),
        ["opened warning"]
    );
    assert_eq!(
        severities(&burst(&format!("{nine}\n day 100 ticket P4 x2"))),
        ["opened warning", "escalated critical"]
    );
    let at = |points| {
        let settings = with(|settings| settings.critical_points = points);
        opened(settings, &burst(nine))
    };
    assert_eq!(at(9.0), ["day 100 critical"]);
    assert_eq!(at(9.1), ["day 100 warning"]);
}

#[test]
fn two_p1_make_it_critical_whatever_the_points() {
    let settings = || with(|settings| settings.critical_points = 1_000.0);
    let of = |first: &str| {
        opened(
            settings(),
            &burst(&format!(
                "day 100 ticket {first}\n day 100 ticket P1\n day 100 ticket P3"
            )),
        )
    };
    assert_eq!(of("P1"), ["day 100 critical"]);
    assert_eq!(of("P2"), ["day 100 warning"]);
}

#[test]
fn angry_tickets_make_it_critical() {
    let of = |moods: [&str; 3]| {
        let lines: Vec<String> = moods
            .iter()
            .map(|mood| format!("day 100 ticket P3 {mood}"))
            .collect();
        severities(&burst(&lines.join("\n")))
    };
    assert_eq!(
        of(["mood=-0.5", "mood=-0.4", "mood=-0.6"]),
        ["opened critical"]
    );
    assert_eq!(
        of(["mood=-0.5", "mood=-0.4", "mood=-0.5"]),
        ["opened warning"]
    );
    assert_eq!(
        of(["mood=-1", "mood=-1", ""]),
        ["opened warning"],
        "two moods are too few"
    );
}

#[test]
fn a_spike_while_usage_falls_is_critical() {
    let mut rules = silenced();
    rules.signals.ticket_spike.enabled = true;
    let story = "day 0..99 core 10\n every 7 d from 0 to 84 ticket P3\n day 103 ticket P3 x3";
    assert_eq!(opened(rules.clone(), story), ["day 103 warning"]);
    rules.signals.usage_drop.enabled = true;
    assert_eq!(
        opened(rules.clone(), story),
        ["day 101 critical", "day 103 critical"]
    );
    rules.signals.usage_drop.enabled = false;
    rules.signals.usage_silent.enabled = true;
    rules.signals.usage_silent.threshold.low = -6.0;
    assert_eq!(
        opened(rules, story),
        ["day 101 warning", "day 103 critical"]
    );
}

#[test]
fn clears_after_five_looks_below_one_and_a_half_times_the_rate() {
    // .75 a week: 1.5 times is 1.125, so one ticket in seven days is calm. The
    // three of day 100 leave the week on day 107; five looks are 107 to 111.
    let story = burst("day 100 ticket P3 x3\n day 130 end");
    check_signal(
        TicketSpike::default(),
        &story,
        expect![[r#"
        day 100 opened warning: 3 tickets (weighted) in 24 h where 0.1 are usual
        day 111 resolved cleared: 0 tickets (weighted) in 7 d where 0.9 are usual"#]],
    );
    let one = burst("day 100 ticket P3 x3\n day 108 ticket P3\n day 130 end");
    assert_eq!(
        moves(TicketSpike::default(), &one)[1],
        "day 111 resolved cleared"
    );
    // Two on day 108: calm on 107, then from 115 on.
    let two = burst("day 100 ticket P3 x3\n day 108 ticket P3 x2\n day 130 end");
    assert_eq!(
        moves(TicketSpike::default(), &two)[1],
        "day 119 resolved cleared"
    );
}

#[test]
fn reopens_within_the_cooldown_and_is_new_after_it() {
    // Resolved at the end of day 111, 14 days: until the end of day 125.
    let story = |day: i32| burst(&format!("day 100 ticket P3 x3\n day {day} ticket P3 x5"));
    assert_eq!(
        moves(TicketSpike::default(), &story(125))[2],
        "day 125 reopened warning"
    );
    assert_eq!(
        moves(TicketSpike::default(), &story(126))[2],
        "day 126 opened warning"
    );
}

#[test]
fn a_worse_spike_within_the_cooldown_is_new() {
    let story = burst("day 100 ticket P3 x3\n day 120 ticket P1 x5");
    assert_eq!(
        moves(TicketSpike::default(), &story)[2],
        "day 120 opened critical"
    );
}

#[test]
fn a_late_ticket_counts_in_its_own_day() {
    // Two on day 100; the third, of day 100 too, arrives three days later.
    let story = burst("day 100 ticket P3 x2\n day 103 ticket P3 dated day 100");
    assert_eq!(opened(TicketSpike::default(), &story), ["day 100 warning"]);
    // Of day 97, it makes no three in 24 h.
    let story = burst("day 100 ticket P3 x2\n day 103 ticket P3 dated day 97");
    assert_eq!(opened(TicketSpike::default(), &story), NOTHING);
}

#[test]
fn steady_tickets_are_no_spike_however_many() {
    let daily = "day 0..200 ticket P3";
    let mondays = "every 7 d from 0 to 200 ticket P3 x2";
    // The books are closed every four weeks; after the second time that is known.
    let months = "every 28 d from 0 to 400 ticket P3 x4";
    assert_eq!(opened(TicketSpike::default(), daily)[1..], NOTHING);
    assert_eq!(opened(TicketSpike::default(), mondays), NOTHING);
    let known: Vec<i32> = run(TicketSpike::default(), months)
        .iter()
        .filter(|transition| transition.kind.as_str().contains("opened"))
        .map(|transition| crate::signal::timeline::day_of(transition.at))
        .collect();
    assert_eq!(known, [0, 28]);
}

#[test]
fn the_accounts_own_day_decides_in_any_zone() {
    for zone in ["Asia/Tokyo", "America/Los_Angeles"] {
        let story = format!("day 0 account zone={zone}\n{}", spread(5));
        assert_eq!(
            opened(TicketSpike::default(), &story),
            ["day 100 warning"],
            "{zone}"
        );
    }
}

#[test]
fn a_renewal_changes_nothing() {
    let story = format!("day 0 account renewal=day110 term=12\n{}", spread(5));
    assert_eq!(opened(TicketSpike::default(), &story), ["day 100 warning"]);
}
