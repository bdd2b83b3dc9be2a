//! Memory and background work of the store, and how RocksDB is set up for it.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, LogLevel, MemtableFactory, Options,
    WriteBufferManager,
};

use crate::version::StateVersion;

const MIB: usize = 1 << 20;

/// Files a partition's database keeps open. Descriptors are a process-wide
/// good, often limited to 1,024.
const OPEN_FILES: i32 = 256;

/// Files of a bulk load at which they are merged.
const BULK_FILES: i32 = 8;

/// Bounds of what the state of one process may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Memory for blocks read from disk, their indexes and filters, for all
    /// partitions together, in bytes. Default 256 MiB.
    pub block_cache_bytes: usize,
    /// Memory for rows that are not yet on disk, for all partitions together,
    /// in bytes. Default 128 MiB.
    pub write_buffer_bytes: usize,
    /// Flushes and compactions that run at a time, for each partition.
    /// Default 2.
    pub background_jobs: u16,
    /// The version in which rows are written. Default the newest.
    pub state_version: StateVersion,
    /// For tests of what a crash leaves behind: a store that is closed is not
    /// flushed, and opening one takes as little as it can. Default false.
    pub crash_test: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 * MIB,
            write_buffer_bytes: 128 * MIB,
            background_jobs: 2,
            state_version: StateVersion::NEWEST,
            crash_test: false,
        }
    }
}

/// Memory held by RocksDB, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Blocks in the block cache, indexes and filters included.
    pub block_cache: u64,
    /// The part of `block_cache` that is in use at this moment.
    pub pinned: u64,
    /// Rows that are not yet on disk, those being flushed included.
    pub memtables: u64,
    /// What open files need outside the block cache.
    pub table_readers: u64,
}

/// The memory that all partitions of a process share.
pub(crate) struct SharedMemory {
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
}

impl SharedMemory {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        Self {
            cache: Cache::new_lru_cache(options.block_cache_bytes),
            // Never stall here: across databases that can deadlock (rocksdb
            // issue 11780). Over the bound, databases flush instead.
            write_buffers: WriteBufferManager::new_write_buffer_manager(
                options.write_buffer_bytes,
                false,
            ),
        }
    }
}

impl StoreOptions {
    /// The size at which one of `open` partitions flushes, in bytes. A power
    /// of two of shares, so that opening partitions one by one changes it a
    /// few times only; half of a share, since one buffer fills while another
    /// is flushed.
    pub(crate) fn write_buffer_share(&self, open: usize) -> usize {
        let share = self.write_buffer_bytes / open.max(1).next_power_of_two() / 2;
        share.clamp(MIB / 4, 64 * MIB)
    }

    /// What everything else is set on.
    fn defaults(&self) -> Options {
        let mut options = Options::default();
        if !self.crash_test {
            return options;
        }
        // The crate has no function for the first of these.
        options
            .get_options_from_string(
                "avoid_flush_during_shutdown=true; allow_fallocate=false; \
                 max_file_opening_threads=1; skip_stats_update_on_db_open=true; \
                 stats_dump_period_sec=0; stats_persist_period_sec=0",
            )
            .expect("options that RocksDB knows")
    }

    /// RocksDB's options for one partition when `open` partitions are open.
    pub(crate) fn rocksdb(&self, memory: &SharedMemory, open: usize) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&memory.cache);
        // In the cache, and so within its bound, instead of beside it.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_block_size(16 * 1024);
        // A new account is looked for in every level: the filter says no.
        blocks.set_bloom_filter(10.0, false);

        let mut options = self.defaults();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_manager(&memory.write_buffers);
        options.set_write_buffer_size(self.write_buffer_share(open));
        // One fills, one waits, one is being flushed.
        options.set_max_write_buffer_number(3);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_paranoid_checks(true);
        options.set_max_open_files(OPEN_FILES);
        options.set_max_background_jobs(i32::from(self.background_jobs.max(1)));
        options.set_bytes_per_sync(MIB as u64);
        // RocksDB sets 4 MiB of disk aside for it in each partition; it takes a few kilobytes.
        options.set_manifest_preallocation_size(MIB / 16);
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(MIB);
        options.set_keep_log_file_num(2);
        options
    }

    /// Sets a database up for many rows in any order that nobody reads
    /// meanwhile: they are put down as they come and sorted when they are
    /// flushed, and no write waits for a compaction.
    pub(crate) fn for_bulk(&self, options: &mut Options) {
        options.set_memtable_factory(MemtableFactory::Vector);
        options.set_allow_concurrent_memtable_write(false);
        options.set_write_buffer_size(self.bulk_buffer());
        options.set_level_zero_file_num_compaction_trigger(BULK_FILES);
        options.set_level_zero_slowdown_writes_trigger(i32::MAX);
        options.set_level_zero_stop_writes_trigger(i32::MAX);
        options.set_soft_pending_compaction_bytes_limit(0);
        options.set_hard_pending_compaction_bytes_limit(0);
    }

    /// The size at which a partition that is loaded in bulk flushes, in bytes.
    /// Large, since each flush makes a file that spans all keys; a few
    /// partitions are loaded at a time, and each has three.
    fn bulk_buffer(&self) -> usize {
        (self.write_buffer_bytes / 8).clamp(MIB, 64 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_open_partitions_stay_within_the_budget() {
        let options = StoreOptions::default();
        for open in 1..=128 {
            let share = options.write_buffer_share(open);
            assert!(
                share * open <= options.write_buffer_bytes,
                "{open} x {share}"
            );
        }
    }

    #[test]
    fn opening_many_partitions_changes_the_share_a_few_times_only() {
        let options = StoreOptions::default();
        let mut shares: Vec<usize> = (1..=64)
            .map(|open| options.write_buffer_share(open))
            .collect();
        shares.dedup();
        assert!(shares.len() <= 7, "{shares:?}");
    }
}
