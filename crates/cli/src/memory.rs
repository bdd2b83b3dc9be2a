//! One bound for the memory of the process, and what each part gets of it.
//!
//! ```text
//! memory_mib ─┬─ the program itself: code, stacks, threads, compactions        fixed
//!             ├─ what the allocator holds and does not use                      an eighth
//!             └─ the rest ─┬─ block cache             24 %  store.block_cache_mib
//!                          ├─ write buffers           16 %  store.write_buffer_mib
//!                          ├─ due times, and decoded
//!                          │  accounts with what they
//!                          │  leave                   30 %
//!                          ├─ epochs not yet
//!                          │  committed               15 %  half as rows, half with the producers
//!                          └─ records fetched ahead   15 %  log and changelog
//! ```
//!
//! The last three are divided among the workers. A part that is given in the
//! configuration is taken out first, and the others divide what is left.

use std::{fs, path::Path};

use churnwatch_kafka::Queues;
use churnwatch_store::StoreOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MIB: usize = 1 << 20;

/// The program itself, in MiB: what a process has that was never given a record.
const PROGRAM_MIB: usize = 64;
/// Threads and connections of one worker, in MiB.
const WORKER_MIB: usize = 8;
/// One part in so many is held by the allocator and not in use.
const ALLOCATOR_PART: usize = 8;

/// What is left is divided in hundredths.
const BLOCK_CACHE_PARTS: usize = 24;
const WRITE_BUFFER_PARTS: usize = 16;
const ACCOUNT_PARTS: usize = 30;
const EPOCH_PARTS: usize = 15;
const FETCHED_PARTS: usize = 15;

/// The least that each part can work with, in MiB; the last three for each
/// worker. The largest record, 2 MiB, has to fit everywhere it passes.
const LEAST_STORE_MIB: usize = 8;
const LEAST_ACCOUNTS_MIB: usize = 8;
const LEAST_EPOCH_MIB: usize = 12;
const LEAST_FETCHED_MIB: usize = 12;

/// Where no limit is set, neither here nor for the cgroup, in MiB, and so much
/// more for each worker.
const DEFAULT_MIB: usize = 768;
const DEFAULT_WORKER_MIB: usize = 256;

/// Of a limit that the kernel enforces, one part in so many is left to what it
/// counts beside our own memory.
const KERNEL_PART: usize = 10;

