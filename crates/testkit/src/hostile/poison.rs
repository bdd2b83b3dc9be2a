//! Records that cannot be used, of every kind that is refused.

use churnwatch_core::{EventTime, time::DAY_MS};

use super::{MARK, Random};
use crate::broker::Outgoing;

/// Oversized records in one log; each is of a mebibyte.
const MOST_OVERSIZED: usize = 4;

/// Poison, one kind after the other.
pub(super) struct Kinds {
    now: EventTime,
    kinds: Vec<Kind>,
    next: usize,
    oversized: usize,
}

/// One kind: the reason under which it has to be put away, and how it is made.
#[derive(Clone, Copy)]
struct Kind {
    reason: &'static str,
    make: fn(&str, EventTime) -> Outgoing,
}

impl Kinds {
    pub(super) fn new(now: EventTime) -> Self {
        Self {
            now,
            kinds: KINDS.to_vec(),
            next: 0,
            oversized: 0,
        }
    }

    /// The next one, about some account, with headers as strange as itself.
    pub(super) fn next(&mut self, random: &mut Random) -> Outgoing {
        let account = if random.one_in(2) {
            "giant".to_owned()
        } else {
            format!("a{}", random.below(20))
        };
        let mut kind = self.kinds[self.next % self.kinds.len()];
        self.next += 1;
        if kind.reason == "too_large" {
            self.oversized += 1;
            if self.oversized > MOST_OVERSIZED {
                kind = KINDS[0];
            }
        }
        let mut record = (kind.make)(&account, self.now);
        record.headers = headers(random);
        let mark = (MARK.to_owned(), Some(kind.reason.as_bytes().to_vec()));
        record.headers.push(mark);
        record
    }
}

/// A value under the key of its account.
fn of(account: &str, value: impl Into<Vec<u8>>) -> Outgoing {
    Outgoing {
        key: Some(account.as_bytes().to_vec()),
        value: Some(value.into()),
        ..Outgoing::default()
    }
}

/// A use of the product, with fields put in.
fn with(account: &str, now: EventTime, fields: &str) -> String {
    format!(
        r#"{{"kind":"usage","account_id":"{account}","time":"{now}","feature":"work"{fields}}}"#
    )
}

