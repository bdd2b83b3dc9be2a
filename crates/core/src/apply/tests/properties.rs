//! Random lives of accounts. Failing cases print their seed and shrink.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    account::{Hot, Seat},
    ids::UserId,
};

/// A stretch of days on which an account behaves alike.
#[derive(Debug, Clone)]
struct Stretch {
    days: i32,
    users: u32,
    each: u32,
    every: i32,
    more: &'static str,
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let more = prop::sample::select(vec![
        "",
        "",
        "ticket P3 x2",
        "ticket P1 x4",
        "contact c1 mail_sent role=sponsor user=u1",
        "contact c1 mail_answered",
        "seat u2 activated role=champion",
        "seat u2 deactivated",
        "account seats=12 segment=high",
        "account renewal=day200 term=12 zone=Asia/Tokyo",
        "account zone=America/Los_Angeles segment=tech",
        "acknowledge usage_drop",
        "snooze usage_silent",
        "resolve usage_silent",
        "resolve ticket_spike",
        "core 3 by u5 dated day",
        "ticket P2 x3 dated day",
        "ticket P4 id=77",
    ]);
    (1..60_i32, 0..9_u32, 1..6_u32, 1..9_i32, more).prop_map(|(days, users, each, every, more)| {
        Stretch {
            days,
            users,
            each,
            every,
            more,
        }
    })
}

fn life() -> impl Strategy<Value = Vec<Stretch>> {
    prop::collection::vec(stretch(), 1..12)
}

/// The stretches as a timeline, with the log's end 40 days after them.
fn story(life: &[Stretch]) -> String {
    let mut text = String::new();
    let mut day = 0;
    for (index, stretch) in life.iter().enumerate() {
        let Stretch {
            days,
            users,
            each,
            every,
            more,
        } = stretch;
        let last = day + days - 1;
        if *users > 0 {
            text += &format!(
                "every {every} d from {day} to {last} core {each} by u1..u{users} on a,b\n"
            );
        }
        let hour = 1 + index % 20;
        match more.strip_suffix("dated day") {
            Some(late) => {
                text += &format!(
                    "day {last} {hour}:30 {late} dated day {}\n",
                    (last - 3).max(0)
                );
            }
            None if more.is_empty() => {}
            None => text += &format!("day {last} {hour}:30 {more}\n"),
        }
        day += days;
    }
    text + &format!("day 0 account seats=9\n day {} end", day + 40)
}

fn timeline(life: &[Stretch]) -> Timeline {
    Timeline::parse(&story(life))
}

/// The state as its rows, written as the store does: only what was touched.
#[derive(Default)]
struct Rows {
    hot: Vec<u8>,
    history: Vec<u8>,
    seats: BTreeMap<UserId, Vec<u8>>,
}

impl Rows {
    fn write(&mut self, account: &mut AccountState) {
        let touched = std::mem::take(&mut account.touched);
        let bytes = "postcard writes every row";
        if touched.hot {
            self.hot = postcard::to_stdvec(&account.hot).expect(bytes);
        }
        if touched.history {
            self.history = postcard::to_stdvec(&account.history).expect(bytes);
        }
        for user in &touched.removed_seats {
            self.seats.remove(user);
        }
        for (user, seat) in &mut account.seats {
            if std::mem::take(&mut seat.touched) {
                assert!(touched.seats.contains(user), "a touched seat is announced");
                self.seats
                    .insert(user.clone(), postcard::to_stdvec(seat).expect(bytes));
            }
        }
    }