/// `memory_mib` as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MemoryLimit {
    /// Nine tenths of what the cgroup allows; where it allows all, 768 MiB and
    /// 256 for each worker.
    #[default]
    Auto,
    /// So many MiB.
    Mib(usize),
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Mib(mib) => mib.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limit;
        impl serde::de::Visitor<'_> for Limit {
            type Value = MemoryLimit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`auto`, or a whole number of MiB")
            }

            fn visit_u64<E: serde::de::Error>(self, mib: u64) -> Result<MemoryLimit, E> {
                usize::try_from(mib)
                    .map(MemoryLimit::Mib)
                    .map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, mib: i64) -> Result<MemoryLimit, E> {
                usize::try_from(mib)
                    .map(MemoryLimit::Mib)
                    .map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MemoryLimit, E> {
                match text {
                    "auto" => Ok(MemoryLimit::Auto),
                    other => Err(E::custom(format!(
                        "`{other}` is neither `auto` nor a whole number of MiB"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Limit)
    }
}

impl JsonSchema for MemoryLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MemoryLimit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"] })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) limit: MemoryLimit,
    pub(crate) workers: usize,
    /// Given in the configuration, in MiB.
    pub(crate) block_cache_mib: Option<usize>,
    pub(crate) write_buffer_mib: Option<usize>,
}

impl Asked {
    fn given_mib(&self) -> usize {
        self.block_cache_mib.unwrap_or(0) + self.write_buffer_mib.unwrap_or(0)
    }
}

/// What each part of the process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// The bound of the whole, in MiB.
    pub(crate) limit_mib: usize,
    /// All partitions together, in bytes.
    pub(crate) block_cache_bytes: usize,
    /// All partitions together, in bytes.
    pub(crate) write_buffer_bytes: usize,
    /// Due times and decoded accounts of one worker, in bytes.
    pub(crate) account_bytes: usize,
    /// Changed accounts of one worker, in bytes.
    pub(crate) dirty_bytes: usize,
    /// Queues of each Kafka client.
    pub(crate) queues: Queues,
}

impl Shares {
    /// Divides the memory.
    ///
    /// # Errors
    /// It is too little, or more than `allowed_mib`, which is what the kernel
    /// allows: the key at fault and the reason.
    pub(crate) fn divide(
        asked: &Asked,
        allowed_mib: Option<usize>,
    ) -> Result<Self, (&'static str, String)> {
        let limit_mib = match (asked.limit, allowed_mib) {
            (MemoryLimit::Auto, None) => DEFAULT_MIB + DEFAULT_WORKER_MIB * asked.workers,
            (MemoryLimit::Auto, Some(allowed)) => allowed - allowed / KERNEL_PART,
            (MemoryLimit::Mib(mib), Some(allowed)) if mib > allowed => {
                return Err((
                    "memory_mib",
                    format!(
                        "is {mib} and the cgroup allows {allowed} MiB: the kernel would end the \
                         process; lower it, or raise the limit of the container"
                    ),
                ));
            }
            (MemoryLimit::Mib(mib), _) => mib,
        };
        Self::of(asked, limit_mib).ok_or_else(|| too_little(asked, limit_mib, allowed_mib))
    }

    /// The shares of so much; `None` where it is too little.
    fn of(asked: &Asked, limit_mib: usize) -> Option<Self> {
        let workers = asked.workers.max(1);
        let fixed = PROGRAM_MIB + WORKER_MIB * workers + limit_mib / ALLOCATOR_PART;
        let mut parts = ACCOUNT_PARTS + EPOCH_PARTS + FETCHED_PARTS;
        if asked.block_cache_mib.is_none() {
            parts += BLOCK_CACHE_PARTS;
        }
        if asked.write_buffer_mib.is_none() {
            parts += WRITE_BUFFER_PARTS;
        }
        let rest = limit_mib.saturating_sub(fixed + asked.given_mib());
        let share = |of: usize| rest * of / parts;
        let of_worker = |of: usize| share(of) * MIB / workers;
        let block_cache = asked.block_cache_mib.unwrap_or(share(BLOCK_CACHE_PARTS));
        let write_buffers = asked.write_buffer_mib.unwrap_or(share(WRITE_BUFFER_PARTS));
        let shares = Self {
            limit_mib,
            block_cache_bytes: block_cache * MIB,
            write_buffer_bytes: write_buffers * MIB,
            account_bytes: of_worker(ACCOUNT_PARTS),
            // Rows of a commit take about two thirds of their decoded accounts, and an epoch
            // stands in memory once as rows and once with the producer.
            dirty_bytes: of_worker(EPOCH_PARTS) / 2,
            queues: Queues {
                unsent_bytes: of_worker(EPOCH_PARTS) / 2,
                fetched_bytes: of_worker(FETCHED_PARTS) / 2,
            },
        };
        let is_enough = block_cache >= LEAST_STORE_MIB
            && write_buffers >= LEAST_STORE_MIB
            && shares.account_bytes >= LEAST_ACCOUNTS_MIB * MIB
            && of_worker(EPOCH_PARTS) >= LEAST_EPOCH_MIB * MIB
            && of_worker(FETCHED_PARTS) >= LEAST_FETCHED_MIB * MIB;
        is_enough.then_some(shares)
    }

    pub(crate) fn store_options(&self) -> StoreOptions {
        StoreOptions {
            block_cache_bytes: self.block_cache_bytes,
            write_buffer_bytes: self.write_buffer_bytes,
            ..StoreOptions::default()
        }
    }
}

/// Says that it is too little, and from where on it would be enough.
fn too_little(
    asked: &Asked,
    limit_mib: usize,
    allowed_mib: Option<usize>,
) -> (&'static str, String) {
    let enough = (limit_mib + 1..1 << 24).find(|&mib| Shares::of(asked, mib).is_some());
    let enough = enough.map_or_else(String::new, |mib| format!(": give at least {mib}"));
    let from = match (asked.limit, allowed_mib) {
        (MemoryLimit::Auto, Some(allowed)) => format!(" (from {allowed} MiB of the cgroup)"),
        _ => String::new(),
    };
    let (workers, given) = (asked.workers, asked.given_mib());
    let beside = match given {
        0 => String::new(),
        given => format!(" beside the {given} MiB given to the store"),
    };
    let text = format!("is {limit_mib}{from}, too little for {workers} workers{beside}{enough}");
    ("memory_mib", text)
}

/// What the kernel allows this process by its cgroup, in MiB; `None` where that
/// is all there is.
pub(crate) fn allowed_mib() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest_limit(Path::new("/sys/fs/cgroup"), &groups).map(|bytes| (bytes / MIB as u64) as usize)
}

/// The lowest limit from the group of `groups` (as in `/proc/self/cgroup`)
/// upwards, in bytes, by version 2 or 1 of the kernel's interface.
fn lowest_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (root, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            return Vec::new();
        };
        // Within a container the path may be the host's, and not exist here; the root does.
        let group = root.join(path.trim_start_matches('/'));
        let upwards = group
            .ancestors()
            .take_while(|folder| folder.starts_with(&root));
        let limits = upwards.filter_map(|folder| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            text.trim().parse::<u64>().ok()
        });
        limits.collect()
    });
    // Version 1 says "all there is" by a number beyond any machine.
    limits.filter(|bytes| *bytes < 1 << 60).min()
}

