//! One process at a time: an exclusive lock on a file that names its holder.
//!
//! The operating system releases the lock when its holder ends, however it
//! ends, so no stale lock is ever left behind.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::error::StoreError;

/// Name of the lock file in a state directory.
pub(crate) const FILE: &str = "LOCK";

/// The held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// Locks the state directory `dir`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] naming the holder, where there is one.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let io = |source| StoreError::io(&path, source);
        // Not truncated on opening: it may hold the name of the holder.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: dir.to_owned(),
                    holder: holder(&mut file).map_err(io)?,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        match write_own_name(&mut file) {
            // A full disk takes no name, but the lock holds all the same.
            Err(full) if full.kind() == io::ErrorKind::StorageFull => {}
            written => written.map_err(io)?,
        }
        Ok(Self(file))
    }

    /// Whether it is still this very file that lies in `dir`: who deletes it
    /// lets others in.
    pub(crate) fn is_in(&self, dir: &Path) -> bool {
        let place = |file: Metadata| (file.dev(), file.ino());
        let held = self.0.metadata().map(place).ok();
        held.is_some() && held == fs::metadata(dir.join(FILE)).map(place).ok()
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Best effort: a name that is left is overwritten by the next holder.
        let _ = self.0.set_len(0);
        // Closing alone would not release it while a child process that this
        // one is just starting still has a copy of the descriptor.
        let _ = self.0.unlock();
    }
}

fn write_own_name(file: &mut File) -> io::Result<()> {
    let program = std::env::current_exe().ok();
    let program = program
        .as_deref()
        .and_then(Path::file_name)
        .map_or("unknown program".into(), |name| name.to_string_lossy());
    let system = rustix::system::uname();
    let name = format!(
        "{program} (pid {}) on host {} since {:.0}\n",
        std::process::id(),
        system.nodename().to_string_lossy(),
        jiff::Timestamp::now(),
    );
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(name.as_bytes())
}

fn holder(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(1024).read_to_string(&mut text)?;
    let name = text.trim();
    Ok(if name.is_empty() {
        "a process that is starting or ending".to_owned()
    } else {
        name.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        let refusal = DirLock::acquire(dir.path()).unwrap_err().to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(refusal.contains(&pid), "{refusal}");
        assert!(
            refusal.contains("on host ") && refusal.contains(" since 20"),
            "{refusal}"
        );
        drop(held);
        assert!(DirLock::acquire(dir.path()).is_ok());
    }

    #[test]
    fn a_lock_that_was_deleted_is_no_longer_in_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        assert!(held.is_in(dir.path()));
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(!held.is_in(dir.path()));
        let next = DirLock::acquire(dir.path()).unwrap();
        assert!(next.is_in(dir.path()) && !held.is_in(dir.path()));
    }

    #[test]
    fn a_lock_file_left_by_a_dead_process_does_not_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "churnwatch (pid 1) on host gone\n").unwrap();
        assert!(DirLock::acquire(dir.path()).is_ok());
    }
}
