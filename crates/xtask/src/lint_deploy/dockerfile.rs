//! What a Dockerfile takes from the repository has to be there: a linter reads
//! the text only, and no engine runs here that would stumble over it.

use std::path::Path;

use crate::failure::{Failure, Result, While};

/// Fails unless every path that `COPY` names exists in the build context, the
/// repository's root, and is not kept from it by `.dockerignore`.
pub(super) fn check_copied_paths(root: &Path, dockerfile: &Path) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read_to_string(root.join(path)).while_doing(|| format!("read {}", path.display()))
    };
    let sources = copied_paths(&read(dockerfile)?);
    let ignored = read(Path::new(".dockerignore"))?;
    for source in &sources {
        if !root.join(source).exists() {
            return Err(Failure::new(format!(
                "{} copies {source}, which does not exist",
                dockerfile.display()
            )));
        }
        if !is_in_context(source, &ignored) {
            return Err(Failure::new(format!(
                "{} copies {source}, which .dockerignore leaves out",
                dockerfile.display()
            )));
        }
    }
    Ok(())
}

/// The sources of every `COPY` that does not copy from another stage.
fn copied_paths(dockerfile: &str) -> Vec<String> {
    let joined = dockerfile.replace("\\\n", " ");
    let mut sources = Vec::new();
    for line in joined.lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.first() != Some(&"COPY") || words.iter().any(|word| word.starts_with("--from=")) {
            continue;
        }
        words.retain(|word| !word.starts_with("--"));
        words.pop();
        sources.extend(words.into_iter().skip(1).map(str::to_owned));
    }
    sources
}

/// Whether `.dockerignore` lets the path through. Understands what ours is
/// made of: plain paths, `*` for everything, and `!` to take back; a later line
/// wins. A path stays in the context when anything below it does.
fn is_in_context(path: &str, ignored: &str) -> bool {
    let mut kept = true;
    for line in ignored
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (pattern, keeps) = line
            .strip_prefix('!')
            .map_or((line, false), |pattern| (pattern, true));
        let is_below = |below: &str, above: &str| Path::new(below).starts_with(above);
        if pattern == "*" || is_below(path, pattern) || (keeps && is_below(pattern, path)) {
            kept = keeps;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_flags_destinations_and_other_stages() {
        let text = "FROM a AS b\nCOPY --chown=1:1 x y/z \\\n  w ./\nRUN COPY\nCOPY --from=b /bin/c /bin/\n";
        assert_eq!(copied_paths(text), ["x", "y/z", "w"]);
    }

    #[test]
    fn a_later_line_of_dockerignore_wins() {
        let ignored = "# all but\n*\n!crates\n!deploy/docker/a.yaml\ncrates/secret\n";
        assert!(is_in_context("crates", ignored) && is_in_context("crates/core/src", ignored));
        assert!(is_in_context("deploy", ignored), "a part of it is");
        assert!(!is_in_context("crates/secret/key", ignored));
        assert!(!is_in_context("docs", ignored));
    }

    #[test]
    fn a_copied_path_has_to_exist_and_to_be_in_the_context() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let put = |name: &str, text: &str| {
            std::fs::write(root.path().join(name), text).expect("writable")
        };
        put("Dockerfile", "COPY present /");
        put(".dockerignore", "");
        let check = || {
            check_copied_paths(root.path(), Path::new("Dockerfile"))
                .map_err(|f| f.message().to_owned())
        };
        assert!(check().expect_err("must fail").contains("does not exist"));
        put("present", "");
        assert_eq!(check(), Ok(()));
        put(".dockerignore", "present");
        assert!(check().expect_err("must fail").contains(".dockerignore"));
    }
}
