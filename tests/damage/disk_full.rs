//! A disk that fills up, and has room again.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use churnwatch_testkit::broker::{Process, wait_for};
use serde_json::json;

use crate::support::{A, Run, settings};

/// Set in the process that may mount: see [`with_the_right_to_mount`].
const INSIDE: &str = "CHURNWATCH_TEST_MAY_MOUNT";

/// A small file system of its own.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).expect("a directory can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(path)
            .output();
        let is_mounted = mounted.is_ok_and(|ran| ran.status.success());
        is_mounted.then(|| Self {
            path: path.to_owned(),
        })
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let filler = self.path.join("filler");
        let file = File::options().create(true).append(true).open(filler);
        let Ok(mut file) = file else { return };
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path.join("filler")).expect("the filler goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once or, where a process of a failed test still has files open, once it is gone.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Runs a test where a file system can be mounted: here, or in a name space of
/// its own, where every user may.
///
/// # Panics
/// Neither is permitted.
fn with_the_right_to_mount(test: &str, run: impl FnOnce()) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    if SmallDisk::mount(dir.path(), "64k").is_some() {
        return run();
    }
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "a name space of its own, and no right to mount in it"
    );
    let program = std::env::current_exe().expect("a test has a path");
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output();
    let ran = ran.expect(
        "this test needs a small file system: run it with the right to mount, or install `unshare`",
    );
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(
        !said.contains("unshare failed") && !said.contains("Operation not permitted"),
        "this test needs a small file system: run it with the right to mount (CAP_SYS_ADMIN), or \
         where user name spaces are permitted (sysctl kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0)\n{said}"
    );
    assert!(ran.status.success(), "{said}");
}

#[test]
fn a_full_disk_stops_the_work_and_says_so_and_goes_on_by_itself_when_there_is_room() {
    let test = "disk_full::a_full_disk_stops_the_work_and_says_so_and_goes_on_by_itself_when_there_is_room";
    with_the_right_to_mount(test, || {
        let mut run = Run::new("full");
        let disk = SmallDisk::mount(&run.deployment.dir().join("small"), "24m").expect("a mount");
        let state = disk.path.join("state");
        let mut on_it = settings();
        on_it["state_dir"] = json!(state);
        on_it["store"] = json!({"write_buffer_mib": 8});
        run.feed(4);
        let mut process = run.deployment.start(A, &on_it);
        run.wait_until_read(&mut process);
        process.wait_until_ready();
        for round in 1..=2 {
            // Under load, and again and again: what is given up makes room.
            run.feed(6);
            let cause = expect_full(&disk, &process);
            let said = format!("no space left under {}", state.display());
            assert!(cause.contains(&said), "{cause}");
            run.feed(6);
            disk.fill();
            assert_eq!(process.get("/livez").0, 200, "a restart would not help");
            disk.make_room();
            run.wait_until_read(&mut process);
            process.wait_until_ready();
            let log = process.log();
            assert!(log.matches("there is room again").count() >= round, "{log}");
            assert!(!log.contains("is corrupt"), "{log}");
        }
        process.stop();
        // A start on a full disk waits just so.
        disk.fill();
        let process = run.deployment.start(A, &on_it);
        expect_full(&disk, &process);
        disk.make_room();
        process.wait_until_ready();
        run.end(process, "full");
        drop(disk);
    });
}

/// Keeps the disk full until the process says so.
fn expect_full(disk: &SmallDisk, process: &Process) -> String {
    wait_for("the cause on /readyz", || {
        disk.fill();
        let (status, body) = process.get("/readyz");
        (status == 503 && body.contains("no space left under")).then_some(body)
    })
}
