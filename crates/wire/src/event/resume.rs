//! `resume`: a person lets a partition go on that too many bad records stopped.
//!
//! About no account, like a clock, and written by `churnwatch resume`: see
//! [`encode_resume`].

use churnwatch_core::event::Resume;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Record, Shape,
    field::{Check, Name, NotKept},
    number::Whole,
};
use crate::rejection::{RejectReason, Rejection};

/// The largest whole number that every reader of JSON holds exactly, 2^53 - 1.
const LARGEST_OFFSET: i64 = (1 << 53) - 1;

/// Lets the partition it stands in go on, where too many records that could not
/// be used have stopped it. Write it with `churnwatch resume`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct ResumeRecord<'a> {
    /// What sort of record this is.
    #[schemars(with = "String", extend("const" = "resume"))]
    kind: Name<'a, NotKept>,
    /// Where the partition stands still: the offset of the first record that was
    /// not read. A stop at another place is not ended.
    offset: Whole<i64, 0, { LARGEST_OFFSET }>,
    /// Records below this offset are let through, however many of them cannot be
    /// used; from there on they are counted again.
    until: Whole<i64, 0, { LARGEST_OFFSET }>,
    /// Who decided it. 1 to 512 bytes.
    by: Name<'a, NotKept>,
}

impl<'a> Shape<'a> for ResumeRecord<'a> {
    fn check(&self) -> Result<Record, Rejection> {
        debug_assert_eq!(
            self.kind.as_str(),
            "resume",
            "read as the kind that it names"
        );
        let (offset, until) = (self.offset.check("offset")?, self.until.check("until")?);
        if until < offset {
            return Err(Rejection::new(
                RejectReason::OutOfRange,
                format!("until is {until} and offset is {offset}: nothing stands between them"),
            ));
        }
        self.by.check("by")?;
        Ok(Record::Resume(Resume { offset, until }))
    }
}

/// The value of a resume record.
pub fn encode_resume(resume: Resume, by: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct ResumeValue<'a> {
        kind: &'static str,
        offset: i64,
        until: i64,
        by: &'a str,
    }

    let value = ResumeValue {
        kind: "resume",
        offset: resume.offset,
        until: resume.until,
        by,
    };
    serde_json::to_vec(&value).expect("a struct of texts and numbers is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    #[test]
    fn a_written_resume_reads_back() {
        let resume = Resume {
            offset: 17,
            until: LARGEST_OFFSET,
        };
        let value = encode_resume(resume, "jo");
        assert_eq!(
            String::from_utf8_lossy(&value),
            r#"{"kind":"resume","offset":17,"until":9007199254740991,"by":"jo"}"#
        );
        assert_eq!(decode(&value), Ok(Record::Resume(resume)));
    }

    #[test]
    fn a_resume_that_lets_nothing_through_is_refused() {
        let value = br#"{"kind":"resume","offset":17,"until":16,"by":"jo"}"#;
        let rejection = decode(value).expect_err("it ends before it begins");
        assert_eq!(rejection.reason, RejectReason::OutOfRange);
    }
}
