use expect_test::expect;

use super::InactiveSeats;
use crate::signal::timeline::{check_signal, moves, opened};

const NOTHING: [&str; 0] = [];

fn with(change: impl FnOnce(&mut InactiveSeats)) -> InactiveSeats {
    let mut settings = InactiveSeats::default();
    change(&mut settings);
    settings
}

/// An account that has `active` of 100 seats in use all the time.
fn steady(account: &str, active: u32, days: i32) -> String {
    let users = if active == 0 {
        // Usage is known, its users are not.
        "core".to_owned()
    } else {
        format!("core by u1..u{active}")
    };
    format!(
        "day 0 account seats=100 {account}\n every 7 d from 0 to {days} {users}\n day {days} end"
    )
}

/// The severity of the first alert, and its day.
fn first(account: &str, active: u32, days: i32) -> Option<String> {
    opened(InactiveSeats::default(), &steady(account, active, days))
        .first()
        .cloned()
}

#[test]
fn fifty_seats_of_which_twelve_stay_in_use() {
    let story = "day 0 account seats=50
        every 7 d from 0 to 112 core by u1..u41
        every 7 d from 119 to 210 core by u1..u12
        day 210 end";
    check_signal(
        InactiveSeats::default(),
        story,
        expect!["day 146 opened critical: 12 of 50 purchased seats active in 28 d (24 %)"],
    );
}

#[test]
fn the_band_must_be_left_for_seven_looks() {
    // Day 59 is the 60th observed: looks 59 to 65.
    assert_eq!(
        first("segment=low", 30, 90).as_deref(),
        Some("day 65 warning")
    );
    let at = |looks| {
        opened(
            with(|settings| settings.sustain_looks = looks),
            &steady("segment=low", 30, 90),
        )
    };
    assert_eq!(at(1), ["day 59 warning"]);
    assert_eq!(at(8), ["day 66 warning"]);
}

#[test]
fn low_and_tech_touch_have_bands_of_their_own() {
    for (segment, active, want) in [
        ("low", 50, None),
        ("low", 49, Some("day 65 warning")),
        ("low", 25, Some("day 65 warning")),
        ("low", 24, Some("day 65 critical")),
        ("tech", 35, None),
        ("tech", 34, Some("day 65 warning")),
        ("tech", 15, Some("day 65 warning")),
        ("tech", 14, Some("day 65 critical")),
    ] {
        let got = first(&format!("segment={segment}"), active, 120);
        assert_eq!(got.as_deref(), want, "{segment} {active}");
    }
}

#[test]
fn high_touch_is_judged_by_tenure() {
    // From the 60th, the 183rd and the 274th observed day on.
    for (active, early, middle, late) in [
        (14, "day 65 critical", "", ""),
        (15, "day 65 warning", "day 182 escalated critical", ""),
        (49, "day 65 warning", "day 182 escalated critical", ""),
        (50, "", "day 188 opened critical", ""),
        (51, "", "day 188 opened warning", ""),
        (74, "", "day 188 opened warning", ""),
        (75, "", "", "day 279 opened warning"),
        (76, "", "", ""),
    ] {
        let moves = moves(
            InactiveSeats::default(),
            &steady("segment=high", active, 400),
        );
        let want: Vec<String> = [
            early.replace("day 65 ", "day 65 opened "),
            middle.into(),
            late.into(),
        ]
        .into_iter()
        .filter(|line: &String| !line.is_empty())
        .collect();
        assert_eq!(moves, want, "{active} of 100");
    }
}

#[test]
fn a_renewal_within_half_a_year_makes_the_late_band_critical() {
    // The late band opens on day 279.
    let at = |renewal: i32, term: i32| {
        let account = format!("segment=high renewal=day{renewal} term={term}");
        opened(InactiveSeats::default(), &steady(&account, 75, 400))
    };
    assert_eq!(at(279 + 180, 12), ["day 279 critical"]);
    assert_eq!(at(279 + 181, 12), ["day 279 warning"]);
    assert_eq!(at(279 + 100, 5), ["day 279 warning"], "a short term");
    assert_eq!(at(278, 12), ["day 279 warning"], "past");
    assert_eq!(
        opened(
            InactiveSeats::default(),
            &steady("segment=high renewal=day400 term=12", 76, 390)
        ),
        NOTHING
    );
}

#[test]
fn a_renewal_does_not_raise_the_other_bands() {
    assert_eq!(
        first("segment=low renewal=day100 term=12", 30, 90).as_deref(),
        Some("day 65 warning")
    );
}

