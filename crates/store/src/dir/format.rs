//! The format of a state directory as a whole, in its file `FORMAT`.
//!
//! It covers what no row's version does: where databases lie, how keys are
//! built, what the digest is made of. A change of one of them is a new format
//! and a step here that migrates the one before.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::lock;
use crate::error::StoreError;

/// Name of the format file in a state directory.
pub(crate) const FILE: &str = "FORMAT";

/// The format this version writes, and the newest it reads.
pub(crate) const CURRENT: u32 = 1;

const NEW_FILE: &str = "FORMAT.new";
const WORDS: &str = "churnwatch state, format ";

/// Makes sure that `dir`, which this process has locked, is in the current
/// format; an empty directory is put into it.
pub(crate) fn ensure(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found = text
                .strip_prefix(WORDS)
                .and_then(|n| n.trim_end().parse::<u32>().ok());
            match found {
                // Older formats are migrated here, one step each, once there are any.
                Some(CURRENT) => Ok(()),
                Some(found) if found > CURRENT => Err(StoreError::NewerFormat {
                    path: dir.to_owned(),
                    found,
                    known: CURRENT,
                }),
                _ => Err(StoreError::NotAStateDir {
                    path: dir.to_owned(),
                    entry: FILE.to_owned(),
                }),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            refuse_foreign(dir)?;
            write(dir).map_err(|source| StoreError::io(&path, source))
        }
        Err(source) => Err(StoreError::io(&path, source)),
    }
}

/// Databases are deleted in a state directory, so it must not be somebody's
/// home that was named by mistake.
fn refuse_foreign(dir: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::io(dir, source);
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?.file_name();
        // A fresh volume of its own has lost+found in it.
        if entry != lock::FILE && entry != NEW_FILE && entry != "lost+found" {
            return Err(StoreError::NotAStateDir {
                path: dir.to_owned(),
                entry: entry.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn write(dir: &Path) -> io::Result<()> {
    let new = dir.join(NEW_FILE);
    let mut file = File::create(&new)?;
    writeln!(file, "{WORDS}{CURRENT}")?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_begun_and_recognised_again() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path()).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join(FILE)).unwrap(),
            "churnwatch state, format 1\n"
        );
        ensure(dir.path()).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "churnwatch state, format 7\n").unwrap();
        let refusal = ensure(dir.path()).unwrap_err();
        assert!(
            matches!(
                refusal,
                StoreError::NewerFormat {
                    found: 7,
                    known: 1,
                    ..
                }
            ),
            "{refusal}"
        );
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let refusal = ensure(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains("thesis.tex"), "{refusal}");
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn a_format_file_that_is_not_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "A4").unwrap();
        assert!(matches!(
            ensure(dir.path()),
            Err(StoreError::NotAStateDir { .. })
        ));
    }
}
