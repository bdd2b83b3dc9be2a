//! `churnwatch inspect` on a state as it is, and on damaged ones.

use std::fs;

use churnwatch_testkit::cli::{self, Ran};
use serde_json::Value;

use crate::support::{A, Run, flip};

fn inspect(run: &Run, arguments: &[&str]) -> Ran {
    let state = run.deployment.state_dir(A);
    let state = state.to_str().expect("a path of UTF-8");
    let all = ["inspect", "--state-dir", state];
    cli::run(all.iter().chain(arguments))
}

#[test]
fn inspect_shows_and_proves_what_is_there_and_names_the_partition_that_is_damaged() {
    let mut run = Run::new("inspect");
    run.feed(2);
    let mut process = run.start();
    run.wait_until_read(&mut process);
    let said = inspect(&run, &[]).failed(75);
    assert!(said.contains("is in use by churnwatch"), "{said}");
    process.stop();
    let log: Vec<i64> = run
        .deployment
        .group()
        .progress()
        .iter()
        .map(|at| at.0)
        .collect();

    let shown = inspect(&run, &["--format", "json", "--verify"])
        .succeeded()
        .stdout;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    for (partition, offset) in log.iter().enumerate() {
        let row = &shown[partition];
        assert_eq!(row["partition"], partition, "{shown}");
        assert_eq!(row["next_offset"], *offset, "{shown}");
        assert_eq!(row["state"], "verified", "{shown}");
        for field in ["epoch", "accounts", "rows", "bytes", "changelog_offset"] {
            assert!(row[field].as_u64() > Some(0), "{field}: {shown}");
        }
        assert_eq!(row["digest"].as_str().map(str::len), Some(32), "{shown}");
    }
    let shown = inspect(&run, &["--format", "table", "--partition", "1"])
        .succeeded()
        .stdout;
    assert!(
        shown.contains("not read") && !shown.contains("verified"),
        "{shown}"
    );

    let account = run
        .deployment
        .read("churn.events.v1")
        .into_iter()
        .find_map(|record| record.key)
        .expect("an account");
    let account = String::from_utf8(account).expect("an id");
    let shown = inspect(&run, &["--account", &account, "--format", "table"])
        .succeeded()
        .stdout;
    for row in ["hot row of account", "history row of account"] {
        assert!(shown.contains(row), "{shown}");
    }
    inspect(&run, &["--account", "nobody"]).failed(66);
    inspect(&run, &["--partition", "9"]).failed(66);

    // Damage of every kind is told, and the other partition is shown all the same.
    let database = run.database(1);
    let sound = run.deployment.dir().join("sound");
    copy(&database, &sound);
    type Damage = fn(&Run);
    let damages: [(&str, Damage); 6] = [
        ("a flipped bit", |run| flip(&run.table(1), 100)),
        ("a cut table", |run| {
            let table = run.table(1);
            let bytes = fs::read(&table).expect("a table");
            fs::write(&table, &bytes[..bytes.len() / 2]).expect("a table can be written");
        }),
        ("a table gone", |run| {
            fs::remove_file(run.table(1)).expect("a table goes")
        }),
        ("CURRENT gone", |run| {
            fs::remove_file(run.database(1).join("CURRENT")).expect("CURRENT goes");
        }),
        ("all files empty", |run| {
            for file in run.files(1, "") {
                fs::write(file, "").expect("a file can be written");
            }
        }),
        ("a row that is not the one", |run| {
            let path = run.database(1);
            let db = rocksdb::DB::open(&rocksdb::Options::default(), path).expect("a database");
            let row = db.iterator(rocksdb::IteratorMode::Start).next();
            let (key, mut value) = row.expect("a row").expect("a row");
            let last = value.len() - 1;
            value[last] ^= 1;
            db.put(key, value).expect("a row can be written");
        }),
    ];
    for (what, damage) in damages {
        damage(&run);
        let ran = inspect(&run, &["--verify", "--format", "ndjson"]);
        assert!(
            ran.stdout.contains(r#""state":"verified""#),
            "{what}: {}",
            ran.stdout
        );
        assert!(
            ran.stdout.contains(r#""state":"damaged""#),
            "{what}: {}",
            ran.stdout
        );
        let said = ran.failed(70);
        println!("{what}: {said}");
        assert!(said.contains("partition 1"), "{what}: {said}");
        fs::remove_dir_all(&database).expect("a database goes");
        copy(&sound, &database);
    }
    // Nothing of all that was changed by looking at it.
    inspect(&run, &["--verify"]).succeeded();
    let process = run.start();
    process.wait_until_ready();
    assert!(
        !process.log().contains("rebuilding"),
        "{}",
        process.last_said()
    );
    run.end(process, "inspect");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
    }
}
