use expect_test::expect;

use super::{UsageDrop, z_of_fall};
use crate::signal::timeline::{Alone, check_signal, moves, opened, run};

const NOTHING: [&str; 0] = [];

/// Twenty weeks of 42 a week, then 14 a week.
const TO_A_THIRD: &str = "day 0..139 core 6\n day 140..240 core 2\n day 240 end";

/// Twenty weeks of 42 a week, then 21. Only on day 167 is the fall a half:
/// x = 84, e = 168, n = 504, phi = 1.654398, z = 5.104113. On day 168 the first
/// day of the new level has entered the base, and e is 167.
const TO_A_HALF: &str = "day 0..139 core 6\n day 140..240 core 3\n day 240 end";

/// 420 a week, then 70. The week's z and fall, from a program of its own:
///
/// ```text
/// day 142   7.801376  .357143      day 145  18.315127  .714286
/// day 144  14.315978  .595238      day 146  13.809593  .833333 (a week learnt: phi 2.8413)
/// ```
const CLIFF: &str = "day 0..139 core 60\n day 140..200 core 10\n day 200 end";

fn with(change: impl FnOnce(&mut UsageDrop)) -> UsageDrop {
    let mut settings = UsageDrop::default();
    change(&mut settings);
    settings
}

/// Settings under which the first look at which all holds opens it.
fn at_first_look(change: impl FnOnce(&mut UsageDrop)) -> UsageDrop {
    with(|settings| {
        settings.sustain_looks = 1;
        change(settings);
    })
}

