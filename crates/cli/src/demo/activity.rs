//! Acts out a plan's usage: who does what, when.
//!
//! A day is cut into equal slots over the account's office hours, and each
//! slot holds an action with the same small chance. So a day's count spreads
//! as independent arrivals do, in integer arithmetic, and comes out in order
//! of time. Two promises stand above chance, both kept in the plan: the
//! account does not rest longer than it ever does, nor does a user.

use super::{
    calendar::{Moment, PERIOD_DAYS, weekday},
    event::{Fact, UserNumber},
    names,
    plan::{Member, Plan, USER_RESTS_AT_MOST_DAYS},
    rng::Rng,
};

const SLOTS_PER_DAY: u32 = 240;
const OFFICE_SECONDS: u32 = 10 * 3600;
const SLOT_SECONDS: u32 = OFFICE_SECONDS / SLOTS_PER_DAY;

/// All usage of the account, in order of time within each day.
pub(super) fn act_out(plan: &Plan, rng: &mut Rng, out: &mut Vec<(Moment, Fact)>) {
    let mut last_active_day = plan.first_day;
    let mut last_worked: Vec<u32> = plan.team.iter().map(|member| member.days.start).collect();
    let mut week_permille = 1000;
    for day in plan.first_day..PERIOD_DAYS {
        if weekday(day) == 0 {
            week_permille = u64::from(rng.between(880, 1120));
        }
        if plan.nightly_sync {
            sync_at_night(day, rng, out);
        }
        let millionths = plan.expected_millionths(day) * week_permille / 1000;
        if millionths == 0 {
            continue;
        }
        let mut slots = draw_slots(millionths, rng);
        if slots.is_empty() && day - last_active_day > plan.longest_rest_days {
            slots.push(rng.below(SLOTS_PER_DAY));
        }
        for slot in slots {
            let Some(index) = choose_member(&plan.team, &last_worked, day, rng) else {
                break;
            };
            last_worked[index] = day;
            last_active_day = day;
            let second =
                plan.region.opens_at_hour() * 3600 + slot * SLOT_SECONDS + rng.below(SLOT_SECONDS);
            let member = &plan.team[index];
            out.push((
                Moment::on(day, second),
                Fact::used(member.number, choose_feature(member, rng)),
            ));
        }
    }
}

fn sync_at_night(day: u32, rng: &mut Rng, out: &mut Vec<(Moment, Fact)>) {
    for hour in [2, 3] {
        let fact = Fact::Usage {
            user: UserNumber::SERVICE,
            feature: names::SERVICE_FEATURE,
        };
        out.push((Moment::on(day, hour * 3600 + rng.below(600)), fact));
    }
}

fn draw_slots(millionths: u64, rng: &mut Rng) -> Vec<u32> {
    let chance_of_a_slot = (millionths << 32) / (u64::from(SLOTS_PER_DAY) * 1_000_000);
    (0..SLOTS_PER_DAY)
        .filter(|_| u64::from(rng.bits()) < chance_of_a_slot)
        .collect()
}

/// The user who has rested longest, if longer than anybody rests; else one in
/// proportion to the weights. None if nobody works on that day.
fn choose_member(team: &[Member], last_worked: &[u32], day: u32, rng: &mut Rng) -> Option<usize> {
    let overdue = (0..team.len())
        .filter(|&index| team[index].works_on(day))
        .filter(|&index| day - last_worked[index] >= USER_RESTS_AT_MOST_DAYS)
        .min_by_key(|&index| last_worked[index]);
    if overdue.is_some() {
        return overdue;
    }
    let weights = team.iter().map(|member| {
        if member.works_on(day) {
            member.weight
        } else {
            0
        }
    });
    weights
        .clone()
        .any(|weight| weight > 0)
        .then(|| rng.weighted(weights))
}

/// Each feature is used about two thirds as often as the one before it.
fn choose_feature(member: &Member, rng: &mut Rng) -> usize {
    let last = member.features.len() - 1;
    let rank = (0..last).find(|_| rng.chance(350)).unwrap_or(last);
    member.features[rank]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{
        event::AccountNumber,
        plan::{Knot, Segment, Shape},
    };

    /// Day and user of each action of an account of so many actions a week.
    fn uses(
        weekly_actions: u32,
        users: u8,
        stream: u64,
        bend: impl FnOnce(&mut Plan),
    ) -> Vec<(u32, UserNumber)> {
        let shape = Shape {
            segment: Segment::Low,
            weekly_actions,
            users,
            seats_purchased: 20,
        };
        let mut plan = Plan::draw(AccountNumber(1), Some(shape), &mut Rng::new(1, stream));
        plan.volume = vec![Knot {
            day: 0,
            permille: 1000,
        }];
        bend(&mut plan);
        let mut out = Vec::new();
        act_out(&plan, &mut Rng::new(5, stream), &mut out);
        let start = Moment::on(0, 0).as_millis();
        out.into_iter()
            .map(|(time, fact)| match fact {
                Fact::Usage { user, .. } => {
                    (((time.as_millis() - start) / 86_400_000) as u32, user)
                }
                other => panic!("only usage is acted out here: {other:?}"),
            })
            .collect()
    }

    fn longest_step(days: impl Iterator<Item = u32>) -> u32 {
        let days: Vec<u32> = days.collect();
        days.windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(PERIOD_DAYS)
    }

    #[test]
    fn the_count_of_half_a_year_is_about_what_the_plan_says() {
        let count = uses(100, 10, 1, |_| {}).len();
        assert!(
            (2400..2720).contains(&count),
            "26 weeks of 100, less Easter: was {count}"
        );
    }

    #[test]
    fn a_small_account_never_rests_longer_than_its_plan_allows() {
        for stream in 0..50 {
            let longest = longest_step(uses(5, 2, stream, |_| {}).iter().map(|(day, _)| *day));
            assert!(
                longest <= 7,
                "stream {stream}: {longest} days from one action to the next"
            );
        }
    }

    #[test]
    fn a_user_never_rests_long_enough_to_seem_gone() {
        for stream in 0..50 {
            let uses = uses(20, 4, stream, |_| {});
            for number in 1..=4 {
                let days = uses
                    .iter()
                    .filter(|(_, user)| user.0 == number)
                    .map(|(day, _)| *day);
                let longest = longest_step(days);
                assert!(
                    longest <= 13,
                    "stream {stream}, user {number}: {longest} days"
                );
            }
        }
    }

    #[test]
    fn nothing_is_used_while_the_volume_is_zero() {
        let uses = uses(100, 10, 1, |plan| {
            plan.volume = vec![
                Knot {
                    day: 0,
                    permille: 1000,
                },
                Knot {
                    day: 49,
                    permille: 1000,
                },
                Knot {
                    day: 50,
                    permille: 0,
                },
            ];
        });
        assert!(uses.iter().map(|(day, _)| day).max() < Some(&50));
    }

    #[test]
    fn nothing_is_used_by_people_while_all_are_away() {
        let uses = uses(100, 3, 1, |plan| {
            for member in &mut plan.team {
                member.away = 60..90;
            }
        });
        assert!(!uses.iter().any(|(day, _)| (60..90).contains(day)));
        assert!(uses.iter().any(|(day, _)| *day >= 90));
    }
}
