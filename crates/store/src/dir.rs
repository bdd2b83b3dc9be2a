//! The directory in which a process keeps its state.
//!
//! ```text
//! <state dir>/LOCK        held by one process, names it
//!             FORMAT      version of the layout
//!             p-00003/    RocksDB database of partition 3 of the log
//! ```

mod format;
mod lock;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use rocksdb::{ColumnFamilyDescriptor, DB, properties};

use crate::{
    error::StoreError,
    options::{MemoryUse, SharedMemory, StoreOptions},
    partition::PartitionStore,
    version::StateVersion,
};

/// Ending of a database that is being deleted.
const REMOVED: &str = ".removed";

/// A file that is written to see whether there is room, and deleted again.
const ROOM: &str = "ROOM";
/// Its size: about what flushing the smallest write buffer takes, with the
/// small files of a database beside it.
const ROOM_BYTES: usize = 1 << 20;

/// An open state directory; clones are handles of the same one. The directory
/// is released when the last handle and the last [`PartitionStore`] are
/// dropped.
#[derive(Clone)]
pub struct StateDir(Arc<Shared>);

/// What the partitions of one directory share.
pub(crate) struct Shared {
    path: PathBuf,
    options: StoreOptions,
    memory: SharedMemory,
    /// Whether nothing may be changed in it.
    read_only: bool,
    /// Databases of the partitions that are open.
    open: Mutex<BTreeMap<i32, OpenPartition>>,
    lock: Mutex<lock::DirLock>,
    /// Deletes the directory, after all else here is dropped.
    _throw_away: Option<tempfile::TempDir>,
}

/// A partition's database that is open.
struct OpenPartition {
    db: Weak<DB>,
    /// How it was opened.
    mode: Mode,
}

/// What a database is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reads and commits in turn.
    Live,
    /// Many rows in any order, which nobody reads meanwhile.
    Bulk,
}

impl StateDir {
    /// Opens a state directory, or begins one in a new or an empty directory.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process holds it,
    /// [`StoreError::NewerFormat`], [`StoreError::NotAStateDir`], or an error
    /// of the file system.
    pub fn open(path: impl Into<PathBuf>, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_at(path.into(), options, None)
    }

    /// Opens a state directory to look at it: nothing is begun, repaired or
    /// deleted in it. It is held against other processes all the same, so that
    /// nothing moves meanwhile.
    ///
    /// # Errors
    /// As [`StateDir::open`]; [`StoreError::NotAStateDir`] for an empty
    /// directory too, and [`StoreError::Io`] where there is none.
    pub fn open_read_only(
        path: impl Into<PathBuf>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        fs::read_dir(&path).map_err(|source| StoreError::io(&path, source))?;
        if !path.join(format::FILE).exists() {
            let entry = "nothing that this program wrote".to_owned();
            return Err(StoreError::NotAStateDir { path, entry });
        }
        let lock = lock::DirLock::acquire(&path)?;
        format::ensure(&path)?;
        Ok(Self(Arc::new(Shared {
            memory: SharedMemory::new(&options),
            path,
            options,
            read_only: true,
            open: Mutex::default(),
            lock: Mutex::new(lock),
            _throw_away: None,
        })))
    }

