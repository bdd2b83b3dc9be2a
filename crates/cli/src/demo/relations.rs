//! Acts out what stands around the usage: the account's own record, its
//! renewals, its seats, and what is written to and heard from its first user.

use jiff::{Span, civil::Date};

use super::{
    calendar::{self, FIRST_DATE, Moment, PERIOD_DAYS, weekday},
    event::{ContactAction, ContactFact, Fact, Money, ProfileFact, SeatAction, UserNumber},
    names,
    plan::{Plan, Region},
    rng::Rng,
};

/// The account record, then the seats, then the contact with the first user.
pub(super) fn act_out(plan: &Plan, rng: &mut Rng, out: &mut Vec<(Moment, Fact)>) {
    tell_profile(plan, out);
    tell_seats(plan, rng, out);
    tell_contact(plan, rng, out);
}

fn tell_profile(plan: &Plan, out: &mut Vec<(Moment, Fact)>) {
    let started = match plan.days_signed_before {
        Some(days) => FIRST_DATE.saturating_sub(Span::new().days(i64::from(days))),
        None => calendar::date(plan.first_day),
    };
    let first_day = calendar::date(plan.first_day);
    let mut renewals = renewals(started, plan.term_months).filter(|date| *date > first_day);
    let mut renewal = renewals.next();
    let profile = ProfileFact {
        name: Some(names::company(plan.number.0)),
        segment: Some(plan.segment),
        plan: Some(plan.plan),
        region: Some(plan.region),
        started_at: Some(format!("{started}T00:00:00Z")),
        renewal_date: renewal.map(|date| date.to_string()),
        term_months: Some(plan.term_months),
        mrr: Some(Money {
            amount: plan.mrr_minor_units,
            currency: plan.region.currency(),
        }),
        seats_purchased: Some(plan.seats_purchased),
        owner: Some(names::owner(plan.segment, plan.region)),
    };
    out.push((
        Moment::on(plan.first_day, 0),
        Fact::Account(Box::new(profile)),
    ));
    for day in plan.first_day..PERIOD_DAYS {
        if renewal == Some(calendar::date(day)) {
            renewal = renewals.next();
            let patch = ProfileFact {
                renewal_date: renewal.map(|date| date.to_string()),
                ..ProfileFact::default()
            };
            out.push((Moment::on(day, 9 * 3600), Fact::Account(Box::new(patch))));
        }
    }
}

/// The dates at which a contract of so many months comes round again.
fn renewals(started: Date, term_months: u32) -> impl Iterator<Item = Date> {
    (1_i32..).map(move |term| {
        let months = i64::from(term) * i64::from(term_months);
        started.saturating_add(Span::new().months(months))
    })
}

fn tell_seats(plan: &Plan, rng: &mut Rng, out: &mut Vec<(Moment, Fact)>) {
    let mut tell = |at: Moment, user: UserNumber, action: SeatAction, role| {
        out.push((at, Fact::Seat { user, action, role }));
    };
    for member in &plan.team {
        // Whoever was there before the period comes with its first snapshot.
        let invited = Moment::on(member.days.start, 0);
        tell(invited, member.number, SeatAction::Invited, member.role);
        let came_once = member.weight > 0 || rng.chance(400);
        if came_once {
            tell(invited, member.number, SeatAction::Activated, member.role);
        }
        if member.seat_taken_back && member.days.end < PERIOD_DAYS {
            let at = Moment::on(member.days.end, 8 * 3600);
            tell(at, member.number, SeatAction::Deactivated, member.role);
        }
    }
}

