//! Events to work on: tickets that pile up at a few accounts, which raises
//! alerts at once.

use churnwatch_core::EventTime;
use churnwatch_testkit::broker::Outgoing;

/// Accounts the tickets are of, `a0` to `a4`.
pub(crate) const ACCOUNTS: usize = 5;

/// `count` tickets from the time of number `first` on, in order of time, in one
/// partition. Numbers a minute apart; 1,440 of them are a day.
pub(crate) fn tickets(partition: i32, first: usize, count: usize) -> Vec<Outgoing> {
    (first..first + count)
        .map(|number| ticket(partition, &account(number), number))
        .collect()
}

/// The account that the ticket of this number is of.
fn account(number: usize) -> String {
    format!("a{}", number % ACCOUNTS)
}

/// One ticket of an account.
pub(crate) fn ticket(partition: i32, account: &str, number: usize) -> Outgoing {
    // Accounts of one name in two partitions would be two accounts.
    let account = format!("p{partition}-{account}");
    let time = EventTime::parse("2026-03-01T00:00:00Z").expect("a time");
    let time = time.plus_millis(number as i64 * 60_000);
    let line = format!(
        r#"{{"kind":"ticket","account_id":"{account}","time":"{time}","id":"{account}-{number}","ticket_id":"t{number}","action":"opened","severity":"P3"}}"#
    );
    Outgoing {
        partition: Some(partition),
        ..Outgoing::event(&line)
    }
}

/// Records that cannot be used.
pub(crate) fn bad(partition: i32, count: usize) -> Vec<Outgoing> {
    (0..count)
        .map(|number| Outgoing {
            partition: Some(partition),
            key: Some(b"p0-a0".to_vec()),
            value: Some(format!("number {number}").into_bytes()),
            ..Outgoing::default()
        })
        .collect()
}
