//! Acts out a plan's support tickets: the ordinary ones, a few a quarter, and
//! those its story tells.

use super::{
    calendar::{Moment, PERIOD_DAYS, weekday},
    event::{Fact, TicketAction, TicketFact, TicketSeverity, UserNumber},
    names,
    plan::{Plan, PlannedTicket},
    rng::Rng,
};

/// Ordinary tickets of a healthy account lie at least so many days apart: more
/// than a week, so that chance alone piles nothing up.
const ORDINARY_GAP_DAYS: u32 = 8;

/// All ticket events of the account, ticket by ticket.
pub(super) fn act_out(plan: &Plan, rng: &mut Rng, out: &mut Vec<(Moment, Fact)>) {
    let mut tickets = ordinary_tickets(plan, rng);
    tickets.extend(plan.tickets.iter().cloned());
    tickets.sort_by_key(|ticket| (ticket.day, ticket.second));
    let askers: Vec<UserNumber> = plan
        .team
        .iter()
        .filter(|member| member.weight > 0 && !member.seat_taken_back)
        .map(|member| member.number)
        .collect();
    for (index, ticket) in tickets.iter().enumerate() {
        let requester = askers[rng.below(askers.len() as u32) as usize];
        live_out(ticket, index as u16 + 1, requester, rng, out);
    }
}

fn ordinary_tickets(plan: &Plan, rng: &mut Rng) -> Vec<PlannedTicket> {
    let mut tickets = Vec::new();
    let spread = plan.days_between_tickets.saturating_sub(ORDINARY_GAP_DAYS) * 2;
    let mut day = plan.first_day + rng.below(plan.days_between_tickets);
    while day < PERIOD_DAYS {
        if weekday(day) < 5 && !plan.no_tickets.contains(&day) {
            tickets.push(draw_ticket(plan, day, rng));
        }
        day += ORDINARY_GAP_DAYS + rng.below(spread.max(1));
    }
    tickets
}

/// An everyday ticket within office hours.
pub(super) fn draw_ticket(plan: &Plan, day: u32, rng: &mut Rng) -> PlannedTicket {
    let severities = [TicketSeverity::P2, TicketSeverity::P3, TicketSeverity::P4];
    PlannedTicket {
        day,
        second: plan.region.opens_at_hour() * 3600 + rng.below(9 * 3600),
        severity: severities[rng.weighted([8, 62, 30].into_iter())],
        area: names::AREAS[rng.below(names::AREAS.len() as u32) as usize],
        category: names::CATEGORIES[rng.weighted([4, 2, 2, 2].into_iter())],
        sentiment_tenths: rng.between(0, 7) as i8 - 2,
        hours_to_resolve: rng.between(5, 96),
        escalated_after_hours: None,
    }
}

fn live_out(
    ticket: &PlannedTicket,
    number: u16,
    requester: UserNumber,
    rng: &mut Rng,
    out: &mut Vec<(Moment, Fact)>,
) {
    let opened = Moment::on(ticket.day, ticket.second);
    let mut tell = |at: Moment, action: TicketAction| {
        let sentiment_tenths = (action == TicketAction::Opened).then_some(ticket.sentiment_tenths);
        out.push((
            at,
            Fact::Ticket(TicketFact {
                ticket: number,
                action,
                severity: ticket.severity,
                area: ticket.area,
                category: ticket.category,
                sentiment_tenths,
                requester,
            }),
        ));
    };
    tell(opened, TicketAction::Opened);
    tell(
        opened.plus_seconds(rng.between(600, 4 * 3600)),
        TicketAction::FirstResponse,
    );
    if let Some(hours) = ticket.escalated_after_hours {
        tell(opened.plus_seconds(hours * 3600), TicketAction::Escalated);
    }
    tell(
        opened.plus_seconds(ticket.hours_to_resolve * 3600),
        TicketAction::Resolved,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::event::AccountNumber;

    #[test]
    fn ordinary_tickets_never_share_a_week() {
        for stream in 0..200 {
            let plan = Plan::draw(AccountNumber(1), None, &mut Rng::new(1, stream));
            let days: Vec<u32> = ordinary_tickets(&plan, &mut Rng::new(2, stream))
                .iter()
                .map(|ticket| ticket.day)
                .collect();
            assert!(
                days.windows(2).all(|pair| pair[1] - pair[0] > 7),
                "stream {stream}"
            );
        }
    }

    #[test]
    fn a_ticket_is_opened_answered_escalated_and_resolved_in_this_order() {
        let plan = Plan::draw(AccountNumber(1), None, &mut Rng::new(1, 1));
        let ticket = PlannedTicket {
            escalated_after_hours: Some(30),
            hours_to_resolve: 50,
            ..draw_ticket(&plan, 10, &mut Rng::new(1, 2))
        };
        let mut out = Vec::new();
        live_out(&ticket, 1, UserNumber(1), &mut Rng::new(1, 3), &mut out);
        let actions: Vec<TicketAction> = out
            .iter()
            .filter_map(|(_, fact)| match fact {
                Fact::Ticket(ticket) => Some(ticket.action),
                _ => None,
            })
            .collect();
        use TicketAction::{Escalated, FirstResponse, Opened, Resolved};
        assert_eq!(actions, [Opened, FirstResponse, Escalated, Resolved]);
        assert!(out.is_sorted_by_key(|(time, _)| *time));
    }
}
