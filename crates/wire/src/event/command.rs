//! `command`: a person acted on an alert.

use churnwatch_core::event::{Command, CommandAction, Fact};

use super::{
    account_record,
    field::{Check, Name, Time, Word},
};
use crate::{
    rejection::{RejectReason, Rejection},
    vocabulary::Verdict,
};

account_record! {
    /// A person's action on an alert, in the log like everything else, so that a
    /// replay includes it.
    CommandRecord, "command", {
        /// What to do.
        action: Word<'a, CommandAction>,
        /// The key of the alert it is about, as the alert's `alert_key` has it.
        alert_key: Name<'a, Box<str>>,
        /// Until when the alert is put off; `snooze` has to name it. RFC 3339 with
        /// an offset.
        until: Option<Time<'a>>,
        /// Who acts. 1 to 512 bytes.
        by: Name<'a, Box<str>>,
        /// What they think of the alert. Checked, not used yet.
        verdict: Option<Word<'a, Verdict>>,
    }
}

impl CommandRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        self.verdict.check("verdict")?;
        let action = self.action.check("action")?;
        let until = self.until.check("until")?;
        if action == CommandAction::Snooze && until.is_none() {
            return Err(Rejection::new(
                RejectReason::MissingField,
                "until is missing: a snooze has to say when it ends",
            ));
        }
        Ok(Fact::Command(Command {
            action,
            alert_key: self.alert_key.check("alert_key")?,
            until,
            by: self.by.check("by")?,
        }))
    }
}