    fn read(&self) -> AccountState {
        fn row<T: serde::de::DeserializeOwned + Default>(bytes: &[u8]) -> T {
            if bytes.is_empty() {
                return T::default();
            }
            postcard::from_bytes(bytes).expect("postcard reads what it wrote")
        }
        let seats = self
            .seats
            .iter()
            .map(|(user, bytes)| (user.clone(), row::<Seat>(bytes)))
            .collect();
        AccountState::from_rows(
            "acme".into(),
            row::<Hot>(&self.hot),
            row(&self.history),
            seats,
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_log_gives_the_same_transitions(life in life()) {
        let (rules, timeline) = (Rules::default(), timeline(&life));
        prop_assert_eq!(play(&rules, &timeline).transitions, play(&rules, &timeline).transitions);
    }

    #[test]
    fn sequences_have_no_gap_ids_no_twin_and_severity_no_fall(life in life()) {
        let transitions = play(&Rules::default(), &timeline(&life)).transitions;
        let mut opened = BTreeSet::new();
        let mut ids = BTreeSet::new();
        let mut severities = BTreeMap::new();
        for (index, transition) in transitions.iter().enumerate() {
            prop_assert_eq!(transition.sequence, index as u64 + 1);
            prop_assert!(ids.insert(transition.id));
            let alert = &transition.alert;
            if transition.kind == TransitionKind::Opened {
                prop_assert!(opened.insert(alert.alert_id), "opened twice: {:?}", alert);
            } else {
                prop_assert!(opened.contains(&alert.alert_id));
            }
            let before = severities.insert(alert.alert_id, alert.severity);
            if transition.kind != TransitionKind::Reopened {
                prop_assert!(before.is_none_or(|before| before <= alert.severity));
            }
            prop_assert_eq!(alert.resolved_at.is_some(), alert.phase == AlertPhase::Resolved);
        }
    }

    #[test]
    fn neighbours_never_influence_an_account(lives in prop::collection::vec(life(), 3)) {
        let rules = Rules::default();
        let timelines: Vec<Timeline> = lives.iter().map(|life| timeline(life)).collect();
        let fleet = BTreeMap::new();
        let mut loops: Vec<Loop<'_>> = timelines
            .iter()
            .map(|_| Loop::new(&rules, AccountState::unseen("acme".into()), &fleet))
            .collect();
        let mut log: Vec<(EventTime, usize, &Event)> = Vec::new();
        for (index, timeline) in timelines.iter().enumerate() {
            log.extend(timeline.events.iter().map(|(at, event)| (*at, index, event)));
        }
        log.sort_by_key(|(at, index, _)| (*at, *index));
        for (at, index, event) in log {
            // Each arrival moves time for all of them.
            loops.iter_mut().for_each(|each| each.looks_until(at));
            loops[index].event(at, event);
        }
        for (each, timeline) in loops.iter_mut().zip(&timelines) {
            each.looks_until(timeline.end.expect("an end").end());
            let mut alone = play(&rules, timeline).transitions;
            // A neighbour's later log looks further on.
            let mut together = std::mem::take(&mut each.played.transitions);
            let end = timeline.end.expect("an end").end();
            alone.retain(|transition| transition.at <= end);
            together.retain(|transition| transition.at <= end);
            prop_assert_eq!(alone, together);
        }
    }

    #[test]
    fn reading_the_state_back_from_its_touched_rows_changes_nothing(
        life in life(),
        every in 1..40_usize,
    ) {
        let (rules, timeline) = (Rules::default(), timeline(&life));
        let mut rows = Rows::default();
        let mut account = AccountState::unseen("acme".into());
        let mut transitions = Vec::new();
        let mut inputs = 0;
        let mut step = |account: &mut AccountState, input: Input<'_>| {
            transitions.extend(apply(account, &rules, input).transitions);
            rows.write(account);
            inputs += 1;
            if inputs % every == 0 {
                *account = rows.read();
            }
        };
        let looks = |account: &mut AccountState, until: EventTime, step: &mut dyn FnMut(&mut AccountState, Input<'_>)| {
            while let Some(due) = account.next_due().filter(|&due| due <= until) {
                let fleet = FleetDay::calendar(due.plus_millis(-1).utc_day());
                step(account, Input::Close(&fleet));
            }
        };
        for (arrival, event) in &timeline.events {
            looks(&mut account, *arrival, &mut step);
            step(&mut account, Input::Event(event));
        }
        looks(&mut account, timeline.end.expect("an end").end(), &mut step);
        prop_assert_eq!(transitions, play(&rules, &timeline).transitions);
    }

    #[test]
    fn usage_alone_never_moves_an_alert_before_its_look(life in life()) {
        let (rules, timeline) = (Rules::default(), timeline(&life));
        let fleet = BTreeMap::new();
        let mut each = Loop::new(&rules, AccountState::unseen("acme".into()), &fleet);
        for (at, event) in &timeline.events {
            each.looks_until(*at);
            let before = each.played.transitions.len();
            each.event(*at, event);
            if matches!(event.fact, Fact::Usage(_)) {
                prop_assert_eq!(each.played.transitions.len(), before);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sleeping_is_the_same_as_being_looked_at_daily(
        before in life(),
        gap in 800..1_500_i32,
        after in life(),
    ) {
        let rules = Rules::default();
        let mut whole = timeline(&before);
        let pause = i64::from(whole.end.expect("an end").since(DAY_0) + gap);
        let late = timeline(&after);
        whole.events.extend(late.events.into_iter().map(|(at, mut event)| {
            event.time = event.time.plus_days(pause);
            (at.plus_days(pause), event)
        }));
        whole.end = late.end.map(|end| end.plus(pause as i32));
        let said = |transitions: Vec<Transition>| -> Vec<(uuid::Uuid, EventTime, String)> {
            transitions.into_iter().map(|t| (t.id, t.at, t.alert.reason)).collect()
        };
        prop_assert_eq!(said(play(&rules, &whole).transitions), said(play_awake(&rules, &whole)));
    }
}
