//! How one account lives through the period: drawn at random as a healthy
//! one, then bent by its story.

use std::ops::Range;

use serde::Serialize;

use super::{
    calendar::{self, PERIOD_DAYS, weekday},
    event::{AccountNumber, Role, TicketSeverity, UserNumber},
    names,
    rng::Rng,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Segment {
    High,
    Low,
    Tech,
}

/// Where an account works: decides its office hours, its currency and whether
/// it keeps Easter. Office hours lie within one UTC day everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    Emea,
    Amer,
    Apac,
}

impl Region {
    /// The UTC hour at which the ten office hours begin.
    pub(super) const fn opens_at_hour(self) -> u32 {
        match self {
            Self::Emea => 7,
            Self::Amer => 13,
            Self::Apac => 0,
        }
    }
}

/// What a story fixes before the rest of the plan is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(super) segment: Segment,
    /// Actions of a usual week, all users together.
    pub(super) weekly_actions: u32,
    pub(super) users: u8,
    pub(super) seats_purchased: u32,
}

/// On which days the work is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rhythm {
    /// Permille of a week's actions by weekday, Monday first.
    Weekly([u32; 7]),
    /// Only on the last so many working days of each month, each with a third
    /// of a "week's" actions.
    MonthEnd(usize),
}

/// From this day on, this share of the usual volume; straight lines between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knot {
    pub(super) day: u32,
    pub(super) permille: u32,
}

/// A person with a seat.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) number: UserNumber,
    pub(super) role: Role,
    /// Share of the team's actions, relative to the others; 0 for somebody who
    /// was invited and never came.
    pub(super) weight: u32,
    /// Days of the period on which this person works in the product.
    pub(super) days: Range<u32>,
    /// Days within these on which they do not.
    pub(super) away: Range<u32>,
    /// The seat is taken back when the days end.
    pub(super) seat_taken_back: bool,
    /// What they use, most used first: indices into the features.
    pub(super) features: Vec<usize>,
}

impl Member {
    pub(super) fn works_on(&self, day: u32) -> bool {
        self.weight > 0 && self.days.contains(&day) && !self.away.contains(&day)
    }
}

/// A ticket to be opened, and how it goes on.
#[derive(Debug, Clone)]
pub(super) struct PlannedTicket {
    pub(super) day: u32,
    /// Seconds into the day.
    pub(super) second: u32,
    pub(super) severity: TicketSeverity,
    pub(super) area: &'static str,
    pub(super) category: &'static str,
    /// In tenths, -10 to 10.
    pub(super) sentiment_tenths: i8,
    pub(super) hours_to_resolve: u32,
    /// Hours after opening at which the account asks for a higher level.
    pub(super) escalated_after_hours: Option<u32>,
}

/// A mail to the team's first user that gets no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnansweredMail {
    pub(super) day: u32,
}

/// Everything that will happen to one account.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) number: AccountNumber,
    pub(super) segment: Segment,
    pub(super) region: Region,
    /// Price list entry.
    pub(super) plan: &'static str,
    /// Days from the start of the contract to the first day of the period;
    /// none for an account that starts within it.
    pub(super) days_signed_before: Option<u32>,
    /// The day of the account's first record.
    pub(super) first_day: u32,
    pub(super) term_months: u32,
    pub(super) mrr_minor_units: u32,
    pub(super) seats_purchased: u32,
    pub(super) weekly_actions: u32,
    pub(super) rhythm: Rhythm,
    /// The account is never without an action for more than so many days in a
    /// row, but for days on which it never works: chance alone must not make a
    /// silence.
    pub(super) longest_rest_days: u32,
    pub(super) volume: Vec<Knot>,
    pub(super) team: Vec<Member>,
    /// A job of another system that writes a few actions each night.
    pub(super) nightly_sync: bool,
    /// Mean days between ordinary tickets.
    pub(super) days_between_tickets: u32,
    /// No ordinary tickets on these days.
    pub(super) no_tickets: Range<u32>,
    pub(super) tickets: Vec<PlannedTicket>,
    /// Days between mails to the first user; none where nobody writes.
    pub(super) days_between_mails: Option<u32>,
    pub(super) unanswered: Vec<UnansweredMail>,
    /// The first user's absence has been announced.
    pub(super) absence_announced: bool,
}

/// Days after which a team member who works in the product does so again,
/// whatever chance says: shorter than any silence that asks for attention.
pub(super) const USER_RESTS_AT_MOST_DAYS: u32 = 7;

const QUIET_WEEKENDS: [u32; 7] = [195, 212, 205, 195, 158, 18, 17];

