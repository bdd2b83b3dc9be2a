use super::*;

fn closed(counts: &[u32]) -> History {
    let mut history = History::begin(Day(0));
    for &core in counts {
        history.close_day(
            DayTotals {
                core,
                ..DayTotals::default()
            },
            1.0,
        );
    }
    history
}

#[test]
fn window_sums_agree_with_plain_addition_around_the_ring() {
    let counts: Vec<u32> = (0..400).map(|day| day * 7 % 13).collect();
    let history = closed(&counts);
    for (last, days) in [(399, 28), (371, 84), (399, 126), (300, 1), (280, 84)] {
        let from = (last + 1 - days).max(400 - DAYS);
        let want: u64 = (from..=last)
            .map(|day| u64::from(counts[day as usize]))
            .sum();
        assert_eq!(
            history.core_actions(Day(last), days),
            want,
            "{days} d to {last}"
        );
    }
}

#[test]
fn days_outside_of_the_ring_count_nothing() {
    let history = closed(&[1; 300]);
    assert_eq!(history.core_actions(Day(299 - DAYS), 28), 0);
    assert_eq!(history.core_actions(Day(305), 7), 1);
}

#[test]
fn dispersion_follows_its_definition() {
    let weeks = [10.0_f64, 14.0, 3.0, 9.0, 30.0];
    let mut dispersion = Dispersion::default();
    for &x in &weeks {
        dispersion.learn(x, 10.0);
    }
    let k = libm::exp2(-1.0 / 26.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    for (age, &x) in weeks.iter().rev().enumerate() {
        let kept = libm::pow(k, age as f64);
        sum += kept * ((x - 10.0) * (x - 10.0) / 10.0).min(50.0);
        weight += kept;
    }
    assert!((dispersion.phi() - ((sum + 6.0) / (weight + 4.0)).max(1.0)).abs() < 1e-12);
}

#[test]
fn dispersion_learns_whole_weeks_against_the_weeks_before() {
    // First week 7 a day, second week 14 a day: x = 98 against b = 49.
    let counts: Vec<u32> = [[7; 7], [14; 7]].concat();
    let history = closed(&counts);
    let want = ((49.0_f64 * 49.0 / 49.0).min(50.0) + 6.0) / 5.0;
    assert!((history.dispersion.phi() - want).abs() < 1e-12);
}

#[test]
fn a_late_action_lands_in_its_day_and_makes_it_active() {
    let mut history = closed(&[1, 0, 0, 0, 1]);
    assert!(history.late_core_action(Day(2)));
    assert!(!history.late_core_action(Day(2)));
    assert_eq!(history.core_actions(Day(2), 1), 2);
    let rhythm = history.rhythm.as_ref().expect("active");
    assert!(
        (rhythm.active_days - (1.0 + libm::exp2(-2.0 / 180.0) + libm::exp2(-4.0 / 180.0))).abs()
            < 1e-9
    );
}

#[test]
fn a_late_action_after_the_last_active_day_ends_the_silence() {
    let mut history = closed(&[1, 0, 0, 0]);
    history.late_core_action(Day(2));
    let rhythm = history.rhythm.as_ref().expect("active");
    assert_eq!(rhythm.last.day, Day(2));
    assert!((rhythm.silence(history.clock) - 1.0).abs() < 1e-9);
}

#[test]
fn active_users_leave_the_window_after_28_days() {
    let mut history = History::begin(Day(0));
    history.user_was_active(None, Day(0));
    history.user_was_active(None, Day(0));
    history.close_day(
        DayTotals {
            core: 2,
            ..DayTotals::default()
        },
        1.0,
    );
    for day in 1..40 {
        if day == 5 {
            history.user_was_active(Some(Day(0)), Day(5));
        }
        history.close_day(DayTotals::default(), 1.0);
        let want = if day < 28 { 2 } else { u32::from(day < 33) };
        assert_eq!(history.users_28(Day(day)), want, "day {day}");
    }
}

#[test]
fn a_late_user_counts_on_the_days_since() {
    let mut history = closed(&[0; 10]);
    history.user_was_active(None, Day(6));
    assert_eq!([5, 6, 9].map(|day| history.users_28(Day(day))), [0, 1, 1]);
    history.close_day(DayTotals::default(), 1.0);
    assert_eq!(history.users_28(Day(10)), 1);
}

#[test]
fn week_rings_forget_and_skip() {
    let mut weeks = WeekRing::default();
    weeks.add(100, 5);
    weeks.add(102, 1);
    weeks.add(90, 2);
    assert_eq!(
        [
            weeks.get(100),
            weeks.get(101),
            weeks.get(102),
            weeks.get(90)
        ],
        [5, 0, 1, 2]
    );
    weeks.add(100 + 2 * WEEKS, 7);
    assert_eq!(weeks.sum(100 + 2 * WEEKS, WEEKS), 7);
    weeks.add(10, 9);
    assert_eq!(weeks.get(10), 0);
}

#[test]
fn waking_after_years_keeps_the_calendar() {
    let mut history = closed(&[3; 10]);
    history.wake(Day(2_000));
    assert_eq!(history.closed_through, Day(1_999));
    assert!((history.clock.total - 2_000.0).abs() < 1e-9);
    assert!(history.is_empty_of_activity());
}

#[test]
fn a_late_return_counts_only_on_days_the_earlier_activity_does_not_reach() {
    let mut history = History::begin(Day(0));
    history.user_was_active(None, Day(0));
    for _ in 0..40 {
        history.close_day(DayTotals::default(), 1.0);
    }
    // Active on day 0 (counts to day 27) and, as it turns out, on day 20.
    history.user_was_active(Some(Day(0)), Day(20));
    let users = [19, 27, 28, 39].map(|day| history.users_28(Day(day)));
    assert_eq!(users, [1, 1, 1, 1]);
    history.close_day(DayTotals::default(), 1.0);
    assert_eq!(history.users_28(Day(40)), 1);
}
