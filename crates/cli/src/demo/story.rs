//! The told stories: what befalls an account, and what should come of it.
//!
//! A story bends a plan that was drawn healthy. Each is written so that its
//! signal's conditions hold under the default configuration, with room to
//! spare; the stories that end in [`Ending::NoAlert`] come close on purpose
//! and must stay quiet.

use super::{
    calendar::PERIOD_DAYS,
    event::{Role, TicketSeverity},
    plan::{Knot, Plan, PlannedTicket, Rhythm, Segment, Shape, UnansweredMail},
    rng::Rng,
    support,
};

/// One told account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    /// Whom it is about, as in `account_id`.
    pub(crate) account: &'static str,
    /// The signal that should, or should not, tell of it.
    pub(crate) signal: &'static str,
    /// One sentence for people.
    pub(crate) what_happens: &'static str,
    /// The day of the period on which it begins: 0 is 2026-01-05.
    pub(crate) day: u32,
    /// What should come of it.
    pub(crate) ending: Ending,
    /// Other signals that the same events may rightly raise.
    pub(crate) also: &'static [&'static str],
    pub(super) number: u16,
    pub(super) shape: Shape,
    pub(super) bend: fn(&mut Plan, &mut Rng, u32),
}

/// What should come of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The alert opens and is still open at the end of the period.
    Alert,
    /// The alert opens and later resolves.
    AlertThenResolved,
    /// It looks like the signal, but must not alert.
    NoAlert,
}

