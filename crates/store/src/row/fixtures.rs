//! Rows of every version ever written, and the proof that they are still read.
//!
//! `fixtures/<table>-v<version>.bin` is a stored value, the `.txt` beside it
//! what it means today. A struct that changes without a new version shows here:
//! its old bytes no longer decode, or mean something else, or are written
//! differently.
//!
//! With `CHURNWATCH_WRITE_FIXTURES=1` the test writes the fixtures of versions
//! that have none yet, and the meaning of all. It never touches bytes that are
//! there: they stand for the rows of somebody's store.

use std::{fmt::Debug, fs, path::PathBuf};

use churnwatch_core::{
    account::{
        AccountState, History, Hot, InferredChampion, Profile, RecentTicket, Seat, SeatStatus,
    },
    alert::{AlertPhase, ResolveReason, Severity},
    breaker::Breaker,
    event::{Clock, ContactAction, ContactTouch, EventId, Money, Role, Segment, TicketSeverity},
    ids::{Feature, SourceName, UserId},
    life::{AlertState, Episode, Frozen, Muted, Numbers, Pending},
    signal::SignalId,
    time::{EventTime, Zone},
    watermark::{TaskTime, Tolerance},
};

use super::{Row, decode, encode};
use crate::{StateVersion, TaskRow};

#[test]
fn hot_rows_of_every_version_are_read() {
    check::<Hot>("hot", &account().hot);
}

#[test]
fn history_rows_of_every_version_are_read() {
    check::<History>("history", &account().history);
}

#[test]
fn seat_rows_of_every_version_are_read() {
    check::<Seat>("seat", &account().seats["ada"]);
}

#[test]
fn task_rows_of_every_version_are_read() {
    check::<TaskRow>("task", &task());
}

fn check<R: Row + Debug>(table: &str, today: &R) {
    let writing = std::env::var_os("CHURNWATCH_WRITE_FIXTURES").is_some();
    for version in 1..=R::VERSION {
        let path = |ending: &str| -> PathBuf {
            // Tests run in the directory of their crate.
            ["fixtures", &format!("{table}-v{version}.{ending}")]
                .iter()
                .collect()
        };
        let (bytes, meaning) = (path("bin"), path("txt"));
        if writing && version == R::VERSION && !bytes.exists() {
            fs::write(&bytes, encode(today, StateVersion::NEWEST).unwrap()).unwrap();
        }
        let stored = fs::read(&bytes).unwrap_or_else(|e| {
            panic!("no fixture of version {version}: {}: {e}", bytes.display())
        });
        let row: R = decode(&stored, None, 0).unwrap();
        let text = format!("{row:#?}\n");
        if writing {
            fs::write(&meaning, &text).unwrap();
        }
        let expected = fs::read_to_string(&meaning).unwrap();
        assert!(text == expected, "{} now means:\n{text}", bytes.display());
        if version == R::VERSION {
            assert_eq!(
                encode(&row, StateVersion::NEWEST).unwrap(),
                stored,
                "{} is written differently",
                bytes.display()
            );
        }
    }
}