#[test]
fn few_seats_are_not_judged() {
    let at = |seats: u32| {
        opened(
            InactiveSeats::default(),
            &format!(
                "day 0 account seats={seats}\n every 7 d from 0 to 90 core by u1\n day 90 end"
            ),
        )
        .len()
    };
    assert_eq!([at(4), at(5)], [0, 1]);
    let more = with(|settings| settings.min_seats = 6);
    assert_eq!(
        opened(
            more,
            "day 0 account seats=5\n every 7 d from 0 to 90 core by u1"
        ),
        NOTHING
    );
    assert_eq!(
        opened(
            InactiveSeats::default(),
            "every 7 d from 0 to 90 core by u1"
        ),
        NOTHING,
        "unknown seats"
    );
}

#[test]
fn tenure_is_the_lesser_of_contract_and_observation() {
    // Signed years ago, observed since day 0.
    assert_eq!(
        first("segment=low started=day-900", 30, 120).as_deref(),
        Some("day 65 warning")
    );
    // Signed on day 30, tried out before: tenure 60 on day 90.
    assert_eq!(
        first("segment=low started=day30", 30, 120).as_deref(),
        Some("day 96 warning")
    );
    let later = with(|settings| settings.min_tenure_days = 61);
    assert_eq!(
        opened(later, &steady("segment=low", 30, 120)),
        ["day 66 warning"]
    );
}

#[test]
fn below_28_observed_days_of_usage_nothing_fires() {
    // Usage flows from day 70 on: day 97 is its 28th observed day.
    let story = "day 0 account seats=100\n every 7 d from 70 to 130 core by u1..u10";
    assert_eq!(
        opened(InactiveSeats::default(), story),
        ["day 103 critical"]
    );
}

/// 20 of 24 seats, then `left`; the 28 days are theirs alone from day 167 on.
fn fall(seats: u32, before: u32, left: u32) -> String {
    format!(
        "day 0 account seats={seats}
         every 7 d from 0 to 133 core by u1..u{before}
         every 7 d from 140 to 260 core by u1..u{left}
         day 260 end"
    )
}

