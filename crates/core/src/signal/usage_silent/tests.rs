use expect_test::expect;

use super::UsageSilent;
use crate::{
    alert::Datum,
    signal::timeline::{Alone, DAY_0, Timeline, check_signal, day_of, moves, opened, play, run},
};

/// Seventeen weeks of workdays, the last of them day 116, a Friday; then
/// nothing. The log odds of the days after it, from a program of its own that
/// sums A and W day by day as plain weighted sums over the whole past:
///
/// ```text
/// day 126   .384152    day 129   2.234937    day 132   4.036721
/// day 127  1.006841    day 130   2.840773    day 136   6.368517
/// day 128  1.623685    day 131   3.441330    day 137   6.939450
/// ```
const WORKDAYS: &str = "workdays 0..116 core 3 by u1\n day 140 end";

fn with(change: impl FnOnce(&mut UsageSilent)) -> UsageSilent {
    let mut settings = UsageSilent::default();
    change(&mut settings);
    settings
}

fn threshold(threshold: f64) -> UsageSilent {
    with(|settings| settings.threshold.low = threshold)
}

#[test]
fn a_workday_user_is_missed_in_the_second_week_and_sorely_in_the_third() {
    check_signal(
        UsageSilent::default(),
        WORKDAYS,
        expect![[r#"
        day 128 opened warning: no core action for 12 days (since 2026-05-01); usually active on 4.8 days a week, expected back by 2026-05-04; odds of having left 5.1 to 1
        day 132 escalated critical: no core action for 16 days (since 2026-05-01); usually active on 4.8 days a week, expected back by 2026-05-04; odds of having left 57 to 1"#]],
    );
}

#[test]
fn the_score_and_the_expected_return_are_those_worked_out_apart() {
    let transitions = run(UsageSilent::default(), WORKDAYS);
    let alert = &transitions[0].alert;
    assert!(
        (alert.score - 1.623_684_652_778_311_3).abs() < 1e-9,
        "{}",
        alert.score
    );
    let fact = |name| {
        alert
            .evidence
            .0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, d)| d)
    };
    // Day 116 + ceil(101.37 (5^(1/69.58) - 1)) = 116 + ceil(2.37).
    assert_eq!(
        fact("expected_next_at"),
        Some(&Datum::Date(DAY_0.plus(119)))
    );
    let Some(Datum::Number(active)) = fact("active_days") else {
        panic!("{alert:?}")
    };
    assert!((active - 68.581_494_081_128_85).abs() < 1e-9);
    let Some(Datum::Number(exposure)) = fact("exposure_days") else {
        panic!("{alert:?}")
    };
    assert!((exposure - 94.374_376_929_311_96).abs() < 1e-9);
}

#[test]
fn the_threshold_is_the_bound() {
    assert_eq!(opened(threshold(1.6236), WORKDAYS), ["day 128 warning"]);
    assert_eq!(opened(threshold(1.6237), WORKDAYS), ["day 129 warning"]);
}

#[test]
fn each_segment_has_its_own_threshold() {
    for (segment, day) in [("high", 128), ("low", 128), ("tech", 129)] {
        let story = format!("day 0 account segment={segment}\n {WORKDAYS}");
        assert_eq!(
            opened(UsageSilent::default(), &story),
            [format!("day {day} warning")]
        );
    }
}

#[test]
fn the_critical_bound_is_kept() {
    let escalated =
        |critical| moves(with(|settings| settings.critical = critical), WORKDAYS)[1].clone();
    assert_eq!(escalated(4.0367), "day 132 escalated critical");
    assert_eq!(escalated(4.0368), "day 133 escalated critical");
}

#[test]
fn the_least_silence_is_kept() {
    let at = |days| opened(with(|settings| settings.min_silence = days), WORKDAYS);
    // Odds are critical by then.
    assert_eq!(at(20.0), ["day 136 critical"]);
    assert_eq!(at(20.5), ["day 137 critical"]);
}