impl Plan {
    /// Draws a healthy account, of the shape its story asks for if it has one.
    pub(super) fn draw(number: AccountNumber, shape: Option<Shape>, rng: &mut Rng) -> Self {
        let region =
            [Region::Emea, Region::Amer, Region::Apac][rng.weighted([45, 35, 20].into_iter())];
        let is_told = shape.is_some();
        let shape = shape.unwrap_or_else(|| draw_shape(rng));
        let starts_within = !is_told && rng.chance(80);
        let first_day = if starts_within {
            rng.between(2, 14) * 7 + rng.below(4)
        } else {
            0
        };
        let days_signed_before = (!starts_within).then(|| rng.between(200, 1500));
        let term_months = match shape.segment {
            Segment::High => [12, 24, 36][rng.weighted([5, 3, 2].into_iter())],
            Segment::Low => 12,
            Segment::Tech => [1, 12][rng.weighted([4, 6].into_iter())],
        };
        let (base_fee, seat_price) = match shape.segment {
            Segment::High => (240_000, rng.between(11, 16) * 500),
            Segment::Low => (29_000, rng.between(8, 12) * 500),
            Segment::Tech => (4_900, rng.between(5, 8) * 500),
        };
        let volume = if starts_within {
            vec![
                Knot {
                    day: first_day,
                    permille: 250,
                },
                Knot {
                    day: first_day + 42,
                    permille: 1000,
                },
            ]
        } else {
            vec![
                Knot {
                    day: 0,
                    permille: 1000,
                },
                Knot {
                    day: PERIOD_DAYS,
                    permille: rng.between(920, 1120),
                },
            ]
        };
        let mut team = draw_team(&shape, first_day, starts_within, rng);
        if !is_told {
            draw_successor(&mut team, shape.seats_purchased, rng);
        }
        Self {
            number,
            segment: shape.segment,
            region,
            plan: match shape.segment {
                Segment::High => "enterprise",
                Segment::Low => "business",
                Segment::Tech => "starter",
            },
            days_signed_before,
            first_day,
            term_months,
            mrr_minor_units: base_fee + shape.seats_purchased * seat_price,
            seats_purchased: shape.seats_purchased,
            weekly_actions: shape.weekly_actions,
            rhythm: Rhythm::Weekly(QUIET_WEEKENDS),
            longest_rest_days: (110 / shape.weekly_actions).clamp(1, 6),
            volume,
            team,
            nightly_sync: !is_told && rng.chance(100),
            days_between_tickets: match shape.segment {
                Segment::High => rng.between(15, 35),
                Segment::Low => rng.between(25, 60),
                Segment::Tech => rng.between(40, 100),
            },
            no_tickets: 0..0,
            tickets: Vec::new(),
            days_between_mails: match shape.segment {
                Segment::High => Some(rng.between(14, 24)),
                Segment::Low => rng.chance(300).then(|| rng.between(25, 40)),
                Segment::Tech => None,
            },
            unanswered: Vec::new(),
            absence_announced: false,
        }
    }

    /// How many actions chance may bring on a day, in millionths, before the
    /// week's own ups and downs.
    pub(super) fn expected_millionths(&self, day: u32) -> u64 {
        let share = match self.rhythm {
            Rhythm::Weekly(permille) => permille[weekday(day)],
            Rhythm::MonthEnd(days) if calendar::is_month_end(day, days) => 333,
            Rhythm::MonthEnd(_) => 0,
        };
        let holiday = match self.region {
            Region::Emea | Region::Amer => calendar::easter_permille(day),
            Region::Apac => 1000,
        };
        let permille_of_a_week = u64::from(self.weekly_actions) * u64::from(share);
        // A thousandth of an action is 1000 millionths; two more factors in
        // permille divide by a million.
        permille_of_a_week * 1000 * u64::from(holiday) * u64::from(self.volume_permille(day))
            / 1_000_000
    }

    fn volume_permille(&self, day: u32) -> u32 {
        let after = self.volume.partition_point(|knot| knot.day <= day);
        match (
            after.checked_sub(1).map(|i| self.volume[i]),
            self.volume.get(after),
        ) {
            (None, _) => 0,
            (Some(last), None) => last.permille,
            (Some(from), Some(to)) => {
                let (done, all) = (day - from.day, to.day - from.day);
                (from.permille * (all - done) + to.permille * done) / all
            }
        }
    }
}

fn draw_shape(rng: &mut Rng) -> Shape {
    let segment =
        [Segment::High, Segment::Low, Segment::Tech][rng.weighted([15, 50, 35].into_iter())];
    // (relative weight, fewest, most actions a week)
    let bands: [(u32, u32, u32); 3] = match segment {
        Segment::High => [(5, 60, 120), (4, 120, 220), (2, 220, 480)],
        Segment::Low => [(4, 12, 30), (4, 30, 70), (2, 70, 140)],
        Segment::Tech => [(3, 5, 12), (4, 12, 25), (3, 25, 60)],
    };
    let (_, fewest, most) = bands[rng.weighted(bands.iter().map(|band| band.0))];
    let weekly_actions = rng.between(fewest, most);
    let users = (weekly_actions / rng.between(6, 12)).clamp(2, 45);
    let percent_of_seats_used = match segment {
        Segment::High => rng.between(84, 98),
        Segment::Low => rng.between(64, 95),
        Segment::Tech => rng.between(55, 95),
    };
    Shape {
        segment,
        weekly_actions,
        users: users as u8,
        seats_purchased: users * 100 / percent_of_seats_used,
    }
}

