//! Files of the state, gone or damaged.

use std::{fs, os::unix::fs::FileExt, path::Path};

use churnwatch_testkit::broker::{wait_for, wait_for_work};
use serde_json::json;

use crate::support::{A, Run, flip, settings};

/// What a log says when a state is given up.
const REBUILT: &str = "rebuilding the state from the changelog";

/// Something that may become of the files of a database; whether it must be
/// found, or may be harmless.
type Damage = (&'static str, bool, fn(&Run, i32));

const DAMAGES: &[Damage] = &[
    ("a table cut in half", true, |run, partition| {
        let table = run.table(partition);
        let bytes = fs::read(&table).expect("a table");
        fs::write(&table, &bytes[..bytes.len() / 2]).expect("a table can be written");
    }),
    (
        "a flipped bit in the first block of a table",
        true,
        |run, partition| {
            flip(&run.table(partition), 100);
        },
    ),
    (
        "a flipped bit in the index of a table",
        true,
        |run, partition| {
            let table = run.table(partition);
            flip(&table, index_of(&table));
        },
    ),
    (
        "a flipped bit in the footer of a table",
        true,
        |run, partition| {
            flip(&run.table(partition), -4);
        },
    ),
    ("a table gone", true, |run, partition| {
        fs::remove_file(run.table(partition)).expect("a table goes");
    }),
    ("the manifest gone", true, |run, partition| {
        fs::remove_file(manifest(run, partition)).expect("the manifest goes");
    }),
    ("a flipped bit in the manifest", true, |run, partition| {
        flip(&manifest(run, partition), 40);
    }),
    ("CURRENT gone", true, |run, partition| {
        fs::remove_file(run.database(partition).join("CURRENT")).expect("CURRENT goes");
    }),
    ("CURRENT empty", true, |run, partition| {
        fs::write(run.database(partition).join("CURRENT"), "").expect("CURRENT can be written");
    }),
    ("all files empty", true, |run, partition| {
        for file in run.files(partition, "") {
            fs::write(file, "").expect("a file can be written");
        }
    }),
    ("its settings gone", false, |run, partition| {
        for file in run.files(partition, "").into_iter().filter(|file| {
            file.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("OPTIONS"))
        }) {
            fs::remove_file(file).expect("a file goes");
        }
    }),
];

fn manifest(run: &Run, partition: i32) -> std::path::PathBuf {
    let current = fs::read_to_string(run.database(partition).join("CURRENT")).expect("CURRENT");
    run.database(partition).join(current.trim())
}

/// A byte in the block before the properties, which is the index.
fn index_of(table: &Path) -> i64 {
    let bytes = fs::read(table).expect("a table");
    let name: &[u8] = b"rocksdb.";
    let properties = bytes
        .windows(name.len())
        .position(|window| window == name)
        .expect("a table has properties");
    properties as i64 - 40
}

#[test]
fn damage_on_disk_is_found_at_the_start_and_the_state_is_built_anew() {
    let mut run = Run::new("damaged");
    run.read_a_share(3);
    // Two partitions, so two kinds of damage a round.
    for pair in DAMAGES.chunks(2) {
        for (partition, (_, _, damage)) in (0..).zip(pair) {
            damage(&run, partition);
        }
        run.feed(4 * DAMAGES.len());
        let mut process = run.start();
        run.wait_until_read(&mut process);
        let log = process.stop().log;
        for (partition, (what, is_found, _)) in (0..).zip(pair) {
            let found = log.lines().filter(|line| line.contains(REBUILT));
            let found = found
                .filter(|line| line.contains(&format!("\"partition\":{partition}")))
                .count();
            println!("{what}: built anew {found} times");
            assert_eq!(found, usize::from(*is_found), "{what}: {log}");
        }
    }
    let process = run.start();
    run.end(process, "damaged");
}

#[test]
fn damage_under_a_running_process_is_found_when_it_is_read_and_does_not_end_it() {
    let mut run = Run::new("rots");
    // Accounts are read from the store again and again, and tables are written all the time, whose
    // blocks are not in memory yet.
    let mut small = settings();
    small["detect"]["cached_accounts"] = json!(1);
    small["detect"]["max_records"] = json!(500);
    small["store"] = json!({"block_cache_mib": 8, "write_buffer_mib": 8});
    run.feed(3);
    let mut process = run.deployment.start(A, &small);
    run.wait_until_read(&mut process);
    for round in 1..=2 {
        run.feed(4);
        wait_for("the damage to be found", || {
            for partition in 0..2 {
                run.tables(partition).iter().for_each(|table| spoil(table));
            }
            process.expect_alive();
            let found = process.log().matches("and rebuilding the state").count();
            (found >= round).then_some(())
        });
        run.wait_until_read(&mut process);
        process.wait_until_ready();
    }
    run.end(process, "rots");
}

/// Spoils a byte in every part of a file that somebody has open.
fn spoil(table: &Path) {
    // Compaction may have deleted it meanwhile.
    let Ok(file) = fs::OpenOptions::new().write(true).open(table) else {
        return;
    };
    let length = file.metadata().map_or(0, |file| file.len());
    for at in (0..length).step_by(256) {
        file.write_all_at(&[0xff], at)
            .expect("a file can be written");
    }
}

#[test]
fn a_state_directory_deleted_under_load_is_begun_anew_without_a_restart() {
    let mut run = Run::new("deleted");
    run.feed(3);
    let mut process = run.start();
    let group = run.deployment.group();
    wait_for_work("the first commits", &mut [&mut process], || {
        (group.committed() > 0).then_some(())
    });
    run.lose_the_disk();
    run.feed(3);
    wait_for_work("a directory anew", &mut [&mut process], || {
        (0..2)
            .all(|partition| run.database(partition).join("CURRENT").exists())
            .then_some(())
    });
    assert!(process.metric("churnwatch_restore_rows_total") > 0.0);
    run.end(process, "deleted");
}
