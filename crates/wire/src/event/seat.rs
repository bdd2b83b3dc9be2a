//! `seat`: a seat was given, taken, or changed its role.

use churnwatch_core::{
    event::{Fact, Role, SeatAction, SeatChange},
    ids::UserId,
};

use super::{
    account_record,
    field::{Check, Name, Word},
};
use crate::rejection::Rejection;

account_record! {
    /// A user's seat was given, taken, or changed its role.
    SeatRecord, "seat", {
        /// Whose seat. 1 to 512 bytes.
        user_id: Name<'a, UserId>,
        /// What happened to it.
        action: Word<'a, SeatAction>,
        /// The user's role from now on; unchanged where absent.
        role: Option<Word<'a, Role>>,
    }
}

impl SeatRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        Ok(Fact::Seat(SeatChange {
            user: self.user_id.check("user_id")?,
            action: self.action.check("action")?,
            role: self.role.check("role")?,
        }))
    }
}