/// Every told story. All other accounts of the fleet are healthy.
pub(crate) const STORIES: &[Story] = &[
    Story {
        account: "acct-0017",
        signal: "usage_drop",
        what_happens: "An active team loses two thirds of its usage over three weeks.",
        day: 128,
        ending: Ending::Alert,
        also: &[],
        number: 17,
        shape: shape(Segment::Low, 160, 14, 18),
        bend: |plan, _, day| fades(plan, day, 21, 320),
    },
    Story {
        account: "acct-0058",
        signal: "usage_drop",
        what_happens: "A large team moves nearly all of its work elsewhere overnight: a cliff.",
        day: 155,
        ending: Ending::Alert,
        also: &[],
        number: 58,
        shape: shape(Segment::High, 420, 28, 32),
        bend: |plan, _, day| fades(plan, day, 1, 130),
    },
    Story {
        account: "acct-0150",
        signal: "usage_drop",
        what_happens: "The busiest account stops dead from one day to the next.",
        day: 162,
        ending: Ending::Alert,
        also: &["usage_silent", "inactive_seats", "champion_quiet"],
        number: 150,
        shape: shape(Segment::High, 480, 40, 45),
        bend: |plan, _, day| fades(plan, day, 1, 0),
    },
    Story {
        account: "acct-0093",
        signal: "usage_silent",
        what_happens: "People worked every Monday, Wednesday and Friday, and stop; only the \
                       nightly sync goes on.",
        day: 116,
        ending: Ending::Alert,
        also: &["usage_drop"],
        number: 93,
        shape: shape(Segment::Tech, 7, 4, 4),
        bend: |plan, _, day| {
            every_other_day(plan);
            plan.nightly_sync = true;
            fades(plan, day, 1, 0);
        },
    },
    Story {
        account: "acct-0121",
        signal: "usage_silent",
        what_happens: "A small shop closes for a refit of eight weeks, falls silent, and comes back.",
        day: 70,
        ending: Ending::AlertThenResolved,
        also: &["usage_drop"],
        number: 121,
        shape: shape(Segment::Low, 8, 4, 4),
        bend: |plan, _, day| {
            every_other_day(plan);
            fades(plan, day, 1, 0);
            plan.volume.push(Knot {
                day: day + 56,
                permille: 0,
            });
            plan.volume.push(Knot {
                day: day + 57,
                permille: 1000,
            });
        },
    },
    Story {
        account: "acct-0136",
        signal: "usage_silent",
        what_happens: "An accounting office that comes only at the end of each month, as it always did.",
        day: 0,
        ending: Ending::NoAlert,
        also: &[],
        number: 136,
        shape: shape(Segment::Low, 18, 3, 4),
        bend: |plan, _, _| plan.rhythm = Rhythm::MonthEnd(3),
    },
    Story {
        account: "acct-0024",
        signal: "ticket_spike",
        what_happens: "A bad release: eleven tickets in a day, two of them P1; then it calms down.",
        day: 72,
        ending: Ending::AlertThenResolved,
        also: &[],
        number: 24,
        shape: shape(Segment::Low, 90, 9, 12),
        bend: |plan, rng, day| {
            plan.no_tickets = day - 8..day + 21;
            for count in 0..11 {
                let urgent = count == 2 || count == 5;
                let severity = if urgent {
                    TicketSeverity::P1
                } else {
                    TicketSeverity::P2
                };
                add_incident(plan, rng, day, "imports", severity);
            }
        },
    },
    Story {
        account: "acct-0171",
        signal: "ticket_spike",
        what_happens: "Tickets on one area pile up in the last week, angrier each day; one is escalated.",
        day: 175,
        ending: Ending::Alert,
        also: &[],
        number: 171,
        shape: shape(Segment::High, 140, 16, 18),
        bend: |plan, rng, day| {
            plan.no_tickets = day - 8..PERIOD_DAYS;
            for after in [0, 1, 1, 2, 2, 3, 3, 4, 4] {
                add_incident(plan, rng, day + after, "forecasting", TicketSeverity::P2);
            }
            plan.tickets[3].escalated_after_hours = Some(26);
        },
    },
    Story {
        account: "acct-0077",
        signal: "ticket_spike",
        what_happens: "An account that always asks a lot: six tickets a week, every week.",
        day: 0,
        ending: Ending::NoAlert,
        also: &[],
        number: 77,
        shape: shape(Segment::Low, 110, 12, 15),
        bend: |plan, rng, _| {
            plan.no_tickets = 0..PERIOD_DAYS;
            // It came to be so over its first weeks: nobody begins with a habit.
            const WEEKS_BEFORE_THE_HABIT: [usize; 15] =
                [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5];
            for week in 0..PERIOD_DAYS / 7 {
                let count = WEEKS_BEFORE_THE_HABIT
                    .get(week as usize)
                    .copied()
                    .unwrap_or(6);
                for weekday in [1, 3, 0, 2, 4, 1].into_iter().take(count) {
                    let ticket = support::draw_ticket(plan, week * 7 + weekday, rng);
                    plan.tickets.push(ticket);
                }
            }
        },
    },
    Story {
        account: "acct-0039",
        signal: "champion_quiet",
        what_happens: "The declared champion is gone and answers no mail, while the team works on.",
        day: 121,
        ending: Ending::Alert,
        also: &[],
        number: 39,
        shape: shape(Segment::High, 110, 12, 13),
        bend: |plan, _, day| {
            plan.team[0].role = Role::Champion;
            plan.team[0].days.end = day;
            plan.unanswered = vec![
                UnansweredMail { day: day + 8 },
                UnansweredMail { day: day + 15 },
            ];
        },
    },
    Story {
        account: "acct-0184",
        signal: "champion_quiet",
        what_happens: "An undeclared power user behind almost half of the work stops; colleagues go on.",
        day: 140,
        ending: Ending::Alert,
        also: &[],
        number: 184,
        shape: shape(Segment::Low, 80, 8, 11),
        bend: |plan, _, day| {
            let others: u32 = plan.team[1..].iter().map(|member| member.weight).sum();
            for member in &mut plan.team {
                member.role = Role::Member;
            }
            plan.team[0].weight = others * 9 / 11;
            plan.team[0].days.end = day;
            fades(plan, day, 1, 800);
        },
    },
    Story {
        account: "acct-0102",
        signal: "champion_quiet",
        what_happens: "A declared champion is on leave for a month and has said so.",
        day: 119,
        ending: Ending::NoAlert,
        also: &[],
        number: 102,
        shape: shape(Segment::High, 90, 10, 11),
        bend: |plan, _, day| {
            plan.team[0].role = Role::Champion;
            plan.team[0].away = day..day + 28;
            plan.absence_announced = true;
        },
    },
    Story {
        account: "acct-0066",
        signal: "inactive_seats",
        what_happens: "100 seats were bought, and 13 are used.",
        day: 0,
        ending: Ending::Alert,
        also: &[],
        number: 66,
        shape: shape(Segment::Low, 85, 13, 100),
        bend: |_, _, _| {},
    },
    Story {
        account: "acct-0205",
        signal: "inactive_seats",
        what_happens: "Half of a large team stops logging in within three weeks; the rest does more.",
        day: 126,
        ending: Ending::Alert,
        also: &["usage_drop"],
        number: 205,
        shape: shape(Segment::High, 260, 36, 40),
        bend: |plan, _, day| {
            for (index, member) in plan.team[18..36].iter_mut().enumerate() {
                member.days.end = day + index as u32 * 7 / 6;
            }
        },
    },
];