fn draw_team(shape: &Shape, first_day: u32, grows: bool, rng: &mut Rng) -> Vec<Member> {
    let names_a_champion = rng.chance(550);
    let mut team: Vec<Member> = (1..=shape.users)
        .map(|number| {
            let leads = number == 1;
            let role = match number {
                1 if names_a_champion => Role::Champion,
                2 if names_a_champion && shape.users >= 6 => Role::Admin,
                _ => Role::Member,
            };
            let joins = if grows && number > 2 {
                first_day + rng.below(28)
            } else {
                first_day
            };
            Member {
                number: UserNumber(number),
                role,
                weight: if leads { 24 } else { rng.between(8, 14) },
                days: joins..PERIOD_DAYS,
                away: 0..0,
                seat_taken_back: false,
                features: draw_features(if leads { 8 } else { rng.between(3, 6) }, rng),
            }
        })
        .collect();
    let unused = shape.seats_purchased.saturating_sub(u32::from(shape.users)) / 2;
    for extra in 0..unused.min(40) as u8 {
        team.push(Member {
            number: UserNumber(shape.users + 1 + extra),
            role: Role::Member,
            weight: 0,
            days: first_day..PERIOD_DAYS,
            away: 0..0,
            seat_taken_back: false,
            features: Vec::new(),
        });
    }
    team
}

/// In some larger teams somebody leaves, and somebody else takes the seat the
/// next day.
fn draw_successor(team: &mut Vec<Member>, seats_purchased: u32, rng: &mut Rng) {
    let active = team.iter().filter(|member| member.weight > 0).count();
    if active < 8 || team.len() as u32 > seats_purchased || !rng.chance(250) {
        return;
    }
    let change_day = rng.between(40, 150);
    let leaver = &mut team[active - 1];
    if leaver.days.start + 14 > change_day {
        return;
    }
    leaver.days.end = change_day;
    leaver.seat_taken_back = true;
    let successor = Member {
        number: UserNumber(team.len() as u8 + 1),
        days: change_day + 1..PERIOD_DAYS,
        seat_taken_back: false,
        ..team[active - 1].clone()
    };
    team.push(successor);
}

fn draw_features(count: u32, rng: &mut Rng) -> Vec<usize> {
    let mut features: Vec<usize> = (0..names::FEATURES.len()).collect();
    for index in 0..features.len() - 1 {
        let other = index + rng.below((features.len() - index) as u32) as usize;
        features.swap(index, other);
    }
    features.truncate(count as usize);
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shape: Shape) -> Plan {
        Plan::draw(AccountNumber(1), Some(shape), &mut Rng::new(1, 1))
    }

    const SHAPE: Shape = Shape {
        segment: Segment::Low,
        weekly_actions: 100,
        users: 10,
        seats_purchased: 14,
    };

    #[test]
    fn a_week_holds_its_actions_and_the_weekend_few_of_them() {
        let mut plan = plan(SHAPE);
        plan.volume = vec![Knot {
            day: 0,
            permille: 1000,
        }];
        let week: u64 = (7..14).map(|day| plan.expected_millionths(day)).sum();
        assert_eq!(week, 100_000_000);
        assert!(plan.expected_millionths(12) * 8 < plan.expected_millionths(8));
    }

    #[test]
    fn volume_runs_straight_between_its_knots() {
        let mut plan = plan(SHAPE);
        plan.volume = vec![
            Knot {
                day: 10,
                permille: 1000,
            },
            Knot {
                day: 20,
                permille: 500,
            },
            Knot {
                day: 21,
                permille: 0,
            },
        ];
        let levels: Vec<u32> = [9, 10, 15, 20, 21, 181]
            .map(|day| plan.volume_permille(day))
            .into();
        assert_eq!(levels, [0, 1000, 750, 500, 0, 0]);
    }

    #[test]
    fn a_month_end_account_works_on_three_days_a_month() {
        let mut plan = plan(SHAPE);
        plan.rhythm = Rhythm::MonthEnd(3);
        let days = (0..PERIOD_DAYS)
            .filter(|&day| plan.expected_millionths(day) > 0)
            .count();
        assert_eq!(days, 18);
    }

    #[test]
    fn a_drawn_account_has_seats_for_its_team() {
        for stream in 0..500 {
            let plan = Plan::draw(AccountNumber(1), None, &mut Rng::new(3, stream));
            let busiest = (0..PERIOD_DAYS)
                .map(|day| {
                    plan.team
                        .iter()
                        .filter(|member| member.days.contains(&day))
                        .count()
                })
                .max();
            assert!(
                busiest <= Some(plan.seats_purchased as usize),
                "stream {stream}"
            );
        }
    }
}