    /// Begins a state directory of its own for one replay, in the system's
    /// directory for temporary files (`TMPDIR`); it is deleted when the last
    /// handle is dropped.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn temporary(options: StoreOptions) -> Result<Self, StoreError> {
        let throw_away = tempfile::Builder::new()
            .prefix("churnwatch-")
            .tempdir()
            .map_err(|source| StoreError::io(&std::env::temp_dir(), source))?;
        Self::open_at(throw_away.path().to_owned(), options, Some(throw_away))
    }

    fn open_at(
        path: PathBuf,
        options: StoreOptions,
        throw_away: Option<tempfile::TempDir>,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(&path).map_err(|source| StoreError::io(&path, source))?;
        let lock = lock::DirLock::acquire(&path)?;
        format::ensure(&path)?;
        let shared = Shared {
            memory: SharedMemory::new(&options),
            path,
            options,
            read_only: false,
            open: Mutex::default(),
            lock: Mutex::new(lock),
            _throw_away: throw_away,
        };
        shared.sweep()?;
        Ok(Self(Arc::new(shared)))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Opens the store of a partition; an empty one where there is none.
    ///
    /// # Errors
    /// [`StoreError::PartitionOpen`] while it is open elsewhere in this
    /// process. [`StoreError::wants_rebuild`] says whether
    /// [`StateDir::remove_partition`] and a restore may help.
    pub fn partition(&self, partition: i32) -> Result<PartitionStore, StoreError> {
        self.0.clone().open_partition(partition)
    }

    /// Deletes the store of a partition that is not open; nothing happens
    /// where there is none.
    ///
    /// # Errors
    /// [`StoreError::PartitionOpen`], or an error of the file system.
    pub fn remove_partition(&self, partition: i32) -> Result<(), StoreError> {
        self.0.remove_partition(partition)
    }

    /// Finds out whether there is room again on a disk that was full, by
    /// writing what a small flush writes.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] where there is not, or another error of the
    /// file system.
    pub fn check_room(&self) -> Result<(), StoreError> {
        self.0.hold()?;
        let path = self.0.path.join(ROOM);
        let written = fs::write(&path, vec![0; ROOM_BYTES]);
        let removed = fs::remove_file(&path);
        written
            .and(removed)
            .map_err(|source| StoreError::io(&self.0.path, source))
    }

    /// The partitions that have a store here, open or not, in order.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn partitions(&self) -> Result<Vec<i32>, StoreError> {
        let mut partitions: Vec<i32> = self
            .0
            .entries()?
            .iter()
            .filter_map(|name| partition_of(name))
            .collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Puts all that is committed in the open partitions on disk, and waits for
    /// it.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn flush(&self) -> Result<(), StoreError> {
        for (&partition, entry) in self.0.open().iter() {
            let Some(db) = entry.db.upgrade() else {
                continue;
            };
            db.flush()
                .map_err(|e| StoreError::rocksdb(partition, db.path(), e))?;
        }
        Ok(())
    }

    /// The memory RocksDB holds at this moment.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn memory(&self) -> Result<MemoryUse, StoreError> {
        let cache = &self.0.memory.cache;
        let mut used = MemoryUse {
            block_cache: cache.get_usage() as u64,
            pinned: cache.get_pinned_usage() as u64,
            ..MemoryUse::default()
        };
        let open = self.0.open();
        for (&partition, entry) in open.iter() {
            let Some(db) = entry.db.upgrade() else {
                continue;
            };
            let property = |name: &rocksdb::properties::PropName| {
                let value = db.property_int_value(name);
                value
                    .map(Option::unwrap_or_default)
                    .map_err(|e| StoreError::rocksdb(partition, db.path(), e))
            };
            used.memtables += property(properties::SIZE_ALL_MEM_TABLES)?;
            used.table_readers += property(properties::ESTIMATE_TABLE_READERS_MEM)?;
        }
        Ok(used)
    }
}

impl Shared {
    pub(crate) fn state_version(&self) -> StateVersion {
        self.options.state_version
    }

    pub(crate) fn open_partition(
        self: Arc<Self>,
        partition: i32,
    ) -> Result<PartitionStore, StoreError> {
        let (db, registration) = {
            let mut open = self.open();
            if open.contains_key(&partition) {
                return Err(StoreError::PartitionOpen { partition });
            }
            let db = self.open_database(partition, open.len() + 1, Mode::Live)?;
            let entry = OpenPartition {
                db: Arc::downgrade(&db),
                mode: Mode::Live,
            };
            open.insert(partition, entry);
            let registration = Registration {
                partition,
                shared: self.clone(),
            };
            self.divide_write_buffers(&open, open.len() - 1);
            (db, registration)
        };
        PartitionStore::new(db, registration)
    }

