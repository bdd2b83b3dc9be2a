//! Any bytes in the log are an event that an account can take, a clock, or a
//! dead letter with a reason.

use churnwatch_core::{AccountState, FleetDay, Input, Rules, apply, time::DAY_MS};
use churnwatch_wire::{Record, check_key, decode_record, encode_clock};

/// Looks made after an event, beyond those on which the account's windows turn.
const LOOKS: usize = 40;
/// The longest sentence about a rejection, in bytes.
const MESSAGE_MAX_BYTES: usize = 2_000;

/// Panics where it does not hold.
pub(crate) fn holds(bytes: &[u8]) {
    let decoded = decode_record(Some(bytes));
    assert_eq!(decoded, decode_record(Some(bytes)), "one answer");
    match decoded {
        Err(rejection) => {
            assert!(!rejection.message.is_empty(), "a reason in words");
            assert!(rejection.message.len() < MESSAGE_MAX_BYTES, "{rejection}");
        }
        Ok(Record::Clock(clock)) => {
            let again = decode_record(Some(&encode_clock(&clock)));
            assert_eq!(again, Ok(Record::Clock(clock)), "written, it reads back");
        }
        Ok(Record::Event(event)) => {
            let account = event.account.clone();
            let record = Record::Event(event);
            assert!(check_key(Some(account.as_str().as_bytes()), &record).is_ok());
            assert!(check_key(None, &record).is_err());
            let Record::Event(event) = record else { return };
            let rules = Rules::default();
            let mut state = AccountState::unseen(account);
            apply(&mut state, &rules, Input::Event(&event));
            for _ in 0..LOOKS {
                let Some(due) = state.next_due() else { break };
                let fleet = FleetDay::calendar(due.plus_millis(-DAY_MS).utc_day());
                apply(&mut state, &rules, Input::Close(&fleet));
                assert!(
                    state.next_due().is_none_or(|next| next > due),
                    "time goes on"
                );
            }
            let again = apply(&mut state, &rules, Input::Event(&event));
            assert!(event.id.is_none() || again.repeat, "an id is known again");
        }
    }
}