fn at(account: &str, time: &str) -> Outgoing {
    let line =
        format!(r#"{{"kind":"usage","account_id":"{account}","time":"{time}","feature":"work"}}"#);
    of(account, line)
}

const KINDS: &[Kind] = &[
    Kind {
        reason: "not_json",
        make: |account, _| of(account, "not json"),
    },
    Kind {
        reason: "not_json",
        make: |account, _| of(account, ""),
    },
    Kind {
        reason: "not_json",
        make: |account, now| of(account, with(account, now, r#","feature":"twice""#)),
    },
    Kind {
        reason: "not_json",
        make: |account, now| of(account, with(account, now, r#","quantity":NaN"#)),
    },
    Kind {
        reason: "not_json",
        // Deeper than any stack is meant to hold.
        make: |account, now| {
            of(
                account,
                with(account, now, &format!(r#","x":{}"#, "[".repeat(60_000))),
            )
        },
    },
    Kind {
        reason: "not_json",
        make: |account, now| of(account, format!("{} {{}}", with(account, now, ""))),
    },
    Kind {
        reason: "not_an_object",
        make: |account, _| of(account, r#"["usage"]"#),
    },
    Kind {
        reason: "not_an_object",
        make: |account, _| of(account, "null"),
    },
    Kind {
        reason: "not_utf8",
        make: |account, now| {
            let mut value = with(account, now, r#","user_id":"u"#).into_bytes();
            value.extend(b"\xff\xfe\"}");
            of(account, value)
        },
    },
    Kind {
        reason: "null_value",
        make: |account, _| Outgoing {
            key: Some(account.as_bytes().to_vec()),
            ..Outgoing::default()
        },
    },
    Kind {
        reason: "too_large",
        make: |account, _| of(account, vec![b' '; 1_048_577]),
    },
    Kind {
        reason: "unknown_kind",
        make: |account, now| of(account, with(account, now, "").replace("usage", "usurp")),
    },
    Kind {
        reason: "missing_field",
        make: |account, now| {
            of(
                account,
                format!(r#"{{"kind":"usage","account_id":"{account}","time":"{now}"}}"#),
            )
        },
    },
    Kind {
        reason: "missing_field",
        make: |account, now| {
            of(
                account,
                format!(
                    r#"{{"kind":"seat","account_id":"{account}","time":"{now}","action":"invited"}}"#
                ),
            )
        },
    },
    Kind {
        reason: "wrong_type",
        make: |account, now| {
            of(
                account,
                with("7", now, "")
                    .replace(r#""7""#, "7")
                    .replace("account_id", &format!("x\":\"{account}\",\"account_id")),
            )
        },
    },
    Kind {
        reason: "wrong_type",
        make: |account, now| of(account, with(account, now, r#","user_id":["u"]"#)),
    },
    Kind {
        reason: "wrong_type",
        make: |account, now| of(account, with(account, now, r#","quantity":"3""#)),
    },
    Kind {
        reason: "account_id_empty",
        make: |account, now| of(account, with("", now, "")),
    },
    Kind {
        reason: "account_id_too_long",
        make: |account, now| of(account, with(&"x".repeat(10_000), now, "")),
    },
    Kind {
        reason: "bad_name",
        make: |account, now| of(account, with(account, now, r#","user_id":"a\u0000b""#)),
    },
    Kind {
        reason: "name_too_long",
        make: |account, now| {
            of(
                account,
                with(
                    account,
                    now,
                    &format!(r#","user_id":"{}""#, "u".repeat(513)),
                ),
            )
        },
    },
    Kind {
        reason: "bad_time",
        make: |account, _| at(account, "yesterday"),
    },
    Kind {
        reason: "bad_time",
        make: |account, _| at(account, "2026-02-30T12:00:00Z"),
    },
    Kind {
        reason: "out_of_range",
        make: |account, now| of(account, with(account, now, r#","quantity":-1"#)),
    },
    Kind {
        reason: "out_of_range",
        make: |account, now| of(account, with(account, now, r#","quantity":1e400"#)),
    },
    Kind {
        reason: "unknown_value",
        make: |account, now| of(account, with(account, now, r#","actor":"robot""#)),
    },
    Kind {
        reason: "key_missing",
        make: |account, now| Outgoing {
            // Without a key it could lie anywhere.
            partition: Some(0),
            key: None,
            ..of(account, with(account, now, ""))
        },
    },
    Kind {
        reason: "key_mismatch",
        make: |account, now| Outgoing {
            key: Some(b"\xffsomebody else\x00".to_vec()),
            ..of(account, with(account, now, ""))
        },
    },
    Kind {
        reason: "key_mismatch",
        make: |account, now| Outgoing {
            key: Some(vec![b'k'; 20_000]),
            ..of(account, with(account, now, ""))
        },
    },
    // Clocks that run ahead, by hours or years: nobody's timers may fire.
    Kind {
        reason: "time_ahead",
        make: |account, now| at(account, &now.plus_millis(3 * 3_600_000).to_string()),
    },
    Kind {
        reason: "time_ahead",
        make: |account, now| at(account, &now.plus_millis(3_653 * DAY_MS).to_string()),
    },
    Kind {
        reason: "time_ahead",
        make: |account, _| at(account, "2999-12-31T23:59:59.999Z"),
    },
    Kind {
        reason: "time_ahead",
        make: |account, now| {
            let time = now.plus_millis(365 * DAY_MS);
            let value = format!(
                r#"{{"kind":"clock","source":"log","shard":0,"shards":1,"time":"{time}"}}"#
            );
            of(account, value)
        },
    },
];

/// Headers that nobody should send.
fn headers(random: &mut Random) -> Vec<(String, Option<Vec<u8>>)> {
    match random.below(6) {
        0 => Vec::new(),
        1 => vec![
            ("trace".to_owned(), Some(b"\x004bf9\xff".to_vec())),
            ("none".to_owned(), None),
            ("empty".to_owned(), Some(Vec::new())),
        ],
        // As an earlier dead letter has them: these are not ours.
        2 => vec![
            ("__connect.errors.offset".to_owned(), Some(b"-1".to_vec())),
            ("__connect.errors.topic".to_owned(), None),
        ],
        3 => (0..200)
            .map(|number| (format!("h{}", number % 3), Some(vec![number])))
            .collect(),
        4 => vec![("large".to_owned(), Some(vec![b'h'; 20_000]))],
        _ => vec![
            ("\u{1F600} | \n".to_owned(), Some(b"odd".to_vec())),
            (String::new(), Some(b"nameless".to_vec())),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use churnwatch_wire::{RejectReason, check_key, decode_record};

    use super::*;

    #[test]
    fn every_reason_of_rejection_is_there_and_each_kind_is_refused_for_its_own() {
        let now = EventTime::from_millis(1_790_000_000_000);
        for kind in KINDS.iter().filter(|kind| kind.reason != "time_ahead") {
            let record = (kind.make)("acme", now);
            let rejection = decode_record(record.value.as_deref())
                .and_then(|decoded| check_key(record.key.as_deref(), &decoded))
                .expect_err(kind.reason);
            assert_eq!(rejection.reason.as_str(), kind.reason, "{rejection}");
        }
        let known: BTreeSet<&str> = RejectReason::ALL.iter().map(|r| r.as_str()).collect();
        let made: BTreeSet<&str> = KINDS.iter().map(|kind| kind.reason).collect();
        assert_eq!(made, known);
    }
}