    /// Closes the database of a partition that is open and opens it for
    /// something else. `closed` must be the last handle.
    pub(crate) fn reopen_partition(
        &self,
        partition: i32,
        closed: Arc<DB>,
        mode: Mode,
    ) -> Result<Arc<DB>, StoreError> {
        // Whoever else takes a handle for a moment does so under this lock.
        let mut open = self.open();
        drop(closed);
        let db = self.open_database(partition, open.len(), mode)?;
        let entry = OpenPartition {
            db: Arc::downgrade(&db),
            mode,
        };
        open.insert(partition, entry);
        Ok(db)
    }

    fn open_database(
        &self,
        partition: i32,
        open: usize,
        mode: Mode,
    ) -> Result<Arc<DB>, StoreError> {
        let path = self.path.join(directory_of(partition));
        let mut options = self.options.rocksdb(&self.memory, open);
        if mode == Mode::Bulk {
            self.options.for_bulk(&mut options);
        }
        let rows = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        let opened = if self.read_only {
            let rows = [(rows, options.clone())];
            DB::open_cf_with_opts_for_read_only(&options, &path, rows, false)
        } else {
            self.hold()?;
            refuse_remains(partition, &path)?;
            let rows = ColumnFamilyDescriptor::new(rows, options.clone());
            DB::open_cf_descriptors(&options, &path, [rows])
        };
        opened
            .map(Arc::new)
            .map_err(|e| StoreError::rocksdb(partition, &path, e))
    }