const fn shape(segment: Segment, weekly_actions: u32, users: u8, seats_purchased: u32) -> Shape {
    Shape {
        segment,
        weekly_actions,
        users,
        seats_purchased,
    }
}

/// The usual volume up to `day`, then down to `permille` of it within `over` days.
fn fades(plan: &mut Plan, day: u32, over: u32, permille: u32) {
    plan.volume = vec![
        Knot {
            day: 0,
            permille: 1000,
        },
        Knot {
            day: day - 1,
            permille: 1000,
        },
        Knot {
            day: day - 1 + over,
            permille,
        },
    ];
}

fn every_other_day(plan: &mut Plan) {
    for member in &mut plan.team {
        member.role = Role::Member;
    }
    plan.rhythm = Rhythm::Weekly([334, 0, 333, 0, 333, 0, 0]);
    plan.longest_rest_days = 1;
}

fn add_incident(
    plan: &mut Plan,
    rng: &mut Rng,
    day: u32,
    area: &'static str,
    severity: TicketSeverity,
) {
    let ticket = PlannedTicket {
        area,
        severity,
        category: "bug",
        sentiment_tenths: -4 - rng.below(6) as i8,
        ..support::draw_ticket(plan, day, rng)
    };
    plan.tickets.push(ticket);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{event::AccountNumber, fleet::ACCOUNTS};
    use std::collections::BTreeSet;

    #[test]
    fn each_story_has_an_account_of_its_own_in_the_fleet() {
        let numbers: BTreeSet<u16> = STORIES.iter().map(|story| story.number).collect();
        assert_eq!(numbers.len(), STORIES.len());
        assert!(numbers.iter().all(|number| (1..=ACCOUNTS).contains(number)));
        for story in STORIES {
            assert_eq!(story.account, AccountNumber(story.number).to_string());
        }
    }

    #[test]
    fn every_signal_is_told_and_three_must_stay_quiet() {
        let alerting: BTreeSet<&str> = STORIES
            .iter()
            .filter(|story| story.ending != Ending::NoAlert)
            .map(|story| story.signal)
            .collect();
        assert_eq!(
            alerting.into_iter().collect::<Vec<_>>(),
            [
                "champion_quiet",
                "inactive_seats",
                "ticket_spike",
                "usage_drop",
                "usage_silent"
            ]
        );
        assert_eq!(
            STORIES
                .iter()
                .filter(|story| story.ending == Ending::NoAlert)
                .count(),
            3
        );
    }

    #[test]
    fn a_story_is_one_sentence() {
        for story in STORIES {
            let text = story.what_happens;
            assert!(text.ends_with('.') && !text.contains('\n'), "{text}");
            assert_eq!(text.matches(". ").count(), 0, "{text}");
        }
    }
}