#[test]
fn opens_once_usage_has_halved_for_three_looks_and_is_rebased_after_four_weeks() {
    check_signal(
        UsageDrop::default(),
        TO_A_THIRD,
        expect![[r#"
        day 162 opened warning: 76 core actions in 28 d where 168 are usual: a fall of 55 %
        day 190 resolved rebased: 56 core actions in 28 d where 168 are usual: a fall of 67 %"#]],
    );
}

#[test]
fn z_matches_values_worked_out_apart() {
    // python: 2*(sqrt(168+3/8)-sqrt(84+3/8))/sqrt(1.654397967618413*(1+28/84))
    assert!(
        (z_of_fall(84.0, 168.0, 1.654_397_967_618_413, 28.0, 84.0) - 5.104_112_774_397_754).abs()
            < 1e-12
    );
    // python: 2*(sqrt(420+3/8)-sqrt(70+3/8))/sqrt(2.8413...*(1+7/84)), phi from 20 weeks of 420 and one of 70
    let alert = run(at_first_look(|settings| settings.cliff_fall = 0.8), CLIFF)
        .remove(0)
        .alert;
    assert_eq!((alert.observed, alert.expected), (70.0, 420.0));
    // The score is the month's z whichever rule fires: x = 1330, e = 1680.
    assert!(
        (alert.score - 4.642_539_869_304_93).abs() < 1e-9,
        "{}",
        alert.score
    );
}

#[test]
fn z_of_a_halving_at_ten_a_week_is_the_documented_2_3() {
    // signals.md: "z = 2.3 at 10 a week and phi 2".
    assert!((z_of_fall(20.0, 40.0, 2.0, 28.0, 84.0) - 2.256).abs() < 0.01);
}

#[test]
fn the_least_fall_is_the_bound() {
    let at = |fall| {
        opened(
            at_first_look(|settings| settings.min_fall.low = fall),
            TO_A_HALF,
        )
    };
    assert_eq!(at(0.5), ["day 167 warning"]);
    assert_eq!(at(0.5001), NOTHING);
}

#[test]
fn each_segment_has_its_own_least_fall() {
    // 60 a week, then 33: the fall reaches .45.
    let story = "day 0..139 core 20\n day 140..240 core 11\n day 240 end";
    let of = |segment: &str| {
        opened(
            UsageDrop::default(),
            &format!("day 0 account segment={segment}\n {story}"),
        )
        .len()
    };
    assert_eq!([of("high"), of("low"), of("tech")], [1, 0, 0]);
}

#[test]
fn the_least_z_is_the_bound() {
    let at = |z| opened(at_first_look(|settings| settings.min_z = z), TO_A_HALF);
    assert_eq!(at(5.1041), ["day 167 warning"]);
    assert_eq!(at(5.1042), NOTHING);
}

#[test]
fn the_least_base_is_the_bound() {
    let at = |base| {
        opened(
            at_first_look(|settings| settings.min_base = base),
            TO_A_HALF,
        )
    };
    assert_eq!(at(504), ["day 167 warning"]);
    assert_eq!(at(505), NOTHING);
}

#[test]
fn the_fall_must_last() {
    let at = |looks| opened(with(|settings| settings.sustain_looks = looks), TO_A_THIRD);
    assert_eq!(
        [at(1), at(3), at(5)],
        [
            ["day 160 warning"],
            ["day 162 warning"],
            ["day 164 warning"]
        ]
    );
    // Two looks, then a big day: no alert.
    let story = "day 0..139 core 6\n day 140..165 core 2\n day 162 core 30";
    assert_eq!(opened(UsageDrop::default(), story), NOTHING);
}

#[test]
fn one_and_a_half_times_the_least_fall_is_critical() {
    // A third of 42 a week remains: .667 at most, from day 167 on.
    let of = |fall| moves(with(|settings| settings.min_fall.low = fall), TO_A_THIRD)[..2].to_vec();
    assert_eq!(of(0.444)[1], "day 167 escalated critical");
    assert_eq!(of(0.445)[1], "day 188 resolved rebased");
}

#[test]
fn the_cliff_needs_its_fall() {
    let at = |fall| {
        opened(
            at_first_look(|settings| {
                settings.cliff_fall = fall;
                settings.min_fall.low = 0.95;
            }),
            CLIFF,
        )
    };
    assert_eq!(at(0.5952), ["day 144 critical"]);
    assert_eq!(at(0.5953), ["day 145 critical"]);
    assert_eq!(at(0.8334), NOTHING);
}

#[test]
fn the_cliff_needs_its_z() {
    let at = |z| {
        opened(
            at_first_look(|settings| {
                settings.cliff_z = z;
                settings.cliff_fall = 0.35;
                settings.min_fall.low = 0.95;
            }),
            CLIFF,
        )
    };
    assert_eq!(at(7.8013), ["day 142 critical"]);
    assert_eq!(at(7.8014), ["day 143 critical"]);
}

#[test]
fn the_cliff_is_sustained_and_critical() {
    // Day 145 is the first with a fall of .6, the third look is day 147.
    assert_eq!(opened(UsageDrop::default(), CLIFF), ["day 147 critical"]);
}

#[test]
fn the_stop_is_judged_at_once_by_rate_times_silence_over_dispersion() {
    // Ten a day and phi 1: two silent days are worth exactly 20.
    let story = "day 0..139 core 10\n day 160 end";
    let at =
        |surprise| opened(with(|settings| settings.stop_surprise = surprise), story)[0].clone();
    assert_eq!(at(20.0), "day 141 critical");
    assert_eq!(at(20.1), "day 142 critical");
    assert_eq!(at(1.0), "day 141 critical", "never on the first silent day");
}

#[test]
fn the_stop_is_measured_on_the_fleet_clock() {
    // Two silent days at .9: 18, and the third makes 28.
    let story = "day 0..139 core 10\n day 140..141 fleet clock=0.9\n day 160 end";
    assert_eq!(opened(UsageDrop::default(), story)[0], "day 142 critical");
}

#[test]
fn the_stop_names_what_stopped() {
    check_signal(
        UsageDrop::default(),
        "day 0..139 core 10 by u1\n day 142 end",
        expect![
            "day 141 opened critical: stopped: no core action for 2 days after 280 in the 28 days before"
        ],
    );
}

/// Ten users a week each once; from day 140 on five. On day 161 those who left
/// are out of the 28 days.
const FEWER_USERS: &str = "every 7 d from 0 to 133 core by u1..u10
    every 7 d from 140 to 230 core by u1..u5
    day 230 end";

/// Only the users rule.
fn users(change: impl FnOnce(&mut UsageDrop)) -> UsageDrop {
    with(|settings| {
        settings.min_z = 50.0;
        settings.cliff_z = 50.0;
        change(settings);
    })
}

#[test]
fn fewer_users_are_a_drop_of_their_own() {
    check_signal(
        users(|_| {}),
        FEWER_USERS,
        expect![[r#"
        day 163 opened warning: 5 active users in 28 d where 10 are usual: a fall of 50 %
        day 191 resolved rebased: 5 active users in 28 d where 10 are usual: a fall of 50 %"#]],
    );
}

#[test]
fn the_users_rule_needs_its_users_and_its_fall() {
    let at = |least| opened(users(|settings| settings.min_users = least), FEWER_USERS);
    assert_eq!(at(10), ["day 163 warning"]);
    assert_eq!(at(11), NOTHING);
    let at = |fall| opened(users(|settings| settings.min_fall.low = fall), FEWER_USERS);
    assert_eq!(at(0.5), ["day 163 warning"]);
    assert_eq!(at(0.501), NOTHING);
}

#[test]
fn three_quarters_of_the_users_gone_is_critical() {
    let story = |left: u32| {
        format!(
            "every 7 d from 0 to 133 core by u1..u12\n every 7 d from 140 to 200 core by u1..u{left}"
        )
    };
    assert_eq!(opened(users(|_| {}), &story(3)), ["day 163 critical"]);
    assert_eq!(opened(users(|_| {}), &story(4)), ["day 163 warning"]);
}

#[test]
fn ten_stable_users_who_come_once_in_four_weeks_are_ten() {
    let story: String = (1..=10)
        .map(|user| format!("every 28 d from {} to 400 core 3 by u{user}\n", user * 2))
        .collect();
    assert_eq!(opened(users(|_| {}), &story), NOTHING);
}

#[test]
fn a_short_history_says_nothing() {
    // The collapse on day 40 is judged from day 55 on, when 28 days lie before
    // the window: 55, 56, 57.
    let story = |first: i32| format!("day {first}..39 core 60\n day 40..80 core 5\n day 80 end");
    assert_eq!(opened(UsageDrop::default(), &story(0)), ["day 57 critical"]);
    assert_eq!(opened(UsageDrop::default(), &story(1)), ["day 58 critical"]);
}

#[test]
fn clears_after_seven_looks_above_the_clear_level() {
    // Against the frozen 168, x is 116 on day 170 (fall .31) and 126 on day 171
    // (.25); the clear level is .3.
    let story = "day 0..139 core 6\n day 140..164 core 2\n day 165..260 core 12";
    assert_eq!(
        moves(UsageDrop::default(), story),
        ["day 162 opened warning", "day 177 resolved cleared"]
    );
    let six_looks = "day 0..139 core 6\n day 140..164 core 2\n day 165..176 core 12";
    assert_eq!(
        moves(UsageDrop::default(), six_looks),
        ["day 162 opened warning"]
    );
}

#[test]
fn the_baseline_is_frozen_while_the_alert_is_open() {
    let settings = with(|settings| settings.rebase_days = 60);
    let transitions = run(settings, TO_A_THIRD);
    let last = &transitions.last().expect("resolved").alert;
    // Expected is still the 6 a day of before, two months into the fall.
    assert_eq!((last.observed, last.expected), (56.0, 168.0));
}

#[test]
fn a_relapse_within_the_cooldown_reopens_and_a_later_one_is_new() {
    let story = "day 0..139 core 6\n day 140..164 core 2\n day 165..177 core 12
        day 178..230 core 2";
    // Cleared on day 177; 14 days are too short for 28 days to halve again.
    let third = |cooldown: u32| {
        let mut rules = UsageDrop::default().alone();
        rules.alerts.cooldown_days = cooldown;
        let lines = moves(rules, story);
        assert_eq!(
            lines[..2],
            ["day 162 opened warning", "day 177 resolved cleared"]
        );
        lines[2].clone()
    };
    assert_eq!(third(60), "day 206 reopened warning");
    assert_eq!(third(14), "day 206 opened warning");
}

#[test]
fn after_it_was_rebased_only_a_further_fall_speaks() {
    // Rebased on day 190 at x = 56. One a day from day 195 on: x < 39.2 first
    // on day 211, sustained on day 213.
    let story = "day 0..139 core 6\n day 140..194 core 2\n day 195..240 core 1\n day 240 end";
    let lines = moves(UsageDrop::default(), story);
    assert_eq!(
        lines[..2],
        ["day 162 opened warning", "day 190 resolved rebased"]
    );
    assert_eq!(lines[2..], ["day 213 opened warning"]);
    assert_eq!(
        moves(UsageDrop::default(), TO_A_THIRD).len(),
        2,
        "and nothing without one"
    );
}

#[test]
fn a_rebased_fall_stays_mute_when_another_rule_takes_over() {
    // Actions and users fall together. When the actions' base has adapted, the
    // users' has not yet; their smaller numbers are no further fall.
    let story = "day 0..139 core by u1..u10\n day 140..260 core by u1..u4\n day 260 end";
    let lines = moves(UsageDrop::default(), story);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].ends_with("resolved rebased"), "{lines:?}");
}

#[test]
fn weekends_month_ends_and_quarters_are_no_drop() {
    let weeks = "workdays 0..400 core 10 by u1..u6";
    // Three days at the end of each month of 30 days.
    let months = "every 30 d from 27 to 400 core 20 by u1
        every 30 d from 28 to 400 core 20 by u1
        every 30 d from 29 to 400 core 20 by u1";
    let quarters: String = (0..5)
        .map(|day| format!("every 91 d from {day} to 800 core 10 by u1\n"))
        .collect();
    assert_eq!(opened(UsageDrop::default(), weeks), NOTHING);
    // The rhythm is known by its second pause.
    for story in [months, &quarters] {
        let lines: Vec<String> = moves(UsageDrop::default(), &format!("{story}\n day 800 end"));
        let late = lines
            .iter()
            .filter(|line| line.contains("open") && line.len() > "day 99 opened critical".len());
        assert_eq!(late.count(), 0, "{lines:?}");
    }
}

#[test]
fn a_small_account_that_halves_is_left_to_silence() {
    // Seven a week, then three or four: noise, by the account's own lights.
    let story = "day 0..139 core\n every 2 d from 140 to 240 core";
    assert_eq!(opened(UsageDrop::default(), story), NOTHING);
}

#[test]
fn a_near_renewal_of_a_long_term_makes_a_warning_critical() {
    let at = |renewal: i32, term: u32| {
        opened(
            UsageDrop::default(),
            &format!("day 0 account renewal=day{renewal} term={term}\n {TO_A_THIRD}"),
        )
    };
    assert_eq!(at(162 + 90, 12), ["day 162 critical"]);
    assert_eq!(at(162 + 91, 12), ["day 162 warning"]);
    assert_eq!(at(161, 12), ["day 162 warning"]);
    assert_eq!(at(200, 5), ["day 162 warning"]);
}

#[test]
fn a_dead_source_neither_opens_nor_resolves() {
    let story = format!("{TO_A_THIRD}\n day 158..170 fleet stale");
    assert_eq!(opened(UsageDrop::default(), &story), ["day 173 warning"]);
    let story = format!("{TO_A_THIRD}\n day 180..200 fleet stale");
    assert_eq!(
        moves(UsageDrop::default(), &story)[1],
        "day 201 resolved rebased"
    );
}

#[test]
fn late_events_change_the_next_look() {
    // With sustain 1 the fall is a half exactly on day 167; one late action in
    // the window and it is not.
    let late = format!("{TO_A_HALF}\n day 167 core dated day 160");
    assert_eq!(opened(at_first_look(|_| {}), &late), NOTHING);
    // One late action in the base, and it is a half on day 167 still.
    let late = format!("{TO_A_HALF}\n day 145 core dated day 139");
    assert_eq!(opened(at_first_look(|_| {}), &late)[0], "day 167 warning");
}

#[test]
fn services_and_other_features_are_no_core_action() {
    let story = "day 0 account core=work
        day 0..139 core 6\n day 140..240 core 2\n day 140..240 core 9 on other
        day 140..240 service 9\n day 188 end";
    assert_eq!(opened(UsageDrop::default(), story), ["day 162 warning"]);
}