    pub(crate) fn remove_partition(&self, partition: i32) -> Result<(), StoreError> {
        let open = self.open();
        if open.contains_key(&partition) {
            return Err(StoreError::PartitionOpen { partition });
        }
        let name = directory_of(partition);
        let path = self.path.join(&name);
        let removed = self.path.join(name + REMOVED);
        // Renamed first: half a database would be taken for a damaged one.
        match fs::rename(&path, &removed) {
            Ok(()) => fs::remove_dir_all(&removed).map_err(|e| StoreError::io(&removed, e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(StoreError::io(&path, source)),
        }
    }

    /// Gives each open partition its share of the write buffers, where the
    /// share has changed since `before` partitions were open.
    fn divide_write_buffers(&self, open: &BTreeMap<i32, OpenPartition>, before: usize) {
        let share = self.options.write_buffer_share(open.len());
        if self.read_only || share == self.options.write_buffer_share(before) {
            return;
        }
        let live = open.iter().filter(|(_, entry)| entry.mode == Mode::Live);
        for (partition, entry) in live {
            let Some(db) = entry.db.upgrade() else {
                continue;
            };
            if let Err(error) = db.set_options(&[("write_buffer_size", &share.to_string())]) {
                // The old share stays in force; the bound for the process holds all the same.
                tracing::warn!(partition, %error, "cannot change the size of a write buffer");
            }
        }
    }

    /// Makes sure that the directory is there and ours. Somebody may have
    /// deleted it under us, and our lock with it: it is begun anew then, unless
    /// another process was faster.
    fn hold(&self) -> Result<(), StoreError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_in(&self.path) {
            return Ok(());
        }
        tracing::warn!(path = %self.path.display(), "the state directory was deleted; beginning it anew");
        let io = |source| StoreError::io(&self.path, source);
        fs::create_dir_all(&self.path).map_err(io)?;
        *lock = lock::DirLock::acquire(&self.path)?;
        if !self.path.join(format::FILE).exists() {
            // What a deletion has left so far; it was ours.
            for name in self.entries()? {
                if partition_of(name.strip_suffix(REMOVED).unwrap_or(&name)).is_some() {
                    fs::remove_dir_all(self.path.join(name)).map_err(io)?;
                }
            }
        }
        format::ensure(&self.path)
    }

    /// Finishes deletions that a crash cut short.
    fn sweep(&self) -> Result<(), StoreError> {
        for name in self.entries()? {
            if name == ROOM {
                let path = self.path.join(name);
                fs::remove_file(&path).map_err(|source| StoreError::io(&path, source))?;
            } else if name
                .strip_suffix(REMOVED)
                .is_some_and(|name| partition_of(name).is_some())
            {
                let path = self.path.join(name);
                fs::remove_dir_all(&path).map_err(|source| StoreError::io(&path, source))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<String>, StoreError> {
        let io = |source| StoreError::io(&self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            names.extend(entry.map_err(io)?.file_name().into_string());
        }
        Ok(names)
    }

    /// Nothing is left half-done under this lock, so a panic while it was held
    /// does no harm.
    fn open(&self) -> MutexGuard<'_, BTreeMap<i32, OpenPartition>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a partition is open; dropped after its database is closed.
pub(crate) struct Registration {
    pub(crate) partition: i32,
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.remove(&self.partition);
        self.shared.divide_write_buffers(&open, open.len() + 1);
    }
}

/// RocksDB would take what is left of a database without its first file for
/// none at all, and begin a new one among the remains.
fn refuse_remains(partition: i32, path: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StoreError::io(path, source)),
    };
    let is_empty = entries.count() == 0;
    if is_empty || path.join("CURRENT").exists() {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        partition,
        what: "the database".to_owned(),
        reason: "its file CURRENT is missing".to_owned(),
    })
}

fn directory_of(partition: i32) -> String {
    format!("p-{partition:05}")
}

fn partition_of(directory: &str) -> Option<i32> {
    let partition = directory.strip_prefix("p-")?.parse().ok()?;
    (directory_of(partition) == directory).then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_is_refused_until_every_handle_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path(), StoreOptions::default()).unwrap();
        let store = state.partition(0).unwrap();
        drop(state);
        let refused = StateDir::open(dir.path(), StoreOptions::default())
            .err()
            .unwrap();
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
        drop(store);
        StateDir::open(dir.path(), StoreOptions::default()).unwrap();
    }

    #[test]
    fn a_partition_is_open_once_and_can_be_opened_again_after_it_was_dropped() {
        let state = StateDir::temporary(StoreOptions::default()).unwrap();
        let store = state.partition(3).unwrap();
        assert!(matches!(
            state.partition(3),
            Err(StoreError::PartitionOpen { partition: 3 })
        ));
        assert!(matches!(
            state.remove_partition(3),
            Err(StoreError::PartitionOpen { .. })
        ));
        drop(store);
        state.partition(3).unwrap();
    }

    #[test]
    fn partitions_are_listed_and_removed() {
        let state = StateDir::temporary(StoreOptions::default()).unwrap();
        for partition in [12, 0, 7] {
            state.partition(partition).unwrap();
        }
        assert_eq!(state.partitions().unwrap(), [0, 7, 12]);
        state.remove_partition(7).unwrap();
        state.remove_partition(99).unwrap();
        assert_eq!(state.partitions().unwrap(), [0, 12]);
    }

    #[test]
    fn a_deletion_cut_short_is_finished_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        drop(StateDir::open(dir.path(), StoreOptions::default()).unwrap());
        let half = dir.path().join("p-00003.removed");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("000009.sst"), "half").unwrap();
        let state = StateDir::open(dir.path(), StoreOptions::default()).unwrap();
        assert!(!half.exists());
        assert_eq!(state.partitions().unwrap(), [0; 0]);
    }

    #[test]
    fn a_directory_deleted_under_its_holder_is_begun_anew_by_him_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = StateDir::open(&path, StoreOptions::default()).unwrap();
        drop(state.partition(0).unwrap());
        fs::remove_dir_all(&path).unwrap();
        let store = state.partition(0).unwrap();
        assert_eq!(store.task(), None);
        let refused = StateDir::open(&path, StoreOptions::default()).err();
        assert!(matches!(refused, Some(StoreError::Locked { .. })));
        // A deletion that is not through yet.
        drop(store);
        fs::remove_file(path.join(lock::FILE)).unwrap();
        fs::remove_file(path.join(format::FILE)).unwrap();
        state.partition(1).unwrap();
        assert_eq!(state.partitions().unwrap(), [1]);
        // Somebody else was faster.
        fs::remove_dir_all(&path).unwrap();
        let other = StateDir::open(&path, StoreOptions::default()).unwrap();
        let refused = state.partition(0).err();
        assert!(matches!(refused, Some(StoreError::Locked { .. })));
        drop(other);
    }

    #[test]
    fn looking_at_a_directory_changes_nothing_in_it_and_begins_none() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none")] {
            let refused = StateDir::open_read_only(&path, StoreOptions::default());
            assert!(refused.is_err(), "{}", path.display());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let state = StateDir::open(dir.path(), StoreOptions::default()).unwrap();
        drop(state.partition(0).unwrap());
        drop(state);
        let all = || {
            let files = fs::read_dir(dir.path().join("p-00000")).unwrap();
            let mut files: Vec<_> = files
                .map(|file| {
                    let path = file.unwrap().path();
                    (path.clone(), fs::read(path).unwrap())
                })
                .collect();
            files.sort();
            files
        };
        let before = all();
        let state = StateDir::open_read_only(dir.path(), StoreOptions::default()).unwrap();
        let store = state.partition(0).unwrap();
        assert_eq!(store.task(), None);
        let held = StateDir::open(dir.path(), StoreOptions::default()).err();
        assert!(matches!(held, Some(StoreError::Locked { .. })));
        assert!(state.partition(7).is_err(), "there is none");
        drop((store, state));
        assert_eq!(all(), before);
    }

    #[test]
    fn a_database_without_its_first_file_is_damage_and_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path(), StoreOptions::default()).unwrap();
        drop(state.partition(0).unwrap());
        fs::remove_file(dir.path().join("p-00000/CURRENT")).unwrap();
        let error = state.partition(0).err().unwrap();
        assert!(error.wants_rebuild(), "{error}");
        state.remove_partition(0).unwrap();
        state.partition(0).unwrap();
        state.check_room().unwrap();
    }

    #[test]
    fn a_temporary_directory_is_gone_when_it_is_dropped() {
        let state = StateDir::temporary(StoreOptions::default()).unwrap();
        let path = state.path().to_owned();
        let store = state.partition(0).unwrap();
        drop(state);
        assert!(path.exists());
        drop(store);
        assert!(!path.exists());
    }

    #[test]
    fn memory_is_counted_over_all_open_partitions() {
        let state = StateDir::temporary(StoreOptions::default()).unwrap();
        assert_eq!(state.memory().unwrap().memtables, 0);
        let _one = state.partition(0).unwrap();
        let of_one = state.memory().unwrap().memtables;
        let _two = state.partition(1).unwrap();
        assert!(of_one > 0 && state.memory().unwrap().memtables > of_one);
    }

    #[test]
    fn open_partitions_share_the_write_buffers_as_they_come_and_go() {
        let options = StoreOptions {
            write_buffer_bytes: 64 << 20,
            ..StoreOptions::default()
        };
        let state = StateDir::temporary(options.clone()).unwrap();
        let _one = state.partition(0).unwrap();
        assert_eq!(write_buffer_of(&state, 0), options.write_buffer_share(1));
        let two = state.partition(1).unwrap();
        assert_eq!(write_buffer_of(&state, 0), options.write_buffer_share(2));
        assert_eq!(write_buffer_of(&state, 1), options.write_buffer_share(2));
        drop(two);
        assert_eq!(write_buffer_of(&state, 0), options.write_buffer_share(1));
    }

    /// As RocksDB wrote it down in the newest of its option files.
    fn write_buffer_of(state: &StateDir, partition: i32) -> usize {
        let mut files: Vec<PathBuf> = fs::read_dir(state.path().join(directory_of(partition)))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("/OPTIONS-"))
            .collect();
        files.sort();
        let text = fs::read_to_string(files.last().unwrap()).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("write_buffer_size="));
        value.unwrap().parse().unwrap()
    }
}
