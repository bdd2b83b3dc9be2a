//! `cargo xtask generate`: the files that derive from the code.
//!
//! The binary writes them (`churnwatch generate --dir DIR`, a hidden command),
//! since only it knows every schema, metric, signal and setting. This module
//! puts the tree into the repository, or compares it with what is there.
//!
//! A generated text that can hold a comment says so in it, by the words of
//! [`MARK`]. So a file that is no longer written, a signal's page after the
//! signal was renamed, say, is told from its hand-written neighbours.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, While};
use crate::{process, workspace};

pub(crate) const HELP: &str = "\
Write the files that derive from the code: JSON schemas, the signals' manual
pages, the references of metrics and configuration.

Usage: cargo xtask generate [--check]

Options:
  --check     Write nothing; compare with the files that are there, and fail if
              one differs, is missing, or is no longer generated
  -h, --help  Print this help
";

/// The words in a generated file that say where it comes from.
const MARK: &str = "enerated by `cargo xtask generate`";

/// What `--check` says to do.
const REPAIR: &str = "`cargo xtask generate` puts it right; commit what it writes";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    let mut check = false;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("check") => check = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if check { self::check() } else { write() }
}

/// Fails unless the repository holds exactly what the code generates.
pub(crate) fn check() -> Result<()> {
    let generated = generated_files()?;
    let differences = compare(&generated, &workspace::root()?)?;
    if differences.is_empty() {
        eprintln!("generate: {} files are up to date", generated.len());
        return Ok(());
    }
    for difference in &differences {
        eprintln!("  {}", difference.described());
    }
    Err(Failure::new(format!(
        "{} generated files are out of date: {REPAIR}",
        differences.len()
    )))
}

fn write() -> Result<()> {
    let root = workspace::root()?;
    let generated = generated_files()?;
    let differences = compare(&generated, &root)?;
    for difference in &differences {
        let path = root.join(&difference.path);
        if difference.kind == Kind::Stale {
            std::fs::remove_file(&path).while_doing(|| format!("remove {}", path.display()))?;
        } else {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .while_doing(|| format!("create {}", folder.display()))?;
            }
            std::fs::write(&path, &generated[&difference.path])
                .while_doing(|| format!("write {}", path.display()))?;
        }
        eprintln!("  {}", difference.described());
    }
    eprintln!(
        "generate: {} files, of which {} were written or removed",
        generated.len(),
        differences.len()
    );
    Ok(())
}

/// How a file of the repository differs from what the code generates.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// Relative to the repository's root.
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Missing,
    /// With the first line, counted from 1, that is not the same.
    Changed(usize),
    /// It says that it is generated, and nothing generates it.
    Stale,
}

impl Difference {
    fn described(&self) -> String {
        let path = self.path.display();
        match self.kind {
            Kind::Missing => format!("{path}: missing"),
            Kind::Changed(line) => format!("{path}: differs from line {line} on"),
            Kind::Stale => format!("{path}: no longer generated"),
        }
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Runs the binary into a folder of its own and reads what it wrote.
fn generated_files() -> Result<Files> {
    let folder = workspace::cache()?.join(format!("generate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).while_doing(|| format!("create {}", folder.display()))?;
    let mut churnwatch = process::churnwatch(["generate", "--dir"])?;
    let files = process::run_aside(churnwatch.arg(&folder)).and_then(|()| read_tree(&folder));
    std::fs::remove_dir_all(&folder).while_doing(|| format!("remove {}", folder.display()))?;
    let files = files?;
    if files.is_empty() {
        return Err(Failure::new(
            "`churnwatch generate` wrote no file at all; that cannot be right",
        ));
    }
    Ok(files)
}

/// Every file below `top`, by its path relative to it.
fn read_tree(top: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let doing = || format!("read {}", folder.display());
        for entry in std::fs::read_dir(&folder).while_doing(doing)? {
            let path = entry.while_doing(doing)?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).while_doing(|| format!("read {}", path.display()))?;
            let relative = path
                .strip_prefix(top)
                .expect("every path was found below the top");
            files.insert(relative.to_path_buf(), bytes);
        }
    }
    Ok(files)
}

/// The differences, by path.
fn compare(generated: &Files, root: &Path) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (path, wanted) in generated {
        let kind = match std::fs::read(root.join(path)) {
            Ok(present) if present == *wanted => continue,
            Ok(present) => Kind::Changed(first_differing_line(&present, wanted)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kind::Missing,
            Err(error) => return Err(error).while_doing(|| format!("read {}", path.display())),
        };
        differences.push(Difference {
            path: path.clone(),
            kind,
        });
    }
    differences.extend(
        stale_files(generated, root)
            .into_iter()
            .map(|path| Difference {
                path,
                kind: Kind::Stale,
            }),
    );
    differences.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(differences)
}

/// Files beside generated ones that carry the mark and are not generated.
fn stale_files(generated: &Files, root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<&Path> = generated.keys().filter_map(|path| path.parent()).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut stale = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            let is_marked =
                std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(MARK));
            if is_marked && !generated.contains_key(&path) {
                stale.push(path);
            }
        }
    }
    stale
}

fn first_differing_line(present: &[u8], wanted: &[u8]) -> usize {
    let same = present
        .iter()
        .zip(wanted)
        .take_while(|(one, other)| one == other)
        .count();
    1 + present[..same]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_missing_and_stale_files_are_told_from_hand_written_neighbours() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let docs = root.path().join("docs");
        std::fs::create_dir(&docs).expect("a folder");
        let put = |name: &str, text: &str| std::fs::write(docs.join(name), text).expect("writable");
        put("same.md", "a\nb\n");
        put("changed.md", "a\nb\nc\n");
        put(
            "old-signal.md",
            "<!-- Generated by `cargo xtask generate`. -->",
        );
        put("by-hand.md", "words");
        let generated: Files = [
            ("same.md", "a\nb\n"),
            ("changed.md", "a\nb\nd\n"),
            ("new.md", ""),
        ]
        .map(|(name, text)| (Path::new("docs").join(name), text.as_bytes().to_vec()))
        .into();
        let found = compare(&generated, root.path()).expect("readable");
        let described: Vec<_> = found.iter().map(Difference::described).collect();
        assert_eq!(
            described,
            [
                "docs/changed.md: differs from line 3 on",
                "docs/new.md: missing",
                "docs/old-signal.md: no longer generated"
            ]
        );
    }

    #[test]
    fn a_tree_is_read_whole() {
        let top = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(top.path().join("a/b")).expect("folders");
        std::fs::write(top.path().join("a/b/deep"), "1").expect("writable");
        std::fs::write(top.path().join("flat"), "2").expect("writable");
        let names: Vec<_> = read_tree(top.path())
            .expect("readable")
            .into_keys()
            .collect();
        assert_eq!(names, [PathBuf::from("a/b/deep"), PathBuf::from("flat")]);
    }
}