#[test]
fn two_calendar_days_must_be_silent_however_fast_the_fleet_clock_runs() {
    // Each day counts twice: s = 2 on the first silent day.
    let story = "day 0..60 core by u1\n day 0..90 fleet clock=2\n day 90 end";
    assert_eq!(opened(threshold(-8.0), story), ["day 62 warning"]);
}

#[test]
fn a_holiday_of_the_whole_fleet_hardly_counts() {
    // Ten days at a fiftieth: s is 12 on day 138 less .2, so it is day 138 or 139.
    let story = format!("{WORKDAYS}\n day 117..126 fleet clock=0.02");
    assert_eq!(opened(UsageSilent::default(), &story), ["day 138 warning"]);
}

/// Daily but for two breaks of twenty days, in the second of which it is
/// missed (from the day on on which the odds say so and one break was known).
/// The log odds of the third pass 1.2 on day 309.
const BREAKS: &str = "day 0..99 core by u1
    day 120..199 core by u1
    day 220..299 core by u1";

#[test]
fn a_pause_as_long_as_two_before_it_is_nothing_new() {
    let one_day_less = format!("{BREAKS}\n day 318 end");
    assert_eq!(opened(threshold(1.2), &one_day_less).len(), 2, "19 days");
    let story = format!("{BREAKS}\n day 319 end");
    let opened = opened(threshold(1.2), &story);
    assert_eq!(
        opened.last().map(String::as_str),
        Some("day 319 critical"),
        "20 days"
    );
}

#[test]
fn gaps_older_than_two_years_are_forgotten() {
    let story = "day 0..9 core by u1
        day 100..109 core by u1
        day 200..949 core by u1
        day 1000 end";
    let opened = opened(UsageSilent::default(), story);
    // The two gaps of 90 days ended more than 730 days before.
    assert_eq!(opened.last().map(String::as_str), Some("day 958 warning"));
}

#[test]
fn a_short_history_says_nothing() {
    // 21 active days; the log odds pass 1.2 on day 32 (.947 on 31, 1.495 on 32).
    let story = "day 0..20 core by u1\n day 60 end";
    let at = |days| opened(with(|settings| settings.min_observed_days = days), story);
    assert_eq!(at(28), ["day 32 warning"]);
    assert_eq!(at(33), ["day 32 warning"], "day 32 is the 33rd observed");
    assert_eq!(at(34), ["day 33 warning"]);
    assert_eq!(at(60), ["day 59 critical"]);
}

#[test]
fn observation_begins_with_usage_not_with_the_account() {
    let story = "day 0 account segment=low\n day 40..60 core by u1\n day 90 end";
    let at = |days| opened(with(|settings| settings.min_observed_days = days), story);
    assert_eq!(at(33), ["day 72 warning"]);
    assert_eq!(at(34), ["day 73 warning"]);
}

#[test]
fn two_distinct_active_days_clear_it_and_one_does_not() {
    let back =
        |days: &str| moves(UsageSilent::default(), &format!("{WORKDAYS}\n {days}"))[1..].to_vec();
    assert_eq!(
        back("day 129 core 9 by u1\n day 135 core by u2"),
        ["day 135 resolved cleared"]
    );
    assert_eq!(
        back("day 129..130 core by u1"),
        ["day 130 resolved cleared"]
    );
}

#[test]
fn one_active_day_does_not_clear_it() {
    let story = format!("{WORKDAYS}\n day 130 core 9 by u1");
    assert_eq!(
        moves(UsageSilent::default(), &story)[0],
        "day 128 opened warning"
    );
    assert!(
        moves(UsageSilent::default(), &story)
            .iter()
            .all(|line| !line.contains("resolved"))
    );
}