/// An account in which every field that is stored holds something, and no two
/// of one type hold the same.
fn account() -> AccountState {
    let at = |minutes: i64| EventTime::from_millis(1_767_225_600_000 + minutes * 60_000);
    let first = at(0).utc_day();
    let (ada, bob) = (UserId::from("ada"), UserId::from("bob"));
    let mut account = AccountState::begin("acme".into(), first);

    account.history.profile = Profile {
        name: Some("Acme".into()),
        segment: Some(Segment::High),
        plan: Some("enterprise".into()),
        region: Some("emea".into()),
        time_zone: Zone::named("Europe/Berlin").ok(),
        started_at: Some(at(1)),
        renewal_date: Some(first.plus(200)),
        term_months: Some(12),
        auto_renew: Some(true),
        mrr: Some(Money {
            amount: 123_400,
            currency: "EUR".into(),
        }),
        seats_purchased: Some(50),
        owner: Some("csm-1".into()),
        parent: Some("acme-group".into()),
        core_features: Some(vec![Feature::from("report"), Feature::from("export")]),
        advanced_features: Some(vec![Feature::from("api")]),
        onboarding_paused: Some(false),
        ended_at: Some(at(2)),
    };
    for name in ["report", "export"] {
        account.history.feature_index(&name.into());
    }
    for n in 0..30_i32 {
        let day = first.plus(n);
        let open = account.open_day(day);
        open.core = 10 + n as u32;
        open.tickets = n as u32 % 3;
        open.volume = 100.5 + f64::from(n);
        open.features = vec![(0, 7), (1, 3 + n as u32)];
        account.user_acts(&ada, day, 0b01);
        if n % 4 == 0 {
            account.user_acts(&bob, day, 0b10);
        }
        if n < 27 {
            account.close_day(if n % 7 < 5 { 1.25 } else { 0.375 });
        }
    }
    let seat = account.seat(&ada);
    seat.role = Some(Role::Champion);
    seat.status = SeatStatus::Activated;

    let hot = &mut account.hot;
    hot.next_due = Some(at(50_000));
    hot.sequence = 17;
    hot.last_event = Some(at(43_000));
    hot.recent_ids = vec![(EventId(0xfeed), at(42_998)), (EventId(0xbeef), at(42_999))];
    hot.inferred_champions = vec![InferredChampion {
        user: ada.clone(),
        share: 0.625,
        challenged: 2,
    }];
    hot.tickets = vec![RecentTicket {
        time: at(42_000),
        ticket: "T-1".into(),
        severity: TicketSeverity::P2,
        area: Some("billing".into()),
        sentiment: Some(-0.5),
        weight: 2,
    }];
    let touch = |action, until| ContactTouch {
        contact: "carol".into(),
        role: Some(Role::Sponsor),
        user: Some(bob.clone()),
        action,
        until,
    };
    hot.contacts
        .touch(&touch(ContactAction::MailSent, None), at(41_000));
    hot.contacts.touch(
        &touch(ContactAction::OutOfOffice, Some(at(60_000))),
        at(41_001),
    );
    // One of each signal: the order of the registry is part of the format.
    hot.alerts = SignalId::ALL
        .iter()
        .map(|&signal| alert(signal, &ada, at))
        .collect();
    account
}

fn alert(signal: SignalId, subject: &UserId, at: impl Fn(i64) -> EventTime) -> AlertState {
    AlertState {
        signal,
        subject: Some(subject.clone()),
        pending: Some(Pending {
            since: at(3),
            looks: 4,
        }),
        episode: Some(Episode {
            phase: AlertPhase::Snoozed,
            severity: Severity::Warning,
            first_breach_at: at(10),
            opened_at: at(11),
            updated_at: at(12),
            resolved_at: Some(at(13)),
            resolve_reason: Some(ResolveReason::Rebased),
            reopen_count: 5,
            acted_by: Some("dora".into()),
            snoozed_until: Some(at(14)),
            clear_looks: 6,
            numbers: Numbers {
                score: 1.5,
                observed: 2.5,
                expected: 3.5,
                threshold: 4.5,
                rule: 7,
            },
            frozen: Frozen {
                expected: 5.5,
                second: 6.5,
            },
        }),
        muted: Some(Muted {
            level: 7.5,
            by_hand: true,
        }),
    }
}

fn task() -> TaskRow {
    let tolerance = Tolerance {
        disorder_ms: 10,
        grace_ms: 100,
    };
    let mut time = TaskTime::default();
    for (source, millis, usage) in [("app", 1_000, true), ("desk", 2_000, false)] {
        time.observe(
            &source.into(),
            EventTime::from_millis(millis),
            usage,
            tolerance,
        );
    }
    for (source, millis) in [(SourceName::from("app"), 3_000), (SourceName::log(), 4_000)] {
        time.clock(&Clock {
            source,
            shard: 1,
            shards: 2,
            time: EventTime::from_millis(millis),
        });
    }
    TaskRow {
        partitions: 12,
        epoch: 34,
        next_offset: 56,
        changelog_offset: 78,
        digest: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        time,
        breaker: breaker(),
    }
}

/// Never is all of it there at once; here every field holds something.
fn breaker() -> Breaker {
    let slices = [2, 3, 1];
    let filled = [5];
    let let_through = [1, 20];
    let tripped = [1, 7, 9];
    let bytes = [&slices[..], &filled, &let_through, &tripped].concat();
    postcard::from_bytes(&bytes).unwrap()
}