fn tell_contact(plan: &Plan, rng: &mut Rng, out: &mut Vec<(Moment, Fact)>) {
    let first_user = &plan.team[0];
    let morning = (plan.region.opens_at_hour() + 2) * 3600;
    let mut tell = |at: Moment, action, thread, until| {
        let user = first_user.number;
        out.push((
            at,
            Fact::Contact(ContactFact {
                user,
                action,
                thread,
                until,
            }),
        ));
    };
    let mut thread = 0;
    for (index, day) in contact_days(plan, rng).into_iter().enumerate() {
        if index % 4 == 3 {
            tell(Moment::on(day, morning), ContactAction::Meeting, None, None);
            continue;
        }
        thread += 1;
        let sent = Moment::on(day, morning + rng.below(1800));
        let answered = sent.plus_seconds(rng.between(1800, 60 * 3600));
        tell(sent, ContactAction::MailSent, Some(thread), None);
        tell(answered, ContactAction::MailAnswered, Some(thread), None);
    }
    for mail in &plan.unanswered {
        thread += 1;
        tell(
            Moment::on(mail.day, morning),
            ContactAction::MailSent,
            Some(thread),
            None,
        );
    }
    if plan.absence_announced {
        let back = Moment::on(first_user.away.end, 0);
        let leaves = Moment::on(first_user.away.start, morning);
        tell(leaves, ContactAction::OutOfOffice, None, Some(back));
    }
}

/// Working days on which the first user is written to or met, and stays long
/// enough to answer within the period.
fn contact_days(plan: &Plan, rng: &mut Rng) -> Vec<u32> {
    const DAYS_TO_ANSWER: u32 = 5;
    let Some(gap) = plan.days_between_mails else {
        return Vec::new();
    };
    let first_user = &plan.team[0];
    let mut days = Vec::new();
    let mut day = plan.first_day + 1 + rng.below(gap);
    while day + DAYS_TO_ANSWER < PERIOD_DAYS {
        let can_answer = (day..day + DAYS_TO_ANSWER).all(|day| first_user.works_on(day));
        if weekday(day) < 5 && can_answer {
            days.push(day);
        }
        day += gap / 2 + rng.below(gap);
    }
    days
}

impl Region {
    /// Currency of the account's contract.
    const fn currency(self) -> &'static str {
        match self {
            Self::Emea => "EUR",
            Self::Amer | Self::Apac => "USD",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::event::AccountNumber;

    fn facts(plan: &Plan) -> Vec<(Moment, Fact)> {
        let mut out = Vec::new();
        act_out(plan, &mut Rng::new(2, 1), &mut out);
        out
    }

    fn renewal_dates(plan: &Plan) -> Vec<String> {
        facts(plan)
            .into_iter()
            .filter_map(|(_, fact)| match fact {
                Fact::Account(profile) => profile.renewal_date,
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_renewal_lies_ahead_and_moves_on_when_it_is_reached() {
        let mut plan = Plan::draw(AccountNumber(1), None, &mut Rng::new(1, 1));
        plan.first_day = 0;
        plan.days_signed_before = Some(300);
        plan.term_months = 12;
        assert_eq!(renewal_dates(&plan), ["2026-03-11", "2027-03-11"]);
        plan.term_months = 24;
        assert_eq!(renewal_dates(&plan), ["2027-03-11"]);
    }

    #[test]
    fn every_ordinary_mail_is_answered_within_the_period() {
        for stream in 0..100 {
            let plan = Plan::draw(AccountNumber(1), None, &mut Rng::new(1, stream));
            let mut open = 0_i32;
            for (time, fact) in facts(&plan) {
                if let Fact::Contact(contact) = fact {
                    open += i32::from(contact.action == ContactAction::MailSent);
                    open -= i32::from(contact.action == ContactAction::MailAnswered);
                    assert!(time.is_told());
                }
            }
            assert_eq!(open, 0, "stream {stream}");
        }
    }
    #[test]
    fn nobody_is_written_to_who_is_away_or_gone() {
        for stream in 0..100 {
            let mut plan = Plan::draw(AccountNumber(1), None, &mut Rng::new(1, stream));
            plan.first_day = 0;
            plan.days_between_mails = Some(10);
            plan.team[0].days = 0..150;
            plan.team[0].away = 60..90;
            let days = contact_days(&plan, &mut Rng::new(2, stream));
            assert!(!days.is_empty());
            assert!(
                !days.iter().any(|day| (60..90).contains(day) || *day >= 150),
                "stream {stream}: {days:?}"
            );
        }
    }
}