#[test]
fn a_silence_within_the_cooldown_reopens_and_a_later_one_is_new() {
    let story = |last: i32| {
        format!(
            "workdays 0..116 core 3 by u1
             day 130..{last} core by u1
             day 190 end"
        )
    };
    check_signal(
        UsageSilent::default(),
        &story(132),
        expect![[r#"
        day 128 opened warning: no core action for 12 days (since 2026-05-01); usually active on 4.8 days a week, expected back by 2026-05-04; odds of having left 5.1 to 1
        day 131 resolved cleared: active again on 2026-05-16, usually active on 4.3 days a week
        day 145 reopened warning: no core action for 13 days (since 2026-05-17); usually active on 4.3 days a week, expected back by 2026-05-20; odds of having left 4.5 to 1
        day 150 escalated critical: no core action for 18 days (since 2026-05-17); usually active on 4.3 days a week, expected back by 2026-05-20; odds of having left 68 to 1"#]],
    );
    check_signal(
        UsageSilent::default(),
        &story(150),
        expect![[r#"
        day 128 opened warning: no core action for 12 days (since 2026-05-01); usually active on 4.8 days a week, expected back by 2026-05-04; odds of having left 5.1 to 1
        day 131 resolved cleared: active again on 2026-05-16, usually active on 4.3 days a week
        day 162 opened warning: no core action for 12 days (since 2026-06-04); usually active on 4.7 days a week, expected back by 2026-06-07; odds of having left 4.5 to 1
        day 167 escalated critical: no core action for 17 days (since 2026-06-04); usually active on 4.7 days a week, expected back by 2026-06-07; odds of having left 90 to 1"#]],
    );
}

#[test]
fn late_activity_shortens_the_silence() {
    let story = format!("{WORKDAYS}\n day 120 core by u1 dated day 118");
    let played = play(&UsageSilent::default().alone(), &Timeline::parse(&story));
    assert_eq!(played.on_closed_days, 1);
    assert_eq!(opened(UsageSilent::default(), &story), ["day 130 warning"]);
    // The look at day 128 sees day 118 although it arrived on day 127.
    let story = format!("{WORKDAYS}\n day 127 core by u1 dated day 118");
    assert_eq!(opened(UsageSilent::default(), &story), ["day 130 warning"]);
}

#[test]
fn weekends_month_ends_and_quarters_are_rhythms_and_no_silence() {
    let weeks = "workdays 0..730 core by u1";
    let months = "every 30 d from 0 to 730 core 5 by u1\n every 30 d from 1 to 730 core 5 by u1";
    let quarters = "every 91 d from 0 to 1092 core 9 by u1\n every 91 d from 1 to 1092 core 9 by u1
        every 91 d from 2 to 1092 core 9 by u1";
    assert_eq!(opened(UsageSilent::default(), weeks), [] as [&str; 0]);
    // A rhythm is known by its second pause; until then it cannot be told from leaving.
    for (story, known) in [(months, 60), (quarters, 182)] {
        let later: Vec<i32> = run(UsageSilent::default(), story)
            .iter()
            .map(|transition| day_of(transition.at))
            .filter(|&day| day > known)
            .collect();
        assert_eq!(later, [] as [i32; 0]);
    }
}

#[test]
fn a_near_renewal_of_a_long_term_makes_a_warning_critical() {
    let at = |renewal: i32, term: u32| {
        opened(
            UsageSilent::default(),
            &format!("day 0 account renewal=day{renewal} term={term}\n {WORKDAYS}"),
        )
    };
    assert_eq!(at(128 + 90, 12), ["day 128 critical"]);
    assert_eq!(at(128 + 91, 12), ["day 128 warning"]);
    assert_eq!(at(128, 12), ["day 128 critical"]);
    assert_eq!(at(127, 12), ["day 128 warning"], "past");
    assert_eq!(at(150, 6), ["day 128 critical"]);
    assert_eq!(at(150, 5), ["day 128 warning"]);
    assert_eq!(at(150, 1), ["day 128 warning"], "monthly");
}

#[test]
fn a_warning_becomes_critical_when_the_renewal_comes_near() {
    let story = format!("day 0 account renewal=day220 term=12\n {WORKDAYS}");
    assert_eq!(
        moves(UsageSilent::default(), &story)[..2],
        ["day 128 opened warning", "day 130 escalated critical"]
    );
}

#[test]
fn a_dead_source_neither_opens_nor_resolves() {
    let story = format!("{WORKDAYS}\n day 125..140 fleet stale\n day 150 end");
    assert_eq!(opened(UsageSilent::default(), &story), ["day 141 critical"]);
    let story = format!("{WORKDAYS}\n day 131..133 core by u1\n day 130..139 fleet stale");
    let moves = moves(UsageSilent::default(), &story);
    assert!(
        moves.iter().all(|line| !line.contains("resolved")),
        "{moves:?}"
    );
}

#[test]
fn it_expires_and_stays_mute_until_the_account_comes_back() {
    let story = "day 0..60 core by u1
        day 400..460 core by u1
        day 520 end";
    check_signal(
        UsageSilent::default(),
        story,
        expect![[r#"
        day 70 opened warning: no core action for 10 days (since 2026-03-06); usually active on 6.3 days a week, expected back by 2026-03-08; odds of having left 6.9 to 1
        day 73 escalated critical: no core action for 13 days (since 2026-03-06); usually active on 6.3 days a week, expected back by 2026-03-08; odds of having left 67 to 1
        day 250 resolved expired: no core action for 190 days (since 2026-03-06); usually active on 6.3 days a week, expected back by 2026-03-08; odds of having left 485165195 to 1
        day 483 opened warning: no core action for 23 days (since 2027-04-10); usually active on 2.1 days a week, expected back by 2027-04-16; odds of having left 3.5 to 1
        day 494 escalated critical: no core action for 34 days (since 2027-04-10); usually active on 2.1 days a week, expected back by 2027-04-16; odds of having left 66 to 1"#]],
    );
    let life = |days| {
        moves(
            with(|settings| settings.expire_days = days),
            "day 0..60 core by u1\n day 400 end",
        )
    };
    assert_eq!(
        life(7).last().map(String::as_str),
        Some("day 77 resolved expired")
    );
    assert_eq!(
        life(8).last().map(String::as_str),
        Some("day 78 resolved expired")
    );
}

#[test]
fn days_are_the_accounts_own_whatever_its_zone() {
    // Workdays at five in the morning in Tokyo: the evening before in UTC.
    let tokyo = "day -2 account zone=Asia/Tokyo
        every 7 d from -1 to 111 20:00 core by u1
        every 7 d from 0 to 112 20:00 core by u1
        every 7 d from 1 to 113 20:00 core by u1
        every 7 d from 2 to 114 20:00 core by u1
        every 7 d from 3 to 115 20:00 core by u1
        day 140 end";
    // Workdays at six in the evening in Los Angeles: the next morning in UTC.
    let angeles = "day 0 account zone=America/Los_Angeles
        every 7 d from 1 to 113 02:00 core by u1
        every 7 d from 2 to 114 02:00 core by u1
        every 7 d from 3 to 115 02:00 core by u1
        every 7 d from 4 to 116 02:00 core by u1
        every 7 d from 5 to 117 02:00 core by u1
        day 140 end";
    let utc = "workdays 0..116 core by u1\n day 140 end";
    let reasons = |story: &str| -> Vec<String> {
        run(UsageSilent::default(), story)
            .into_iter()
            .map(|t| t.alert.reason)
            .collect()
    };
    assert_eq!(reasons(utc).len(), 2);
    assert_eq!(reasons(tokyo), reasons(utc));
    assert_eq!(reasons(angeles), reasons(utc));
    // Los Angeles' day 128 is still running when UTC's ends.
    assert_eq!(opened(UsageSilent::default(), tokyo), ["day 128 warning"]);
    assert_eq!(opened(UsageSilent::default(), angeles), ["day 129 warning"]);
}
