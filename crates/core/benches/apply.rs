//! How long the core takes for one event, and for one look at a day's end.
//!
//! `cargo bench --profile dev -p churnwatch-core`

use churnwatch_core::{
    AccountState, Day, Event, Fact, FleetDay, Input, Rules, SourceName, apply,
    event::{Actor, Usage},
};
use divan::{Bencher, counter::ItemsCount};

fn main() {
    divan::main();
}

/// A usage event of `user` on `day`.
fn usage(day: i32, second: i64, user: usize) -> Event {
    Event {
        account: "account".into(),
        time: Day(20_000 + day).start().plus_millis(second * 1_000),
        id: None,
        source: SourceName::log(),
        fact: Fact::Usage(Usage {
            user: Some(format!("user-{user}").as_str().into()),
            feature: ["report", "export", "search"][user % 3].into(),
            quantity: 1.0,
            actor: Actor::Person,
        }),
    }
}

/// An account of `users` with a quarter of history.
fn account(users: usize, rules: &Rules) -> AccountState {
    let mut account = AccountState::unseen("account".into());
    for day in 0..120 {
        for user in 0..users {
            apply(
                &mut account,
                rules,
                Input::Event(&usage(day, user as i64, user)),
            );
        }
        apply(
            &mut account,
            rules,
            Input::Close(&FleetDay::calendar(Day(20_000 + day))),
        );
    }
    account
}

#[divan::bench(args = [5, 100, 2_000])]
fn usage_events(bencher: Bencher, users: usize) {
    let rules = Rules::default();
    let account = account(users, &rules);
    let events: Vec<Event> = (0..1_000)
        .map(|i| usage(120, i, i as usize % users))
        .collect();
    bencher
        .counter(ItemsCount::new(events.len()))
        .with_inputs(|| account.clone())
        .bench_values(|mut account| {
            for event in &events {
                divan::black_box(apply(&mut account, &rules, Input::Event(event)));
            }
            account
        });
}

#[divan::bench(args = [5, 100, 2_000])]
fn daily_looks(bencher: Bencher, users: usize) {
    const DAYS: i32 = 50;
    let rules = Rules::default();
    let account = account(users, &rules);
    bencher
        .counter(ItemsCount::new(DAYS as usize))
        .with_inputs(|| account.clone())
        .bench_values(|mut account| {
            for day in 120..120 + DAYS {
                let fleet = FleetDay::calendar(Day(20_000 + day));
                divan::black_box(apply(&mut account, &rules, Input::Close(&fleet)));
            }
            account
        });
}
