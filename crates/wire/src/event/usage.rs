//! `usage`: somebody used the product.

use churnwatch_core::{
    event::{Actor, Fact, Usage},
    ids::{Feature, UserId},
};

use super::{
    account_record,
    field::{Check, Name, NotKept, Word},
    number::Real,
};
use crate::rejection::Rejection;

account_record! {
    /// Somebody, or something, used a feature of the product once.
    UsageRecord, "usage", {
        /// The user, where known. 1 to 512 bytes.
        user_id: Option<Name<'a, UserId>>,
        /// What was used: the name of the event. 1 to 512 bytes.
        feature: Name<'a, Feature>,
        /// How much, in the feature's own unit, 0 to 1e12; 1 where absent. Summed
        /// as business volume for the features configured as such.
        quantity: Option<Real<0, 1_000_000_000_000>>,
        /// The session it belongs to. 1 to 512 bytes. Checked, not used yet.
        session_id: Option<Name<'a, NotKept>>,
        /// A person, or a service account or API key; `person` where absent. A
        /// service never counts as a core action.
        actor: Option<Word<'a, Actor>>,
    }
}

impl UsageRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        self.session_id.check("session_id")?;
        Ok(Fact::Usage(Usage {
            user: self.user_id.check("user_id")?,
            feature: self.feature.check("feature")?,
            quantity: self.quantity.check("quantity")?.unwrap_or(1.0),
            actor: self.actor.check("actor")?.unwrap_or_default(),
        }))
    }
}
