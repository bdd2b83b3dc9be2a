//! `ticket`: a support ticket moved.

use churnwatch_core::{
    event::{Fact, Ticket, TicketAction, TicketSeverity},
    ids::{Feature, TicketId, UserId},
};

use super::{
    account_record,
    field::{Check, Name, NotKept, Word},
    number::Real,
};
use crate::{rejection::Rejection, vocabulary::Party};

account_record! {
    /// A support ticket was opened, moved on, or closed.
    TicketRecord, "ticket", {
        /// The ticket, as the help desk names it. 1 to 512 bytes.
        ticket_id: Name<'a, TicketId>,
        /// What happened to it.
        action: Word<'a, TicketAction>,
        /// How bad it is, P1 (production down) to P4 (minor); P3 where absent.
        severity: Option<Word<'a, TicketSeverity>>,
        /// The product area it is about. 1 to 512 bytes.
        area: Option<Name<'a, Feature>>,
        /// The feature it is about. 1 to 512 bytes. Checked, not used yet.
        feature: Option<Name<'a, NotKept>>,
        /// The sort of request, such as `how_to` or `bug`. 1 to 512 bytes. Checked,
        /// not used yet.
        category: Option<Name<'a, NotKept>>,
        /// The tone of whoever asked, -1 (angry) to 1 (delighted).
        sentiment: Option<Real<-1, 1>>,
        /// The user who asked; shown in evidence. 1 to 512 bytes.
        requester_id: Option<Name<'a, UserId>>,
        /// Who has to move for the ticket to go on. Checked, not used yet.
        waiting_on: Option<Word<'a, Party>>,
    }
}

impl TicketRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        self.feature.check("feature")?;
        self.category.check("category")?;
        self.waiting_on.check("waiting_on")?;
        Ok(Fact::Ticket(Ticket {
            ticket: self.ticket_id.check("ticket_id")?,
            action: self.action.check("action")?,
            severity: self
                .severity
                .check("severity")?
                .unwrap_or(TicketSeverity::P3),
            area: self.area.check("area")?,
            sentiment: self.sentiment.check("sentiment")?,
            requester: self.requester_id.check("requester_id")?,
        }))
    }
}
