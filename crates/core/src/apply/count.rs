//! Takes a fact into the account: what it counts, and where.

use crate::{
    account::{AccountState, MAX_RECENT_TICKETS, RecentTicket, SeatStatus},
    event::{ProfilePatch, SeatAction, SeatChange, Ticket, Usage},
    rules::Rules,
    signal::ticket_spike,
    time::{Day, EventTime},
};

pub(super) fn usage(account: &mut AccountState, rules: &Rules, usage: &Usage, day: Day) {
    let core = rules.is_core_action(usage, &account.history.profile);
    let volume = if rules.usage.volume_features.contains(usage.feature.as_str()) {
        usage.quantity
    } else {
        0.0
    };
    if !core && volume == 0.0 {
        return;
    }
    let features_before = account.history.features.len();
    let feature = if core {
        account.history.feature_index(&usage.feature)
    } else {
        None
    };
    account.touched.history |= account.history.features.len() != features_before;
    if day <= account.history.closed_through {
        if core {
            late_usage(account, usage, day, feature);
        }
        if volume > 0.0 {
            account.touched.history = true;
            account.history.volume_weeks.add(day.week(), volume as u32);
        }
        return;
    }
    let open = account.open_day(day);
    open.volume += volume;
    if !core {
        return;
    }
    open.core = open.core.saturating_add(1);
    if let Some(index) = feature {
        let index = index as u16;
        match open.features.iter_mut().find(|(known, _)| *known == index) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => open.features.push((index, 1)),
        }
    }
    if let Some(user) = &usage.user {
        account.user_acts(user, day, feature.map_or(0, |index| 1 << index));
    }
}

fn late_usage(account: &mut AccountState, usage: &Usage, day: Day, feature: Option<usize>) {
    account.touched.history = true;
    account.history.late_core_action(day);
    if let Some(index) = feature {
        account.history.features[index].weeks.add(day.week(), 1);
    }
    let Some(user) = &usage.user else { return };
    let (at, w) = account.history.clock_at(day);
    let seat = account.seat(user);
    seat.features |= feature.map_or(0, |index| 1 << index);
    if let Some(before) = seat.act_late(at, w) {
        account.history.user_was_active(before, day);
    }
}

pub(super) fn ticket(account: &mut AccountState, ticket: &Ticket, time: EventTime, day: Day) {
    let weight = ticket_spike::weight(ticket.action);
    if weight == 0 {
        return;
    }
    if day <= account.history.closed_through {
        account.touched.history = true;
        account.history.late_tickets(day, weight);
    } else {
        account.open_day(day).tickets += weight;
    }
    let tickets = &mut account.hot.tickets;
    let index = tickets.partition_point(|known| known.time <= time);
    tickets.insert(
        index,
        RecentTicket {
            time,
            ticket: ticket.ticket.clone(),
            severity: ticket.severity,
            area: ticket.area.clone(),
            sentiment: ticket.sentiment,
            weight,
        },
    );
    if tickets.len() > MAX_RECENT_TICKETS {
        tickets.remove(0);
    }
}

pub(super) fn profile(account: &mut AccountState, patch: &ProfilePatch) {
    account.touched.history = true;
    account.history.profile.merge(patch.clone());
}

pub(super) fn seat(account: &mut AccountState, change: &SeatChange) {
    if let Some(role) = change.role {
        account.set_role(&change.user, role);
    }
    let seat = account.seat(&change.user);
    match change.action {
        SeatAction::Invited if seat.status == SeatStatus::Activated => {}
        SeatAction::Invited => seat.status = SeatStatus::Invited,
        SeatAction::Activated => seat.status = SeatStatus::Activated,
        SeatAction::Deactivated => seat.status = SeatStatus::Deactivated,
        SeatAction::RoleChanged => {}
    }
}
