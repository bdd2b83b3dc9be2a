//! What is written beside a committed offset: the place in the changelog that
//! belongs to it, and the digest of the state there.
//!
//! ```text
//! cw1;epoch=12;changelog=345;digest=00112233445566778899aabbccddeeff
//! ```
//!
//! `cw1` is the version. An offset that somebody else committed (an operator
//! who reset the group, say) has another text or none, and then no mark.

use churnwatch_pipeline::source::ChangelogMark;

const VERSION: &str = "cw1";

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

/// The text for a mark.
pub fn format(mark: &ChangelogMark) -> String {
    let ChangelogMark {
        epoch,
        changelog_offset,
        digest,
    } = mark;
    format!("{VERSION};epoch={epoch};changelog={changelog_offset};digest={digest:032x}")
}

/// The mark in a text; `None` if the text is somebody else's.
///
/// # Errors
/// When the text is of a newer version or damaged: going on without a mark
/// would rebuild or lose state without a word.
pub fn parse(text: &str) -> Result<Option<ChangelogMark>, MetadataError> {
    let mut fields = text.split(';');
    match fields.next() {
        Some(VERSION) => {}
        Some(version) if is_later_version(version) => {
            return Err(MetadataError::Newer(version.to_owned()));
        }
        _ => return Ok(None),
    }
    let mut value = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
    let mark = (|| {
        let epoch = value("epoch")?.parse().ok()?;
        let changelog_offset: i64 = value("changelog")?.parse().ok()?;
        let digest = value("digest").filter(|hex| hex.len() == 32)?;
        let digest = u128::from_str_radix(digest, 16).ok()?;
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
            assert_eq!(parse(&format(&mark)), Ok(Some(mark)));
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
            format(&mark),
            "cw1;epoch=12;changelog=345;digest=00000000000000000000000000000abc"
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
            parse("cw2;anything"),
            Err(MetadataError::Newer("cw2".into()))
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
        ] {
            assert!(
                matches!(parse(&text), Err(MetadataError::Damaged(_))),
                "{text}"
            );
        }
    }
}