#[test]
fn a_fall_is_an_alert_on_change_and_rebased_after_four_weeks() {
    check_signal(
        InactiveSeats::default(),
        &fall(20, 20, 16),
        expect![[r#"
        day 167 opened warning: 16 active users in 28 d where 20 were usual, of 20 purchased seats (80 %)
        day 195 resolved rebased: 16 active users in 28 d where 20 were usual, of 20 purchased seats (80 %)"#]],
    );
}

#[test]
fn a_fall_needs_points_users_and_share() {
    let days = |settings, story: &str| opened(settings, story);
    // 20 to 17 of 20: 15 points, 3 users, 15 % only.
    let exact = fall(20, 20, 17);
    assert_eq!(
        days(with(|s| s.fall_share = 0.15), &exact),
        ["day 167 warning"]
    );
    assert_eq!(days(with(|s| s.fall_share = 0.151), &exact), NOTHING);
    assert_eq!(
        days(
            with(|s| {
                s.fall_share = 0.1;
                s.fall_points = 0.151;
            }),
            &exact
        ),
        NOTHING
    );
    assert_eq!(
        days(
            with(|s| {
                s.fall_share = 0.1;
                s.fall_users = 4;
            }),
            &exact
        ),
        NOTHING
    );
    assert_eq!(
        days(InactiveSeats::default(), &exact),
        NOTHING,
        "20 % is the default"
    );
    assert_eq!(
        days(InactiveSeats::default(), &fall(20, 20, 16)),
        ["day 167 warning"]
    );
}

#[test]
fn a_rebased_fall_is_mute_but_the_band_still_speaks() {
    // 40 to 27 of 40 (a fall), rebased, then 19: a quarter less again, too
    // little to be a further fall, but below the band of 50 %.
    let story = "day 0 account seats=40
        every 7 d from 0 to 133 core by u1..u40
        every 7 d from 140 to 203 core by u1..u27
        every 7 d from 210 to 300 core by u1..u19
        day 300 end";
    assert_eq!(
        moves(InactiveSeats::default(), story),
        [
            "day 167 opened warning",
            "day 195 resolved rebased",
            "day 237 opened warning"
        ]
    );
}

#[test]
fn a_worse_band_escalates() {
    let story = "day 0 account seats=20
        every 7 d from 0 to 133 core by u1..u9
        every 7 d from 140 to 250 core by u1..u4
        day 250 end";
    assert_eq!(
        moves(InactiveSeats::default(), story),
        ["day 65 opened warning", "day 161 escalated critical"]
    );
}

#[test]
fn clears_five_points_above_the_band_for_seven_looks() {
    // 40 of 100, then 55 (the bound) or 54 from day 140 on.
    let story = |later: u32| {
        format!(
            "day 0 account seats=100
             every 7 d from 0 to 133 core by u1..u40
             every 7 d from 140 to 200 core by u1..u{later}
             day 200 end"
        )
    };
    assert_eq!(
        moves(InactiveSeats::default(), &story(55)),
        ["day 65 opened warning", "day 146 resolved cleared"]
    );
    assert_eq!(
        moves(InactiveSeats::default(), &story(54)),
        ["day 65 opened warning"]
    );
    let wider = with(|settings| settings.clear_points = 0.06);
    assert_eq!(moves(wider, &story(55)), ["day 65 opened warning"]);
}

#[test]
fn comes_back_within_the_cooldown_as_the_same_and_later_as_new() {
    // Cleared on day 146; the crowd is last seen on day `last`, so the band is
    // left on day last + 28, and sustained on day last + 34.
    let story = |last: i32| {
        format!(
            "day 0 account seats=100
             every 7 d from 0 to 300 core by u1..u40
             every 7 d from 119 to {last} core by u41..u60
             day 200 end"
        )
    };
    assert_eq!(
        moves(InactiveSeats::default(), &story(119)),
        [
            "day 65 opened warning",
            "day 125 resolved cleared",
            "day 153 opened warning"
        ]
    );
    // Twenty more seats in use for a while, then twice the seats.
    let story = |bought: i32| {
        format!(
            "day 0 account seats=100
             every 7 d from 0 to 120 core by u1..u40
             every 7 d from 100 to 130 core by u41..u60
             day {bought} account seats=200"
        )
    };
    let quick = || with(|settings| settings.sustain_looks = 1);
    let opened = "day 59 opened warning";
    let cleared = "day 106 resolved cleared";
    assert_eq!(
        moves(quick(), &story(120)),
        [opened, cleared, "day 120 reopened warning"]
    );
    assert_eq!(
        moves(quick(), &story(121)),
        [opened, cleared, "day 121 opened warning"]
    );
}

#[test]
fn a_purchase_of_seats_counts_at_the_next_look() {
    let story = "day 0 account seats=20\n every 7 d from 0 to 160 core by u1..u15\n day 100 account seats=60";
    assert_eq!(opened(InactiveSeats::default(), story), ["day 106 warning"]);
}

#[test]
fn late_users_count_from_their_day_on() {
    // 49 of 100 until a fiftieth user's action of day 62 arrives on day 64.
    let story = "day 0 account seats=100\n every 7 d from 0 to 80 core by u1..u49
        day 64 core by u50 dated day 62";
    assert_eq!(opened(InactiveSeats::default(), story), NOTHING);
}

#[test]
fn a_weekly_or_monthly_rhythm_of_all_users_is_full_use() {
    let weekly = "day 0 account seats=10\n every 7 d from 0 to 300 core by u1..u10";
    let monthly = "day 0 account seats=10\n every 28 d from 0 to 300 core by u1..u10";
    assert_eq!(opened(InactiveSeats::default(), weekly), NOTHING);
    assert_eq!(opened(InactiveSeats::default(), monthly), NOTHING);
}

#[test]
fn a_dead_source_neither_opens_nor_resolves() {
    let story = format!("{}\n day 63..70 fleet stale", steady("segment=low", 30, 90));
    // Four looks before, three after.
    assert_eq!(opened(InactiveSeats::default(), &story), ["day 73 warning"]);
}

#[test]
fn the_evidence_counts_seats_and_names_the_idlest() {
    let story = "day 0 account seats=6 mrr=60000
        day 0 seat u1 activated\n day 0 seat u2 activated\n day 0 seat u3 invited
        day 0 core by u2\n every 7 d from 0 to 90 core by u1";
    let transitions = crate::signal::timeline::run(InactiveSeats::default(), story);
    let text: Vec<String> = transitions[0]
        .alert
        .evidence
        .0
        .iter()
        .map(|(name, datum)| format!("{name}: {datum:?}"))
        .collect();
    expect![[r#"
        rule: Text("level")
        purchased: Count(6)
        assigned: Count(3)
        activated: Count(2)
        active_28d: Count(1)
        utilisation: Number(0.16666666666666666)
        active_28d_before: Number(1.0)
        never_logged_in: Count(1)
        idle_cost: Text("500 EUR a month")
        idlest_users: List([Facts([("user_id", Text("u3")), ("last_active", Nothing)]), Facts([("user_id", Text("u2")), ("last_active", Date(2026-01-05))])])"#]].assert_eq(&text.join("\n"));
}
