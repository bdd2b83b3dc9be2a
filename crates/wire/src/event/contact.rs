//! `contact`: the vendor and a contact met, wrote, or lost sight of each other.

use churnwatch_core::{
    event::{ContactAction, ContactTouch, Fact, Role},
    ids::{ContactId, UserId},
};

use super::{
    account_record,
    field::{Check, Name, NotKept, Time, Word},
};
use crate::rejection::Rejection;

account_record! {
    /// Something passed between the vendor and one person of the account.
    ContactRecord, "contact", {
        /// The contact, as the CRM names it. 1 to 512 bytes.
        contact_id: Name<'a, ContactId>,
        /// What the contact is to the account; unchanged where absent.
        role: Option<Word<'a, Role>>,
        /// The contact's user, where the contact also uses the product. 1 to 512
        /// bytes.
        user_id: Option<Name<'a, UserId>>,
        /// The conversation it belongs to. 1 to 512 bytes. Checked, not used yet.
        thread: Option<Name<'a, NotKept>>,
        /// What happened.
        action: Word<'a, ContactAction>,
        /// Until when an absence lasts: RFC 3339 with an offset.
        until: Option<Time<'a>>,
    }
}

impl ContactRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        self.thread.check("thread")?;
        Ok(Fact::Contact(ContactTouch {
            contact: self.contact_id.check("contact_id")?,
            role: self.role.check("role")?,
            user: self.user_id.check("user_id")?,
            action: self.action.check("action")?,
            until: self.until.check("until")?,
        }))
    }
}
