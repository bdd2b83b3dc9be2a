//! An account is erased by a record of the log, while the detector works.

use std::collections::BTreeMap;

use churnwatch_core::Rules;
use churnwatch_store::key;
use churnwatch_testkit::broker::{Deployment, Outgoing, Process};
use churnwatch_testkit::cli;
use churnwatch_testkit::world::World;
use serde_json::{Value, json};

use crate::tickets::{ticket, tickets};

/// Whom it is about; the only one of the log's one partition that is erased.
const ERASED: &str = "p0-a0";

fn busy() -> Value {
    json!({"detect": {"max_records": 70, "flush_interval": "300ms"}})
}

fn erase(deployment: &Deployment, account: &str) -> String {
    let config = deployment.config("operator", &json!({}));
    let config = config.to_str().expect("a path of UTF-8");
    let args = ["erase", account, "--by", "jo", "--config", config];
    cli::run(args).succeeded().stdout
}

/// Rows of the account in the changelog: the newest of each key, and whether it
/// is a deletion.
fn rows_of(deployment: &Deployment, account: &str) -> BTreeMap<Vec<u8>, bool> {
    let id = account.into();
    let of_account = |key: &[u8]| {
        key == key::hot(&id) || key == key::history(&id) || key.starts_with(&key::seats(&id))
    };
    deployment
        .read("churnwatch.state")
        .into_iter()
        .filter_map(|record| Some((record.key?, record.value.is_none())))
        .filter(|(key, _)| of_account(key))
        .collect()
}

fn open_of(world: &World, account: &str) -> usize {
    let of_account = format!("{account}|");
    let keys = world.open.keys();
    keys.filter(|key| key.starts_with(&of_account)).count()
}

#[test]
fn an_erased_account_is_gone_from_store_changelog_and_open_alerts_and_begins_anew() {
    let deployment = Deployment::new("erase", 1);
    let mut process = deployment.start("a", &busy());
    // Its seats are rows of their own.
    let seat = ticket(0, "a0", 0);
    let seat = String::from_utf8(seat.value.expect("a value")).expect("UTF-8");
    let seat = seat
        .replace(r#""kind":"ticket""#, r#""kind":"seat""#)
        .replace(
            r#""action":"opened""#,
            r#""action":"activated","user_id":"ada","role":"champion""#,
        );
    deployment.produce(&[Outgoing {
        partition: Some(0),
        ..Outgoing::event(&seat)
    }]);
    deployment.produce(&tickets(0, 0, 400));
    deployment.wait_until_read(&mut [&mut process]);
    let before = World::committed(&deployment);
    assert!(open_of(&before, ERASED) > 0, "an alert of it is open");
    assert_eq!(rows_of(&deployment, ERASED).len(), 3);
    process.stop();

    // It dies when the erasure is committed and its store knows nothing of it.
    let said = erase(&deployment, ERASED);
    assert!(said.contains("partition 0, offset 401"), "{said}");
    let fault = [("CHURNWATCH_FAULT", "kill@before_store:1")];
    let dies = deployment.start_with_faults("a", &busy(), &fault);
    assert_eq!(dies.wait_for_end().code, None, "it was killed");
    let mut process = deployment.start("a", &busy());
    deployment.wait_until_read(&mut [&mut process]);
    let erased = World::committed(&deployment);
    assert_eq!(open_of(&erased, ERASED), 0);
    let last = erased.history[ERASED].last().expect("it had alerts");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["resolve_reason"], "erased");
    assert_eq!(last["evidence"], json!({}));
    let rows = rows_of(&deployment, ERASED);
    assert!(
        rows.len() == 3 && rows.values().all(|deleted| *deleted),
        "{rows:?}"
    );
    World::check_committed(&deployment, &Rules::default(), "erased");

    // Nobody minds an account that is not known; what comes later is a new account.
    erase(&deployment, "p0-nobody");
    deployment.produce(&tickets(0, 400, 200));
    deployment.wait_until_read(&mut [&mut process]);
    let ended = process.stop();
    assert!(!ended.log.contains("rebuilding"), "{}", ended.log);
    let compared = World::check_committed(&deployment, &Rules::default(), "begun anew");
    assert!(
        rows_of(&deployment, ERASED)
            .values()
            .any(|deleted| !deleted)
    );
    assert_eq!(compared.dead_letters, 0);

    // The changelog alone brings the same back: every digest is the committed one.
    std::fs::remove_dir_all(deployment.state_dir("a")).expect("its state");
    let process: Process = deployment.start("a", &busy());
    process.wait_until_ready();
    assert!(process.metric("churnwatch_restore_rows_total") > 0.0);
    let ended = process.stop();
    assert!(!ended.log.contains("rebuilding"), "{}", ended.log);
}
