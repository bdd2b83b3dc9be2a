//! What is written beside a committed offset: the place in the changelog that
//! belongs to it, and the digest of the state there.
//!
//! ```text
//! cw1;epoch=12;changelog=345;digest=00112233445566778899aabbccddeeff
//! cw2;epoch=12;changelog=345;digest=00112233445566778899aabbccddeeff;log=lmZnhhJ1RdGRMtaRTLBtVg;state=0nzRL0Z9QJGZMpGXPzVbTA@0
//! ```
//!
//! `cw1` and `cw2` are versions. The second also names the topics in which all
//! this counts, by their ids, and the first offset of the changelog's partition;
//! the first is written where brokers give no ids. An offset that somebody else committed (an operator
//! who reset the group, say) has another text or none, and then no mark.

use churnwatch_pipeline::source::{ChangelogMark, TopicIds};

/// Without the ids of the topics.
const WITHOUT_TOPICS: &str = "cw1";
/// With them.
const WITH_TOPICS: &str = "cw2";

/// A text that claims to be ours and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Written by a later version.
    #[error("the committed offset was written by a newer version (\"{0}\"): upgrade this process")]
    Newer(String),
    /// Damaged.
    #[error("the text beside the committed offset is damaged: \"{0}\"")]
    Damaged(String),
}

/// The text for a mark in these topics.
pub fn format(mark: &ChangelogMark, topics: &TopicIds) -> String {
    let ChangelogMark {
        epoch,
        changelog_offset,
        digest,
    } = mark;
    let position = format!("epoch={epoch};changelog={changelog_offset};digest={digest:032x}");
    match topics {
        TopicIds {
            log: Some(log),
            changelog: Some(state),
        } => format!("{WITH_TOPICS};{position};log={log};state={state}"),
        _ => format!("{WITHOUT_TOPICS};{position}"),
    }
}

/// The topics in a text; none where it names none, or is somebody else's.
pub(crate) fn topics(text: &str) -> TopicIds {
    let Some(fields) = text.strip_prefix(WITH_TOPICS) else {
        return TopicIds::default();
    };
    let value = |name: &str| {
        let mut fields = fields.split(';');
        fields.find_map(|field| Some(field.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    };
    TopicIds {
        log: value("log"),
        changelog: value("state"),
    }
}

/// The mark in a text; `None` if the text is somebody else's.
///
/// # Errors
/// When the text is of a newer version or damaged: going on without a mark
/// would rebuild or lose state without a word.
pub fn parse(text: &str) -> Result<Option<ChangelogMark>, MetadataError> {
    let mut fields = text.split(';');
    let with_topics = match fields.next() {
        Some(WITHOUT_TOPICS) => false,
        Some(WITH_TOPICS) => true,
        Some(version) if is_later_version(version) => {
            return Err(MetadataError::Newer(version.to_owned()));
        }
        _ => return Ok(None),
    };
    let mut value = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
    let mark = (|| {
        let epoch = value("epoch")?.parse().ok()?;
        let changelog_offset: i64 = value("changelog")?.parse().ok()?;
        let digest = value("digest").filter(|hex| hex.len() == 32)?;
        let digest = u128::from_str_radix(digest, 16).ok()?;
        if with_topics {
            value("log").filter(|id| !id.is_empty())?;
            let (_, first) = value("state")?.split_once('@')?;
            first.parse::<u64>().ok()?;
        }
        (changelog_offset >= 0).then_some(ChangelogMark {
            epoch,
            changelog_offset,
            digest,
        })
    })();
    match (mark, fields.next()) {
        (Some(mark), None) => Ok(Some(mark)),
        _ => Err(MetadataError::Damaged(text.chars().take(128).collect())),
    }
}

fn is_later_version(version: &str) -> bool {
    version
        .strip_prefix("cw")
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_topics() -> TopicIds {
        TopicIds {
            log: Some("lmZnhhJ1RdGRMtaRTLBtVg".into()),
            changelog: Some("0nzRL0Z9QJGZMpGXPzVbTA@7".into()),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let marks = [
            (1, 0, 0),
            (12, 345, 0xfeed),
            (u64::MAX, i64::MAX, u128::MAX),
        ];
        for (epoch, changelog_offset, digest) in marks {
            let mark = ChangelogMark {
                epoch,
                changelog_offset,
                digest,
            };
            for topics in [TopicIds::default(), in_topics()] {
                let text = format(&mark, &topics);
                assert_eq!(parse(&text), Ok(Some(mark)));
                assert_eq!(super::topics(&text), topics);
            }
        }
    }

    #[test]
    fn the_text_is_this_one() {
        let mark = ChangelogMark {
            epoch: 12,
            changelog_offset: 345,
            digest: 0xabc,
        };
        assert_eq!(
            format(&mark, &TopicIds::default()),
            "cw1;epoch=12;changelog=345;digest=00000000000000000000000000000abc"
        );
        assert_eq!(
            format(&mark, &in_topics()),
            "cw2;epoch=12;changelog=345;digest=00000000000000000000000000000abc;\
             log=lmZnhhJ1RdGRMtaRTLBtVg;state=0nzRL0Z9QJGZMpGXPzVbTA@7"
        );
    }

    #[test]
    fn a_foreign_text_is_no_mark() {
        for text in ["", "reset by ops", "cw", "cwx;epoch=1", "{\"v\":1}"] {
            assert_eq!(parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_newer_version_is_not_guessed_at() {
        assert_eq!(
            parse("cw3;anything"),
            Err(MetadataError::Newer("cw3".into()))
        );
    }

    #[test]
    fn a_damaged_text_is_not_taken_for_none() {
        let whole = "cw1;epoch=12;changelog=345;digest=00112233445566778899aabbccddeeff";
        assert!(parse(whole).unwrap().is_some());
        for length in 3..whole.len() {
            assert!(
                matches!(parse(&whole[..length]), Err(MetadataError::Damaged(_))),
                "{length}"
            );
        }
        for text in [
            format!("{whole};more=1"),
            whole.replace("345", "-1"),
            whole.replace("epoch=", "epoch=-"),
            whole.replace("cw1", "cw2"),
            format!("{whole};log=a;state=b@0"),
            format!("{};log=;state=b@0", whole.replace("cw1", "cw2")),
            format!("{};log=a;state=b", whole.replace("cw1", "cw2")),
            format!("{};log=a;state=b@0;more=1", whole.replace("cw1", "cw2")),
        ] {
            assert!(
                matches!(parse(&text), Err(MetadataError::Damaged(_))),
                "{text}"
            );
        }
    }
}