/// Memory that is resident now, in bytes; `None` where the kernel does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mib: usize, workers: usize) -> Asked {
        Asked {
            limit: MemoryLimit::Mib(mib),
            workers,
            block_cache_mib: None,
            write_buffer_mib: None,
        }
    }

    /// Everything that the shares add up to, in bytes.
    fn total(shares: &Shares, workers: usize) -> usize {
        let of_worker = shares.account_bytes
            + shares.dirty_bytes
            + shares.queues.unsent_bytes
            + 2 * shares.queues.fetched_bytes;
        shares.block_cache_bytes + shares.write_buffer_bytes + workers * of_worker
    }

    #[test]
    fn the_parts_leave_room_for_the_program_and_the_allocator() {
        for workers in [1, 2, 4, 16] {
            for mib in [512, 1024, 4096, 65_536] {
                let Ok(shares) = Shares::divide(&asked(mib, workers), None) else {
                    continue;
                };
                let free = mib * MIB - total(&shares, workers);
                let fixed = PROGRAM_MIB + WORKER_MIB * workers + mib / ALLOCATOR_PART;
                assert!(free >= fixed * MIB, "{mib} MiB, {workers} workers");
                // Five shares in whole MiB.
                assert!(free < (fixed + 6) * MIB, "{mib} MiB, {workers} workers");
            }
        }
    }

    #[test]
    fn half_a_gibibyte_serves_two_workers_and_the_parts_add_up_to_a_whole() {
        Shares::divide(&asked(512, 2), None).expect("enough");
        assert_eq!(
            BLOCK_CACHE_PARTS + WRITE_BUFFER_PARTS + ACCOUNT_PARTS + EPOCH_PARTS + FETCHED_PARTS,
            100
        );
    }

    #[test]
    fn too_little_is_refused_and_the_least_that_is_named_is_enough() {
        for workers in [1, 3, 64] {
            let (key, message) = Shares::divide(&asked(64, workers), None).expect_err("refused");
            assert_eq!(key, "memory_mib");
            let (_, least) = message.split_once("give at least ").expect("a number");
            let least: usize = least.parse().expect("MiB");
            Shares::divide(&asked(least, workers), None).expect("enough");
            Shares::divide(&asked(least - 1, workers), None).expect_err("too little");
        }
    }

    #[test]
    fn what_is_given_is_taken_out_and_too_much_of_it_is_refused() {
        let given = Asked {
            block_cache_mib: Some(200),
            ..asked(1024, 1)
        };
        let shares = Shares::divide(&given, None).expect("enough");
        assert_eq!(shares.block_cache_bytes, 200 * MIB);
        assert!(total(&shares, 1) < 1024 * MIB);
        let given = Asked {
            write_buffer_mib: Some(900),
            ..given
        };
        let (key, message) = Shares::divide(&given, None).expect_err("refused");
        assert_eq!(key, "memory_mib");
        assert!(message.contains("beside the 1100 MiB given"), "{message}");
    }

    #[test]
    fn more_than_the_kernel_allows_is_refused_and_auto_stays_below_it() {
        let (_, message) = Shares::divide(&asked(2048, 1), Some(1024)).expect_err("refused");
        assert!(message.contains("the cgroup allows 1024 MiB"), "{message}");
        let auto = Asked {
            limit: MemoryLimit::Auto,
            ..asked(0, 1)
        };
        let shares = Shares::divide(&auto, Some(1000)).expect("enough");
        assert_eq!(shares.limit_mib, 900);
        let shares = Shares::divide(&auto, None).expect("enough");
        assert_eq!(shares.limit_mib, 1024);
        let (_, message) = Shares::divide(&auto, Some(128)).expect_err("refused");
        assert!(
            message.contains("(from 128 MiB of the cgroup)"),
            "{message}"
        );
    }

    #[test]
    fn the_lowest_limit_above_a_group_counts_in_both_versions() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("memory.max", "max\n");
        write("kube/memory.max", "536870912\n");
        write("kube/pod/memory.max", "1073741824\n");
        write("memory/docker/memory.limit_in_bytes", "268435456\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let limit = |groups| lowest_limit(dir.path(), groups);
        assert_eq!(limit("0::/kube/pod\n"), Some(536_870_912));
        assert_eq!(limit("0::/\n"), None);
        assert_eq!(limit("0::/not/seen/from/here\n"), None);
        assert_eq!(
            limit("3:cpu:/docker\n2:memory,x:/docker\n"),
            Some(268_435_456)
        );
        assert_eq!(limit("2:memory:/\n"), None);
    }

    #[test]
    fn a_process_knows_its_resident_memory() {
        let bytes = resident_bytes().expect("on Linux");
        assert!(bytes > 1 << 20, "{bytes}");
    }
}
